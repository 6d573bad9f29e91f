import numpy as np
import pytest

from memflux.analysis.crossbar.bitmaps import digits_8x8
from memflux.analysis.crossbar.faults import FaultsResult, against_faults
from memflux.analysis.crossbar.networks import Training, train
from memflux.errors import InvalidValue


@pytest.fixture(scope="module")
def result():
    rest, tests = digits_8x8()
    network = train(rest.inputs, rest.labels, Training(hidden=(32,), epochs=40), seed=0)
    ticks = []
    found = against_faults(network, tests, arrays=2, progress=lambda k, n: ticks.append((k, n)))
    assert ticks[-1] == (len(ticks), len(ticks))
    return found


def test_bits(result):
    assert result.widths.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert result.truncated[0] < 0.2  # one bit holds -1 and 0
    assert result.truncated[-1] == pytest.approx(result.float_accuracy, abs=0.01)
    assert result.rounded[1] > result.truncated[1] + 0.2
    assert result.float_accuracy > 0.93


def test_faults_do_harm(result):
    for values in (result.flips, result.stuck_accuracy, result.working_accuracy, result.voltage_accuracy):
        assert values[0] - values[-1] > 0.3
    assert result.flips[0] == result.rounded[3]
    assert result.stuck_accuracy[0] == result.working_accuracy[0] == result.flips[0]  # nothing is wrong
    assert (np.diff(result.unset) > 0).all()


def test_written_and_read(result, tmp_path):
    result.to_json(tmp_path / "r.json")
    assert FaultsResult.from_json(tmp_path / "r.json").to_dict() == result.to_dict()


def test_misuse_is_one_sentence():
    rest, tests = digits_8x8(0.9)
    network = train(rest.inputs, rest.labels, Training(hidden=(4,), epochs=2), seed=0)
    with pytest.raises(InvalidValue, match="widths has no entries"):
        against_faults(network, tests, widths=())
    with pytest.raises(InvalidValue, match="bits = 40"):
        against_faults(network, tests, bits=40)
