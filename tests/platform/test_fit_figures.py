"""Figures of a fit show the numbers that they are given."""

import numpy as np
import pytest

from memflux.analysis.identifiability import INTERVAL, identify
from memflux.analysis.inverse import fit_curve
from memflux.analysis.posterior import posterior
from memflux.contracts import CurveCost
from memflux.platform import fit_figures
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=20)


@pytest.fixture(scope="module")
def asked():
    curve = MODEL(*SPACE.build(np.full((1, 5), 0.5))).cycle(-1).current[0]
    cost = CurveCost(kind="log_curve", target=curve)
    result = fit_curve(MODEL, SPACE, cost, starts=4, iterations=5, polish=5, fixed={"vacancy_offset": 0.3})
    found = identify(MODEL, SPACE, cost, result)
    return result, found, posterior(MODEL, SPACE, cost, found, walkers=16, steps=20)


def test_the_fit_stands_beside_the_curve(asked, tmp_path):
    result, _, _ = asked
    figure = fit_figures.fit(result, 2.0 * result.prediction)
    left, right = figure.axes
    assert len(left.lines) == 3
    assert right.get_yscale() == "log"
    shown = [line.get_ydata() for line in right.lines]
    np.testing.assert_allclose(shown[2], 2.0 * shown[1])
    assert "nMAE" in figure.get_suptitle()
    assert len(fit_figures.fit(result).axes[0].lines) == 2
    figure.savefig(tmp_path / "f.png")


def test_profiles_and_their_intervals(asked, tmp_path):
    _, found, _ = asked
    figure = fit_figures.profiles(found, SPACE)
    assert [ax.get_xlabel().split(" /")[0] for ax in figure.axes[:4]] == [
        "electron mobility", "vacancy mobility", "left barrier", "right barrier",
    ]  # fmt: skip
    level, curve, _ = figure.axes[0].lines
    assert level.get_ydata()[0] == INTERVAL
    np.testing.assert_array_equal(curve.get_ydata(), found.profile[0])
    assert not figure.axes[4].axison
    figure.savefig(tmp_path / "p.png")


def test_every_pair_has_a_panel(asked, tmp_path):
    _, _, drawn = asked
    figure = fit_figures.corner(drawn, SPACE)
    assert len(figure.axes) == 16
    assert sum(ax.axison for ax in figure.axes) == 10
    np.testing.assert_array_equal(figure.axes[4].lines[0].get_xdata(), drawn.samples[:, 0])
    figure.savefig(tmp_path / "c.png")
