"""Traces to surrogates: scaling, models, the training loop and the saved folder."""
