"""The study file: what is tuned on which data, how, and for how long, in one YAML document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic

from memflux.errors import InvalidValue, check_bool, check_choice, check_integer, check_names, check_number
from memflux.platform.section import Section, mapping, number
from memflux.platform.tuning.subject import MODELS, PRESETS, SUBJECTS, Subject, subject_of
from memflux.training.setting import Among, Between, Setting, Value

SAMPLERS = ("tpe", "random", "cma-es", "nsga2")
PRUNERS = ("asha", "median", "hyperband", "none")
BUDGETS = ("trials", "hours", "total_epochs")
MAY_CHANGE = (*BUDGETS, "cpus", "gpus", "processes", "concurrent")  # of a study that is under way
_RANGES = {
    "curves": (40, 10**9),
    "samples": (4, 1_000_000),
    "trials": (1, 1_000_000),
    "total_epochs": (1, 10**12),
    "seed": (0, 2**63 - 1),
    "cpus": (1, 1024),
    "processes": (1, 1024),
    "concurrent": (1, 100_000),
}
_NUMBERS = {"hours": (0.0, 1e6, "1"), "gpus": (0.0, 1e6, "1"), "series_resistance": (1e-3, 1e12, "Ohm")}
_COMMENTS = {
    "model": f"architecture: {', '.join(MODELS)}",
    "dataset": "folder or URL of the data set, for memode folder of records NAME.csv; taken from where this file lies",
    "space": "preset space, where the data set names none",
    "curves": "first rows of the data set that trials use; null: all",
    "samples": "a cycle, a divisor of those of the data set; null: all",
    "validation": "records that no trial sees, such as [1.0V_1Hz]",
    "series_resistance": "Ohm; null: from records with voltage and current",
    "search": f"what varies: a preset ({', '.join(PRESETS)}), or lines 'name: {{low: 1, high: 9}}', 'name: [a, b]'",
    "fixed": "settings at other than their defaults; a trial costs epochs, or starts, iterations and folds",
    "objectives": f"what is lowered: {'; or '.join(', '.join(s.objectives) for s in SUBJECTS)}; two make a front",
    "trials": "trainings at most; null: until another budget is spent",
    "hours": "after which no trial begins; null: no such end",
    "total_epochs": "of all trials together, after which none begins; null: no such end",
    "sampler": f"who proposes settings: {', '.join(SAMPLERS)}",
    "pruner": f"who ends trials that fall behind: {', '.join(PRUNERS)}",
    "seed": "of the study; trial i depends on it, on i, and on the trials that ended before",
    "cpus": "cores a process of a trial",
    "gpus": "GPUs a process of a trial; 0.25: four share one",
    "processes": "that train one trial together; 1 for models of this size",
    "concurrent": "trials at a time; null: as many as the cluster has room for",
}


class Plan(Section):
    """What a study does. Trial i depends on everything here but what `MAY_CHANGE` names.

    Raises InvalidValue, in one sentence, for unknown keys, values out of range, and what cannot be trained.
    """

    section_title: ClassVar[str] = "study"
    section_comments: ClassVar[Mapping[str, str]] = _COMMENTS

    model: str
    """Architecture: "spectral", "lstm", "hybrid" or "neural_ode" of a data set, or "memode" of measured loops."""
    dataset: str
    """Folder or URL of the data set, or folder of records (`memflux.loops.read_loops`)."""
    space: str = ""
    """Preset space, where the data set names none."""
    curves: int | None = None
    """First rows of the data set that trials use; None: all."""
    samples: int | None = None
    """Samples a cycle that trials learn; None: all."""
    validation: tuple[str, ...] = ()
    """Records that no trial sees."""
    series_resistance: float | None = None
    """Of the records, Ohm; None: as they say."""
    search: str | dict[str, Any]
    """What varies: the name of a preset, or settings by name."""
    fixed: dict[str, Any] = pydantic.Field(default_factory=dict)
    """Settings at other than their defaults."""
    objectives: tuple[str, ...] = pydantic.Field(default=None, validate_default=True)
    """What is lowered: "nmae" (mean balanced validation nMAE in A; the default), "inference_time" (s a curve),
    "parameters" (weights); of loops "loop_error" (mean cross-validated L_b; the default), "parameters"."""
    trials: int | None = 64
    """Trainings at most."""
    hours: float | None = None
    """After which no trial begins."""
    total_epochs: int | None = None
    """Epochs of all trials together after which none begins."""
    sampler: str = "tpe"
    """Who proposes settings."""
    pruner: str = "asha"
    """Who ends trials that fall behind."""
    seed: int = 0
    """Of the study."""
    cpus: int = 1
    """Cores a process of a trial."""
    gpus: float = 0.0
    """GPUs a process of a trial; a fraction shares one."""
    processes: int = 1
    """Processes that train one trial together."""
    concurrent: int | None = None
    """Trials at a time; None: as many as there is room for."""

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _check(cls, value: object, info: pydantic.ValidationInfo) -> object:
        name = str(info.field_name)
        choices = {"model": MODELS, "sampler": SAMPLERS, "pruner": PRUNERS}.get(name)
        if choices:
            return check_choice(name, value, choices)
        if (value is None and cls.model_fields[name].default is None) or (name == "trials" and value is None):
            return None
        if name in _RANGES:
            low, high = _RANGES[name]
            return check_integer(name, value, low=low, high=high)
        if name in _NUMBERS:
            least, most, unit = _NUMBERS[name]
            return check_number(name, number(name, value), low=least, high=most, unit=unit)
        return value

    @pydantic.field_validator("search", mode="before")
    @classmethod
    def _search(cls, value: object) -> object:
        return check_choice("search", value, PRESETS) if isinstance(value, str) else mapping("search", value)

    @pydantic.field_validator("fixed", mode="before")
    @classmethod
    def _fixed(cls, value: object) -> object:
        return {name: _plain(given) for name, given in mapping("fixed", value).items()}

    @pydantic.field_validator("objectives", mode="before")
    @classmethod
    def _objectives(cls, value: object, info: pydantic.ValidationInfo) -> object:
        if "model" not in info.data:  # which has been refused
            return ()
        known = subject_of(info.data["model"]).objectives
        if value is None:
            return known[:1]
        if not isinstance(value, list | tuple) or not value or len(set(map(str, value))) != len(value):
            raise InvalidValue(
                f"objectives = {value!r} must be a list such as [{known[0]}] or [{', '.join(known[:2])}]."
            )
        return tuple(check_choice("objective", name, known) for name in value)

    @pydantic.field_validator("validation", mode="before")
    @classmethod
    def _validation(cls, value: object) -> object:
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise InvalidValue(f"validation = {value!r} must be a list of names of records, such as ['1.0V_1Hz'].")
        return tuple(sorted(set(value)))

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if all(getattr(self, name) is None for name in BUDGETS):
            raise InvalidValue(f"the study has no end; give one of {', '.join(BUDGETS)}.")
        for name in self.subject.foreign:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise InvalidValue(
                    f"{name} = {getattr(self, name)!r} means nothing to a study of {self.model}; leave it out."
                )
        first = self.subject.objectives[0]
        if self.objectives != (first,) and self.pruner != "none":
            raise InvalidValue(f"pruner = {self.pruner!r} ranks by {first}; write 'pruner: none' for other objectives.")
        if len(self.objectives) > 1 and self.sampler == "cma-es":
            raise InvalidValue("sampler = 'cma-es' lowers one objective; take nsga2 or tpe for several.")
        if isinstance(self.search, str) and PRESETS[self.search].model != self.model:
            raise InvalidValue(f"search = {self.search!r} is for {PRESETS[self.search].model}, not for {self.model}.")
        settings = self.settings()
        if self.sampler == "cma-es" and any(isinstance(s, Among) for s in settings.values()):
            raise InvalidValue(
                "sampler = 'cma-es' varies numbers alone; fix the settings that have choices, or use tpe."
            )
        self.subject.check(self)
        return self

    @property
    def subject(self) -> Subject:
        """What the study is about."""
        return subject_of(self.model)

    def settings(self) -> dict[str, Setting]:
        """What varies, by name."""
        if isinstance(self.search, str):
            fixed = self.fixed
            return {name: s for name, s in PRESETS[self.search].search.items() if name not in fixed}
        return {name: _setting(name, value) for name, value in self.search.items()}

    def held(self) -> dict[str, Value | None]:
        """Settings at other than their defaults: those of the preset, and the file's own."""
        preset = PRESETS[self.search].fixed if isinstance(self.search, str) else {}
        return {**preset, **self.fixed}

    def recipe(self) -> dict[str, Any]:
        """What the trials depend on and must not change, JSON-ready; the data set is known by its hash."""
        left_out = {*MAY_CHANGE, "dataset", *self.subject.foreign}
        return {k: v for k, v in self.model_dump(mode="json").items() if k not in left_out}

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read a study file; InvalidValue says what in it is wrong."""
        plan = cls(**cls.fields_from_yaml(path, "memflux tune new"))
        if "://" in plan.dataset:
            return plan
        where = (Path(path).absolute().parent / Path(plan.dataset).expanduser()).resolve()
        return cls(**{**plan.model_dump(), "dataset": str(where)})

    def to_yaml(self) -> str:
        """The study file, each line with a comment."""
        return self.yaml_with_comments("A hyperparameter study: see `memflux tune --help`.", self.subject.foreign)


def _setting(name: str, value: object) -> Setting:
    """A line of `search`: a list of choices, or a range."""
    if isinstance(value, list | tuple):
        if not all(isinstance(v, int | float | str | bool) for v in value):
            raise InvalidValue(f"choices = {value!r} of {name} must be numbers, words or truth values.")
        return Among(values=tuple(_plain(v) for v in value))
    fields = mapping(f"search, {name}", value)
    check_names(f"key of the range of {name}", fields, ("low", "high", "log", "step"))
    if missing := {"low", "high"} - set(fields):
        raise InvalidValue(f"the range of {name} has no {sorted(missing)[0]}; write {{low: ..., high: ...}}.")
    plain = {k: _plain(v) for k, v in fields.items()}
    for key in ("low", "high", *(("step",) if plain.get("step") is not None else ())):
        if isinstance(plain[key], bool) or not isinstance(plain[key], int | float):
            raise InvalidValue(f"{key} = {plain[key]!r} of the range of {name} is not a number; write one.")
    check_bool(f"log of the range of {name}", plain.get("log", False))
    return Between(**plain)


def _plain(value: object) -> Any:
    """A value of a file; 1e-4, which YAML takes for text, is a number."""
    if isinstance(value, str):
        try:
            return number("", value)
        except InvalidValue:
            return value
    return value
