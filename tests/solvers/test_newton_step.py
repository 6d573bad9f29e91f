"""Fluxes, Jacobian and elimination of one Newton step, against forty digits and against dense algebra."""

import dataclasses
import functools

import mpmath as mp
import numpy as np
import pytest

from memflux.constants import ELEMENTARY_CHARGE, thermal_voltage
from memflux.device import Device
from memflux.solvers import lanes as at
from memflux.solvers import march
from memflux.solvers.batch import PetscSteps
from memflux.solvers.control import SolverControl
from memflux.solvers.fermi import excess_half
from memflux.solvers.flux import bernoulli
from memflux.solvers.newton_step import OUTWARD, assemble, chemistry, eliminate, fluxes, pin_contacts
from memflux.solvers.system import band_density, image_scale
from memflux.waveform import PiecewiseLinear, Triangle
from stepping import packed, prescribed

DIGITS = 40
LEVELS = np.array([0.0, 0.02])
DRIVE = Triangle(amplitude=10.0, period=8.0, cycles=1)
COARSE = dataclasses.replace(prescribed(), first_spacing=0.02, growth=0.5, largest_spacing=0.2)
DEVICES = {
    "published": {},
    "lowered": {"contact_density": "lowered"},
    "double charge": {"vacancy_charge": 2, "vacancy_offset": 0.38},
    "negative ions": {"vacancy_charge": -1, "vacancy_offset": -0.3},
    "lowered double charge": {"vacancy_charge": 2, "contact_density": "lowered"},
    "no lowering": {"barrier_lowering": False},
}
SIGNS = {"inwards": (0.06, 0.03), "outwards": (-0.04, -0.02), "mixed": (0.05, -0.03)}  # V, w at both contacts


@functools.cache
def excess(c):
    """eta - ln c of the Fermi-Dirac integral of order 1/2 at the reduced density c."""
    eta = mp.log(c) + excess_half(float(c))[0]
    for _ in range(3):
        f, rise = -mp.polylog(mp.mpf(1.5), -mp.exp(eta)).real, -mp.polylog(mp.mpf(0.5), -mp.exp(eta)).real
        eta -= (mp.log(f) - mp.log(c)) * f / rise
    return eta - mp.log(c)


def bernoulli_of(x):
    return x / mp.expm1(x) if x != 0 else mp.mpf(1)


