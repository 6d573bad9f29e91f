import numpy as np
import pytest

from memflux.analysis.crossbar.cells import CellOptions, Cells
from memflux.analysis.crossbar.conductances import States, bootstrapped, fitted, read_states
from memflux.analysis.crossbar.distributions import PRINTED
from memflux.errors import InvalidValue
from memflux.metrics import on_off_ratio
from memflux.space import Space
from memflux.stand_in import StandIn


@pytest.fixture(scope="module")
def asked():
    return StandIn(samples=160), *Space.preset("5d-parametric").sample(40, seed=0)


def test_states_of_a_predictor(asked):
    model, devices, drive = asked
    states = read_states(model, devices, drive, voltage=2.0)
    assert (states.lrs <= states.hrs).all()
    ratio = on_off_ratio(model(devices, drive), voltage=2.0)
    larger = np.maximum(ratio, 1 - ratio)  # of the currents, whichever way the loop turns
    assert states.hrs / (states.lrs + states.hrs) == pytest.approx(larger)


def test_a_voltage_that_is_not_passed_is_nan(asked):
    model, devices, drive = asked
    states = read_states(model, devices, drive, voltage=100.0)
    assert np.isnan(states.lrs).all()
    with pytest.raises(InvalidValue, match="0 devices with two resistances"):
        fitted(states)


def test_arrays_of_ones_own_devices(asked):
    states = read_states(*asked, voltage=2.0)
    cells = Cells(200_000, fitted(states), seed=1)
    logs = np.log(states.hrs)
    assert np.log(cells.hrs.astype(np.float64)).mean() == pytest.approx(logs.mean(), abs=0.02 * logs.std())
    assert np.log(cells.hrs.astype(np.float64)).std() == pytest.approx(logs.std(ddof=1), rel=0.02)


def test_measured_numbers_leave_the_voltages_as_they_are():
    found = fitted(States(lrs=np.array([100.0, 400.0, np.nan]), hrs=np.array([1e5, 1e7, 1.0])))
    assert found.lrs_mu == pytest.approx(np.log(200.0))
    assert (found.hrs_mean, found.hrs_deviation) == pytest.approx((6.0, np.sqrt(2.0)))
    assert (found.set_mu, found.reset_sigma) == (PRINTED.set_mu, PRINTED.reset_sigma)
    with pytest.raises(InvalidValue, match="above 0"):
        fitted(States(lrs=np.array([0.0, 1.0]), hrs=np.ones(2)))


def test_cells_with_the_pairs_of_devices():
    states = States(lrs=np.array([100.0, 200.0, np.nan]), hrs=np.array([1e5, 1e6, 1e7]))
    cells = bootstrapped(states, 10_000, CellOptions(working=0.5), seed=1)
    alive = np.isfinite(cells.hrs)
    assert alive.mean() == pytest.approx(0.5, abs=0.03)
    assert (cells.lrs[alive] == 100.0).mean() == pytest.approx(0.5, abs=0.03)
    assert np.array_equal(cells.lrs[alive] == 100.0, cells.hrs[alive] == np.float32(1e5))
    assert set(np.unique(cells.lrs[alive])) == {100.0, 200.0}
