"""How a simulation is controlled: mesh, Newton's method, time levels. Chosen, logged, compared."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Self

from memflux.errors import check_choice


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NewtonControl:
    """Newton's method: for potentials as unknowns, u <- u - d_i J^-1 R with d_{i+1} = min(1, growth d_i)."""

    damp_initial: float
    """d_0, the damping of the first step."""
    damp_growth: float
    """Factor by which the damping recovers each step."""
    absolute: float
    """Converged if the largest entry of the undamped update is below this [V]."""
    relative: float
    """Converged if it is below this fraction of the first update; 0 switches the test off."""
    stagnation: float
    """Converged if the 1-norm of the unknowns changes relatively by less than this ..."""
    stagnation_steps: int
    """... in more than this many consecutive steps."""
    max_steps: int
    """Newton steps after which a time step is given up."""
    max_increase: float = 1000.0
    """Factor from one update to the next above which a time step is given up."""
    reference_norm: bool = False
    """Measure updates as the published code does, contact fields in V/m included."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveSteps:
    """Time steps of the published controller: grow after a success, halve after a failure."""

    initial: float  # s
    smallest: float  # s
    largest: float  # s
    growth: float
    final_steps: int = 1
    """Spread the remaining time over whole steps once fewer than this many remain."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PhaseSteps:
    """Fixed levels of phase, the same for every device, divided where the local error asks for it."""

    local_error: float
    """Largest change of psi in thermal voltages that the error of one step in the vacancy density may
    cause; the relative error of the current is a few times smaller. inf: the levels as they are."""
    crossing_parts: int
    """Parts of a step in which the drive passes zero: the field turns over there."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SolverControl:
    """Everything about a simulation that is not physics."""

    name: str
    first_spacing: float
    """Mesh spacing at the contacts, as a fraction of the length."""
    largest_spacing: float
    """Largest mesh spacing, as a fraction of the length."""
    steps: AdaptiveSteps | PhaseSteps
    growth: float | None = None
    """Increase of the spacing with the distance from the contact; None: the published geometric mesh."""
    newton: NewtonControl | None = None
    """Newton's method of a published controller; the others have their own (march.py)."""
    contact_slack: float = 0.0
    """Inverse [V m^2/C] of the penalty that pins contact potentials; 0 imposes them exactly."""
    newton_budget: int = 2_000
    """Newton steps a device may cost, a budget that is the same on every machine ..."""
    newton_per_level: int = 30
    """... and this many more for each prescribed level."""
    seconds_budget: float = 600.0
    """Seconds that a device may take."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "accurate", "fast", or a published controller: "reference" (set S2), "reference-S1", "reference-Ex107"."""
        return cls(name=name, **_PRESETS[check_choice("control", name, _PRESETS)])  # type: ignore[arg-type]

    @property
    def adaptive(self) -> bool:
        """Whether time levels are the controller's own: the published ones are."""
        return isinstance(self.steps, AdaptiveSteps)

    def prescribed(self) -> Self:
        """The same control that marches the levels it is given as they are."""
        if self.adaptive:
            return self
        return dataclasses.replace(self, steps=PhaseSteps(local_error=math.inf, crossing_parts=1))

    def refined(self, factor: float) -> Self:
        """The same control on a mesh with `factor` times the cells: what an accuracy is measured against."""
        return dataclasses.replace(
            self,
            first_spacing=self.first_spacing / factor,
            growth=None if self.growth is None else self.growth / factor,
            largest_spacing=self.largest_spacing / factor,
        )


def _reference(newton: NewtonControl, steps: AdaptiveSteps) -> Mapping[str, object]:
    return {
        "first_spacing": 5e-4,
        "largest_spacing": 2e-2,
        "contact_slack": 1e-10,
        "newton": newton,
        "steps": steps,
        "newton_budget": 100_000,
        "newton_per_level": 400,
    }


def _published_newton(damp: float, tolerance: float, max_steps: int) -> NewtonControl:
    return NewtonControl(
        damp_initial=damp,
        damp_growth=1.61,
        absolute=tolerance,
        relative=tolerance,
        stagnation=tolerance,
        stagnation_steps=5,
        max_steps=max_steps,
        reference_norm=True,
    )


_PRESETS: Mapping[str, Mapping[str, object]] = {
    "accurate": {
        "first_spacing": 2e-5,
        "growth": 0.2,
        "largest_spacing": 4e-3,
        "steps": PhaseSteps(local_error=0.02, crossing_parts=4),
    },
    "fast": {
        "first_spacing": 1.5e-4,
        "growth": 0.25,
        "largest_spacing": 1e-2,
        "steps": PhaseSteps(local_error=0.2, crossing_parts=1),
    },
    # VacancyAssistedChargeTransport.jl, parameter sets S2 and S1 (doi 10.1002/aelm.202300635).
    "reference": _reference(
        _published_newton(0.9, 1e-9, 500), AdaptiveSteps(initial=1e-5, smallest=1e-5, largest=5e-2, growth=1.05)
    ),
    "reference-S1": _reference(
        _published_newton(0.1, 1e-8, 500), AdaptiveSteps(initial=1e-3, smallest=1e-6, largest=0.5, growth=1.01)
    ),
    # ChargeTransport.jl, example Ex107.
    "reference-Ex107": _reference(
        _published_newton(0.9, 1e-9, 100),
        AdaptiveSteps(initial=1e-4, smallest=1e-5, largest=5e-2, growth=1.05, final_steps=5),
    ),
}
