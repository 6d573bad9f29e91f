import gzip
import struct

import numpy as np
import pytest

from memflux.analysis.crossbar.idx import read_idx, read_mnist
from memflux.errors import DataError


def packed(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (1, 1, 1, 1)])
@pytest.mark.parametrize("zipped", [False, True])
def test_round_trip(tmp_path, shape, zipped):
    array = np.random.default_rng(0).integers(0, 256, shape)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(packed(array)) if zipped else packed(array))
    assert np.array_equal(read_idx(path), array)


def folder_of(tmp_path, *, joint="-", ending="", train=6, labels=6):
    zip_it = gzip.compress if ending else bytes
    for part, count in (("train", train), ("t10k", 2)):
        images = np.arange(count * 16).reshape(count, 4, 4) % 256
        (tmp_path / f"{part}-images{joint}idx3-ubyte{ending}").write_bytes(zip_it(packed(images)))
        known = np.arange(labels if part == "train" else count)
        (tmp_path / f"{part}-labels{joint}idx1-ubyte{ending}").write_bytes(zip_it(packed(known)))
    return tmp_path


@pytest.mark.parametrize(("joint", "ending"), [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")])
def test_a_folder_under_the_usual_names(tmp_path, joint, ending):
    rest, tests = read_mnist(folder_of(tmp_path, joint=joint, ending=ending))
    assert rest.inputs.shape == (6, 16)
    assert tests.labels.tolist() == [0, 1]
    assert rest.inputs.max() == pytest.approx(95 / 255)


def test_what_does_not_fit_together(tmp_path):
    with pytest.raises(DataError, match=r"\(6, 4, 4\) images and \(5,\) labels"):
        read_mnist(folder_of(tmp_path, labels=5))
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match=r"train files hold|no t10k-images"):
        read_mnist(tmp_path)
    with pytest.raises(DataError, match="put the four files"):
        read_mnist(tmp_path / "nowhere")


def test_images_of_two_sizes(tmp_path):
    folder_of(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(packed(np.zeros((2, 5, 5))))
    with pytest.raises(DataError, match="have 16 and 25 pixels"):
        read_mnist(tmp_path)


GOOD = packed(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "no IDX file"),
        (b"\0\0\x08\x09", "no IDX file"),
        (GOOD[:6], "within its header"),
        (GOOD[:-1], "holds 5"),
        (GOOD + b"\0", "holds more"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**31, 2**31), "give a file of 1 to"),
        (struct.pack(">4BI", 0, 0, 8, 1, 0), "give a file of 1 to"),
        (gzip.compress(GOOD)[:-9], "cannot be read"),
        (b"\x1f\x8bnonsense", "cannot be read"),
        (gzip.compress(packed(np.zeros(3)) + bytes(10**7)), "holds more"),  # and no more is unpacked
    ],
)
def test_bad_files_are_one_sentence(tmp_path, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_idx(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)
