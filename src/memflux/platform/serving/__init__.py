"""Served surrogates: the endpoint, what travels to it, and its client."""
