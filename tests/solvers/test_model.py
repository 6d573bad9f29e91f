"""The published scheme: its Jacobian against differences, for every combination of physics."""

import numpy as np
import pytest

from memflux.device import Device
from memflux.solvers import model
from memflux.solvers.control import SolverControl
from memflux.solvers.newton import Problem
from memflux.solvers.system import build_system
from memflux.solvers.thomas import ThomasEngine

CASES = {
    "published": ("S2", {}, "reference"),
    "lowered": ("S2", {"contact_density": "lowered"}, "reference"),
    "no lowering": ("S1", {}, "reference-S1"),
    "two carriers": ("S2", {"vacancy_site_density": 0.0}, "reference"),
    "double charge": ("Ex107", {}, "reference-Ex107"),
    "negative ions": ("S2", {"vacancy_charge": -1, "vacancy_offset": -0.3}, "reference"),
}


def _problem(case: str, inwards: bool = True) -> tuple[Problem, np.ndarray, np.ndarray]:
    preset, changes, control = CASES[case]
    system = build_system(Device.preset(preset).replace(**changes), SolverControl.preset(control))
    problem = Problem.of(system, ThomasEngine(system.x.size))
    rng = np.random.default_rng(1)
    u = np.zeros((system.x.size, 5))
    u[:, :3] = 0.05 * rng.standard_normal((system.x.size, 3))
    if case == "two carriers":
        u[:, 2] = 0.0
    # a bend that makes both contact fields point inwards (lowering on) or outwards (off)
    bend = 0.2 * np.sin(np.pi * system.x / system.x[-1]) + 1e-3 * rng.standard_normal(system.x.size)
    u[:, 3] = -0.1 + (bend if inwards else -bend)
    u[[0, -1], 3] -= 0.3 if inwards else -0.3
    u /= abs(system.z[2])  # differences lose digits with every power of the charge
    u[:, 4] = 0.02 if inwards else -0.01
    problem.contact_density = problem.densities(u)[[0, -1], :2] * 0.9
    return problem, u, problem.densities(u) * 0.9


def _evaluate(p: Problem, u, old, mode=model.TRANSIENT):
    model.residual_and_jacobian(
        mode, u, old, p.contact_density, 0.3, 1e-3, p.lowering, *p.packed, p.n, p.lnf, p.slope, p.residual, p.blocks
    )
    return p.residual.copy(), p.blocks.copy()


def _times(blocks, v):
    """Block-tridiagonal matrix times v [N, 5]."""
    out = np.einsum("kij,kj->ki", blocks[0::3], v)
    out[1:] += np.einsum("kij,kj->ki", blocks[2::3], v[:-1])
    out[:-1] += np.einsum("kij,kj->ki", blocks[1::3], v[1:])
    return out


@pytest.mark.parametrize("inwards", [True, False])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", [model.EQUILIBRIUM, model.TRANSIENT])
def test_jacobian_matches_differences_in_random_directions(case, mode, inwards):
    problem, u, old = _problem(case, inwards)
    _, blocks = _evaluate(problem, u, old, mode)
    fields = [model.contact_field(side, u, problem.system.h) for side in (0, 1)]
    assert all((g < 0.0) == inwards for g, _ in fields)
    scale = np.abs(blocks[0::3]).max(axis=2)  # of each row; enough to weigh the rows
    rng = np.random.default_rng(2)
    for _ in range(5):
        direction = rng.standard_normal(u.shape)
        if case == "two carriers":
            direction[:, 2] = 0.0
        e = 1e-7
        ahead, _ = _evaluate(problem, u + e * direction, old, mode)
        behind, _ = _evaluate(problem, u - e * direction, old, mode)
        difference = (ahead - behind) / (2 * e)
        error = np.abs(difference - _times(blocks, direction)) / scale
        assert error.max() < (2e-4 if case == "double charge" else 2e-5)


@pytest.mark.parametrize("case", CASES)
def test_rows_are_equilibrated(case):
    p, u, old = _problem(case)
    model.assemble(
        1, u, old, p.contact_density, 0.3, 1e-3, p.lowering, *p.packed, p.n, p.lnf, p.slope, p.residual, p.blocks
    )
    size = np.abs(p.blocks).max(axis=2)
    largest = size[0::3].copy()
    largest[1:] = np.maximum(largest[1:], size[2::3])
    largest[:-1] = np.maximum(largest[:-1], size[1::3])
    np.testing.assert_allclose(largest, 1.0, rtol=1e-14)


def test_affinity_changes_nothing_but_the_printed_potential():
    a, b = (build_system(Device(electron_affinity=x), SolverControl.preset("reference")) for x in (4.0, 1.5))
    for left, right in zip(model.pack(a), model.pack(b), strict=True):
        np.testing.assert_array_equal(left, right)
