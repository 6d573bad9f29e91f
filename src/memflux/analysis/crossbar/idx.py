"""The IDX format of MNIST (http://yann.lecun.com/exdb/mnist), plain or gzip; nothing is ever fetched."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from memflux.analysis.crossbar.bitmaps import Images
from memflux.errors import DataError

UNSIGNED_BYTES = 0x08
MOST_BYTES = 1 << 30
DOWNLOAD = "put the four files of MNIST there (train-images-idx3-ubyte and so on, with or without .gz)"


def read_idx(path: str | Path) -> UInt8[np.ndarray, "..."]:
    """The array of unsigned bytes in an IDX file; DataError in one sentence for any other file.

    The header says how much follows, and no more than that is unpacked.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTES or not 1 <= magic[3] <= 4:
                raise DataError(f"{path} is no IDX file of unsigned bytes; {DOWNLOAD}.")
            header = file.read(4 * magic[3])
            if len(header) < 4 * magic[3]:
                raise DataError(f"{path} ends within its header; get it again.")
            shape = struct.unpack(f">{magic[3]}I", header)
            size = math.prod(shape)
            if not 0 < size <= MOST_BYTES:
                raise DataError(f"{path} says that it holds {size} bytes; give a file of 1 to {MOST_BYTES}.")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}; {DOWNLOAD}.") from None
    if len(content) != size:
        what = "more" if len(content) > size else f"{len(content)}"
        raise DataError(f"{path} says that it holds {size} bytes and holds {what}; get it again.")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def read_mnist(folder: str | Path) -> tuple[Images, Images]:
    """The images to train on and to test on, in [0, 1]; DataError where a file is missing or does not fit."""
    rest, tests = _images(Path(folder), "train"), _images(Path(folder), "t10k")
    if rest.inputs.shape[1] != tests.inputs.shape[1]:
        sizes = f"{rest.inputs.shape[1]} and {tests.inputs.shape[1]}"
        raise DataError(f"{folder}: the train and t10k images have {sizes} pixels; {DOWNLOAD}.")
    return rest, tests


def _images(folder: Path, part: str) -> Images:
    images = read_idx(_file(folder, f"{part}-images", "idx3-ubyte"))
    labels = read_idx(_file(folder, f"{part}-labels", "idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(f"{folder}: the {part} files hold {images.shape} images and {labels.shape} labels; {DOWNLOAD}.")
    return Images(
        inputs=np.divide(images.reshape(len(images), -1), 255, dtype=np.float32), labels=labels.astype(np.int64)
    )


def _file(folder: Path, name: str, ending: str) -> Path:
    for joint in "-.":
        for packing in ("", ".gz"):
            if (path := folder / f"{name}{joint}{ending}{packing}").is_file():
                return path
    raise DataError(f"{folder} has no {name}-{ending}; {DOWNLOAD}.")
