"""Neural ODEs of measured memristors: networks for the rates of the state and for the memductance."""
