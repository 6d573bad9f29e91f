"""What one task of a job does: a Ray on its machine, and, in the first task, the campaign on all of them."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

from memflux.errors import MemfluxError
from memflux.platform.launching import ray_node, rendezvous
from memflux.platform.launching.command import STOPPED, campaign_run
from memflux.platform.launching.ports import LOOPBACK, own_address


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task of a job."""

    rank: int
    tasks: int
    cpus: int  # that solve, on this machine
    run: Path  # the folder where the tasks meet
    file: Path
    out: str
    patience_s: float  # how long the first task waits for the others


def cores_here(task: Task) -> int:
    """Cores of this machine that solve.

    All of them where it is alone: the driver waits most of the time. The first of several machines
    keeps one for the driver and Ray's own processes, which then serve many.
    """
    return max(1, task.cpus - 1) if task.rank == 0 and task.tasks > 1 else task.cpus


def work(task: Task, folder: Path, signals: list[int]) -> int:
    """Do this task's part; its exit code.

    `folder` is for Ray's files, and whoever made it removes it. Any signal, and `signals` grows by
    each that comes, asks for an end: the campaign stops, drained and resumable.
    """
    try:
        return _lead(task, folder, signals) if task.rank == 0 else _follow(task, folder, signals)
    except MemfluxError as error:
        _say(f"task {task.rank}: {error}")
        return STOPPED if signals else 1


def _lead(task: Task, folder: Path, signals: list[int]) -> int:
    """The first task: a head, the others' way to it, and the campaign."""
    host = LOOPBACK if task.tasks == 1 else own_address([os.environ.get("SLURMD_NODENAME", "")])
    token = task.run / rendezvous.TOKEN
    code = STOPPED
    with rendezvous.Host(task.run, host) as meeting:
        head = ray_node.start_head(
            host, cores_here(task), folder, task.run / "ray-0.log", token, stopped=lambda: bool(signals)
        )
        record = {"host": host, "port": meeting.port, "address": head.address}
        rendezvous.write_json(task.run / rendezvous.HEAD, record)
        _wait_for_others(task, meeting, signals)
        if not signals:
            code = _drive(task, head, signals)
        rendezvous.write_json(task.run / rendezvous.OUTCOME, {"code": code})
    head.stop()
    return code


def _wait_for_others(task: Task, meeting: rendezvous.Host, signals: list[int]) -> None:
    deadline = time.monotonic() + task.patience_s
    while meeting.joined < task.tasks - 1 and time.monotonic() < deadline and not signals:
        time.sleep(0.1)
    if meeting.joined < task.tasks - 1:
        _say(f"{1 + meeting.joined} of {task.tasks} nodes are there after {task.patience_s:g} s; going on with them")


def _drive(task: Task, head: ray_node.RayNode, signals: list[int]) -> int:
    """Run the campaign as a child, pass signals on to it, and return its exit code."""
    variables = ray_node.environment(task.run / rendezvous.TOKEN, loopback=head.address.startswith(LOOPBACK))
    words = [sys.executable, "-m", "memflux.cli", *campaign_run(str(task.file), task.out, head.address)]
    driver = subprocess.Popen(words, env=variables, stdin=subprocess.DEVNULL)
    passed = 0
    while driver.poll() is None:
        for number in signals[passed:]:
            driver.send_signal(number)
            passed += 1
        time.sleep(0.05)
    code = driver.returncode
    if code < 0 and -code in signals:  # it came before the run could take it: nothing is lost
        return STOPPED
    return code if code >= 0 else 128 - code


def _follow(task: Task, folder: Path, signals: list[int]) -> int:
    """Every other task: a part of the first one's Ray, until that one hangs up."""

    def over() -> bool:
        return bool(signals) or rendezvous.outcome(task.run) is not None

    guest = rendezvous.Guest.find(task.run, task.patience_s + ray_node.START_S, over)
    if guest is None:  # it came too late, or is to end before it began
        return STOPPED if signals else 0
    log, token = task.run / f"ray-{task.rank}.log", task.run / rendezvous.TOKEN
    node = ray_node.join(guest.address, guest.own_address, task.cpus, folder, log, token, stopped=over)
    guest.say_joined(task.rank)
    # Not at a signal: the first task gets it too, and drains what this machine still makes.
    while node.alive and not guest.over(wait_s=0.5):
        pass
    node.stop()
    return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"memflux: {sentence}\n")
    sys.stderr.flush()
