"""A sweep that a test kills: `python sweep_slowly.py FOLDER PAUSE_S`."""

import sys
import time

from memflux.platform.sweep import sweep
from memflux.platform.sweep_files import PART, Question
from memflux.space import Space
from memflux.stand_in import StandIn

QUESTION = Question(space=Space.preset("5d-parametric"), count=5 * PART + 100, shard_size=PART, seed=7)


def main(out, pause):
    model = StandIn(samples=16)

    def slow(devices, drive):
        time.sleep(pause)
        return model(devices, drive)

    return sweep(slow, QUESTION, out)


if __name__ == "__main__":
    state = main(sys.argv[1], float(sys.argv[2]))
    sys.exit(75 if state.stopped else 0)
