"""The figures of a sensitivity analysis show the numbers that they are given, also where some are missing."""

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from memflux.analysis.curve_sensitivity import sobol_along_curve
from memflux.analysis.screening import morris
from memflux.analysis.sensitivity import sobol
from memflux.platform import sensitivity_figures as figures
from memflux.space import Space
from memflux.stand_in import StandIn

MODEL = StandIn(samples=16)
SPACE = Space.preset("5d-parametric")


def drawn(figure):
    assert isinstance(figure, Figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    return figure


def flat(traces):
    return np.full(len(traces), 0.5)


def test_bars_of_first_and_total_order():
    result = sobol(MODEL, SPACE, base_samples=32)
    axes = drawn(figures.sobol(result)).axes
    assert [ax.get_title() for ax in axes] == ["symmetry S", "on-off ratio R"]
    for q, ax in enumerate(axes):
        np.testing.assert_allclose([p.get_width() for p in ax.patches], [*result.total[q], *result.first[q]])
    assert axes[0].get_yticklabels()[0].get_text() == "vacancy offset"
    assert axes[0].yaxis_inverted()


def test_pairs_are_a_map_below():
    result = sobol(MODEL, SPACE, ["symmetry", flat], base_samples=32, second_order=True)
    axes = drawn(figures.sobol(result)).axes
    assert len(axes) == 4
    shown = axes[2].images[0].get_array()
    np.testing.assert_allclose(shown[0], result.second[0, 0, 1:])
    assert len(axes[2].texts) == 10
    assert [t.get_text() for t in axes[1].texts] == ["no indices"]
    assert len(axes[3].texts) == 0


def test_one_parameter_has_no_pairs():
    space = dataclasses.replace(SPACE, parameters=SPACE.parameters[-1:])
    drawn(figures.sobol(sobol(MODEL, space, ["symmetry"], base_samples=16)))
    figure = drawn(figures.sobol(sobol(MODEL, space, ["symmetry"], base_samples=16, second_order=True)))
    assert len(figure.axes) == 1


@pytest.mark.parametrize("log", [True, False])
def test_indices_lie_along_the_curve(log):
    result = sobol_along_curve(MODEL, SPACE, base_samples=32, log=log)
    curve, first, total = drawn(figures.along_curve(result)).axes[:3]
    np.testing.assert_allclose(curve.lines[0].get_ydata(), result.mean)
    for ax, index in ((first, result.first), (total, result.total)):
        for line, column in zip(ax.lines, index.T, strict=True):
            np.testing.assert_allclose(line.get_ydata(), column)
    text = first.lines[3].get_label()
    assert text == f"left barrier: {result.generalised_first[3]:.2f}, {result.generalised_total[3]:.2f}"


def test_effects_and_their_deviations():
    result = morris(MODEL, SPACE, trajectories=8)
    axes = drawn(figures.morris(result)).axes
    np.testing.assert_allclose([p.get_width() for p in axes[1].patches], result.mu_star[1])
    np.testing.assert_allclose(axes[1].lines[-1].get_xdata(), result.sigma[1])
    drawn(figures.morris(morris(MODEL, SPACE, [lambda t: np.full(len(t), np.nan)], trajectories=3)))
