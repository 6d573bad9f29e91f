"""How a simulation is controlled: mesh, Newton's method, time levels. Chosen, logged, compared."""

import dataclasses
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
    densities: bool = False
    """Take the step in densities as unknowns, kept positive, instead of in potentials; undamped."""
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
    """Fixed levels of phase, the same for every device: results vary smoothly with the device."""

    max_halvings: int = 8
    """How often a level that does not converge may be bisected."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SolverControl:
    """Everything about a simulation that is not physics."""

    name: str
    first_spacing: float
    """Mesh spacing at the contacts, as a fraction of the length."""
    largest_spacing: float
    """Largest mesh spacing, as a fraction of the length."""
    gauss_contact: bool
    """Contact field from Gauss's law over the half cell (second order), else one-sided (first)."""
    newton: NewtonControl
    steps: AdaptiveSteps | PhaseSteps
    contact_slack: float = 0.0
    """Inverse [V m^2/C] of the penalty that pins contact potentials; 0 imposes them exactly."""
    newton_budget: int = 100_000
    """Newton steps a device may cost, a budget that is the same on every machine ..."""
    newton_per_level: int = 400
    """... and this many more for each prescribed level."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """ "accurate", "fast", or a published controller: "reference" (set S2), "reference-S1", "reference-Ex107"."""
        return cls(name=name, **_PRESETS[check_choice("control", name, _PRESETS)])  # type: ignore[arg-type]

    @property
    def adaptive(self) -> bool:
        """Whether time levels depend on how the solve goes."""
        return isinstance(self.steps, AdaptiveSteps)


def _reference(newton: NewtonControl, steps: AdaptiveSteps) -> Mapping[str, object]:
    return {
        "first_spacing": 5e-4,
        "largest_spacing": 2e-2,
        "gauss_contact": False,
        "contact_slack": 1e-10,
        "newton": newton,
        "steps": steps,
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


_PREDICTED = NewtonControl(
    damp_initial=1.0,
    damp_growth=1.61,
    absolute=1e-7,
    relative=0.0,
    stagnation=0.0,
    stagnation_steps=1000,
    max_steps=25,
    densities=True,
)

_PRESETS: Mapping[str, Mapping[str, object]] = {
    "accurate": {
        "first_spacing": 1.25e-4,
        "largest_spacing": 2e-2,
        "gauss_contact": True,
        "newton": _PREDICTED,
        "steps": PhaseSteps(),
    },
    "fast": {
        "first_spacing": 5e-4,
        "largest_spacing": 3e-2,
        "gauss_contact": True,
        "newton": _PREDICTED,
        "steps": PhaseSteps(),
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
