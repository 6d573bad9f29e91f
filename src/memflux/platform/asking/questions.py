"""Analyses as data: what each is asked for, by the names of the options of its command, and the asking itself."""

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import pydantic

from memflux.analysis.curve_sensitivity import CurveSobolResult, sobol_along_curve
from memflux.analysis.maps import MapResult, metric_map
from memflux.analysis.optimise import OptimiseResult, optimise
from memflux.analysis.screening import MorrisResult, morris
from memflux.analysis.sensitivity import SobolResult, sobol
from memflux.errors import InvalidValue, check_integer
from memflux.platform.asking.model import Model
from memflux.platform.asking.options import (
    PUBLISHED,
    assigned,
    axes_of,
    constraints,
    numbers,
    objective,
    quantities_of,
    target,
    variability,
)
from memflux.platform.section import Section
from memflux.space import Space

if TYPE_CHECKING:
    from memflux.analysis.pareto import ParetoResult
    from memflux.analysis.quantities import Quantity

Stage = Callable[[str], contextlib.AbstractContextManager[Callable[[int, int], None] | None]]
"""What shows a part of an analysis while it lasts: entered by its name, it may give something to tell (done, all)."""


class Answer(Protocol):
    """The results of an analysis, as they are written."""

    def to_dict(self) -> dict[str, Any]: ...
    def to_json(self, path: Any) -> None: ...


def unseen(what: str) -> contextlib.AbstractContextManager[None]:
    """A `Stage` that nobody looks at."""
    return contextlib.nullcontext()


class AbstractAnalysis(Section):
    """One analysis and its options. Raises InvalidValue, in one sentence, for what cannot be asked of any model."""

    section_comments: ClassVar[Mapping[str, str]] = {"curve": "CSV file of a measured curve"}
    command: ClassVar[str]
    """Name of the command that asks it alone."""

    name: str = ""
    """What its answer is called in a folder."""
    space: str | None = None
    """Space preset to ask in; None: the model's own."""
    seed: int = 0
    """Of every random choice."""

    @abc.abstractmethod
    def answer(self, model: Model, space: Space, stage: Stage = unseen) -> Answer:
        """Ask `model` in `space`; raises what the analysis raises."""

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _as_words(cls, value: object, info: pydantic.ValidationInfo) -> object:
        """What YAML makes of a line, in the words of the command line."""
        name = str(info.field_name)
        kind = cls.model_fields[name].annotation
        if isinstance(value, bool) and kind is not bool:
            raise InvalidValue(f"{name} = {value} is a truth value, and none is asked for; write a value.")
        if kind == tuple[str, ...]:
            return _words(value, ":" if name == "objective" else "=")
        if kind == str | None and isinstance(value, list | tuple):
            return ",".join(map(str, value))
        return value

    def asked(self) -> dict[str, Any]:
        """What the answer depends on beside the model, JSON-ready."""
        return {"analysis": self.command, **self.model_dump(mode="json", exclude={"name"})}


def _words(value: object, sign: str) -> tuple[str, ...]:
    """One word, a list of them, or a mapping of their two halves."""
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return tuple(f"{key}{sign}{half}" for key, half in value.items())
    if isinstance(value, list | tuple):
        return tuple(word for part in value for word in _words(part, sign))
    return (str(value),)


class AbstractOfQuantities(AbstractAnalysis):
    """An analysis of quantities of curves; the published ones where none is named."""

    quantity: tuple[str, ...] = ()
    voltage: float = 5.0

    @property
    def quantities(self) -> "list[Quantity]":
        """The quantities that are meant. Raises InvalidValue for an unknown one."""
        return quantities_of(self.quantity, self.voltage)

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        _ = self.quantities
        return self


class Sobol(AbstractOfQuantities):
    """Options of `memflux sobol`."""

    section_title: ClassVar[str] = "sobol analysis"
    command: ClassVar[str] = "sobol"

    base_samples: int = 1024
    second_order: bool = False
    tolerance: float | None = None
    largest: int = 65_536
    along_curve: bool = False

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.along_curve and (self.quantity or self.second_order or self.tolerance is not None):
            raise InvalidValue(
                "--along-curve gives the first and total order of the current from a sample of fixed size; "
                "leave out --quantity, --second-order and --tolerance."
            )
        return self

    def answer(self, model: Model, space: Space, stage: Stage = unseen) -> SobolResult | CurveSobolResult:
        """Indices of quantities, or along the curve."""
        with stage("Sobol indices") as tick:
            if self.along_curve:
                return sobol_along_curve(model, space, self.base_samples, seed=self.seed, progress=tick)
            return sobol(
                model, space, self.quantities, self.base_samples, self.second_order,
                self.seed, tolerance=self.tolerance, largest=self.largest, progress=tick,
            )  # fmt: skip


