"""`memflux submit`: a campaign as a job of a Ray cluster that runs already."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from memflux.cli.output import Json, console, emit
from memflux.errors import InvalidValue, MissingDependency

if TYPE_CHECKING:
    from memflux.platform.launching.jobs import CampaignJobs, Job


def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file (YAML).")],
    address: Annotated[str, typer.Option(help="The cluster's dashboard, as http://head:8265.")],
    out: Annotated[str, typer.Option(help="Folder or URL to fill; every node sees it under this name.")],
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end of the job.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the job: it finishes its shards and can go on.")] = False,
    program: Annotated[str, typer.Option(help="memflux as the head of the cluster finds it.")] = "memflux",
    as_json: Json = False,
) -> None:
    """Run a campaign as a Ray job, and follow it: the exit code is 0 complete, 75 stopped and resumable, 1 failed.

    The same command again follows the job that runs, or goes on with one that has ended. Ctrl-C
    leaves it running. Ray's token is taken from where Ray's own client looks for it.

    Example: memflux submit c.yaml --address http://head:8265 --out s3://bucket/c
    """
    if detach and stop:
        raise InvalidValue("--detach and --stop exclude each other; give one.")
    jobs, place = _jobs(file, address, out)
    if stop:
        _finish(_stopped(jobs, out), place, as_json)
    if place != out:
        _say(f"--out is {place} on every node of the cluster: a folder that all of them share, or the rows stay there")
    job = jobs.submit(program)
    again = shlex.join(["memflux", "submit", str(file), "--address", address, "--out", out])
    _say(f"job {job.name}; stop it with: {again} --stop")
    if detach:
        emit({"job": job.name, "status": job.status, "out": place}, as_json)
        return
    try:
        ended = jobs.follow(job.name, _show)
    except KeyboardInterrupt:
        _say(f"the job goes on; follow it with: {again}")
        raise
    _finish(ended, place, as_json)


def _jobs(file: Path, address: str, out: str) -> "tuple[CampaignJobs, str]":
    from memflux.platform.campaigns.campaign import Campaign
    from memflux.platform.launching.command import absolute

    try:
        from memflux.platform.launching.jobs import CampaignJobs
    except ImportError as error:
        raise MissingDependency(f"submit needs Ray ({error}); pip install 'memflux[cluster]'.") from None
    place = absolute(out)
    return CampaignJobs(address, Campaign.from_yaml(file), place), place


def _stopped(jobs: "CampaignJobs", out: str) -> "Job":
    job = jobs.latest()
    if job is None:
        raise InvalidValue(f"no job of this campaign into {out} was submitted there; --stop needs one.")
    return job if job.ended else jobs.stop(job.name)


def _finish(job: "Job", place: str, as_json: bool) -> None:
    emit({"job": job.name, "status": job.status, "out": place, "exit_code": job.code}, as_json)
    if job.code == 1:
        _say(f"the job {job.name} failed: {job.message[:600] or 'it says nothing'}")
    raise typer.Exit(job.code)


def _show(text: str) -> None:
    """What the job prints goes to standard error: standard output belongs to the result."""
    sys.stderr.write(text)
    sys.stderr.flush()


def _say(sentence: str) -> None:
    console.print(Text(sentence), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("submit")(submit)
