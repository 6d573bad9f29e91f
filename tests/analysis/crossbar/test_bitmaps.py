import numpy as np
import pytest

from memflux.analysis.crossbar.bitmaps import digits_8x8, read_bitmaps
from memflux.errors import DataError, InvalidValue

TWO = "variant,digit,a,b,c\none,0,0,1,1\none,1,1,0,0\nother,0,0,0,0\n"


def write(tmp_path, text):
    path = tmp_path / "bitmaps.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_variants(tmp_path):
    path = write(tmp_path, TWO)
    images = read_bitmaps(path)
    assert images.inputs.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert images.labels.tolist() == [0, 1]
    assert len(read_bitmaps(path, "other")) == 1
    with pytest.raises(InvalidValue, match="choose one of one, other"):
        read_bitmaps(path, "third")


def test_without_variants(tmp_path):
    path = write(tmp_path, "a, digit\n1, 0\n")
    assert read_bitmaps(path).inputs.tolist() == [[1]]
    with pytest.raises(InvalidValue, match="leave it out"):
        read_bitmaps(path, "one")


def test_reference_bitmaps(reference_data):
    path = reference_data / "reram_statistics" / "digits_5x4.csv"
    for variant in ("current", "earlier"):
        images = read_bitmaps(path, variant)
        assert images.inputs.shape == (10, 20)
        assert np.unique(images.inputs, axis=0).shape == (10, 20)
        assert images.labels.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no bitmaps"),
        ("digit,a\n", "no bitmaps"),
        ("a,b\n1,0\n", "no column digit"),
        ("digit,a\n1,2\n", "neither 0 nor 1"),
        ("digit\n1\n", "neither 0 nor 1"),
        ("digit,a\nx,1\n", "text among"),
        ("digit,a\n1,nan\n", "text among"),
        ("digit,a\n1,0,1\n", "3 columns in row 2"),
        (b"\xff\xfe\x00digit", "not text"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        read_bitmaps(write(tmp_path, text))


def test_missing_and_huge_files(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_bitmaps(tmp_path / "none.csv")
    with pytest.raises(DataError, match="larger than"):
        read_bitmaps(write(tmp_path, "0" * 10_000_001))


def test_digits_are_split_without_overlap():
    rest, tests = digits_8x8(seed=3)
    assert (len(rest), len(tests)) == (1348, 449)
    assert rest.inputs.min() == 0.0
    assert rest.inputs.max() == 1.0
    assert set(np.unique(tests.labels)) == set(range(10))
    assert np.array_equal(digits_8x8(seed=3)[1].inputs, tests.inputs)
    assert not np.array_equal(digits_8x8(seed=4)[1].inputs, tests.inputs)
    with pytest.raises(InvalidValue, match="test_share"):
        digits_8x8(1.0)
