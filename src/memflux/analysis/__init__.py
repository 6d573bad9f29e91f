"""Questions asked of a Predictor: sensitivity, optimisation, inverse fitting."""
