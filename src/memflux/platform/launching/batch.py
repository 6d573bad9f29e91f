"""What the job script runs: one task a node, and another job if the campaign can go on.

python -m memflux.platform.launching.batch FOLDER
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from memflux.errors import MemfluxError
from memflux.platform.launching import rendezvous, slurm
from memflux.platform.launching.command import COMPLETE, STOPPED

STATUS_S = 600.0  # how long counting the rows of a data set may take


def main() -> None:
    """Run the job in the folder that is named; the process ends with the campaign's exit code."""
    folder = Path(sys.argv[1])
    cancelled: list[int] = []
    # At the end of the time, and when the job is cancelled: srun's tasks get it too, and are waited for.
    signal.signal(signal.SIGTERM, lambda number, frame: cancelled.append(number))
    try:
        job = slurm.SlurmJob.read(folder)
        code = run(job, folder)
        if code == STOPPED:
            _say(go_on(job, folder, asked_to_end=bool(cancelled)))
    except MemfluxError as error:
        _say(str(error))
        code = 1
    sys.exit(code)


def run(job: slurm.SlurmJob, folder: Path) -> int:
    """Start the tasks and wait for them; the exit code of the campaign, or of srun where that never began."""
    number = os.environ.get("SLURM_JOB_ID", "0")
    meeting = Path(tempfile.mkdtemp(prefix=f"run-{number}-", dir=folder))
    rendezvous.prepare(meeting)
    try:
        tasks = subprocess.run(srun(job, meeting), stdin=subprocess.DEVNULL, check=False).returncode
        told = rendezvous.outcome(meeting)
    finally:
        (meeting / rendezvous.TOKEN).unlink(missing_ok=True)
    code = told if told is not None else tasks if tasks >= 0 else 128 - tasks
    if code in (COMPLETE, STOPPED):
        shutil.rmtree(meeting, ignore_errors=True)
    else:
        _say(f"exit code {code}; what Ray said on each node is in {meeting}")
    return code


def srun(job: slurm.SlurmJob, meeting: Path) -> list[str]:
    """The words that start one task on each node."""
    cpus = job.cpus or cpus_per_node(os.environ["SLURM_JOB_CPUS_PER_NODE"])
    tasks = [f"--nodes={job.nodes}", f"--ntasks={job.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}"]
    # A node that is lost costs its shards, not the job; what a task is for Ray is nothing for an MPI.
    manners = ["--kill-on-bad-exit=0", "--wait=0", "--mpi=none", "--unbuffered"]
    module = [sys.executable, "-m", "memflux.platform.launching.node", f"--run={meeting}", f"--cpus={cpus}"]
    campaign = Path(job.folder) / slurm.CAMPAIGN
    return ["srun", *tasks, *manners, *module, f"--patience={job.patience:g}", "--", str(campaign), job.out]


def cpus_per_node(text: str) -> int:
    """The least that any node gives, from what Slurm writes: "8(x3),4"."""
    return min(int(part.partition("(")[0]) for part in text.split(","))


def go_on(job: slurm.SlurmJob, folder: Path, asked_to_end: bool) -> str:
    """Submit the job again if that is right; a sentence that says what was done, and why.

    It is not right when somebody cancelled the job, when no row was made since the last submission,
    or when the job has been submitted as often as it may be: so it always comes to an end.
    """
    ledger = slurm.ledger_of(folder)
    script = Path(ledger["script"])
    by_hand = f"go on with: sbatch {shlex.quote(str(script))}"
    number = os.environ["SLURM_JOB_ID"]
    if asked_to_end and "Reason=TimeLimit" not in slurm.ask(["scontrol", "--oneliner", "show", "job", number]):
        return f"stopped, because the job was cancelled; {by_hand}"
    done, before = rows_done(job.out), ledger["done"][-1] if ledger["done"] else 0
    if done <= before:
        return f"stopped at {done} rows, none of them made by this job: not submitted again; {by_hand}"
    if len(ledger["done"]) >= job.submissions:
        return f"stopped at {done} rows after {job.submissions} submissions by itself; {by_hand}"
    ledger["done"].append(done)
    slurm.note(folder, ledger)  # first: a job that is not counted could go on for ever
    ledger["jobs"].append(slurm.submit(script, after=number))
    slurm.note(folder, ledger)
    return f"stopped at {done} rows; job {ledger['jobs'][-1]} goes on"


def rows_done(out: str) -> int:
    """Rows of the data set; 0 where it cannot be read."""
    words = [sys.executable, "-m", "memflux.cli", "campaign", "status", out, "--json"]
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=STATUS_S, check=True).stdout
        return int(json.loads(told)["done"])
    except (subprocess.SubprocessError, ValueError, KeyError):
        return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"memflux: {sentence}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
