"""Hyperparameter studies: many trainings from one file, on the cores and GPUs of a cluster, resumable."""
