"""A Slurm job that runs a campaign: its record, its script, and its submission."""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from memflux.errors import DataError, InvalidValue, MissingDependency, ServiceError, check_integer
from memflux.platform.launching.rendezvous import write_json

RECORD = "launch.json"
LEDGER = "ledger.json"
SCRIPT = "job.sh"
CAMPAIGN = "campaign.yaml"
ANSWER_S = 60.0  # how long sbatch, squeue and scontrol may take
_TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,3}):([0-5]\d):([0-5]\d)")
_NAME = re.compile(r"[A-Za-z0-9][\w.,:@+-]*")
_OPTION = re.compile(r"([a-z][a-z-]+)(?:=([\w.,:@+/*%&|!\[\]-]+))?")
# What the script sets itself, or must not have: an array would run the campaign many times at once.
_OURS = ("nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "time", "signal", "output", "array", "open-mode")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SlurmJob:
    """What to ask Slurm for. Raises InvalidValue for values that no job can have."""

    file: str  # campaign file, absolute
    out: str  # folder or URL to fill
    folder: str  # of the script, the log and the tasks' meeting place; every node sees it
    nodes: int
    time: str  # HH:MM:SS or D-HH:MM:SS
    cpus: int | None = None  # a node; None: whole nodes
    lead: int = 120  # seconds before the end of the time at which the run begins to drain
    partition: str | None = None
    account: str | None = None
    options: tuple[str, ...] = ()  # more of sbatch, as "qos=long"
    submissions: int = 100  # at most, of the job by itself
    patience: float = 120.0  # seconds to wait for all nodes

    def __post_init__(self) -> None:
        """Check every field that a person gives."""
        check_integer("nodes", self.nodes, low=1, high=100_000)
        check_integer("lead", self.lead, low=1, high=65_535)
        check_integer("submissions", self.submissions, low=0, high=10_000)
        if self.cpus is not None:
            check_integer("cpus-per-node", self.cpus, low=1, high=10_000)
        if self.lead >= seconds(self.time):
            raise InvalidValue(f"lead = {self.lead} s is not below time = {self.time}; a run has to fit in between.")
        for name in ("partition", "account"):
            value = getattr(self, name)
            if value is not None and not _NAME.fullmatch(value):
                raise InvalidValue(f"{name} = {value!r} is not a name that Slurm has; give letters, digits, - and _.")
        for option in self.options:
            match = _OPTION.fullmatch(option)
            if match is None or match[1] in _OURS:
                raise InvalidValue(f"option = {option!r} is not for this job; give NAME=VALUE of sbatch, as qos=long.")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record in a job's folder; DataError where there is none."""
        try:
            fields = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return cls(**(fields | {"options": tuple(fields["options"])}))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{folder} has no {RECORD} of a job: {error}; write it anew.") from None

    def script(self) -> str:
        """The job script."""
        cores = "--exclusive" if self.cpus is None else f"--cpus-per-task={self.cpus}"
        wishes = [f"--{n}={v}" for n, v in (("partition", self.partition), ("account", self.account)) if v]
        lines = [
            "#!/bin/bash",
            "# Written by `memflux cluster slurm`. Runs a campaign until its time is over, and submits itself again",
            f"# until the campaign is complete; stop it with scancel. {RECORD} beside it says which campaign.",
            f"#SBATCH --job-name={self.job_name}",
            f"#SBATCH --nodes={self.nodes}",
            "#SBATCH --ntasks-per-node=1",
            f"#SBATCH {cores}",
            f"#SBATCH --time={self.time}",
            f"#SBATCH --signal=USR1@{self.lead}",
            f'#SBATCH --output="{_pattern(self.folder)}/slurm-%j.out"',
            *(f"#SBATCH {wish}" for wish in [*wishes, *(f"--{option}" for option in self.options)]),
            "",
            "# Keeps the folder that the job starts in off the path of Python.",
            "export PYTHONSAFEPATH=1",
            f"exec {shlex.join([sys.executable, '-m', 'memflux.platform.launching.batch', self.folder])}",
        ]
        return "\n".join(lines) + "\n"

    @property
    def job_name(self) -> str:
        """What queues show."""
        return "memflux-" + (re.sub(r"[^\w.-]+", "-", Path(self.file).stem) or "campaign")[:40]


def seconds(time: str) -> int:
    """Seconds of a walltime. Raises InvalidValue for what is not one."""
    match = _TIME.fullmatch(time)
    parts = [int(part or 0) for part in match.groups()] if match else [0, 0, 0, 0]
    total = sum(part * unit for part, unit in zip(parts, (86_400, 3600, 60, 1), strict=True))
    if total < 60:
        raise InvalidValue(f"time = {time!r} is not a walltime of a minute or more; give HH:MM:SS or D-HH:MM:SS.")
    return total


def begin(job: SlurmJob, script: Path | None = None, hand_over: bool = True) -> tuple[str | None, Path]:
    """Write the job, and hand it to sbatch; its number, None where it was not handed over, and its script.

    Raises InvalidValue where a job of this folder waits or runs, DataError where nothing can be
    written, and what `ask` raises.
    """
    folder = Path(job.folder)
    for number in ledger_of(folder)["jobs"][-1:]:
        if hand_over and (state := in_queue(number)):
            raise InvalidValue(
                f"job {number} of {folder} is {state.lower()} already, and goes on by itself; scancel {number} first."
            )
    path = write(job, script)
    if not hand_over:
        return None, path
    number = submit(path)
    note(folder, ledger_of(folder) | {"jobs": [number]})
    return number, path


def write(job: SlurmJob, script: Path | None = None) -> Path:
    """Write record, campaign, ledger and script; the path of the script. DataError where that cannot be done."""
    folder = Path(job.folder)
    path = (script or folder / SCRIPT).absolute()
    text = job.script()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What was submitted is what runs, whatever becomes of the file.
        (folder / CAMPAIGN).write_bytes(Path(job.file).read_bytes())
        write_json(folder / RECORD, dataclasses.asdict(job))
        note(folder, {"jobs": [], "done": [], "script": str(path)})
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder} cannot be written: {error.strerror}; give another place."
        ) from None
    return path


