import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memflux.errors import InvalidValue
from memflux.metrics import balanced_nmae, nmae, nmae_scaled, on_off_ratio, symmetry
from memflux.traces import Trace, Traces
from memflux.waveform import Triangle

DRIVE = Triangle(amplitude=10.0, period=8.0, cycles=2)
TIME, VOLTAGE = DRIVE.grid(160)
RISING = np.gradient(VOLTAGE) > 0


def traces_of(*currents, voltage=VOLTAGE):
    return Traces.of(time=TIME, voltage=voltage, current=np.stack(currents), period=np.asarray(8.0), cycles=2)


def test_nmae_by_hand():
    assert nmae(np.array([0.0, 2.0]), np.array([0.0, 1.0])) == pytest.approx(0.5 * 0.5 * 0.5)
    np.testing.assert_allclose(nmae(np.zeros((2, 3)), np.array([[1.0, 1, 1], [0, 0, 0]])), [0.5, 0.0])


# numbers that lose digits when scaled down, because they are or become subnormal, are left out
CURRENTS = st.floats(-1e3, 1e3).map(lambda value: value if abs(value) > 1e-280 else 0.0)


@given(st.lists(CURRENTS, min_size=2, max_size=20), st.floats(1e-12, 1e12))
def test_nmae_is_bounded_symmetric_and_free_of_scale(values, factor):
    truth = np.array(values)
    guess = truth[::-1].copy()
    error = nmae(guess, truth)
    assert 0.0 <= error <= 1.0
    assert nmae(truth, guess) == error
    assert nmae(factor * guess, factor * truth) == pytest.approx(error, rel=1e-9, abs=1e-12)


def test_a_spike_does_well_by_nmae_and_badly_by_the_balanced_one():
    truth = np.sin(np.linspace(0.0, 2 * np.pi, 81))
    fullness = np.abs(truth).mean() / np.abs(truth).max()
    spike = truth.copy()
    spike[40] = 1e9
    assert nmae(spike, truth) == pytest.approx(1 / 162)
    assert balanced_nmae(spike, truth) == pytest.approx(fullness)
    assert balanced_nmae(0 * truth, truth) == pytest.approx(fullness)
    assert balanced_nmae(3 * truth, truth) == pytest.approx(balanced_nmae(truth / 3, truth)) == fullness / 2
    assert balanced_nmae(truth, truth) == 0.0
    near = truth + 1e-4 * np.cos(np.linspace(0.0, 7.0, 81))
    assert balanced_nmae(near, truth) == pytest.approx(nmae(near, truth), rel=1e-3)
    spike[40] = np.inf
    assert balanced_nmae(spike, truth) == np.inf
    np.testing.assert_allclose(balanced_nmae(np.ones((2, 3)), np.array([[2.0, 0, 0], [0, 0, 0]])), [3 / 15, 1.0])


def test_scaled_nmae_scales_first():
    class Doubling:
        def scale(self, current):
            return np.sign(current) * current**2

    assert nmae_scaled(np.array([0.0, 2.0]), np.array([0.0, 1.0]), Doubling()) == pytest.approx(0.5 * 0.5 * 3 / 4)


def test_different_shapes_are_refused():
    with pytest.raises(InvalidValue, match=r"prediction has shape \(3,\) and truth \(2,\)"):
        nmae(np.zeros(3), np.zeros(2))


def test_symmetry_is_one_for_a_symmetric_curve_and_zero_as_printed():
    symmetric = traces_of(VOLTAGE**3, VOLTAGE**3)
    np.testing.assert_allclose(symmetry(symmetric), 1.0)
    np.testing.assert_allclose(symmetry(symmetric, signed=True), 0.0)


def test_symmetry_of_a_diode_is_zero():
    assert symmetry(traces_of(np.where(VOLTAGE > 0, VOLTAGE, 1e-6 * VOLTAGE)))[0] == pytest.approx(0.0, abs=1e-5)


def test_on_off_ratio_of_a_clockwise_loop():
    current = VOLTAGE * np.where(RISING, 3.0, 1.0)
    np.testing.assert_allclose(on_off_ratio(traces_of(current, VOLTAGE, -current)), [0.75, 0.5, 0.75])


def test_the_cycle_and_the_voltage_can_be_chosen():
    second = TIME > 8.0
    current = VOLTAGE * np.where(RISING & second, 3.0, 1.0)
    t = traces_of(current)
    assert on_off_ratio(t, cycle=0)[0] == pytest.approx(0.5)
    assert on_off_ratio(t, cycle=1)[0] == pytest.approx(0.75)
    assert on_off_ratio(t, voltage=2.3)[0] == pytest.approx(0.75)
    with pytest.raises(InvalidValue, match="cycle = 2 is out of range; give 0 to 1, or -1"):
        on_off_ratio(t, cycle=2)


def test_a_small_sweep_has_no_on_off_ratio_and_one_warning():
    with pytest.warns(UserWarning, match="2 of 2 drives do not sweep through 5 V") as caught:
        assert np.isnan(on_off_ratio(traces_of(VOLTAGE, VOLTAGE, voltage=0.3 * VOLTAGE))).all()
    assert len(caught) == 1


def test_a_failed_row_is_nan_and_leaves_the_others_alone():
    broken = VOLTAGE.copy()
    broken[200:] = np.nan
    t = traces_of(broken, VOLTAGE)
    assert np.isnan(symmetry(t)[0])
    assert symmetry(t)[1] == 1.0
    assert np.isnan(on_off_ratio(t, cycle=-1)[0])


def test_a_single_trace_on_its_own_levels_gives_a_float():
    keep = np.unique(np.concatenate([np.arange(0, TIME.size, 3), [40, 120, 160, 200, 280, 320]]))
    one = Trace(time=TIME[keep], voltage=VOLTAGE[keep], current=VOLTAGE[keep], period=8.0, cycles=2)
    assert isinstance(symmetry(one), float)
    assert on_off_ratio(one) == pytest.approx(0.5)


def test_a_trace_that_ended_early_has_no_quantities():
    early = Trace(
        time=TIME[:82], voltage=VOLTAGE[:82], current=VOLTAGE[:82], period=8.0, cycles=2, status_class="step_underflow"
    )
    for cycle in (0, 1):
        assert np.isnan(symmetry(early, cycle=cycle))
        assert np.isnan(on_off_ratio(early, cycle=cycle))


def test_a_cycle_taken_out_has_the_same_quantities():
    current = VOLTAGE * np.where(RISING, 3.0, 1.0) + 0.1 * VOLTAGE**2
    one = Trace(time=TIME, voltage=VOLTAGE, current=current, period=8.0, cycles=2)
    assert symmetry(one.cycle(1)) == symmetry(one, cycle=1)
    assert on_off_ratio(one.cycle(1)) == on_off_ratio(one, cycle=1)
    assert len(one.cycle(1).cycle()) == len(one.cycle(1))
