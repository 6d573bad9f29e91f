"""A campaign of slow devices, one of which may be deadly, in a process of its own that can be killed.

python slow_campaign.py FOLDER serial|ray|mpi [ADDRESS of a Ray | "deadly"]
"""

import contextlib
import os
import sys
import time

from memflux.errors import MemfluxError
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.runner import run
from memflux.stand_in import StandIn

CAMPAIGN = Campaign(space="9d", count=300, seed=4, samples=8, engine="compact", shard_size=4)
PAUSE_S = 0.12  # a shard
DEADLY = 21  # the device that takes its process down
DIED = 139


def slow(campaign):
    """The compact model, slowed down."""

    def predict(devices, drive):
        time.sleep(PAUSE_S * len(devices) / campaign.shard_size)
        return StandIn(samples=campaign.samples)(devices, drive)

    return predict


def deadly(campaign):
    """The compact model, but for a device that ends its process."""
    devices, _ = campaign.sample(1, first=DEADLY)

    def predict(batch, drive):
        if (batch.length == devices.length[0]).any():
            os._exit(DIED)
        return StandIn(samples=campaign.samples)(batch, drive)

    return predict


@contextlib.contextmanager
def executor_of(kind, address):
    """The executor; None on an MPI rank that has followed."""
    if kind == "ray":
        from memflux.platform.campaigns.executor_ray import RayExecutor

        yield RayExecutor(workers=2 if address is None else None, address=address)
    elif kind == "serial":
        from memflux.platform.campaigns.executor_serial import SerialExecutor

        yield SerialExecutor()
    else:
        from memflux.platform.campaigns import executor_mpi

        if not executor_mpi.leads():
            executor_mpi.follow()
            yield None
            return
        try:
            yield executor_mpi.MpiExecutor()
        finally:
            executor_mpi.dismiss()


def main(folder, kind, how=None):
    """Run it."""
    with executor_of(kind, None if how == "deadly" else how) as executor:
        if executor is not None:
            state = run(CAMPAIGN, folder, executor, solver_factory=deadly if how == "deadly" else slow)
            sys.exit(75 if state.stopped else 0)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except MemfluxError as error:
        sys.exit(f"error: {error}")