def note(folder: Path, ledger: dict[str, Any]) -> None:
    """Keep the ledger: which jobs there were, and how many rows each found when it was submitted."""
    write_json(folder / LEDGER, ledger)


def ledger_of(folder: Path) -> dict[str, Any]:
    """The ledger in a job's folder; an empty one where there is none."""
    try:
        record = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"jobs": [], "done": [], "script": str(folder / SCRIPT)}
    return dict(record)


def submit(script: Path, after: str | None = None) -> str:
    """Hand the script to sbatch, to begin once the job `after` has ended; the number of the new job."""
    words = ["sbatch", "--parsable", *([f"--dependency=afterany:{after}"] if after else []), str(script)]
    return ask(words).split(";")[0].strip()


def in_queue(job: str) -> str | None:
    """The state of a job that waits or runs; None for one that has ended or was never known."""
    try:
        state = ask(["squeue", "--noheader", f"--jobs={job}", "--format=%T"]).strip()
    except ServiceError:  # "Invalid job id", once Slurm has forgotten it
        return None
    return state.splitlines()[0] if state and state not in ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT") else None


def ask(words: list[str]) -> str:
    """What a command of Slurm prints.

    Raises MissingDependency where it is not installed, ServiceError where it fails, with what it says.
    """
    # Within a job, the variables of that job would be taken for options of the next.
    variables = {n: v for n, v in os.environ.items() if n == "SLURM_CONF" or not n.startswith(("SLURM_", "SBATCH_"))}
    try:
        done = subprocess.run(
            words,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
    except FileNotFoundError:
        raise MissingDependency(
            f"there is no {words[0]} here; run this on a machine of a Slurm cluster, or with --no-submit."
        ) from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{words[0]} did not answer in {ANSWER_S:g} s; is Slurm's controller running?") from None
    if done.returncode:
        text = " ".join((done.stderr or done.stdout).split())
        raise ServiceError(f"{words[0]} refused: {text or f'exit code {done.returncode}'}.")
    return done.stdout


def _pattern(path: str) -> str:
    """A path within a file name pattern of Slurm, between double quotes."""
    if '"' in path or "\\" in path:
        raise InvalidValue(f"{path!r} has a quote or backslash, which a job script cannot hold; give another folder.")
    return path.replace("%", "%%")