class Morris(AbstractOfQuantities):
    """Options of `memflux morris`."""

    section_title: ClassVar[str] = "morris analysis"
    command: ClassVar[str] = "morris"

    trajectories: int = 64

    def answer(self, model: Model, space: Space, stage: Stage = unseen) -> MorrisResult:
        """Elementary effects."""
        with stage("elementary effects") as tick:
            return morris(model, space, self.quantities, self.trajectories, self.seed, progress=tick)


class Map(AbstractOfQuantities):
    """Options of `memflux map`."""

    section_title: ClassVar[str] = "map analysis"
    command: ClassVar[str] = "map"

    axis: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    statistic: str | None = None
    draws: int = 64

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        axes_of(self.axis)
        assigned("--fix", self.fix)
        return self

    def answer(self, model: Model, space: Space, stage: Stage = unseen) -> MapResult:
        """Quantities on a grid."""
        axes, points = axes_of(self.axis)
        with stage("map") as tick:
            return metric_map(
                model, space, self.quantities, axes, points, assigned("--fix", self.fix),
                self.statistic, self.draws, self.seed, tick,
            )  # fmt: skip


class Optimise(AbstractAnalysis):
    """Options of `memflux optimise`."""

    section_title: ClassVar[str] = "optimise analysis"
    command: ClassVar[str] = "optimise"

    target: tuple[str, ...] = PUBLISHED
    at_least: tuple[str, ...] = ()
    at_most: tuple[str, ...] = ()
    voltage: float = 5.0
    fix: tuple[str, ...] = ()
    population: int = 64
    generations: int = 80

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        for text in self.target:
            target(text, self.voltage)
        constraints(self.at_least, self.at_most, self.voltage)
        assigned("--fix", self.fix)
        return self

    def answer(self, model: Model, space: Space, stage: Stage = unseen) -> OptimiseResult:
        """The nearest device."""
        wanted = [target(text, self.voltage) for text in self.target]
        limits = constraints(self.at_least, self.at_most, self.voltage)
        with stage("optimum") as tick:
            return optimise(
                model, space, wanted, limits, assigned("--fix", self.fix), self.population, self.generations,
                self.seed, tick,
            )  # fmt: skip


class Pareto(AbstractAnalysis):
    """Options of `memflux pareto`."""

    section_title: ClassVar[str] = "pareto analysis"
    command: ClassVar[str] = "pareto"

    objective: tuple[str, ...] = ("symmetry:min", "on_off_ratio:max")
    at_least: tuple[str, ...] = ()
    at_most: tuple[str, ...] = ()
    voltage: float = 5.0
    method: str = "nsga2"
    population: int = 200
    generations: int = 200
    tolerance: float | None = None
    reference: str | None = None
    spread: tuple[str, ...] = ()
    copies: int = 32
    quantile: float | None = None
    weights: str | None = None
    targets: str | None = None
    verify: int = 0

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        for text in self.objective:
            objective(text, self.voltage)
        constraints(self.at_least, self.at_most, self.voltage)
        variability(self.spread, self.copies, self.quantile)
        check_integer("verify", self.verify, low=0, high=1_000_000)
        for name in ("reference", "weights", "targets"):
            numbers(f"--{name}", getattr(self, name))
        return self

    def answer(self, model: Model, space: Space, stage: Stage = unseen) -> "ParetoResult":
        """The front, with the device that is wanted of it, and its confirmation by the FV model."""
        from memflux.analysis.pareto import pareto

        pairs = [objective(text, self.voltage) for text in self.objective]
        limits = constraints(self.at_least, self.at_most, self.voltage)
        wish = {"weights": numbers("--weights", self.weights), "targets": numbers("--targets", self.targets)}
        with stage("Pareto front") as tick:
            result = pareto(
                model, space, pairs, self.population, self.generations, self.seed, tick,
                method=self.method, constraints=limits,
                variability=variability(self.spread, self.copies, self.quantile),
                reference=numbers("--reference", self.reference), tolerance=self.tolerance,
            )  # fmt: skip
        if any(wish.values()):
            result = dataclasses.replace(result, selected=result.select(**wish))
        if not self.verify:
            return result
        from memflux.analysis.confirmed_front import confirm
        from memflux.solvers.solver import Solver

        quantities = [q for q, _ in pairs]
        with stage("the same with the FV model") as tick:
            checked = confirm(result, Solver(samples=model.samples), space, self.verify, quantities, limits, tick)
        return dataclasses.replace(result, confirmation=checked.to_dict())
