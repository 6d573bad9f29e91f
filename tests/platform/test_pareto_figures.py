import numpy as np
import pytest

import known_fronts as known
from memflux.analysis.confirmed_front import confirm
from memflux.analysis.pareto import pareto
from memflux.platform.pareto_figures import pareto_figure


@pytest.fixture(scope="module")
def front():
    goals = ((known.first, "min"), (known.zdt1, "min"))
    return pareto(known.coordinates, known.BOX, goals, 16, 10)


def test_two_objectives_have_a_panel_and_their_history(front):
    check = confirm(front, known.coordinates, known.BOX, 5, [known.first, known.zdt1])
    figure = pareto_figure(front, check)
    trade, history = figure.axes
    names = trade.get_legend_handles_labels()[1]
    assert names[:2] == [f"front, {len(front.objectives)} devices", "the same, confirmed"]
    assert ("knee" in names) == (front.knee is not None)
    assert trade.get_xlabel() == "first (smaller is better)"
    np.testing.assert_array_equal(trade.get_lines()[0].get_xdata(), front.objectives[:, 0])
    np.testing.assert_array_equal(history.get_lines()[0].get_ydata(), front.history)


def test_three_objectives_have_a_panel_a_pair():
    goals = ((known.dtlz2_a, "min"), (known.dtlz2_b, "min"), (known.dtlz2_c, "max"))
    figure = pareto_figure(pareto(known.coordinates, known.BOX, goals, 16, 5, method="nsga3"))
    shown = [ax for ax in figure.axes if ax.axison]
    assert len(shown) == 4
    assert shown[1].get_ylabel() == "dtlz2 c (larger is better)"


def test_decades_and_missing_values_can_be_drawn():
    wide = lambda t: 10.0 ** (6.0 * t.current[:, 0])  # noqa: E731
    goals = ((wide, "min"), (known.zdt1, "min"))
    front = pareto(known.coordinates, known.BOX, goals, 16, 10)

    def lost(devices, drive):
        traces = known.coordinates(devices, drive)
        traces.current[:] = np.nan
        return traces

    figure = pareto_figure(front, confirm(front, lost, known.BOX, 4, [wide, known.zdt1]))
    assert figure.axes[0].get_xscale() == "log"
    figure.draw_without_rendering()
