"""What a solve returns: voltage and current in time, a status, and how the solve went."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Self, overload

import numpy as np
from jaxtyping import Bool, Float, Int

from memflux.errors import InvalidValue, check_integer
from memflux.state import State

# Status classes. "solved" is the only one that counts as ok; the rest name what went wrong.
SOLVED = "solved"
STATUS_CLASSES = (
    SOLVED,
    *("no_equilibrium", "diverged", "step_underflow", "out_of_budget"),  # of the solve: the same again
    *("crashed", "out_of_memory", "node_lost"),  # of the process, the memory or the machine that solved
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class History:
    """How one simulation went: cost, rejections, and whether a rescue was needed."""

    newton: Int[np.ndarray, " K"]  # Newton steps of each accepted time level
    rejected: Float[np.ndarray, " R"]  # times [s] of the levels that Newton's method did not reach at once
    equilibrium_newton: int  # Newton steps of the equilibrium solve
    rescues: int  # levels that had to be reached in smaller steps
    wall_time: float  # s
    barrier_change_left: Float[np.ndarray, " K"]  # V, lowering at the left contact at each level
    barrier_change_right: Float[np.ndarray, " K"]  # V

    @property
    def newton_steps(self) -> int:
        """All Newton steps, equilibrium included."""
        return int(self.newton.sum()) + self.equilibrium_newton


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Profiles:
    """The inside of one device at K times: potentials and densities at N nodes, currents through the M = N - 1 edges.

    Current densities are positive towards the right contact's terminal, as `Trace.current`: positive
    charge that moves to smaller x. The parts add up to one total, the same through every edge; at rest
    all are 0. NaN where a look inside failed. Currents are those of the solver's discrete fluxes; under a
    published control they carry the error that its Newton method leaves.
    """

    time: Float[np.ndarray, " K"]  # s
    voltage: Float[np.ndarray, " K"]  # V, between the contacts
    lowering_left: Float[np.ndarray, " K"]  # V, image-charge lowering of the left barrier
    lowering_right: Float[np.ndarray, " K"]  # V
    x: Float[np.ndarray, " N"]  # m
    psi: Float[np.ndarray, "K N"]  # V, electrostatic potential
    phi_n: Float[np.ndarray, "K N"]  # V, quasi-Fermi potential of electrons
    phi_p: Float[np.ndarray, "K N"]  # V, quasi-Fermi potential of holes
    phi_x: Float[np.ndarray, "K N"]  # V, quasi-Fermi potential of vacancies
    n: Float[np.ndarray, "K N"]  # m^-3, electron density
    p: Float[np.ndarray, "K N"]  # m^-3, hole density
    vacancy: Float[np.ndarray, "K N"]  # m^-3, vacancy density
    j_n: Float[np.ndarray, "K M"]  # A/m^2, current density of electrons
    j_p: Float[np.ndarray, "K M"]  # A/m^2, of holes
    j_x: Float[np.ndarray, "K M"]  # A/m^2, of vacancies
    j_displacement: Float[np.ndarray, "K M"]  # A/m^2, -eps dE/dt

    @property
    def edges(self) -> Float[np.ndarray, " M"]:
        """Midpoints of the edges [m]."""
        return 0.5 * (self.x[1:] + self.x[:-1])

    @property
    def field(self) -> Float[np.ndarray, "K M"]:
        """Electric field -dpsi/dx [V/m], barrier lowering included."""
        return -np.diff(self.psi) / np.diff(self.x)

    @property
    def j_total(self) -> Float[np.ndarray, "K M"]:
        """Total current density [A/m^2]."""
        return self.j_n + self.j_p + self.j_x + self.j_displacement

    @property
    def dissipation(self) -> Float[np.ndarray, "K M"]:
        """Heat that carriers and vacancies leave in the channel [W/m^3]: sum of j_a dphi_a/dx, never negative.

        What they lose as they pass a contact's barrier is not in it.
        """
        parts = ((self.j_n, self.phi_n), (self.j_p, self.phi_p), (self.j_x, self.phi_x))
        return sum((j * np.diff(phi) for j, phi in parts), np.zeros_like(self.j_n)) / np.diff(self.x)

    def at(self, times: Sequence[float] | np.ndarray) -> Self:
        """The looks nearest to `times` [s], in their order."""
        rows = [int(np.abs(self.time - t).argmin()) for t in times]
        return dataclasses.replace(
            self, **{f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self) if f.name != "x"}
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trace:
    """One device under one drive: the response at T times.

    `current` is the total current including displacement, positive into the right contact;
    `conduction` is its particle part (None where the predictor does not resolve it). The first
    level of a drive is the device before it acts: at rest, no current, or as an earlier drive left it.
    Where `ok` is False, `status` is the reason; levels that were asked and not reached hold NaN, a trace on its
    own levels ends.
    """

    time: Float[np.ndarray, " T"]  # s
    voltage: Float[np.ndarray, " T"]  # V
    current: Float[np.ndarray, " T"]  # A
    conduction: Float[np.ndarray, " T"] | None = None  # A
    period: float  # s
    cycles: int
    status_class: str = SOLVED
    status: str = "solved"
    inside: bool | None = None  # within the training space; None: the question does not arise
    history: History | None = None
    profiles: Profiles | None = None
    state: State | None = None  # at the end, to continue from

    @property
    def ok(self) -> bool:
        """Whether the whole drive was answered."""
        return self.status_class == SOLVED

    @property
    def power(self) -> Float[np.ndarray, " T"]:
        """Power that the device takes up [W]; negative where the device gives some back."""
        return self.voltage * self.current

    @property
    def energy(self) -> Float[np.ndarray, " T"]:
        """Energy [J] that the device has taken up since the first level, by the trapezoidal rule."""
        power = self.power
        steps = 0.5 * (power[1:] + power[:-1]) * np.diff(self.time)
        return np.concatenate([0.0 * power[:1], np.cumsum(steps)])

    def cycle(self, index: int = -1) -> Self:
        """The levels of one cycle, its end points included; history and profiles stay those of the whole."""
        # chosen times need not begin where the drive does; a trace of one cycle may be one of several
        start = self.period * np.floor(self.time[0] / self.period + 1e-9) if self.cycles == 1 and len(self) else 0.0
        first = start + _cycle_index(index, self.cycles) * self.period
        slack = 1e-9 * self.period
        part = (self.time >= first - slack) & (self.time <= first + self.period + slack)
        return dataclasses.replace(
            self,
            time=self.time[part],
            voltage=self.voltage[part],
            current=self.current[part],
            conduction=None if self.conduction is None else self.conduction[part],
            cycles=1,
        )

    def __len__(self) -> int:
        return int(self.time.size)


def _cycle_index(index: int, cycles: int) -> int:
    if not -cycles <= index < cycles:
        raise InvalidValue(f"cycle = {index} is out of range; give 0 to {cycles - 1}, or -1 for the last.")
    return index % cycles


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Traces:
    """B devices, each at T times; rows as in `Trace`. `traces[i]` is a Trace, `traces[i:j]` a Traces."""

    time: Float[np.ndarray, "B T"]  # s
    voltage: Float[np.ndarray, "B T"]  # V
    current: Float[np.ndarray, "B T"]  # A
    conduction: Float[np.ndarray, "B T"] | None = None  # A
    period: Float[np.ndarray, " B"]  # s
    cycles: int
    status_class: np.ndarray  # [B] of str
    status: np.ndarray  # [B] of str
    inside: Bool[np.ndarray, " B"] | None = None
    history: tuple[History | None, ...] | None = None

    @classmethod
    def of(
        cls,
        *,
        time: np.ndarray,
        voltage: np.ndarray,
        current: np.ndarray,
        period: np.ndarray,
        cycles: int,
        status: Sequence[str] | str = "solved",
        inside: np.ndarray | None = None,
    ) -> Self:
        """Traces that are all ok, from a current [B, T]; time, voltage and period are broadcast to it."""
        shape = current.shape
        return cls(
            time=np.broadcast_to(time, shape),
            voltage=np.broadcast_to(voltage, shape),
            current=current,
            period=np.broadcast_to(np.asarray(period, dtype=np.float64), shape[:1]),
            cycles=cycles,
            status_class=np.full(shape[0], SOLVED, dtype=object),
            status=np.full(shape[0], status, dtype=object) if isinstance(status, str) else np.array(status, object),
            inside=inside,
        )

    @classmethod
    def stack(cls, rows: Sequence[Trace]) -> Self:
        """A batch from traces of equal length; profiles are not kept."""
        if not rows:
            raise InvalidValue("rows has no entries; give at least one Trace.")
        if len({(len(r), r.cycles) for r in rows}) != 1:
            raise InvalidValue("the traces have different numbers of times or cycles; stack those of one grid.")
        flags = [r.inside for r in rows]
        conduction = [r.conduction for r in rows]
        return cls(
            time=np.stack([r.time for r in rows]),
            voltage=np.stack([r.voltage for r in rows]),
            current=np.stack([r.current for r in rows]),
            conduction=None if any(c is None for c in conduction) else np.stack(conduction),  # type: ignore[arg-type]
            period=np.array([r.period for r in rows]),
            cycles=rows[0].cycles,
            status_class=np.array([r.status_class for r in rows], dtype=object),
            status=np.array([r.status for r in rows], dtype=object),
            inside=None if any(f is None for f in flags) else np.array(flags, dtype=bool),
            history=tuple(r.history for r in rows),
        )

    @classmethod
    def concatenate(cls, batches: "Sequence[Traces]") -> Self:
        """The rows of all batches, one after the other; conduction and inside only where every batch has them.

        Raises InvalidValue where there are none, or of different numbers of times or cycles.
        """
        if not batches:
            raise InvalidValue("batches has no entries; give at least one.")
        if len({(b.time.shape[1], b.cycles) for b in batches}) != 1:
            raise InvalidValue("the traces have different numbers of times or cycles; join those of one grid.")
        names = [f.name for f in dataclasses.fields(cls) if f.name not in ("cycles", "history")]
        columns = {name: [getattr(b, name) for b in batches] for name in names}
        joined: dict[str, Any] = {
            n: None if any(p is None for p in c) else np.concatenate(c) for n, c in columns.items()
        }
        told = tuple(h for b in batches for h in (b.history or (None,) * len(b)))
        history = told if any(b.history is not None for b in batches) else None
        return cls(cycles=batches[0].cycles, history=history, **joined)

    @property
    def ok(self) -> Bool[np.ndarray, " B"]:
        """Which rows answered the whole drive."""
        return self.status_class == SOLVED

    def cycle(self, index: int = -1) -> Self:
        """One cycle of every row, its end points included; needs a grid that divides into cycles."""
        first_cycle = _cycle_index(index, self.cycles)
        samples, rest = divmod(self.time.shape[1] - 1, self.cycles)
        if rest:
            raise InvalidValue(
                f"{self.time.shape[1]} times do not divide into {self.cycles} cycles; ask a trace on the phase grid."
            )
        first = first_cycle * samples
        part = slice(first, first + samples + 1)
        return dataclasses.replace(self._at(part), cycles=1)

    def on_grid(self, samples: int) -> Self:
        """Every row at `samples` a cycle, the first and last time included, out of those that it has.

        Raises InvalidValue where it has no even share of them.
        """
        there, rest = divmod(self.time.shape[1] - 1, self.cycles)
        check_integer("samples", samples, low=1, high=max(there, 1))
        if rest or there % samples:
            raise InvalidValue(
                f"samples = {samples} is no even share of the {self.time.shape[1] - 1} steps of {self.cycles} cycles; "
                f"give a divisor of {there}."
            )
        return self._at(slice(None, None, there // samples))

    def _at(self, times: slice) -> Self:
        """Every row at some of its times."""
        return dataclasses.replace(
            self,
            time=self.time[:, times],
            voltage=self.voltage[:, times],
            current=self.current[:, times],
            conduction=None if self.conduction is None else self.conduction[:, times],
        )

    def __len__(self) -> int:
        return int(self.current.shape[0])

    @overload
    def __getitem__(self, index: int | np.integer) -> Trace: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> "Traces": ...
    def __getitem__(self, index: "int | np.integer | slice | np.ndarray") -> "Trace | Traces":
        if isinstance(index, int | np.integer):
            return Trace(
                time=self.time[index],
                voltage=self.voltage[index],
                current=self.current[index],
                conduction=None if self.conduction is None else self.conduction[index],
                period=float(self.period[index]),
                cycles=self.cycles,
                status_class=str(self.status_class[index]),
                status=str(self.status[index]),
                inside=None if self.inside is None else bool(self.inside[index]),
                history=None if self.history is None else self.history[index],
            )
        rows = np.arange(len(self))[index]
        return dataclasses.replace(
            self,
            time=self.time[index],
            voltage=self.voltage[index],
            current=self.current[index],
            conduction=None if self.conduction is None else self.conduction[index],
            period=self.period[index],
            status_class=self.status_class[index],
            status=self.status[index],
            inside=None if self.inside is None else self.inside[index],
            history=None if self.history is None else tuple(self.history[i] for i in rows),
        )

    def __iter__(self) -> Iterator[Trace]:
        return (self[i] for i in range(len(self)))
