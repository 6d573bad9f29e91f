"""Campaigns: many simulations from one file, resumable, wherever they run."""
