"""A study whose trials are formulas that take their time, and a driver of it that can be killed."""

import math
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.study import Study
from memflux.platform.tuning.work import Look

PLAN = Plan(
    model="spectral",
    dataset="nowhere",
    search={"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "width": {"low": 8, "high": 128}},
    trials=12,
    seed=3,
    concurrent=1,
)


class Formula:
    """Errors that fall as trainings do, to a value that the settings decide."""

    pause = 0.0  # s a look

    def looks(self, task, group=None):
        """Ten looks and the end."""
        rate, width = task.settings["learning_rate"], task.settings["width"]
        end = 0.01 * (1.0 + (math.log10(rate) + 2.0) ** 2 + (width / 100.0 - 0.6) ** 2)
        for k in range(1, 11):
            time.sleep(self.pause)
            yield Look(percent=10 * k, epochs=k, error=end * (1.0 + 1.0 / k), seconds=k * self.pause, weights=width)
        yield Look(percent=100, epochs=10, error=end, values=(end,), weights=width)

    def forget(self, number):
        """Nothing is kept."""


class Fatal(Formula):
    """Kills the process that does trial 2, as often as it may."""

    def __init__(self, folder, times):
        self.folder, self.times = Path(folder), times

    def looks(self, task, group=None):
        for k, look in enumerate(super().looks(task)):
            marks = list(self.folder.glob("died-*"))
            if task.number == 2 and k == 0 and len(marks) < self.times:
                (self.folder / f"died-{len(marks)}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield look


class FatalAfterwards(Formula):
    """Kills the process that has done trial 2, when that is to begin with the next one."""

    def __init__(self, folder):
        self.mark = Path(folder) / "died"

    def looks(self, task, group=None):
        try:
            yield from super().looks(task)
        finally:
            if task.number == 2 and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


class WithData(Formula):
    """Fails unless its data lie in shared memory."""

    def __init__(self):
        self.data = np.zeros(2**20)

    def looks(self, task, group=None):
        if self.data.flags.owndata or self.data.flags.writeable:
            yield Look(percent=0, epochs=0, error=1.0, failure="a copy of the data for this process")
        else:
            yield from super().looks(task)


class Broken(Formula):
    """Cannot be made in another process."""

    def __reduce__(self):
        return no_such_thing, ()


def no_such_thing():
    """What a worker lacks."""
    raise RuntimeError("no such thing here")


class SlowFormula(Formula):
    """The same, a trial a second."""

    pause = 0.1


def drive(folder, trials, work=Formula, plan=PLAN, stopped=lambda: False, on_look=lambda: None):
    """Do a study in a folder; its tally."""
    with Study.hold(Path(folder), plan, "hash") as study:
        trials.run(study, work(), stopped, on_look)
        return study.tally()


if __name__ == "__main__":
    from memflux.platform.tuning.executor_ray import RayTrials

    drive(sys.argv[1], RayTrials(address=sys.argv[2]), SlowFormula)
