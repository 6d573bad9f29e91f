import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memflux.errors import InvalidValue
from memflux.metrics import (
    balanced_nmae,
    energy,
    loop_area,
    nmae,
    nmae_scaled,
    nonlinearity,
    on_off_ratio,
    reset_voltage,
    set_voltage,
    sweep_currents,
    symmetry,
)
from memflux.traces import Trace, Traces
from memflux.waveform import Sine, Triangle

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


def test_sweep_currents_are_those_of_the_on_off_ratio():
    current = VOLTAGE * np.where(RISING, 3.0, 1.0)
    up, down = sweep_currents(traces_of(current, VOLTAGE), 5.0)
    np.testing.assert_allclose(up / down, [3.0, 1.0])
    np.testing.assert_allclose(down, [5.0, 5.0])
    assert np.isnan(sweep_currents(traces_of(current), 100.0)).all()


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


OUT = np.gradient(np.abs(VOLTAGE)) > 0  # away from 0 V
QUANTITIES = (symmetry, on_off_ratio, nonlinearity, loop_area, energy, set_voltage, reset_voltage)


def switched(up=4.0, down=-6.0, ratio=5.0):
    """A conductance that jumps up at `up` V and back at `down` V, behind a strong static non-linearity."""
    state, conductance = False, []
    for v in VOLTAGE:
        state = (state or v >= up) and v > down
        conductance.append(ratio if state else 1.0)
    return np.array(conductance) * np.sinh(VOLTAGE)


def test_an_abrupt_switch_has_the_voltages_of_its_jumps():
    t = traces_of(switched(), switched(up=7.0, down=-2.0), -switched(ratio=1.3))
    np.testing.assert_allclose(set_voltage(t), [4.0, 7.0, 4.0], atol=0.25)
    np.testing.assert_allclose(reset_voltage(t), [-6.0, -2.0, -6.0], atol=0.25)
    assert np.isnan(set_voltage(t, window=4.0)[2])
    np.testing.assert_array_equal(set_voltage(t, polarity=1), set_voltage(t))
    assert np.isnan(set_voltage(t, polarity=-1)).all()


def test_one_polarity_can_be_asked_for():
    both = traces_of(VOLTAGE * np.where(OUT, np.where(VOLTAGE > 0, 3.0, 2.0), 1.0))  # a RESET either way
    assert reset_voltage(both)[0] == reset_voltage(both, polarity=1)[0] > 0
    assert reset_voltage(both, polarity=-1)[0] < 0
    with pytest.raises(InvalidValue, match="polarity = 2"):
        reset_voltage(both, polarity=2)


def test_a_state_that_drifts_with_the_flux_is_half_changed_at_its_half():
    flux = np.cumsum(VOLTAGE) * (TIME[1] - TIME[0])
    t = traces_of(VOLTAGE * np.exp(flux / 20), VOLTAGE * np.exp(-flux / 20))
    half = 10.0 * np.sqrt(0.5 * (1.0 + 0.1**2))  # h goes as 1 - (v / amplitude)^2, from a tenth of it
    np.testing.assert_allclose(set_voltage(t), [half, -half], atol=0.05)
    np.testing.assert_allclose(reset_voltage(t), [-half, half], atol=0.05)


def test_without_hysteresis_nothing_switches():
    t = traces_of(np.sinh(VOLTAGE), VOLTAGE, 0 * VOLTAGE)
    for quantity in (set_voltage, reset_voltage):
        assert np.isnan(quantity(t)).all()


def test_every_row_may_have_its_own_drive():
    waves = [VOLTAGE, 0.3 * VOLTAGE, Sine(amplitude=10.0, period=8.0, cycles=2).grid(160)[1], -VOLTAGE]
    voltage = np.stack([*waves, np.where(TIME % 2 > 1, VOLTAGE, 0.5 * VOLTAGE)])
    current = np.stack([*(v * np.where(np.gradient(np.abs(v)) > 0, 3.0, 1.0) for v in waves), VOLTAGE])
    t = traces_of(*current, voltage=voltage)
    for quantity in (reset_voltage, set_voltage, loop_area, energy):
        rows = [quantity(t[i]) for i in range(len(t))]
        np.testing.assert_allclose(quantity(t), rows, rtol=1e-12)
    assert np.isnan(reset_voltage(t)[4])  # not one sweep out and back
    assert np.isfinite(reset_voltage(t)[:4]).all()


def test_each_polarity_has_its_own_extreme():
    t = traces_of(switched(down=-3.0), voltage=np.where(VOLTAGE < 0, 0.5 * VOLTAGE, VOLTAGE))
    assert set_voltage(t)[0] == pytest.approx(4.0, abs=0.25)
    assert reset_voltage(t)[0] == pytest.approx(-1.5, abs=0.13)


