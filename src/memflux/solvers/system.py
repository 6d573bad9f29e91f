"""One device as numbers for the kernels: mesh, band densities, mobilities, contact data.

A `System` is immutable and can be shared; all that changes during a solve is in `State`.
Potentials are stored relative to the conduction band edge of the uncharged channel,
psi_hat = psi + electron_affinity, so that the affinity, on which nothing depends, costs no digits.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from memflux.constants import BOLTZMANN, ELECTRON_MASS, ELEMENTARY_CHARGE, PLANCK, VACUUM_PERMITTIVITY, thermal_voltage
from memflux.device import Device
from memflux.solvers.control import SolverControl
from memflux.solvers.mesh import control_volumes, graded_mesh, layered_mesh

FIELDS_PER_NODE = 5  # phi_n, phi_p, phi_x, psi_hat, w = psi - psi_R


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class System:
    """What the residual needs to know of a device on a mesh of N nodes."""

    x: Float[np.ndarray, " N"]  # m
    h: Float[np.ndarray, " M"]  # m, spacings; M = N - 1
    volume: Float[np.ndarray, " N"]  # m, control volumes of unit area
    z: Float[np.ndarray, " 3"]  # charge numbers
    density: Float[np.ndarray, " 3"]  # m^-3, band or site densities N_a
    level: Float[np.ndarray, " 3"]  # V, E_a/q relative to the conduction band edge
    mobility: Float[np.ndarray, " 3"]  # m^2/(V s)
    emission: Float[np.ndarray, " 2"]  # m/s, thermionic emission velocity of electrons and holes
    unit: float  # V, thermal voltage
    permittivity: float  # F/m
    image_permittivity: float  # F/m
    doping: float  # m^-3
    barrier: Float[np.ndarray, " 2"]  # V, left and right
    area: float  # m^2
    affinity: float  # V
    lowering: bool  # Schottky barrier lowering on
    follows: bool  # contact densities follow the lowered barrier
    vacancies: bool  # vacancies are mobile unknowns
    contact_slack: float  # V m^2/C, inverse of the penalty that pins contact potentials; 0: exactly


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class State:
    """Unknowns and densities at one time level."""

    time: float  # s
    voltage: float  # V
    u: Float[np.ndarray, "N 5"]
    density: Float[np.ndarray, "N 3"]  # m^-3


def band_density(mass: float, temperature: float) -> float:
    """2 (2 pi m k_B T / h^2)^(3/2) [m^-3] for an effective mass in m_e."""
    return 2.0 * (2.0 * math.pi * mass * ELECTRON_MASS * BOLTZMANN * temperature / PLANCK**2) ** 1.5


def emission_velocity(mass: float, temperature: float) -> float:
    """A T^2/(q N) = sqrt(k_B T/(2 pi m)) [m/s], A the Richardson constant."""
    return math.sqrt(BOLTZMANN * temperature / (2.0 * math.pi * mass * ELECTRON_MASS))


def build_system(device: Device, control: SolverControl) -> System:
    """The system of `device` on the mesh and with the contact scheme of `control`."""
    assert device.mean_vacancy_density is None, "solve for the offset first: content.with_offset"
    d = device.resolved()
    x = (
        graded_mesh(d.length, control.first_spacing, control.largest_spacing)
        if control.growth is None
        else layered_mesh(d.length, control.first_spacing, control.growth, control.largest_spacing)
    )
    return System(
        x=x,
        h=np.diff(x),
        volume=control_volumes(x),
        z=np.array([-1.0, 1.0, float(d.vacancy_charge)]),
        density=np.array(
            [
                band_density(d.electron_mass, d.temperature),
                band_density(d.hole_mass, d.temperature),
                d.vacancy_site_density,
            ]
        ),
        level=np.array([0.0, -d.band_gap, -d.vacancy_offset]),
        mobility=np.array([d.mobility_electron, d.mobility_hole, d.mobility_vacancy]),
        emission=np.array([emission_velocity(m, d.temperature) for m in (d.electron_mass, d.hole_mass)]),
        unit=thermal_voltage(d.temperature),
        permittivity=d.relative_permittivity * VACUUM_PERMITTIVITY,
        image_permittivity=d.image_force_permittivity * VACUUM_PERMITTIVITY,  # type: ignore[operator]
        doping=d.donor_density,
        barrier=np.array([d.barrier_left, d.barrier_right]),
        area=d.area,
        affinity=d.electron_affinity,
        lowering=d.barrier_lowering,
        follows=d.contact_density == "lowered",
        vacancies=d.vacancy_site_density > 0.0,
        contact_slack=control.contact_slack if d.barrier_lowering else 0.0,
    )


def image_scale(system: System) -> float:
    """q/(4 pi eps_i) [V m]: the lowering is the square root of this times the contact field."""
    return ELEMENTARY_CHARGE / (4.0 * math.pi * system.image_permittivity)
