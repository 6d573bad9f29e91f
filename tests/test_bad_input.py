"""A caller's mistake gets one sentence: the thing, the value, the allowed range, the remedy.

The mistakes are made in a plain interpreter: in this one, the shape checker of the test run would
refuse wrong types first.
"""

import json
import subprocess
import sys

import pytest

CASES = {
    "Device(length=-1e-6)": "length = -1e-06 m is out of range; give a number from 1e-09 to 0.01 m.",
    "Device(length=nan)": "length = nan m is not finite; give a number from 1e-09 to 0.01 m.",
    "Device(length=True)": "length = True is not a number; give a number from 1e-09 to 0.01 m.",
    "Device(barrier_left=inf)": "barrier_left = inf eV is not finite; give a number from -5 to 20 eV.",
    "Device(mobility_vacancy=0.0)": (
        "mobility_vacancy = 0 m^2/(V s) is out of range; give a number from 1e-30 to 1 m^2/(V s)."
    ),
    "Device(temperature=-300.0)": "temperature = -300 K is out of range; give a number from 50 to 2000 K.",
    "Device(relative_permittivity=0.0)": "relative_permittivity = 0 is out of range; give a number from 1 to 100000.",
    "Device(donor_density='many')": "donor_density = 'many' is not a number; give a number from 0 to 1e+30 m^-3.",
    "Device(vacancy_charge=-3.5)": "vacancy_charge = -3.5 is not a whole number; give one from -4 to 4.",
    "Device(vacancy_charge=0)": ("vacancy_charge = 0 is out of range; give a whole number from -4 to 4 other than 0."),
    "Device(mean_vacancy_density='many')": (
        "mean_vacancy_density = 'many' is not a number; give a number from 1e+10 to 1e+31 m^-3."
    ),
    "Device(mean_vacancy_density=1e29)": (
        "mean_vacancy_density = 1e+29 m^-3 is out of range; give a number from 1e+10 m^-3 to below "
        "vacancy_site_density = 1e+28 m^-3, or more sites."
    ),
    "Device(barrier_lowering=1)": "barrier_lowering = 1 is not a truth value; give True or False.",
    "Device(contact_density='lowerd')": (
        "contact_density = 'lowerd' is not known; choose one of equilibrium, lowered. Did you mean 'lowered'?"
    ),
    "Device().replace(lenght=1e-6)": "'lenght' is not a device field; did you mean 'length'?",
    "Device.preset('S3')": ("preset = 'S3' is not known; choose one of seed, S1, S2, Ex107, fit-a, fit-b."),
    "Triangle(amplitude=nan, period=8.0)": "amplitude = nan V is not finite; give a number from 1e-15 to 10000 V.",
    "Triangle(amplitude=10.0, period=0.0)": "period = 0 s is out of range; give a number from 1e-12 to 1e+09 s.",
    "Sine(amplitude=1.0, period=8.0, cycles=0)": "cycles = 0 is out of range; give a whole number from 1 to 100000.",
    "Sine(amplitude=1.0, period=8.0, cycles=1.5)": "cycles = 1.5 is not a whole number; give one from 1 to 100000.",
    "PiecewiseLinear(times=[0, 2, 1], voltages=[0, 1, 0])": ("times[2] = 1 s is not after 2 s; sort the times."),
    "PiecewiseLinear(times=['now'], voltages=[0])": (
        "times = ['now'] is not an array of numbers; give numbers from 0 to 1e+09 s."
    ),
    "Space.preset('6d')": (
        "preset = '6d' is not known; choose one of 2d, 4d, 5d, 7d, 9d, 5d-parametric, 5d-any-drive, 16d, 16d-raw. "
        "Did you mean '16d'?"
    ),
    "Space.preset('2d').sample(10, seed=0.5)": (
        "seed = 0.5 is not a whole number; give one from 0 to 9223372036854775807."
    ),
    "simulate(Device(), Triangle(amplitude=1.0, period=1.0), control='acurate')": (
        "control = 'acurate' is not known; choose one of accurate, fast, reference, reference-S1, reference-Ex107. "
        "Did you mean 'accurate'?"
    ),
    "simulate(Device(), Triangle(amplitude=1.0, period=1.0), levels=[0.0, 3.0])": (
        "levels[1] = 3 s is out of range; give a number from 0 to 2 s."
    ),
}

SCRIPT = """
import json, sys
from math import inf, nan
from memflux import Device, PiecewiseLinear, Sine, Space, Triangle, simulate
answers = {}
for case in json.load(sys.stdin):
    try:
        eval(case)
    except ValueError as error:
        answers[case] = str(error)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(list(CASES)), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_the_sentence_is_exact(answers, case):
    assert answers.get(case) == CASES[case]
