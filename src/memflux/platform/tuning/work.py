"""What a study and those who do its trials say to each other: a task, looks at it on its way, and an end."""

import dataclasses
from collections.abc import Generator, Mapping
from typing import Protocol

from memflux.training.setting import Value


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A training to do."""

    number: int  # of the trial
    settings: Mapping[str, Value | None]
    seed: int  # of the training


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a trial tells on its way, and at its end."""

    percent: int  # of its epochs, or of its folds
    epochs: int  # done, or iterations
    error: float  # now, what pruners rank by: the first objective that the subject has
    values: tuple[float, ...] | None = None  # of the objectives, at the end
    failure: str = ""  # at the end of a trial that has no values: a sentence
    seconds: float = 0.0  # of work
    weights: int = 0  # trained numbers

    @property
    def last(self) -> bool:
        """Whether the trial is over."""
        return self.values is not None or bool(self.failure)


class Work(Protocol):
    """What a trial does; it must be one that Ray can send to another process."""

    def looks(self, task: Task) -> Generator[Look, None, None]:
        """Do a task and tell: the last look has values, or the reason why there are none."""
        ...

    def forget(self, number: int) -> None:
        """Remove what is kept of a trial that is over."""
        ...


def reason(error: Exception) -> str:
    """Why a trial has no values, in a line: what `Look.failure` says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
