"""Several data sets as one: what is added, what is left out, and that the first one keeps its validation and test."""

import dataclasses

import numpy as np
import pytest

from memflux.dataset import Dataset
from memflux.errors import InvalidValue
from memflux.rows import Method
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.data import split, split_curves
from memflux.training.loop import fit
from memflux.training.pool import pooled
from memflux.training.schedule import Schedule
from memflux.training.spectral import SpectralConfig
from memflux.waveform import Sine

SPACE = Space.preset("5d-parametric")
SAMPLES = 16


@pytest.fixture
def made(tmp_path):
    """A function: a data set of the compact model, of devices and drive as given or drawn."""

    def make(count=60, seed=0, devices=None, drive=None, samples=SAMPLES, space=SPACE, control="", failed=0):
        drawn, wave = SPACE.sample(count, seed=seed)
        devices, drive = drawn if devices is None else devices, wave if drive is None else drive
        traces = StandIn(samples=samples)(devices, drive)
        classes = np.where(np.arange(len(devices)) < failed, "diverged", "solved").astype(object)
        traces = dataclasses.replace(traces, status_class=classes)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        method = Method(control=control, engine="compact")
        return Dataset.write(folder, devices=devices, drive=drive, traces=traces, space=space, method=method)

    return make


def training_part(devices, drive):
    return devices[split(devices, drive).train]


def test_one_data_set_is_itself(made):
    first = made()
    pool = pooled(first, {}, SPACE)
    assert (pool.devices, pool.drive, pool.traces) == (first.devices, first.drive, first.traces)
    assert pool.dataset_hash == first.content_hash


def test_further_rows_are_learned_and_validation_and_test_stay(made):
    first, more = made(), made(40, seed=1)
    pool = pooled(first, {"more": more}, SPACE)
    part = split(more.devices, more.drive).train
    assert pool.counts == {"added": part.sum(), "failed": 0, "outside": 0, "known": 0, "held_out": (~part).sum()}
    assert pool.dataset_hash == [first.content_hash, more.content_hash]
    np.testing.assert_array_equal(pool.traces.current, np.vstack([first.traces.current, more.traces.current[part]]))
    alone = split_curves(first.devices, first.drive, first.traces, SPACE)
    both = split_curves(pool.devices, pool.drive, pool.traces, SPACE)
    for name in ("validation", "test"):
        rows, wanted = (getattr(s.masks, name) for s in (both, alone))
        np.testing.assert_array_equal(both.curves.unit[rows], alone.curves.unit[wanted])
    assert both.masks.train.sum() == alone.masks.train.sum() + part.sum()
    assert both.curves.drive.to_dict() == alone.curves.drive.to_dict()


def test_what_is_left_out_is_counted(made):
    first = made()
    inside = training_part(*SPACE.sample(60, seed=2))[:6]
    fields = {"barrier_left": np.where(np.arange(6) == 1, 0.5, inside.barrier_left)}  # one outside the space
    amplitude = np.where(np.arange(6) == 2, 12.0, 10.0)  # and one asked with another drive
    drive = dataclasses.replace(first.drive, amplitude=amplitude, period=np.full(6, 8.0))
    more = made(devices=inside.replace(**fields), drive=drive, failed=1)
    pool = pooled(first, {"more": more, "again": more}, SPACE)
    assert pool.counts == {"added": 3, "failed": 2, "outside": 4, "known": 3, "held_out": 0}
    assert len(pool) == 63
    np.testing.assert_array_equal(pool.devices.barrier_left[60:], inside.barrier_left[3:])


def test_a_device_that_failed_once_and_was_solved_later_is_new(made):
    devices = training_part(*SPACE.sample(70, seed=0))[:50]
    first, more = made(devices=devices, failed=4), made(devices=devices)
    assert pooled(first, {"more": more}, SPACE).counts["added"] == 4


def test_a_nameless_data_set_takes_the_space_that_is_given(made):
    assert pooled(made(), {"more": made(40, seed=1, space=None)}, SPACE).counts["outside"] == 0


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"samples": 8}, "more has samples a cycle = 8 and the first data set 16; leave it out."),
        ({"control": "fast"}, "more has control = fast"),
        ({"drive": Sine(amplitude=10.0, period=8.0)}, "more has family of drive = {'kind': 'sine', 'cycles': 2}"),
        ({"space": dataclasses.replace(SPACE, amplitude=9.0)}, "which differ in parameters, ranges or constants"),
    ],
)
def test_what_does_not_fit_is_refused(made, changed, sentence):
    with pytest.raises(InvalidValue) as refused:
        pooled(made(), {"more": made(10, seed=1, **changed)}, SPACE)
    assert sentence in str(refused.value)


def test_the_record_names_all_data_sets_and_old_records_name_one(made, tmp_path):
    from memflux.training.surrogate import Surrogate

    pool = pooled(made(), {"more": made(40, seed=1)}, SPACE)
    config = SpectralConfig(components=4, members=1, width=8, layers=2)
    surrogate = fit(
        pool.devices, pool.drive, pool.traces, SPACE, config, Schedule(epochs=1), dataset_hash=pool.dataset_hash
    )
    surrogate.save(tmp_path / "model")
    assert Surrogate.load(tmp_path / "model").datasets == pool.hashes
    assert len(Surrogate.load("5d-parametric").datasets) == 1
    nameless = dataclasses.replace(surrogate, record={**surrogate.record, "dataset_hash": None})
    assert nameless.datasets == ()
    assert surrogate.test_errors["count"] == split(pool.devices, pool.drive).test.sum()


def test_more_of_the_space_is_learned_better(made):
    """A corner that the first data set leaves out is learned from what was kept of it."""
    devices, drive = SPACE.sample(300, seed=0)
    low = devices.barrier_left < 0.11
    first = made(devices=devices[low], drive=drive)
    more = made(devices=devices[~low], drive=drive)
    config = SpectralConfig(components=6, members=1, width=16, layers=2)
    errors, corner = [], devices[~low & split(devices, drive).test]
    truth = StandIn(samples=SAMPLES)(corner, drive).current
    for others in ({}, {"more": more}):
        pool = pooled(first, others, SPACE)
        surrogate = fit(pool.devices, pool.drive, pool.traces, SPACE, config, Schedule(epochs=300))
        errors.append(np.abs(surrogate(corner, drive).current - truth).mean())
    assert errors[1] < 0.5 * errors[0]
