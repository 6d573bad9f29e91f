"""Test functions with known fronts, as quantities of a predictor whose curves are coordinates of the device."""

import numpy as np

from memflux.device import Device
from memflux.space import Parameter, Space
from unit_cube import coordinates_in

BOX = Space(
    name="box",
    parameters=(
        Parameter(name="band_gap", low=1.0, high=2.0),
        Parameter(name="barrier_left", low=0.0, high=0.5),
        Parameter(name="barrier_right", low=0.0, high=0.5),
        Parameter(name="relative_permittivity", low=1.0, high=10.0),
    ),
    device=Device(),
)
coordinates = coordinates_in(BOX)


def first(traces):
    """f1 of ZDT1 to ZDT3."""
    return np.clip(traces.current[:, 0], 0.0, 1.0)


def _g(traces):
    return 1.0 + 9.0 * traces.current[:, 1:4].mean(axis=1)


def zdt1(traces):
    return _g(traces) * zdt1_front(first(traces) / _g(traces))


def zdt2(traces):
    return _g(traces) * zdt2_front(first(traces) / _g(traces))


def zdt3(traces):
    """The sine is of f1 itself, not of f1 / g."""
    share = first(traces) / _g(traces)
    return _g(traces) * (1.0 - np.sqrt(share) - share * np.sin(10.0 * np.pi * first(traces)))


def zdt1_front(x):
    return 1.0 - np.sqrt(x)


def zdt2_front(x):
    return 1.0 - x**2


def zdt3_front(x):
    return 1.0 - np.sqrt(x) - x * np.sin(10.0 * np.pi * x)


def _radius(traces):
    return 1.0 + ((traces.current[:, 2:4] - 0.5) ** 2).sum(axis=1)


def dtlz2_a(traces):
    return _radius(traces) * np.prod(np.cos(0.5 * np.pi * traces.current[:, :2]), axis=1)


def dtlz2_b(traces):
    x = 0.5 * np.pi * traces.current[:, :2]
    return _radius(traces) * np.cos(x[:, 0]) * np.sin(x[:, 1])


def dtlz2_c(traces):
    return _radius(traces) * np.sin(0.5 * np.pi * traces.current[:, 0])
