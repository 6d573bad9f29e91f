"""A fit as data, and all that can be asked beside it: confirmation, identifiability, posterior."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import pydantic

from memflux.analysis.confirmed_fit import Confirmation, confirm
from memflux.analysis.identifiability import Identifiability, identify
from memflux.analysis.inverse import FitResult, fit_curve
from memflux.analysis.likelihood import Noise
from memflux.analysis.measured import read_curves
from memflux.analysis.results import AbstractResult
from memflux.contracts import CurveCost
from memflux.errors import InvalidValue, check_integer
from memflux.platform.asking.model import Model
from memflux.platform.asking.options import assigned
from memflux.platform.asking.questions import AbstractAnalysis, Stage, unseen
from memflux.space import DRIVE_PARAMETERS, Space
from memflux.waveform import Triangle

if TYPE_CHECKING:
    from memflux.analysis.posterior import Posterior


class FitAnswer(NamedTuple):
    """What was found, each where it was asked for."""

    fit: FitResult
    ways: int = 1  # in which the branches of the curve could be put in order; `fit` is the best of them
    confirmation: Confirmation | None = None
    identifiability: Identifiability | None = None
    posterior: "Posterior | None" = None

    def extras(self) -> dict[str, AbstractResult]:
        """All but the fit itself, by name."""
        return {name: value for name, value in self._asdict().items() if name not in ("fit", "ways") and value}

    def to_dict(self) -> dict[str, Any]:
        """The fit, and the others under their names."""
        return self.fit.to_dict() | {name: value.to_dict() for name, value in self.extras().items()}

    def to_json(self, path: str | Path) -> None:
        """The fit in `path`, the others beside it: FILE.json, FILE.posterior.json."""
        for name, value in self.extras().items():
            value.to_json(Path(path).with_suffix(f".{name}.json"))
        self.fit.to_json(path)


class Fit(AbstractAnalysis):
    """Options of `memflux fit`."""

    section_title: ClassVar[str] = "fit analysis"
    command: ClassVar[str] = "fit"

    curve: str
    fix: tuple[str, ...] = ()
    cost: str = "log_curve"
    floor: float = 1e-15
    starts: int = 500
    iterations: int = 40
    polish: int = 80
    verify: int = 0
    profile: bool = False
    posterior: bool = False
    noise: float = 0.02
    steps: int = 400

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        check_integer("verify", self.verify, low=0, high=10_000)
        check_integer("steps", self.steps, low=20, high=1_000_000)
        Noise(relative=self.noise)
        assigned("--fix", self.fix)
        return self

    def answer(self, model: Model, space: Space, stage: Stage = unseen) -> FitAnswer:
        """The best fit over the ways in which the branches of the file may be in order, and what else is asked."""
        drive, held = _known(space, assigned("--fix", self.fix))
        curves = read_curves(self.curve, drive, model.samples)
        pairs = []
        for target in (CurveCost(kind=self.cost, target=curve, floor=self.floor) for curve in curves):
            with stage("fit") as tick:
                found = fit_curve(
                    model, space, target, self.starts, self.iterations, self.polish, held, self.seed, tick
                )  # fmt: skip
            pairs.append((found, target))
        result, target = min(pairs, key=lambda pair: pair[0].cost)
        answer = FitAnswer(result, len(curves))
        if self.verify:
            from memflux.solvers.solver import Solver

            exact = Solver(samples=model.samples)
            answer = answer._replace(confirmation=confirm(result, space, target, model, exact, self.verify))
        if not (self.profile or self.posterior):
            return answer
        known = identify(model, space, target, result, Noise(relative=self.noise), self.profile)
        answer = answer._replace(identifiability=known)
        if not self.posterior:
            return answer
        from memflux.analysis.posterior import posterior

        with stage("posterior") as tick:
            drawn = posterior(model, space, target, known, steps=self.steps, seed=self.seed, progress=tick)
        return answer._replace(posterior=drawn)


def _known(space: Space, fixed: dict[str, float]) -> tuple[Triangle, dict[str, float]]:
    """The drive of the measurement, and which parameters of `space` are not to be fitted."""
    if missing := [p for p in DRIVE_PARAMETERS if p in space.names and p not in fixed]:
        raise InvalidValue(
            f"space {space.name!r} varies the drive and a measured curve has one; give "
            f"{' and '.join(f'--fix {p}=VALUE' for p in missing)}."
        )
    numbers = {p: fixed.get(p, getattr(space, p)) for p in DRIVE_PARAMETERS}
    for p, value in numbers.items():
        if p not in space.names and value != getattr(space, p):
            raise InvalidValue(
                f"{p} = {value:g} is not what space {space.name!r} is for ({getattr(space, p):g}); "
                "use a model of a space that varies it."
            )
    return Triangle(cycles=space.cycles, **numbers), {
        name: value for name, value in fixed.items() if name in space.names or name not in DRIVE_PARAMETERS
    }
