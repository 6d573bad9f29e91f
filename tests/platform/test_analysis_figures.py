"""Figures of analyses show the numbers that they are given, also where there are none."""

import dataclasses
import io

import numpy as np
import pytest

from memflux.analysis.maps import metric_map
from memflux.analysis.quantities import LoopArea, ResetVoltage
from memflux.platform.analysis_figures import MOST_SLICES, metric_maps
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=16)


def meshes(figure):
    """The colours of every panel, [panels][Y * X]."""
    return [ax.collections[0].get_array() for ax in figure.axes if ax.collections and ax.get_label() != "<colorbar>"]


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


@pytest.mark.parametrize("slices", [2, 6, 9])
def test_a_panel_a_quantity_and_slice(slices):
    result = metric_map(MODEL, SPACE, points=(5, 4, slices))
    figure = drawn(metric_maps(result))
    shown = min(slices, MOST_SLICES)
    colours = meshes(figure)
    assert len(colours) == 2 * shown
    np.testing.assert_allclose(colours[0].reshape(4, 5), result.values[0, :, :, 0].T)
    np.testing.assert_allclose(colours[-1].reshape(4, 5), result.values[1, :, :, -1].T)
    titles = [ax.get_title() for ax in figure.axes[:shown]]
    assert titles[0] == "1e-15 m²/(V s)"
    assert titles[-1] == "1e-13 m²/(V s)"


def test_two_axes_one_of_them_logarithmic():
    result = metric_map(
        MODEL, SPACE, ["energy"], axes=("mobility_vacancy", "barrier_left"), points=5, statistic="mean", draws=4
    )
    figure = drawn(metric_maps(result))
    panel = figure.axes[0]
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "linear")
    assert panel.get_xlabel() == "vacancy mobility / m²/(V s)"
    assert figure.axes[-1].get_ylabel() == "mean of energy / J"


def test_quantities_beside_each_other_have_names_and_units():
    asked = [ResetVoltage(polarity=1), LoopArea(normalised=True), LoopArea()]
    figure = drawn(metric_maps(metric_map(MODEL, SPACE, asked, axes=("barrier_left", "barrier_right"), points=4)))
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels[0] == "right barrier / eV"
    assert labels[3:] == ["RESET voltage (polarity=1) / V", "loop area (normalised=1)", "loop area / W"]


def test_nothing_defined_and_one_value_everywhere_can_be_drawn():
    result = metric_map(MODEL, SPACE, ["symmetry"], axes=("barrier_left", "barrier_right"), points=4)
    for value in (np.nan, 0.5):
        drawn(metric_maps(dataclasses.replace(result, values=np.full_like(result.values, value))))
    holed = result.values.copy()
    holed[0, 1, 2] = np.nan
    assert np.ma.count_masked(meshes(drawn(metric_maps(dataclasses.replace(result, values=holed))))[0]) == 1
