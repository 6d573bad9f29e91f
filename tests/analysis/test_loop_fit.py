"""Fits of compact models to loops."""

import dataclasses

import numpy as np
import pytest

from memflux.analysis.loop_fit import LoopFit, errors_of, fit_loops
from memflux.compact import GMMS, KEYS, MMS, IonDrift
from memflux.errors import DataError, InvalidValue
from memflux.loops import read_loops
from memristors import EXAMPLES, RESISTANCE, loops_of


@pytest.mark.parametrize("model", EXAMPLES, ids=KEYS)
def test_a_model_has_no_distance_from_its_own_loops(model):
    errors, periods = errors_of(model, loops_of(model))
    np.testing.assert_allclose(errors, 0.0, atol=1e-12)
    assert (periods > 0).all()


@pytest.mark.parametrize("polarity", [1, -1])
def test_a_fit_finds_the_device_that_made_the_loops(polarity):
    truth = MMS(tau=0.02, beta=15.0, v_on=0.27, v_off=-0.27, r_on=500.0, r_off=3000.0, polarity=polarity)
    loops = loops_of(truth)
    found = fit_loops(
        MMS, loops[:2], loops[2:], fixed={"beta": 15.0, "tau": 0.02}, polarity=polarity, generations=60, restarts=1
    )
    assert found.mean_error("training") < 1e-6
    assert found.mean_error("validation") < 1e-5
    np.testing.assert_allclose(found.compact.values, truth.values, rtol=1e-2)
    assert (found.validation, found.fixed, found.at_bounds) == (loops.names[2:], ("beta", "tau"), ())


def test_the_same_seed_finds_the_same(tmp_path):
    loops = loops_of(EXAMPLES[4])
    found, again = (fit_loops(IonDrift, loops, generations=3, restarts=1, iterations=3, seed=5) for _ in range(2))
    assert found.model == again.model
    found.to_json(tmp_path / "fit.json")
    read = LoopFit.from_json(tmp_path / "fit.json")
    assert read.compact == found.compact
    np.testing.assert_array_equal(read.errors, found.errors)
    assert np.isnan(found.mean_error("validation"))
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match="no 'loop-fit' result"):
        LoopFit.from_json(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": {"bta": 1.0}}, "did you mean 'beta'"),
        ({"fixed": {"tau": -1.0}}, "tau"),
        ({"generations": 0}, "generations"),
        ({"polarity": 2}, "polarity"),
        ({"fixed": {p.name: 1.0 for p in MMS.parameters()}}, "leave some"),
    ],
)
def test_a_mistake_is_one_sentence(options, message):
    with pytest.raises(InvalidValue, match=message):
        fit_loops(MMS, loops_of(EXAMPLES[0]), **options)


def test_loops_without_current_are_refused():
    loops = loops_of(EXAMPLES[0])
    with pytest.raises(InvalidValue, match="no current"):
        fit_loops(MMS, dataclasses.replace(loops, current=0.0 * loops.current))
    with pytest.raises(InvalidValue, match="at least one"):
        fit_loops(MMS, loops[:0])


@pytest.mark.reference
def test_the_published_models_on_two_measured_loops(reference_data, tmp_path):
    """GMMS explains what MMS leaves of the tungsten SDC memristor; see benchmarks/measured_compact.py for all loops."""
    with np.load(reference_data / "measured_sdc_tungsten" / "mean_and_cycles.npz") as arrays:
        for name, frequency in (("1.0V_5Hz", 5.0), ("1.0V_50Hz", 50.0)):
            source, across = (arrays[f"mem1_{name}_{part}_mean"].astype(float) for part in ("vs", "vr"))
            time = np.arange(source.size) / (source.size * frequency)
            columns = np.stack([time, source, source - across, across / RESISTANCE], 1)
            header = "time_s,source_V,voltage_V,current_A"
            np.savetxt(tmp_path / f"{name}.csv", columns, "%.9g", ",", header=header, comments="")
    loops = read_loops(tmp_path)
    mms, gmms = (fit_loops(kind, loops, generations=30, restarts=1).mean_error() for kind in (MMS, GMMS))
    assert gmms < mms < 0.06