class Exact:
    """The residual of the documented scheme, row by row, with every operation in forty digits."""

    def __init__(self, system, lanes, dt, voltage, slope):
        self.s, self.dt, self.voltage, self.slope = system, mp.mpf(dt), mp.mpf(voltage), slope
        self.mesh = [mp.mpf(h) for h in system.h]
        self.volume = [mp.mpf(v) for v in system.volume]
        self.old = [[mp.mpf(v) for v in row[:3]] for row in lanes.old[:, :, 0]]
        self.weight = [mp.mpf(v) for v in lanes.weight[:, 0]]
        self.past = [mp.mpf(v) for v in lanes.flux[:, 0]]
        self.rest = [mp.mpf(v) for v in lanes.real[at.N0_LN : at.N0_LN + 4, 0]]
        self.unit = mp.mpf(system.unit)

    def potential(self, u, k):
        """psi_hat at node k: at a contact it follows from the signed lowering, the unknown there."""
        if k == 0:
            return max(u[k][3], mp.mpf(0)) - mp.mpf(self.s.barrier[0])
        if k == len(u) - 1:
            return max(u[k][3], mp.mpf(0)) - mp.mpf(self.s.barrier[1]) + self.voltage
        return u[k][3]

    def excess(self, n, a):
        c = n / mp.mpf(self.s.density[a])
        return -mp.log1p(-c) if a == 2 else excess(c)

    def flux(self, u, k, a):
        """Particle flux of the edge k, averaged over the step for vacancies."""
        z, g = mp.mpf(self.s.z[a]), self.unit * mp.mpf(self.s.mobility[a]) / self.mesh[k]
        q = z * (self.potential(u, k + 1) - self.potential(u, k)) / self.unit
        q += self.excess(u[k + 1][a], a) - self.excess(u[k][a], a)
        new = g * (bernoulli_of(q) * u[k][a] - bernoulli_of(-q) * u[k + 1][a])
        return self.weight[k] * new + (1 - self.weight[k]) * self.past[k] if a == 2 else new

    def contact_density(self, w, side, a):
        if not self.s.follows:
            return self.rest[2 * side + a]
        lowered = mp.mpf(self.s.barrier[side]) - max(w, mp.mpf(0))
        eta = -lowered / self.unit if a == 0 else (lowered + mp.mpf(self.s.level[1])) / self.unit
        return mp.mpf(self.s.density[a]) * -mp.polylog(mp.mpf(1.5), -mp.exp(eta)).real

    def rows(self, u, k):
        """Residuals n, p, x, psi of node k."""
        last = len(u) - 1
        found = []
        for a in range(3):
            r = self.volume[k] * (u[k][a] - self.old[k][a]) / self.dt
            r += self.flux(u, k, a) if k < last else 0
            r -= self.flux(u, k - 1, a) if k > 0 else 0
            if a < 2 and k in (0, last):
                side = int(k == last)
                r += mp.mpf(self.s.emission[a]) * (u[k][a] - self.contact_density(u[k][3], side, a))
            found.append(r)
        return [*found, self.poisson(u, k)]

    def poisson(self, u, k):
        last, q, eps = len(u) - 1, mp.mpf(ELEMENTARY_CHARGE), mp.mpf(self.s.permittivity)
        rho = mp.mpf(self.s.doping) + sum(mp.mpf(self.s.z[a]) * u[k][a] for a in range(3))
        psi = self.potential(u, k)
        bend = (psi - self.potential(u, k + 1)) / self.mesh[k] if k < last else mp.mpf(0)
        bend += (psi - self.potential(u, k - 1)) / self.mesh[k - 1] if k > 0 else 0
        bend -= self.volume[k] * q * rho / eps
        if 0 < k < last:
            return bend * eps / q
        w = u[k][3]
        if not self.s.lowering:
            return w
        g = bend + (self.slope if k == 0 else -self.slope)  # outward field without the image charge
        return mp.mpf(image_scale(self.s)) * g + (w * w if w > 0 else mp.mpf(OUTWARD) * w)


def random_state(case, signs, seed=0):
    """A lane with random unknowns, old densities, weights and past fluxes on a coarse mesh."""
    system, batch, lanes = packed(Device.preset("S2").replace(**DEVICES[case]), DRIVE, COARSE, LEVELS)
    rng = np.random.default_rng(seed)
    u, last = lanes.u[:, :, 0], system.x.size - 1
    u[:, 0] = system.density[0] * np.exp(rng.uniform(-12.0, 3.5, last + 1))
    u[:, 1] = system.density[1] * np.exp(rng.uniform(-40.0, -15.0, last + 1))
    u[:, 2] = system.density[2] * rng.uniform(0.0, 0.9, last + 1) ** 8
    u[:, 3] = rng.uniform(-0.4, 0.4, last + 1)
    lanes.old[:, :3, 0] = u[:, :3] * rng.uniform(0.8, 1.2, (last + 1, 3))
    lanes.weight[:, 0] = rng.uniform(0.6, 0.95, last)
    lanes.flux[:, 0] = rng.standard_normal(last) * 1e17
    real = lanes.real[:, 0]
    real[at.DT], real[at.APPLIED] = 1e-3, 0.7
    real[[at.W_L, at.W_R]] = SIGNS[signs] if system.lowering else SIGNS["outwards"]
    real[at.N0_LN : at.N0_LN + 4] = u[[0, 0, last, last], [0, 1, 0, 1]] * 0.9
    real[at.SWITCHED] = float(system.lowering)
    pin_contacts(batch, lanes, 0, 0)
    return system, batch, lanes


