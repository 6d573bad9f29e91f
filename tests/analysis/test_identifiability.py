"""Identifiability on a model that is linear in its parameters, where Fisher information and profiles are known."""

import numpy as np
import pytest

from memflux.analysis.confirmed_fit import confirm
from memflux.analysis.identifiability import INTERVAL, Identifiability, identify
from memflux.analysis.inverse import fit_curve
from memflux.analysis.likelihood import Noise
from memflux.analysis.posterior import Posterior, posterior
from memflux.contracts import CurveCost, finite_difference_gradient
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.traces import Traces

SPACE = Space.preset("9d")
FREE = ("barrier_left", "barrier_right", "vacancy_offset")
NOISE = Noise(relative=0.0, absolute=0.01)
SAMPLES = 40


class Linear:
    """I = 1 + (left + right) sin(phase) + tiny * offset; under small amplitudes left and right come apart."""

    parameters = FREE

    def __call__(self, devices, drive):
        drive = drive.for_batch(len(devices))
        time, voltage = (np.broadcast_to(a, (len(devices), a.shape[-1])) for a in drive.grid(SAMPLES))
        phase = 2 * np.pi * np.arange(2 * SAMPLES + 1) / SAMPLES
        left, right, offset = ((np.asarray(getattr(devices, n)) - low) / span for n, low, span in (
            ("barrier_left", 0.05, 0.12), ("barrier_right", 0.05, 0.12), ("vacancy_offset", 0.28, 0.04)
        ))  # fmt: skip
        apart = np.broadcast_to(np.where(np.asarray(drive.amplitude) < 5.0, 1.0, 0.0), (len(devices),))
        current = (
            2.0
            + 0.2 * (left + right)[:, None] * np.sin(phase)
            + 0.2 * (apart * (left - right))[:, None] * np.cos(phase)
            + 1e-4 * offset[:, None]
        )
        return Traces.of(time=time, voltage=voltage, current=current, period=drive.periods(), cycles=2)

    def value_and_gradient(self, devices, drive, cost):
        return finite_difference_gradient(self, devices, drive, cost, self.parameters)


@pytest.fixture(scope="module")
def asked():
    model = Linear()
    middle = dict(zip(SPACE.names, SPACE.values(np.full((1, 9), 0.5))[0].tolist(), strict=True))
    fixed = {n: v for n, v in middle.items() if n not in FREE} | {"amplitude": 10.0}
    truth = SPACE.coordinates(*SPACE.at(np.array([[{**middle, **fixed}[n] for n in SPACE.names]])))
    curve = model(*SPACE.build(truth)).cycle(-1).current[0]
    noisy = curve + NOISE.of(curve) * np.random.default_rng(1).standard_normal(curve.size)
    cost = CurveCost(kind="curve", target=noisy)
    fit = fit_curve(model, SPACE, cost, starts=8, iterations=20, polish=20, fixed=fixed)
    return model, cost, fit, identify(model, SPACE, cost, fit, NOISE)


def test_fisher_information_is_that_of_the_linear_model(asked):
    _, _, _, found = asked
    assert found.names == ("vacancy_offset", "barrier_left", "barrier_right")
    sigma = NOISE.of(np.array([2.0 + 0.2]))[0]
    phase = 2 * np.pi * np.arange(SAMPLES + 1) / SAMPLES
    expected = (0.2 * np.sin(phase)) ** 2
    assert found.fisher[1, 1] == pytest.approx(expected.sum() / sigma**2, rel=0.05)
    assert found.fisher[1, 2] == pytest.approx(found.fisher[1, 1], rel=1e-6)
    assert found.correlation[1, 2] < -0.9
    assert found.scale == 1.0
    assert found.information[-1] == pytest.approx(2 * found.fisher[1, 1], rel=1e-6)
    np.testing.assert_allclose(np.abs(found.directions[:, -1]), [0, 0.5**0.5, 0.5**0.5], atol=1e-3)


def test_the_profile_of_a_tied_parameter_is_flat_until_the_other_leaves_its_range(asked):
    _, _, _, found = asked
    assert found.profile.shape == found.grid.shape
    assert np.nanmin(found.profile) >= 0
    assert (found.profile[0] < 0.1).all()  # the offset does next to nothing
    left = SPACE.parameters[SPACE.names.index("barrier_left")]
    assert found.high[1] - found.low[1] > 0.8 * (left.high - left.low)
    assert found.width[0] > 0.5


def test_a_parameter_alone_has_the_interval_of_a_normal(asked):
    model, cost, fit, _ = asked
    fixed = {n: fit.parameters[n] for n in SPACE.names if n != "barrier_left"} | {"barrier_right": 0.11}
    alone = identify(
        model, SPACE, cost, fit_curve(model, SPACE, cost, starts=4, iterations=20, polish=20, fixed=fixed), NOISE
    )
    half = np.sqrt(INTERVAL / alone.fisher[0, 0]) * 0.12
    assert alone.high[0] - alone.best[0] == pytest.approx(half, rel=0.03)
    assert alone.best[0] - alone.low[0] == pytest.approx(half, rel=0.03)


def test_the_verdict_names_ties_and_the_drive_that_parts_them(asked):
    _, _, _, found = asked
    words = "\n".join(found.verdict)
    assert "does not determine vacancy_offset" in words
    assert "barrier_left and barrier_right are known in combination alone" in words
    assert found.drive["amplitude"] < 5.0
    assert found.drive_width[1] < 0.3
    assert "A further sweep with" in words
    assert "no calibrated band" in words


def test_a_model_of_one_drive_says_so(asked):
    model, cost, _, _ = asked
    space = Space.preset("5d-parametric")
    curve = model(*space.build(np.full((1, 5), 0.5))).cycle(-1).current[0]
    fixed = {"mobility_electron": 1e-3, "mobility_vacancy": 1e-14}
    cost = CurveCost(kind="curve", target=curve)
    fit = fit_curve(model, space, cost, starts=4, iterations=5, polish=5, fixed=fixed)
    found = identify(model, space, cost, fit, profile=False)
    assert found.drive is None
    assert found.profile is None
    assert any("one drive alone" in sentence for sentence in found.verdict)


def test_a_misfit_widens_everything(asked):
    model, cost, fit, found = asked
    wave = np.where(np.arange(SAMPLES + 1) % 2, 1.0, -1.0)
    off = CurveCost(kind="curve", target=cost.target + 0.2 * wave)
    wide = identify(model, SPACE, off, fit, NOISE, profile=False)
    assert wide.scale > 5
    assert np.diag(wide.fisher)[1] < np.diag(found.fisher)[1] / 25
    assert "by more than noise" in wide.verdict[0]


def test_results_come_back_from_their_files(asked, tmp_path):
    model, cost, _, found = asked
    found.to_json(tmp_path / "i.json")
    assert Identifiability.from_json(tmp_path / "i.json").to_dict() == found.to_dict()
    drawn = posterior(model, SPACE, cost, found, walkers=16, steps=20)
    drawn.to_json(tmp_path / "p.json")
    assert Posterior.from_json(tmp_path / "p.json").to_dict() == drawn.to_dict()


def test_another_space_is_refused(asked):
    model, cost, fit, found = asked
    other = Space.preset("7d")
    with pytest.raises(InvalidValue, match="the fit is of space '9d' and not '7d'"):
        identify(model, other, cost, fit)
    with pytest.raises(InvalidValue, match="found is of space '9d' and not '7d'"):
        posterior(model, other, cost, found)
    with pytest.raises(InvalidValue, match="the fit is of space '9d' and not '7d'"):
        confirm(fit, other, cost, model, model)
