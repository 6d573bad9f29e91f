"""What a study can be about, and all that differs with it: surrogates of a data set, neural ODEs of measured loops."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from memflux.dataset import Dataset
from memflux.errors import InvalidValue
from memflux.loops import read_loops
from memflux.platform.tuning.trial import Job
from memflux.platform.tuning.trial_memode import LoopsJob
from memflux.platform.tuning.work import Work
from memflux.training import search_space
from memflux.training.data import FRACTIONS, SplitCurves, split_curves
from memflux.training.memode import search
from memflux.training.models import MODELS as ARCHITECTURES
from memflux.training.setting import Preset, Value

if TYPE_CHECKING:
    from memflux.platform.tuning.plan import Plan

SAMPLES = 200  # of a loop that trials see: with the thousand that a model is tested on, foretelling outlasts learning


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Begun:
    """What the trials of a study need."""

    work: Work
    content_hash: str  # of the data
    defaults: Mapping[str, Value | None]  # settings that a sampler begins with


class Subject(Protocol):
    """What studies are about."""

    models: ClassVar[tuple[str, ...]]
    objectives: ClassVar[tuple[str, ...]]
    """What may be lowered; the first is lowered where a file names none, and is what pruners rank by."""
    foreign: ClassVar[tuple[str, ...]]
    """Fields of a study file that mean nothing to it."""
    passes: ClassVar[str]
    """What is counted of a training."""

    def check(self, plan: "Plan") -> None:
        """See that both ends of all ranges can be trained. Raises InvalidValue."""
        ...

    def begin(self, plan: "Plan", checkpoints: str) -> Begun:
        """Read the data, and see that they fit the plan. Raises InvalidValue, DataError."""
        ...


class Surrogates:
    """Of the curves of a data set; trials share its training and validation parts."""

    models: ClassVar[tuple[str, ...]] = ARCHITECTURES
    objectives: ClassVar[tuple[str, ...]] = ("nmae", "inference_time", "parameters")
    foreign: ClassVar[tuple[str, ...]] = ("validation", "series_resistance")
    passes: ClassVar[str] = "epochs"

    def check(self, plan: "Plan") -> None:
        """See that both ends of all ranges can be trained."""
        search_space.check_search(plan.model, plan.settings(), plan.held())

    def begin(self, plan: "Plan", checkpoints: str) -> Begun:
        """The curves, split as for every training."""
        data, content = curves_of(plan)
        count, drive = len(data.curves), data.space.drive
        search_space.check_search(plan.model, plan.settings(), plan.held(), count, drive)
        job = Job(
            model=plan.model,
            data=data,
            objectives=plan.objectives,
            device="cuda" if plan.gpus else "cpu",
            threads=plan.cpus,
            checkpoints=checkpoints,
        )
        return Begun(work=job, content_hash=content, defaults=search_space.defaults_of(plan.model, count, drive))


class NeuralOdes:
    """Of the measured loops of one device; trials cross-validate inside the records that are not for validation."""

    models: ClassVar[tuple[str, ...]] = (search.MODEL,)
    objectives: ClassVar[tuple[str, ...]] = ("loop_error", "parameters")
    foreign: ClassVar[tuple[str, ...]] = ("space", "curves", "samples", "gpus", "processes")
    passes: ClassVar[str] = "iterations"

    def check(self, plan: "Plan") -> None:
        """See that both ends of all ranges can be trained."""
        search.check_search(plan.settings(), plan.held())

    def begin(self, plan: "Plan", checkpoints: str) -> Begun:
        """The records, of which two at least have to be left to learn from."""
        every = read_loops(plan.dataset, plan.series_resistance, SAMPLES)
        loops = every.without(plan.validation)
        if len(loops) < 2:
            raise InvalidValue(f"{len(loops)} record of {plan.dataset} is left to learn from; give two or more.")
        search.check_search(plan.settings(), plan.held(), len(loops))
        job = LoopsJob(
            loops=loops, objectives=plan.objectives, deal=plan.seed, threads=plan.cpus, checkpoints=checkpoints
        )
        return Begun(work=job, content_hash=every.content_hash, defaults=search.DEFAULTS)


SUBJECTS: tuple[Subject, ...] = (Surrogates(), NeuralOdes())
MODELS = tuple(model for subject in SUBJECTS for model in subject.models)
PRESETS: Mapping[str, Preset] = {**search_space.PRESETS, **search.PRESETS}


def subject_of(model: str) -> Subject:
    """What a study of this model is about."""
    return next(subject for subject in SUBJECTS if model in subject.models)


def curves_of(plan: "Plan") -> tuple[SplitCurves, str]:
    """The curves that trials are given, split as for every training, and the hash of the data set."""
    data = Dataset.open(plan.dataset)
    if plan.curves is not None:
        if plan.curves > len(data):
            raise InvalidValue(f"curves = {plan.curves} is more than the {len(data)} of {plan.dataset}; lower it.")
        data = data.take(slice(0, plan.curves))
    curves = split_curves(data.devices, data.drive, data.traces, data.space_or(plan.space), FRACTIONS, plan.samples)
    return curves, data.content_hash
