"""Crossbars of resistive memory: cells as they were measured, weights stored in them, networks read back from them."""
