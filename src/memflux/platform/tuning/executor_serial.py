"""Trials one after the other in this process: plain Optuna, where there is no Ray."""

from collections.abc import Callable

from memflux.platform.tuning.study import Study
from memflux.platform.tuning.work import Work


class SerialTrials:
    """What runs the trials of a study; see `memflux.platform.tuning.tune`."""

    def run(self, study: Study, work: Work, stopped: Callable[[], bool], on_look: Callable[[], None]) -> None:
        """Until the budget is spent or `stopped()`: then the trial under way goes on from its checkpoint next time."""
        while not stopped() and (task := study.next()) is not None:
            for look in work.looks(task):
                ended = study.tell(task.number, look)
                on_look()
                if ended:
                    work.forget(task.number)
                    break
                if stopped():
                    return
