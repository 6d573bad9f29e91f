"""Make the surrogates that ship with the package: `make pretrained` (NAMES=5d-parametric); half an hour each."""

import argparse
from pathlib import Path
from typing import NamedTuple

import memflux
import published
import surrogate_lstm
from memflux import Surrogate
from memflux.training.models import Config

FOLDER = Path(memflux.__file__).parent / "pretrained"
LARGEST = 3_000_000  # bytes


class Recipe(NamedTuple):
    """What one is trained on and how; without a config the spectral default for that many curves."""

    space: str
    count: int  # curves, as published where no time forbids it
    config: Config | None = None
    epochs: int | None = None


RECIPES = {
    "5d-parametric": Recipe("5d-parametric", 20_000),
    "5d-parametric-lstm": Recipe("5d-parametric", surrogate_lstm.COUNT, surrogate_lstm.CONFIG, surrogate_lstm.EPOCHS),
    "9d": Recipe("9d", 20_000),
}


def main() -> None:
    """Simulate, train, test, calibrate and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--count", type=int, help="curves to train from, in place of the number of the recipe")
    options = parser.parse_args()
    for name in options.names:
        recipe = RECIPES[name]._replace(**({"count": options.count} if options.count else {}))
        surrogate = published.trained(*recipe).calibrated(*published.fresh(recipe.space)).described(about(recipe))
        surrogate.save(FOLDER / name)
        size = sum(file.stat().st_size for file in (FOLDER / name).iterdir())
        assert size < LARGEST, f"{name} takes {size} bytes"
        print(name, Surrogate.load(FOLDER / name).test_errors)


def about(recipe: Recipe) -> dict[str, str]:
    """How the data were made, and the licence."""
    draw = f"devices of the space {recipe.space!r}"
    return {
        "data": f"{recipe.count} {draw}, design published, seed 0, engine compiled, control accurate",
        "test": f"{published.TESTED} {draw}, seed {published.TEST_SEED}",
        "bands": f"{published.TESTED} {draw}, seed {published.CALIBRATION_SEED}",
        "made_by": "make pretrained",
        "licence": "BSD-3-Clause, as memflux",
    }


if __name__ == "__main__":
    main()
