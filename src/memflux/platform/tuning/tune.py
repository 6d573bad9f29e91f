"""Run a study in a folder: begin it, go on with it, stop when asked to."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from memflux.platform.launching.command import absolute
from memflux.platform.signals import stop_on_signals
from memflux.platform.tuning.journal import Tally
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.study import Study
from memflux.platform.tuning.work import Work

CHECKPOINTS = "trials"


class Trials(Protocol):
    """Where trials run: in this process, or on a cluster."""

    def run(self, study: Study, work: Work, stopped: Callable[[], bool], on_look: Callable[[], None]) -> None:
        """Do trials until the study has no next one, or `stopped()`; call `on_look` after each thing they say."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run came to."""

    tally: Tally
    stopped: bool  # before the budget was spent
    last_failure: str  # of a trial, the reason


def run(
    plan: Plan,
    folder: str | Path,
    trials: Trials,
    on_progress: Callable[[Tally], None] | None = None,
    on_stop: Callable[[], None] | None = None,
    seconds: float | None = None,
) -> Outcome:
    """Do the trials of a plan into a folder, or what is left of them; the test set is not looked at.

    Interrupt, SIGTERM and SIGUSR1, and the end of `seconds`, let trials rest at their checkpoints and return with
    `stopped`. Raises InvalidValue for a data set that the plan does not fit, and what `Study.hold` raises.
    """
    out = Path(folder)
    end = None if seconds is None else time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(stop_on_signals(on_stop))
        plan = Plan(**{**plan.model_dump(), "dataset": absolute(plan.dataset)})  # wherever it is read from later
        begun = plan.subject.begin(plan, str(out.absolute() / CHECKPOINTS))
        study = stack.enter_context(Study.hold(out, plan, begun.content_hash, begun.defaults))

        def stopped() -> bool:
            return asked() or (end is not None and time.monotonic() > end)

        def on_look() -> None:
            if on_progress is not None:
                on_progress(study.tally())

        trials.run(study, begun.work, stopped, on_look)
        tally = study.tally()
        return Outcome(
            tally=tally, stopped=tally.running > 0 or (stopped() and study.open), last_failure=study.last_failure
        )
