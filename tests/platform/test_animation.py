"""A film has a frame a look, fixed axes, and refuses early what it cannot write."""

import dataclasses

import numpy as np
import pytest
from matplotlib import animation as drawing
from PIL import Image

from memflux.device import Device
from memflux.errors import DataError, InvalidValue, MissingDependency
from memflux.platform import animation
from memflux.solvers.solver import simulate
from memflux.waveform import Triangle

SWEEP = Triangle(amplitude=5.0, period=8.0, cycles=1)
S2 = Device.preset("S2")


@pytest.fixture(scope="module")
def trace():
    times = np.linspace(0.0, 8.0, 5)
    return simulate(S2, SWEEP, control="fast", engine="compiled", samples=16, profiles=times)


def test_a_gif_has_a_frame_a_look(trace, tmp_path):
    told = []
    animation.animate(trace, S2, tmp_path / "sweep.gif", lambda done, count: told.append((done, count)))
    with Image.open(tmp_path / "sweep.gif") as film:
        assert film.n_frames == 5
        assert film.size == (900, 620)
    assert told == [(k, 5) for k in range(1, 6)]


def test_frames_share_their_axes_and_show_their_look(trace):
    scene = animation._scene(trace, trace.profiles, S2)
    limits = [(ax.get_xlim(), ax.get_ylim()) for ax in scene.figure.axes]
    for k in range(5):
        animation._show(scene, trace, trace.profiles, S2, k)
        assert [(ax.get_xlim(), ax.get_ylim()) for ax in scene.figure.axes] == limits
        np.testing.assert_array_equal(scene.moving[-1].line.get_ydata(), trace.profiles.vacancy[k])
        assert scene.dot.get_xdata() == pytest.approx([trace.profiles.voltage[k]])
        swept = scene.path.get_xdata()
        assert swept[-1] == scene.dot.get_xdata()[0]
        assert len(swept) == np.count_nonzero(trace.time < trace.profiles.time[k]) + 1
    for values, ax in ((trace.profiles.n, scene.figure.axes[2]), (trace.profiles.vacancy, scene.figure.axes[3])):
        low, high = ax.get_ylim()
        assert high > values.max()
        assert low < max(values.min(), 1e-12 * values.max())


def test_a_device_without_vacancies_has_no_panel_for_them(tmp_path):
    bare = S2.replace(vacancy_site_density=0.0, donor_density=1e23)
    trace = simulate(bare, SWEEP, control="fast", engine="compiled", samples=16, profiles=[0.0, 2.0])
    scene = animation._scene(trace, trace.profiles, bare)
    assert [ax.axison for ax in scene.figure.axes] == [True, True, True, False]


def test_an_mp4_without_ffmpeg_is_one_sentence(trace, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing.writers, "is_available", lambda name: False)
    with pytest.raises(MissingDependency, match=r"needs the program ffmpeg, which is not there; .* or give a \.gif"):
        animation.animate(trace, S2, tmp_path / "sweep.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not drawing.writers.is_available("ffmpeg"), reason="needs ffmpeg")
def test_an_mp4_is_written(trace, tmp_path):
    animation.animate(trace, S2, tmp_path / "sweep.mp4")
    assert (tmp_path / "sweep.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("sweep.avi", InvalidValue, r"sweep\.avi is no animation that can be written; give a name that ends in"),
        ("sweep", InvalidValue, "is no animation"),
        ("nowhere/sweep.gif", DataError, "is not in an existing folder; make the folder first"),
    ],
)
def test_what_cannot_be_written_is_refused(trace, tmp_path, name, error, sentence):
    with pytest.raises(error, match=sentence):
        animation.animate(trace, S2, tmp_path / name)


def test_without_looks_there_is_no_film(trace, tmp_path):
    with pytest.raises(InvalidValue, match="the trace has no profiles"):
        animation.animate(dataclasses.replace(trace, profiles=None), S2, tmp_path / "sweep.gif")
    assert not list(tmp_path.iterdir())
