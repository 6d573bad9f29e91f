"""The figure of the inside shows every look in its colour, on axes with units."""

import dataclasses

import numpy as np
import pytest

from memflux.device import Device
from memflux.errors import InvalidValue
from memflux.platform import inside_figures
from memflux.solvers.solver import simulate
from memflux.waveform import Triangle

SWEEP = Triangle(amplitude=5.0, period=8.0, cycles=1)
S2 = Device.preset("S2")
LOOKS = [0.0, 1.0, 2.9, 5.1]


def look(device=S2, looks=LOOKS):
    return simulate(device, SWEEP, control="fast", engine="compiled", samples=16, profiles=looks)


def panels(figure):
    return {ax.get_ylabel(): ax for ax in figure.axes if ax.axison}


def test_every_look_has_a_line_a_colour_and_a_moment_on_the_curve():
    trace = look()
    figure = inside_figures.inside(trace, S2)
    axes = panels(figure)
    assert len(axes) == 8
    vacancies = axes["vacancy density / m$^{-3}$"].lines
    assert [tuple(line.get_color()) for line in vacancies] == [
        tuple(c) for c in axes["current / µA"].collections[0].get_facecolor()
    ]
    np.testing.assert_allclose(vacancies[2].get_ydata(), trace.profiles.vacancy[2])
    np.testing.assert_allclose(vacancies[2].get_xdata(), 1e6 * trace.profiles.x)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["0 s, 0 V", "1 s, 2.5 V", "2.9 s, 2.75 V", "5.1 s, \N{MINUS SIGN}2.75 V"]


def test_moments_lie_on_the_curve():
    trace = simulate(S2, SWEEP, control="fast", engine="compiled", samples=160, profiles=[0.0, 1.0, 5.0])
    dots = panels(inside_figures.inside(trace, S2))["current / µA"].collections[0].get_offsets()
    expected = 1e6 * np.interp([0.0, 1.0, 5.0], trace.time, trace.current)
    np.testing.assert_allclose(dots[:, 1], expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"vacancy_site_density": 0.0, "donor_density": 1e23}, "vacancy density / m$^{-3}$"),
        ({"barrier_lowering": False}, "barrier lowering / meV"),
    ],
)
def test_what_a_device_has_not_is_not_drawn(change, gone):
    device = S2.replace(**change)
    axes = panels(inside_figures.inside(look(device), device))
    assert gone not in axes
    assert len(axes) == 7


def test_a_device_at_rest_alone_can_be_drawn():
    figure = inside_figures.inside(look(looks=[0.0]), S2)
    figure.draw_without_rendering()
    assert len(panels(figure)) == 8


def test_short_devices_are_measured_in_nanometres():
    device = S2.replace(length=5e-8)
    drive = Triangle(amplitude=0.5, period=8.0, cycles=1)
    trace = simulate(device, drive, control="fast", engine="compiled", samples=16, profiles=[1.0])
    axes = panels(inside_figures.inside(trace, device))
    assert axes["energy / eV"].get_xlabel() == "position / nm"
    assert axes["energy / eV"].get_xlim() == pytest.approx((0.0, 50.0))


def test_holes_are_drawn_where_they_matter():
    device = S2.replace(band_gap=0.3, vacancy_site_density=0.0, donor_density=1e20, barrier_left=0.1, barrier_right=0.1)
    axes = panels(inside_figures.inside(look(device), device))
    assert [line.get_linestyle() for line in axes["density / m$^{-3}$"].lines].count("--") == len(LOOKS)
    assert "holes" in current_parts(axes)
    assert "holes" not in current_parts(panels(inside_figures.inside(look(), S2)))


def current_parts(axes):
    return [text.get_text() for text in axes["|current density| / A m$^{-2}$"].get_legend().get_texts()]


def test_looks_that_failed_are_left_out_and_none_at_all_is_said():
    trace = look()
    psi = trace.profiles.psi.copy()
    psi[1] = np.nan
    some = dataclasses.replace(trace, profiles=dataclasses.replace(trace.profiles, psi=psi))
    np.testing.assert_array_equal(inside_figures.seen_profiles(some).time, [0.0, 2.9, 5.1])
    none = dataclasses.replace(trace, profiles=dataclasses.replace(trace.profiles, psi=np.nan * psi))
    for empty in (none, dataclasses.replace(trace, profiles=None)):
        with pytest.raises(InvalidValue, match=r"the trace has no profiles \(solved\); ask for some"):
            inside_figures.inside(empty, S2)


def test_band_edges_are_a_gap_apart_and_the_fermi_level_starts_at_zero():
    trace = look(looks=[0.0])
    conduction, valence, fermi = inside_figures.band_edges(trace.profiles, S2)
    np.testing.assert_allclose(conduction - valence, S2.band_gap)
    assert np.abs(fermi).max() < 1e-10
    assert conduction[0, 0] == pytest.approx(S2.barrier_left - trace.profiles.lowering_left[0], abs=1e-9)
