"""The neural ODE on the 5D-parametric space, trained at length; errors on 2,000 fresh devices."""

from collections.abc import Iterator

import numpy as np

import harness
import published
from harness import Row
from memflux.training.evaluate import evaluate
from memflux.training.neural_ode import NeuralOdeConfig

COUNT, EPOCHS = 7984, 80


def five_parametric(quick: bool) -> Iterator[Row]:
    """neural ODE, 5D-parametric"""
    count, epochs = (400, 20) if quick else (COUNT, EPOCHS)
    surrogate = published.trained("5d-parametric", count, NeuralOdeConfig(), epochs)
    result = evaluate(surrogate, *published.tests("5d-parametric"), surrogate.published)
    assert result.nmae_scaled is not None
    scaled, amperes = 100 * result.nmae_scaled, 100 * result.nmae
    name = f"neural ODE, 5D-parametric, {count} curves, {epochs} epochs"
    note = f"99 % {np.percentile(scaled, 99):.3f} %; in A {amperes.mean():.3f} %, median {np.median(amperes):.3f} %"
    yield Row(what=f"{name}: mean nmae_scaled", value=scaled.mean(), unit="%", bar=1.0, note=note)
    yield Row(what=f"{name}: training", value=surrogate.record["seconds"] / 60, unit="min", bar=120, note="one thread")


if __name__ == "__main__":
    harness.run("surrogate_neural_ode", [five_parametric])
