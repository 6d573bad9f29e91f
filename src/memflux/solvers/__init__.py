"""Device physics to traces: the finite-volume charge-transport model and its time stepping."""
