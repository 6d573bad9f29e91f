"""What a batch of devices looks like to the kernels: arrays whose last axis is the device.

One scalar source serves the CPU and CUDA: a kernel function takes the index `i` of a device and the
index `j` of the lane that holds its unknowns. A GPU has one lane a thread, a CPU core a single lane
that takes one device after the other.

Unknowns a node: electron, hole and vacancy density n, p, x [m^-3] and psi_hat [V]; the potential
of a contact follows from its signed lowering w [V] (`contact_row` in newton_step.py).
"""

from typing import NamedTuple

import numpy as np

from memflux.circuit import DEFAULT_LIMIT, Circuit
from memflux.solvers.system import System, image_scale

# Rows of `Batch.scalars`.
UNIT, EPS, DOPING, BARRIER_L, BARRIER_R, IMAGE, LOWERING, FOLLOWS, LENGTH = range(9)
BAND_N, BAND_P, BAND_X, CHARGE_X, LEVEL_P, LEVEL_X = range(9, 15)
MOBILITY_N, MOBILITY_P, MOBILITY_X, EMISSION_N, EMISSION_P = range(15, 20)
DRIVEN, RESISTANCE, COMPLIANCE = range(20, 23)  # kind of source; Ohm m^2 in series; A/m^2, or V of a current source
SCALARS = 23

# Values of `DRIVEN`: the drive is the voltage of the device, of a source in a circuit, or its current density.
BY_CONTACT, BY_VOLTAGE, BY_CURRENT = range(3)

FEWEST = 1e-100  # m^-3, floor of all densities: far below one carrier, far above underflow

# Entries of `Batch.control`: tolerance of the local error in U_T; parts of a step across V = 0.
ACCURACY, CROSSING = 0, 1

# Values of `Batch.kind`: what a time level is for.
HIDDEN, RECORDED, SIDE = 0, 1, 2

# Rows of `Lanes.real`.
(
    DT,  # s, the step being solved
    W_L,  # V, signed lowering at the left contact, current iterate
    W_R,
    TIME,  # s, of the accepted state
    DRIVE,  # V or A/m^2, value of the drive at the accepted state
    GOAL_TIME,  # s, where the step ends
    GOAL_DRIVE,
    SOURCE,  # V or A/m^2, value of the drive in this solve: short of the goal while it is ramped
    APPLIED,  # V, voltage of the right contact, current iterate; that of the source unless there is a circuit
    APPLIED_SHIFT,  # V, its Newton update
    OLD_APPLIED,  # V, accepted
    BEFORE_APPLIED,  # V, accepted one level earlier
    LAST,  # V, norm of the last update
    OLD_W_L,  # V, accepted
    OLD_W_R,
    BEFORE_W_L,  # V, accepted one level earlier
    BEFORE_W_R,
    BEFORE_DT,  # s, the step that led to the accepted state; 0: none
    LARGEST,  # s, longest step allowed while a level is being rescued
    DAMP,
    N0_LN,  # m^-3, what the contacts relax to
    N0_LP,
    N0_RN,
    N0_RP,
    SWITCHED,  # share of the lowering that is switched on
    WISH,  # s, longest step that keeps the local error within its tolerance
    SPAN,  # s, from the last level to the next
    PART_SPAN,  # s, longest step between them: shorter where the drive passes zero
    EARLIER_DT,  # s, the step before that
    AGE,  # s, mean age of the past flux; 0: none
    AGE_SQUARED,  # s^2, mean squared age
) = range(31)
REALS = 31

# Rows of `Lanes.whole`.
STATUS, LEVEL, ITERATION, RUNG, PART, PARTS, NEWTON, COUNTED, HALVINGS, WORST, ASIDE = range(11)
WHOLES = 11
RUNNING, SOLVED, NO_EQUILIBRIUM, STEP_UNDERFLOW, OUT_OF_BUDGET = range(5)

# Columns of `Batch.out`.
TOTAL, CONDUCTION, LOWERING_L, LOWERING_R, CONTACT = range(5)
OUTPUTS = 5