def linear_system(batch, lanes):
    """Row-scaled Jacobian [4N, 4N], residual, border and derivative by the voltage [4N] at the unknowns of lane 0."""
    chemistry(batch, lanes, 0, 0)
    fluxes(batch, lanes, 0, 0)
    nodes = lanes.u.shape[0]
    blocks, right = np.empty((3 * nodes - 2, 4, 4)), np.empty((3, nodes, 4))
    assemble(batch, lanes, 0, 0, blocks, right)
    dense = np.zeros((nodes, 4, nodes, 4))
    for k in range(nodes):
        for m, row in ((k - 1, 3 * k - 1), (k, 3 * k), (k + 1, 3 * k + 1)):
            if 0 <= m < nodes:
                dense[k, :, m] = blocks[row]
    return dense.reshape(4 * nodes, 4 * nodes), *(column.ravel() for column in right)


def exact_system(system, lanes):
    """The same from central differences in forty digits."""
    nodes, real = system.x.size, lanes.real[:, 0]
    w = [mp.mpf(real[at.W_L]), mp.mpf(real[at.W_R])]
    u = [[mp.mpf(v) for v in row] for row in lanes.u[:, :, 0]]
    u[0][3], u[-1][3] = w
    slope = (max(w[1], mp.mpf(0)) - max(w[0], mp.mpf(0))) / mp.mpf(system.x[-1])
    exact = Exact(system, lanes, real[at.DT], real[at.APPLIED], slope)
    residual = np.array([exact.rows(u, k) for k in range(nodes)])
    dense = np.zeros((nodes, 4, nodes, 4), dtype=object)
    e = mp.mpf(10) ** -12
    for m in range(nodes):
        for a in range(4):
            ends = []
            for sign in (1, -1):
                moved = [list(row) for row in u]
                moved[m][a] = moved[m][a] * mp.exp(sign * e) if a < 3 else moved[m][a] + sign * e
                ends.append({k: exact.rows(moved, k) for k in (m - 1, m, m + 1) if 0 <= k < nodes})
            for k in ends[0]:
                dense[k, :, m, a] = [(p - q) / (2 * e) for p, q in zip(ends[0][k], ends[1][k], strict=True)]
    border = np.zeros((nodes, 4), dtype=object)
    for k in (0, nodes - 1):
        before = exact.poisson(u, k)
        exact.slope += 1
        border[k, 3] = exact.poisson(u, k) - before  # linear in the slope of w
        exact.slope -= 1
    ends = []
    for sign in (1, -1):
        exact.voltage = mp.mpf(real[at.APPLIED]) + sign * e
        ends.append(np.array([exact.rows(u, k) for k in range(nodes)]))
    by_voltage = (ends[0] - ends[1]) / (2 * e)
    scale = np.abs(dense).max(axis=(2, 3))
    rows = (dense / scale[:, :, None, None]).astype(float).reshape(4 * nodes, 4 * nodes)
    return rows, *((column / scale).astype(float).ravel() for column in (residual, border, by_voltage))


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("case", DEVICES)
def test_rows_and_their_derivatives_against_differences_in_forty_digits(case, signs):
    system, batch, lanes = random_state(case, signs)
    jacobian, residual, border, by_voltage = linear_system(batch, lanes)
    with mp.workdps(DIGITS):
        exact, right, column, exact_by_voltage = exact_system(system, lanes)
    assert np.abs(jacobian - exact).max() < 1e-9  # of the largest entry of the row
    np.testing.assert_allclose(residual, right, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(border, column, rtol=1e-12, atol=0.0)
    assert (np.count_nonzero(column) == 2) == system.lowering
    np.testing.assert_allclose(by_voltage, exact_by_voltage, rtol=1e-9, atol=1e-9)
    assert np.count_nonzero(by_voltage) == (8 if system.lowering else 7)  # rows of the last two nodes


def test_rows_are_divided_by_their_largest_entry():
    _, batch, lanes = random_state("published", "inwards")
    np.testing.assert_allclose(np.abs(linear_system(batch, lanes)[0]).max(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("case", DEVICES)
def test_fluxes_entry_by_entry_against_forty_digits(case):
    system, batch, lanes = random_state(case, "inwards", seed=3)
    chemistry(batch, lanes, 0, 0)
    fluxes(batch, lanes, 0, 0)
    e = mp.mpf(10) ** -12
    with mp.workdps(DIGITS):
        for k in (2, 5, 7):
            u = [[mp.mpf(v) for v in row] for row in lanes.u[:, :, 0]]
            exact = Exact(system, lanes, 1.0, 0.0, mp.mpf(0))
            for a in range(3):
                moves = [((k, a), "relative"), ((k + 1, a), "relative"), ((k + 1, 3), "absolute")]
                slopes = []
                for (m, b), kind in moves:
                    ends = []
                    for sign in (1, -1):
                        moved = [list(row) for row in u]
                        moved[m][b] = u[m][b] * mp.exp(sign * e) if kind == "relative" else u[m][b] + sign * e
                        ends.append(exact.flux(moved, k, a))
                    slopes.append(float((ends[0] - ends[1]) / (2 * e)))
                step = abs(lanes.u[k + 1, 3, 0] - lanes.u[k, 3, 0]) / system.unit
                step += np.ptp(lanes.excess[k : k + 2, a, 0])
                # densities times mobility times the larger Bernoulli function, in units of rounding
                noise = (
                    1e-15 * system.unit * system.mobility[a] / system.h[k] * (1 + step) * lanes.u[k : k + 2, a, 0].sum()
                )
                noise *= 1 + np.max(lanes.slope[k : k + 2, a, 0])
                assert lanes.edge[k, 0, a, 0] == pytest.approx(float(exact.flux(u, k, a)), rel=1e-13, abs=noise)
                assert lanes.edge[k, 1, a, 0] == pytest.approx(slopes[0], rel=1e-12, abs=noise)
                assert lanes.edge[k, 2, a, 0] == pytest.approx(slopes[1], rel=1e-12, abs=noise)
                assert lanes.edge[k, 3, a, 0] == pytest.approx(slopes[2], rel=1e-12, abs=noise / system.unit)


def test_published_check_values_of_the_flux():
    """An edge of 1 nm, psi = (-4.10, -4.08) V, phi = (0, 0.01) V at 300 K."""
    device = Device.preset("S2").replace(mobility_vacancy=1.15e-13, mobility_electron=2.15e-3)
    _, batch, lanes = packed(device, DRIVE, COARSE, LEVELS)
    batch.h[:] = 1e-9
    lanes.weight[:] = 1.0
    unit, psi, phi = thermal_voltage(300.0), np.array([-4.10, -4.08]), np.array([0.0, 0.01])
    with mp.workdps(DIGITS):
        eta = [mp.mpf(v) for v in (psi - phi - (-4.0)) / unit]  # electrons: E_c/q = -4.0 V
        electrons = [band_density(0.55, 300.0) * float(-mp.polylog(mp.mpf(1.5), -mp.exp(v)).real) for v in eta]
    vacancies = 1e28 / (1.0 + np.exp(-(phi - psi - 4.33) / unit))
    lanes.u[:2, 3, 0] = psi
    lanes.u[:2, 0, 0], lanes.u[:2, 2, 0] = electrons, vacancies
    chemistry(batch, lanes, 0, 0)
    fluxes(batch, lanes, 0, 0)
    flux = lanes.edge[0, 0, :, 0] * ELEMENTARY_CHARGE
    assert flux[2] == pytest.approx(-0.20392039, rel=5e-8)
    assert -flux[0] == pytest.approx(-8.70109112e8, rel=0.0095)  # the published fit is that far from the integral


@pytest.mark.parametrize("control", ["fast", "accurate"])
@pytest.mark.parametrize("case", DEVICES)
def test_no_flux_at_equilibrium(case, control):
    rest = PiecewiseLinear(times=np.array([0.0, 1.0]), voltages=np.zeros(2))
    device = Device.preset("S2").replace(**DEVICES[case])
    system, batch, lanes = packed(device, rest, SolverControl.preset(control), np.array([0.0, 1.0]))
    assert march.start(batch, lanes, 0, 0)
    psi = lanes.u[:, 3, 0]
    for a in range(3):
        x = lanes.excess[:, a, 0]
        q = system.z[a] * np.diff(psi) / system.unit + np.diff(x)
        scale = lanes.weight[:, 0] if a == 2 else 1.0
        b = np.array([bernoulli(v)[0] for v in q])
        there = scale * system.unit * system.mobility[a] / system.h * b * lanes.u[:-1, a, 0]
        assert (np.abs(lanes.edge[:, 0, a, 0]) < 1e-12 * there).all()


def stepped(case, control, steps, driven=at.BY_CONTACT):
    """A lane in the middle of its march."""
    device = Device.preset("S2").replace(**DEVICES[case])
    system, batch, lanes = packed(device, DRIVE, SolverControl.preset(control), DRIVE.grid(160)[0])
    batch.scalars[at.DRIVEN] = driven
    assert march.start(batch, lanes, 0, 0)
    assert march.proceed(batch, lanes, 0, 0, steps, 10**6)
    return system, batch, lanes


def slope_of_w(system, lanes, update):
    """What an update [N, 4] makes of the slope of w, (D_R - D_L)/L."""
    on = [float(lanes.real[row, 0] > 0.0) for row in (at.W_L, at.W_R)]
    return (on[1] * update[-1, 3] - on[0] * update[0, 3]) / system.x[-1]


def dense_update(system, batch, lanes):
    """The Newton update [N, 4] and the response to the voltage [N, 4], by pivoting algebra on the bordered system."""
    jacobian, residual, border, by_voltage = linear_system(batch, lanes)
    size = residual.size
    bordered = np.zeros((size + 1, size + 1))
    bordered[:size, :size], bordered[:size, size] = jacobian, border
    length, real = system.x[-1], lanes.real[:, 0]
    bordered[size, size] = length
    bordered[size, 3] = 1.0 if real[at.W_L] > 0.0 else 0.0
    bordered[size, size - 1] = -1.0 if real[at.W_R] > 0.0 else 0.0
    found = np.linalg.solve(bordered, np.append(np.stack([residual, by_voltage]), np.zeros((2, 1)), axis=1).T)
    shifts = [slope_of_w(system, lanes, column[:size].reshape(-1, 4)) for column in found.T]
    np.testing.assert_allclose(shifts, found[size], rtol=1e-6, atol=1e-9 * np.abs(found[3::4]).max() / length)
    return [column[:size].reshape(-1, 4) for column in found.T]


@pytest.mark.parametrize("steps", [0, 1, 7, 60, 200])
@pytest.mark.parametrize("case", DEVICES)
def test_elimination_against_dense_algebra(case, steps):
    system, batch, lanes = stepped(case, "fast", steps)
    batch.scalars[at.DRIVEN] = at.BY_VOLTAGE  # now the response to the voltage is wanted as well
    expected = dense_update(system, batch, lanes)
    eliminate(batch, lanes, 0, 0)
    for column, update in zip((0, 2), expected, strict=True):
        found = lanes.update[:, :, column, 0]
        assert (np.abs(found - update).max(axis=0) <= 1e-9 * np.abs(update).max(axis=0)).all()


@pytest.mark.parametrize("driven", [at.BY_CONTACT, at.BY_VOLTAGE])
@pytest.mark.parametrize("steps", [0, 7, 200])
@pytest.mark.parametrize("case", ["published", "double charge", "no lowering"])
def test_petsc_and_the_elimination_give_the_same_update(case, steps, driven):
    pytest.importorskip("petsc4py", exc_type=ImportError)
    _, batch, lanes = stepped(case, "accurate", steps, driven)
    before = lanes.u.copy(), lanes.real.copy()
    eliminate(batch, lanes, 0, 0)
    march.advance(batch, lanes, 0, 0, 0)  # the budget of 0 ends the march
    expected, after = lanes.update[:, :, ::2, 0].copy(), lanes.u.copy()
    lanes.u[:], lanes.real[:] = before
    lanes.update[:] = 0.0
    chemistry(batch, lanes, 0, 0)
    fluxes(batch, lanes, 0, 0)
    engine = PetscSteps(lanes.u.shape[0])
    engine(batch, lanes, 0, 0, 1, 0)
    engine.close()
    found = lanes.update[:, :, ::2, 0]
    assert (np.abs(found - expected).max(axis=0) <= 1e-9 * np.abs(expected).max(axis=0)).all()
    np.testing.assert_allclose(lanes.u, after, rtol=1e-7, atol=1e-9)
    assert lanes.whole[at.STATUS, 0] == at.OUT_OF_BUDGET
    assert not np.array_equal(lanes.u, before[0])
