"""Settings of neural ODEs of loops: what they make, and what is refused."""

import subprocess
import sys

import pytest

from memflux.errors import InvalidValue
from memflux.training.memode.fit import FitConfig
from memflux.training.memode.model import MemOdeConfig
from memflux.training.memode.search import DEFAULTS, FOREVER, PRESETS, candidate, check_search
from memflux.training.setting import Among, Between


def test_no_settings_are_the_defaults():
    config, how, folds = candidate({})
    assert config == MemOdeConfig()
    assert how == FitConfig(balanced=False, seconds=FOREVER)  # nothing depends on the clock
    assert folds == DEFAULTS["folds"] == 7
    assert candidate(DEFAULTS) == candidate({})


def test_settings_make_architecture_training_and_folds():
    settings = {
        "states": 3, "sees_voltage": True, "width": 12, "layers": 3, "memductance_width": 6, "memductance_layers": 2,
        "steps": 50, "starts": 4, "iterations": 9, "ridge": 1e-3, "balanced": True, "folds": 5,
    }  # fmt: skip
    config, how, folds = candidate(settings, records=5)
    assert config == MemOdeConfig(
        states=3, sees_voltage=True, rate_widths=(6, 12, 6), memductance_widths=(3, 3), steps=50
    )
    assert how == FitConfig(starts=4, iterations=9, ridge=1e-3, balanced=True, seconds=FOREVER)
    assert folds == 5


def test_a_study_may_vary_the_kind_and_what_only_one_kind_has():
    config, _, _ = candidate({"kind": "single", "states": 4, "sees_voltage": True})
    assert (config.states, config.sees_voltage, config.sizes[1]) == (1, False, [])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_trained(name):
    preset = PRESETS[name]
    check_search(preset.search, preset.fixed)
    assert set(preset.search) | set(preset.fixed) <= set(DEFAULTS)


@pytest.mark.parametrize(
    ("search", "fixed", "words"),
    [
        ({"widht": Among(values=(2, 4))}, {}, "'widht' is not a setting of memode; did you mean 'width'"),
        ({"width": Between(low=1, high=9)}, {}, "width = 1 is out of range; give a whole number from 2"),
        ({"memductance_width": Between(low=1, high=9)}, {}, "memductance_width = 1 is out of range"),
        ({"memductance_layers": Between(low=1, high=9)}, {}, "memductance_layers = 9 is out of range"),
        ({"states": Between(low=1, high=17)}, {}, "states = 17 is out of range"),
        ({"width": Between(low=8, high=512)}, {"layers": 4}, "weights are too many; lower width and layers"),
        ({"ridge": Between(low=-1.0, high=1.0)}, {}, "ridge = -1 is out of range"),
        ({"kind": Among(values=("dual", "triple"))}, {}, "kind = 'triple' is not known"),
        ({"folds": Between(low=2, high=9)}, {}, "folds = 9 is out of range; give a whole number from 2 to 8"),
        ({"width": Among(values=(2, 4))}, {"width": 2}, "width is both varied and fixed"),
        ({"width": Among(values=(2, 4))}, {"seconds": 1.0}, "'seconds' is not a setting"),
    ],
)
def test_what_cannot_be_trained_is_named(search, fixed, words):
    with pytest.raises(InvalidValue, match=words):
        check_search(search, fixed, records=8)


def test_it_needs_no_torch():
    code = "import sys, memflux.training.memode.search; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