class Batch(NamedTuple):
    """B devices with N nodes each and up to K time levels: inputs and results."""

    control: np.ndarray  # [2], see above
    scalars: np.ndarray  # [SCALARS, B]
    h: np.ndarray  # [N - 1, B] m
    volume: np.ndarray  # [N, B] m
    time: np.ndarray  # [K, B] s, visited in order; the first is the start
    drive: np.ndarray  # [K, B] V, or A/m^2 of a current source
    kind: np.ndarray  # [K, B] int: HIDDEN, RECORDED, SIDE
    levels: np.ndarray  # [B] int, how many of the K count
    out: np.ndarray  # [K, OUTPUTS, B] A/m^2, A/m^2, V, V, V
    newton: np.ndarray  # [K, B] int, Newton steps a level
    rung: np.ndarray  # [K, B] int, highest rung of the ladder of rescues a level needed
    summary: np.ndarray  # [WHOLES, B] int, `Lanes.whole` at the end
    side: (
        np.ndarray
    )  # [S, N, 7, B]: unknowns at levels of kind SIDE; fluxes [m^-2 s^-1] through the edge behind the node


class Lanes(NamedTuple):
    """Unknowns and work arrays of W lanes."""

    u: np.ndarray  # [N, 4, W] current iterate
    old: np.ndarray  # [N, 4, W] accepted state
    before: np.ndarray  # [N, 4, W] the accepted state one level earlier
    earlier: np.ndarray  # [N, 4, W] and two levels earlier
    flux: np.ndarray  # [N - 1, W] m^-2 s^-1, past vacancy flux: mean of the last step, or of more if it was short
    instant: np.ndarray  # [N - 1, W] m^-2 s^-1, vacancy flux at the accepted level
    rate: np.ndarray  # [N - 1, W] m^-2 s^-2, its rate of change, of the same age as `flux`
    weight: np.ndarray  # [N - 1, W] share of the new vacancy flux in the mean of this step, the rest is `flux`
    excess: np.ndarray  # [N, 3, W] excess chemical potential in k_B T
    slope: np.ndarray  # [N, 3, W] its derivative by ln n
    edge: np.ndarray  # [N - 1, 4, 3, W] mean flux, derivatives by ln n_k, ln n_l, psi_l
    upper: np.ndarray  # [N, 4, 6, W] eliminated rows: next node's unknowns, border, right-hand side
    update: np.ndarray  # [N, 4, 3, W] Newton update; response to the border, to the voltage of the right contact
    real: np.ndarray  # [REALS, W]
    whole: np.ndarray  # [WHOLES, W]


def allocate(nodes: int, lanes: int) -> Lanes:
    """Work arrays for `lanes` devices at a time."""
    return Lanes(
        u=np.ones((nodes, 4, lanes)),
        old=np.ones((nodes, 4, lanes)),
        before=np.ones((nodes, 4, lanes)),
        earlier=np.ones((nodes, 4, lanes)),
        flux=np.zeros((nodes - 1, lanes)),
        instant=np.zeros((nodes - 1, lanes)),
        rate=np.zeros((nodes - 1, lanes)),
        weight=np.ones((nodes - 1, lanes)),
        excess=np.zeros((nodes, 3, lanes)),
        slope=np.zeros((nodes, 3, lanes)),
        edge=np.zeros((nodes - 1, 4, 3, lanes)),
        upper=np.zeros((nodes, 4, 6, lanes)),
        update=np.zeros((nodes, 4, 3, lanes)),
        real=np.zeros((REALS, lanes)),
        whole=np.zeros((WHOLES, lanes), dtype=np.int64),
    )


def _compliance(system: System, circuit: Circuit) -> float:
    if circuit.source == "current":
        return DEFAULT_LIMIT if circuit.compliance is None else circuit.compliance
    return np.inf if circuit.compliance is None else circuit.compliance / system.area


def scalars_of(system: System, circuit: Circuit) -> np.ndarray:
    """The column of `Batch.scalars` of one device in its circuit."""
    driven = BY_CONTACT if circuit.plain else (BY_CURRENT if circuit.source == "current" else BY_VOLTAGE)
    return np.array(
        [
            system.unit,
            system.permittivity,
            system.doping,
            *system.barrier,
            image_scale(system),
            float(system.lowering),
            float(system.follows),
            float(system.x[-1]),
            *system.density[:2],
            system.density[2] if system.vacancies else 1.0,
            system.z[2] if system.vacancies else 0.0,
            *system.level[1:],
            *system.mobility,
            *system.emission,
            driven,
            circuit.series_resistance * system.area,
            _compliance(system, circuit),
        ]
    )
