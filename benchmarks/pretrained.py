"""Make the surrogates that ship with the package: `make pretrained` (NAMES=5d-parametric); half an hour each."""

import argparse
from pathlib import Path

import memflux
import published
from memflux import Surrogate

FOLDER = Path(memflux.__file__).parent / "pretrained"
COUNTS = {"5d-parametric": 20_000, "9d": 20_000}  # as published
LARGEST = 3_000_000  # bytes


def main() -> None:
    """Simulate, train, test and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(COUNTS), choices=list(COUNTS))
    parser.add_argument("--count", type=int, help="curves to train from, in place of the published number")
    options = parser.parse_args()
    for name in options.names:
        count = options.count or COUNTS[name]
        published.trained(name, count).described(about(name, count)).save(FOLDER / name)
        size = sum(file.stat().st_size for file in (FOLDER / name).iterdir())
        assert size < LARGEST, f"{name} takes {size} bytes"
        print(name, Surrogate.load(FOLDER / name).test_errors)


def about(name: str, count: int) -> dict[str, str]:
    """How the data were made, and the licence."""
    return {
        "data": f"{count} devices of the space {name!r}, design published, seed 0, engine compiled, control accurate",
        "test": f"{published.TESTED} devices of the same space, seed {published.TEST_SEED}",
        "made_by": "make pretrained",
        "licence": "BSD-3-Clause, as memflux",
    }


if __name__ == "__main__":
    main()
