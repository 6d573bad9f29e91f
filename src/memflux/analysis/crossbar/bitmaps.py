"""Images to be told apart: 5 x 4 bitmaps from a CSV file, and the 8 x 8 digits that come with scikit-learn."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from memflux.errors import DataError, InvalidValue

LARGEST_FILE = 10_000_000  # bytes


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """Images in [0, 1], one a row, and their classes."""

    inputs: Float[np.ndarray, "B I"]
    labels: Int[np.ndarray, " B"]

    def __len__(self) -> int:
        return len(self.labels)


def read_bitmaps(path: str | Path, variant: str | None = None) -> Images:
    """Bitmaps of a CSV file: a column `digit`, perhaps `variant`, and a column of 0 or 1 for each pixel.

    `variant` picks rows by that column; None takes those of the first. DataError in one sentence for what cannot be
    read, InvalidValue for a variant that is not there.
    """
    header, rows = _rows(Path(path))
    if "digit" not in header:
        raise DataError(f"{path} has no column digit; give a CSV file of digit, perhaps variant, and pixels.")
    if "variant" in header:
        column = header.index("variant")
        known = list(dict.fromkeys(row[column] for row in rows))
        variant = known[0] if variant is None else variant
        if variant not in known:
            raise InvalidValue(f"variant = {variant!r} is not in {path}; choose one of {', '.join(known)}.")
        rows = [row for row in rows if row[column] == variant]
    elif variant is not None:
        raise InvalidValue(f"variant = {variant!r}, but {path} has no column variant; leave it out.")
    pixels = [k for k, name in enumerate(header) if name not in ("digit", "variant")]
    try:
        labels = np.array([int(row[header.index("digit")]) for row in rows])
        inputs = np.array([[int(row[k]) for k in pixels] for row in rows], dtype=np.float64)
    except ValueError:
        raise DataError(f"{path} has text among its digits or pixels; give whole numbers.") from None
    if not pixels or not np.isin(inputs, (0.0, 1.0)).all():
        raise DataError(f"{path} has pixels that are neither 0 nor 1; give a column of 0 or 1 a pixel.")
    return Images(inputs=inputs, labels=labels)


def digits_8x8(test_share: float = 0.25, *, seed: int = 0) -> tuple[Images, Images]:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, in [0, 1]: those to train on and those to test on."""
    from sklearn.datasets import load_digits  # here, because bitmaps of one's own need none of it

    inputs, labels = load_digits(return_X_y=True)
    if not 0.0 < test_share < 1.0:
        raise InvalidValue(f"test_share = {test_share:g} is out of range; give a share between 0 and 1.")
    order = np.random.default_rng(seed).permutation(len(labels))
    test, rest = np.split(order, [round(test_share * len(order))])
    return tuple(  # type: ignore[return-value]
        Images(inputs=inputs[part] / 16.0, labels=labels[part].astype(np.int64)) for part in (rest, test)
    )


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} is larger than {LARGEST_FILE} bytes; give a CSV file of a few bitmaps.")
        with path.open(newline="", encoding="utf-8") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give a CSV file of bitmaps.") from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path} is not text in columns; give a CSV file of bitmaps.") from None
    if len(rows) < 2:
        raise DataError(f"{path} holds no bitmaps; give a header and a row for each.")
    for line, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise DataError(f"{path} has {len(row)} columns in row {line} and {len(rows[0])} in its header.")
    return rows[0], rows[1:]
