"""The neural ODE on the 5D-parametric space, trained at length; errors on 2,000 fresh devices."""

from collections.abc import Iterator

import harness
import published
from harness import Row
from memflux.training.neural_ode import NeuralOdeConfig

COUNT, EPOCHS = 7984, 80


def five_parametric(quick: bool) -> Iterator[Row]:
    """neural ODE, 5D-parametric"""
    count, epochs = (400, 20) if quick else (COUNT, EPOCHS)
    surrogate = published.trained("5d-parametric", count, NeuralOdeConfig(), epochs)
    name = f"neural ODE, 5D-parametric, {count} curves, {epochs} epochs"
    yield from published.scaled_error(name, surrogate, bar=1.0)


if __name__ == "__main__":
    harness.run("surrogate_neural_ode", [five_parametric])