def test_one_triangle_is_like_another():
    current = switched()
    rows = [Triangle(amplitude=a, period=8.0, cycles=2).grid(160)[1] for a in (10.0, 3.0, 0.07)]
    t = traces_of(current, current, current, voltage=np.stack(rows))
    np.testing.assert_allclose(set_voltage(t) / [10.0, 3.0, 0.07], set_voltage(t)[0] / 10.0)


def test_loop_area_by_hand():
    eight = VOLTAGE * np.where(RISING, 3.0, 1.0)  # both lobes 100 W, one either way
    rectifier = VOLTAGE * np.where(OUT, 3.0, 1.0)  # both clockwise
    t = traces_of(eight, rectifier, -rectifier, VOLTAGE**3)
    np.testing.assert_allclose(loop_area(t), [200, 200, 200, 0], rtol=0.03, atol=1e-9)
    np.testing.assert_allclose(loop_area(t, signed=True), [0, 200, 200, 0], rtol=0.03, atol=5.0)
    np.testing.assert_allclose(loop_area(t, normalised=True), [0.5, 0.5, 0.5, 0], rtol=0.03, atol=1e-9)
    np.testing.assert_allclose(loop_area(t, normalised=True, signed=True), [0, 0.5, 0.5, 0], rtol=0.03, atol=0.02)
    assert loop_area(traces_of(VOLTAGE / np.where(OUT, 3.0, 1.0)), signed=True)[0] < 0
    assert np.isnan(loop_area(traces_of(0 * VOLTAGE), normalised=True)[0])
    assert loop_area(traces_of(0 * VOLTAGE))[0] == 0.0


@given(st.lists(st.floats(-1.0, 1.0), min_size=9, max_size=9))
def test_the_normalised_area_is_bounded(values):
    current = np.interp(TIME, np.linspace(0, 16, 9), values)
    t = traces_of(current + 1e-9)
    assert 0.0 <= loop_area(t, normalised=True)[0] <= 1.0 + 1e-12
    assert abs(loop_area(t, normalised=True, signed=True)[0]) <= 1.0 + 1e-12


def test_nonlinearity_of_a_resistor_is_two():
    current = np.where(RISING, VOLTAGE, VOLTAGE**3)
    t = traces_of(VOLTAGE, VOLTAGE**3, -current, 0 * VOLTAGE)
    np.testing.assert_allclose(nonlinearity(t, voltage=6.0), [2.0, 8.0, 2.0, np.nan], rtol=0.01)
    np.testing.assert_allclose(nonlinearity(t, voltage=6.0, down=True), [2.0, 8.0, 8.0, np.nan], rtol=0.01)
    with pytest.warns(UserWarning, match=r"2 of 2 drives do not sweep through 5 V; the non-linearity is NaN there"):
        assert np.isnan(nonlinearity(traces_of(VOLTAGE, VOLTAGE, voltage=0.3 * VOLTAGE))).all()


def test_energy_of_a_resistor_and_of_a_capacitor():
    t = traces_of(2e-3 * VOLTAGE, np.gradient(VOLTAGE, TIME))
    np.testing.assert_allclose(energy(t), [2e-3 * 100 / 3 * 8, 0.0], rtol=1e-3, atol=1e-9)
    one = t[0].cycle(1)
    assert energy(t[0]) == pytest.approx(one.energy[-1], rel=1e-12)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_failed_rows_and_short_traces_have_no_quantity(quantity):
    broken = switched()
    broken[200] = np.nan
    t = traces_of(broken, switched(), switched())
    t.status_class[2] = "diverged"
    values = quantity(t)
    assert np.isnan(values[[0, 2]]).all()
    assert np.isfinite(values[1])
    early = Trace(time=TIME[:82], voltage=VOLTAGE[:82], current=VOLTAGE[:82], period=8.0, cycles=2)
    assert np.isnan(quantity(early, cycle=1))


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_rows_of_one_drive_are_as_rows_of_their_own(quantity):
    shared = traces_of(switched(), switched(up=7.0, down=-2.0))
    own = traces_of(switched(), switched(up=7.0, down=-2.0), voltage=np.stack([VOLTAGE, VOLTAGE]))
    np.testing.assert_allclose(quantity(shared), quantity(own), rtol=1e-13)
    assert isinstance(quantity(shared[0]), float)


def test_a_window_of_nothing_is_refused():
    with pytest.raises(InvalidValue, match="window = 1 is out of range"):
        set_voltage(traces_of(VOLTAGE), window=1.0)
