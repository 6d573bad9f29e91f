"""Figures of an evaluation show the numbers that they are given, also where there are few of them or none."""

import dataclasses
import io

import numpy as np
import pytest

from memflux.platform import evaluation_figures as figures
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.evaluate import compare, cycle_errors, felt
from memflux.training.scaling import PublishedScaling
from memflux.waveform import Triangle

SPACE = Space.preset("9d")


def compared(count=40, cycles=2, amplitude=None):
    devices, drive = SPACE.sample(count, seed=0)
    wave = Triangle(amplitude=drive.amplitude if amplitude is None else amplitude, period=drive.period, cycles=cycles)
    truth = StandIn(samples=16)(devices, wave)
    noise = np.random.default_rng(0).lognormal(-5.0, 1.0, truth.current.shape)
    guess = dataclasses.replace(truth, current=truth.current * (1.0 + noise))
    values = SPACE.values(SPACE.coordinates(devices, wave))
    return compare(guess, truth, PublishedScaling.fit(truth.current)), guess, truth, values


@pytest.mark.parametrize(("count", "cycles"), [(40, 2), (40, 1), (1, 3)])
def test_one_cycle_has_no_second_to_compare_with(count, cycles):
    result, guess, truth, values = compared(count, cycles)
    drawn = figures.evaluation_figures("mine", result, guess, truth, SPACE.parameters[:2], values[:, :2])
    assert set(drawn) == set(figures.FILES) - (set() if cycles > 1 else {"cycles.png"})


def test_errors_are_sorted_on_a_log_axis_with_mean_and_median():
    result, *_ = compared()
    figure = figures.errors("mine", result)
    (ax,) = figure.axes
    assert ax.get_yscale() == "log"
    assert ax.get_title() == "mine: 40 devices"
    for error, lines in zip((result.nmae, result.nmae_scaled), (ax.lines[:3], ax.lines[3:]), strict=True):
        curve, mean, median = lines
        np.testing.assert_allclose(curve.get_ydata(), 100 * np.sort(error))
        assert mean.get_ydata()[0] == pytest.approx(100 * error.mean())
        assert median.get_ydata()[0] == pytest.approx(100 * np.median(error))
    assert len(figures.errors("mine", dataclasses.replace(result, nmae_scaled=None)).axes[0].lines) == 3


def test_examples_show_the_curves_at_the_quantiles():
    result, guess, truth, _ = compared()
    axes = figures.examples(result, guess, truth).axes
    order = result.rows[np.argsort(result.nmae)]
    for ax, row in zip(axes, order[[0, 19, 35, 38, 39]], strict=True):
        assert ax.get_title().endswith(f"row {row}")
        solved, predicted = ax.lines[2], ax.lines[3]
        np.testing.assert_allclose(solved.get_xdata(), truth.voltage[row, 16:])
        for line, traces in ((solved, truth), (predicted, guess)):
            current = np.abs(traces.current[row, 16:])
            np.testing.assert_allclose(line.get_ydata(), np.where(current > 0, current, np.nan))


def test_parameters_have_axes_of_their_own_scale_and_a_median_of_every_tenth():
    result, _, _, values = compared()
    axes = figures.by_parameter(result.nmae, SPACE.parameters, values).axes
    assert len(axes) == 10  # two rows of five, the last one empty
    for ax, parameter, column in zip(axes[:9], SPACE.parameters, values.T, strict=True):
        assert ax.get_xscale() == ("log" if parameter.log else "linear")
        dots, median = ax.lines
        np.testing.assert_array_equal(dots.get_xdata(), column)
        first = np.argsort(column)[:4]
        assert median.get_ydata()[0] == pytest.approx(100 * np.median(result.nmae[first]))
        assert len(median.get_xdata()) == 10
    assert axes[2].get_xlabel() == "length / m"
    assert not axes[9].axison


def test_cycles_are_compared_with_the_diagonal():
    _, guess, truth, _ = compared()
    error = cycle_errors(guess, truth)
    (ax,) = figures.cycles(error).axes
    dots, diagonal = ax.lines
    np.testing.assert_allclose(np.stack([dots.get_ydata(), dots.get_xdata()], axis=1), 100 * error)
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert ax.get_xlim() == ax.get_ylim()


def test_every_device_is_in_the_distributions():
    _, guess, truth, _ = compared()
    found = felt(guess, truth)
    for ax, error in zip(
        figures.designs(found).axes, (found.on_off_ratio, found.symmetry, found.log10_peak), strict=True
    ):
        defined = np.abs(error[np.isfinite(error)])
        assert sum(patch.get_height() for patch in ax.patches) == defined.size
        words = [text.get_text() for text in ax.get_legend().get_texts()]
        assert words == [f"median: {np.median(defined):.2g}", f"99 %: {np.percentile(defined, 99):.2g}"]


def test_no_errors_and_no_drive_that_is_strong_enough():
    _, _, truth, _ = compared(count=2, amplitude=2.0)
    designs = figures.designs(felt(truth, truth))
    assert [text.get_text() for text in designs.axes[0].texts] == ["defined for no device"]
    drawn = (designs, figures.errors("mine", compare(truth, truth)), figures.cycles(cycle_errors(truth, truth)))
    for figure in drawn:
        figure.savefig(io.BytesIO(), format="png", dpi=30)
