import numpy as np
import pytest

from memflux import metrics
from memflux.analysis import quantities
from memflux.analysis.quantities import (
    QUANTITIES,
    Energy,
    LoopArea,
    Nonlinearity,
    OnOffRatio,
    ResetVoltage,
    SetVoltage,
    Symmetry,
    at_points,
    evaluate,
    label,
    quantity_from_dict,
    quantity_from_text,
    resolve,
)
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=40)


class Remote:
    """Answers quantities itself, as an endpoint does; asking it for curves is an error."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def __call__(self, devices, drive):
        raise AssertionError("curves were asked for")

    def quantities(self, devices, drive, names):
        self.asked.append(names)
        return np.full((len(devices), len(names)), 0.25)


def test_evaluate_gives_the_metrics_of_the_curves():
    devices, drive = SPACE.sample(20, seed=1)
    traces = MODEL(devices, drive)
    values = evaluate(MODEL, devices, drive, ["symmetry", OnOffRatio(voltage=3.0), lambda t: t.current.max(axis=1)])
    np.testing.assert_array_equal(values[:, 0], metrics.symmetry(traces))
    np.testing.assert_array_equal(values[:, 1], metrics.on_off_ratio(traces, voltage=3.0))
    np.testing.assert_array_equal(values[:, 2], traces.current.max(axis=1))


def test_curves_are_asked_for_in_bounded_parts(monkeypatch):
    monkeypatch.setattr(quantities, "CURVES_AT_ONCE", 7)
    sizes = []

    def model(devices, drive):
        sizes.append(len(devices))
        return MODEL(devices, drive)

    space = Space.preset("9d")  # the drive is a batch and must be cut with the devices
    devices, drive = space.sample(20, seed=0)
    values = evaluate(model, devices, drive, ["symmetry"])
    assert sizes == [7, 7, 6]
    np.testing.assert_array_equal(values[:, 0], metrics.symmetry(MODEL(devices, drive)))


def test_a_remote_predictor_computes_registered_quantities_itself():
    devices, drive = SPACE.sample(3, seed=0)
    remote = Remote()
    assert evaluate(remote, devices, drive, ["symmetry", OnOffRatio(voltage=2.0)]).shape == (3, 2)
    assert remote.asked == [("symmetry", OnOffRatio(voltage=2.0))]
    with pytest.raises(AssertionError, match="curves"):
        evaluate(remote, devices, drive, ["symmetry", lambda t: t.current[:, 0]])


def test_undefined_and_failed_are_nan_without_warnings():
    space = Space.preset("2d")
    devices, drive = space.sample(50, seed=0)
    values = evaluate(MODEL, devices, drive, ["on_off_ratio", lambda t: np.full(len(t), np.inf)])
    np.testing.assert_array_equal(np.isnan(values[:, 0]), np.asarray(drive.amplitude) < 5.0)
    assert np.isnan(values[:, 1]).all()

    def failing(devices, drive):
        traces = MODEL(devices, drive)
        traces.status_class[::2] = "diverged"
        return traces

    values = evaluate(failing, devices, drive, ["symmetry"])
    np.testing.assert_array_equal(np.isnan(values[:, 0]), np.arange(50) % 2 == 0)


def test_at_points_builds_part_by_part(monkeypatch):
    monkeypatch.setattr(quantities, "POINTS_AT_ONCE", 8)
    unit = np.random.default_rng(0).random((20, 5))
    seen = []
    values = at_points(MODEL, SPACE, unit, ["symmetry"], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 20), (16, 20), (20, 20)]
    np.testing.assert_array_equal(values, evaluate(MODEL, *SPACE.build(unit), ["symmetry"]))


def test_labels_name_what_differs_from_the_default():
    def peak(traces):
        return traces.current.max(axis=1)

    assert [label(q) for q in (*QUANTITIES, OnOffRatio(voltage=3.0), Symmetry(cycle=0, signed=True), peak)] == [
        "symmetry", "on_off_ratio", "nonlinearity", "loop_area", "energy", "set_voltage", "reset_voltage",
        "on_off_ratio(voltage=3)", "symmetry(cycle=0, signed=1)", "peak",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("quantity", "words"),
    [("symetry", "symmetry"), (Symmetry, "neither a name"), (lambda t: np.ones(3), "shape")],
)
def test_what_is_no_quantity_is_refused(quantity, words):
    devices, drive = SPACE.sample(2, seed=0)
    with pytest.raises(InvalidValue, match=words):
        evaluate(MODEL, devices, drive, [quantity])


def test_a_number_is_no_quantity():
    with pytest.raises(InvalidValue, match="neither a name"):
        resolve(3.0)


def test_parameters_out_of_range_are_refused():
    with pytest.raises(InvalidValue, match="voltage"):
        OnOffRatio(voltage=-1.0)


@pytest.mark.parametrize(
    ("quantity", "function", "words"),
    [
        (Nonlinearity(voltage=3.0, down=True), metrics.nonlinearity, {"voltage": 3.0, "down": True}),
        (LoopArea(normalised=True, cycle=0), metrics.loop_area, {"normalised": True, "cycle": 0}),
        (Energy(cycle=0), metrics.energy, {"cycle": 0}),
        (SetVoltage(window=1.5), metrics.set_voltage, {"window": 1.5}),
        (ResetVoltage(window=1.01, polarity=-1), metrics.reset_voltage, {"window": 1.01, "polarity": -1}),
    ],
)
def test_quantities_are_their_metrics_and_travel(quantity, function, words):
    devices, drive = SPACE.sample(20, seed=1)
    values = evaluate(MODEL, devices, drive, [quantity])[:, 0]
    np.testing.assert_array_equal(values, function(MODEL(devices, drive), **words))
    assert quantity_from_dict(quantity.to_dict()) == quantity == quantity_from_text(str(quantity))


def test_no_quantity_warns_of_small_drives(recwarn):
    evaluate(MODEL, *Space.preset("2d").sample(20, seed=0), list(QUANTITIES))
    assert not recwarn.list


@pytest.mark.parametrize(
    "make",
    [
        lambda: Nonlinearity(voltage=0.0),
        lambda: LoopArea(cycle=10_000),
        lambda: Energy(cycle=10_000),
        lambda: SetVoltage(window=0.9),
        lambda: SetVoltage(polarity=2),
        lambda: ResetVoltage(window=float("nan")),
    ],
)
def test_parameters_of_quantities_are_checked(make):
    with pytest.raises(InvalidValue, match="give"):
        make()
