"""`memflux cluster`: job scripts and manifests that run a campaign on a cluster."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from memflux.cli.output import Json, console, emit
from memflux.errors import DataError, MissingDependency

File = Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file (YAML).")]


def register(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="Run a campaign on a Slurm or Kubernetes cluster.")
    group.command("slurm")(slurm)
    group.command("kubernetes")(kubernetes)
    app.add_typer(group, name="cluster")


def slurm(
    file: File,
    out: Annotated[str, typer.Option(help="Folder or URL to fill; every node sees it under this name.")],
    nodes: Annotated[int, typer.Option(help="Nodes.")],
    time: Annotated[str, typer.Option(help="Walltime of one job, HH:MM:SS or D-HH:MM:SS; the campaign may take many.")],
    cpus: Annotated[int | None, typer.Option("--cpus-per-node", help="Cores of each; default: whole nodes.")] = None,
    partition: Annotated[str | None, typer.Option(help="As for sbatch.")] = None,
    account: Annotated[str | None, typer.Option(help="As for sbatch.")] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="More of sbatch, as qos=long.")] = None,
    lead: Annotated[int, typer.Option(help="Seconds before the end at which the run begins to drain.")] = 120,
    submissions: Annotated[int, typer.Option(help="Times that the job may submit itself again.")] = 100,
    patience: Annotated[float, typer.Option(help="Seconds to wait until all nodes are there.")] = 120.0,
    folder: Annotated[Path | None, typer.Option(help="For script, log and tokens; shared. Default: OUT.slurm.")] = None,
    script: Annotated[Path | None, typer.Option(help="Where to write the script; default: job.sh in that.")] = None,
    submit: Annotated[bool, typer.Option("--submit/--no-submit", help="Hand it to sbatch, or only write it.")] = True,
    as_json: Json = False,
) -> None:
    """Write a job script that runs a campaign, and submit it: it submits itself again until all is done.

    Example: memflux cluster slurm c.yaml --out data/c --nodes 4 --time 04:00:00
    """
    from memflux.platform.launching.command import absolute, check_file
    from memflux.platform.launching.slurm import SlurmJob, begin

    place = absolute(out)
    job = SlurmJob(
        file=str(check_file(file)),
        out=place,
        folder=str((folder or _beside(place)).absolute()),
        nodes=nodes,
        time=time,
        cpus=cpus,
        lead=lead,
        partition=partition,
        account=account,
        options=tuple(option or ()),
        submissions=submissions,
        patience=patience,
    )
    number, path = begin(job, script, submit)
    emit({"script": str(path), "folder": job.folder, "out": place, "job": number}, as_json)
    if number is None:
        _say(f"submit it with: sbatch {shlex.quote(str(path))}")


def kubernetes(
    file: File,
    out: Annotated[str, typer.Option(help="URL to fill, as s3://bucket/c; a path with --claim.")],
    image: Annotated[str, typer.Option(help="Container image with memflux and its Ray.")],
    workers: Annotated[int, typer.Option(help="Pods that solve.")],
    cpus: Annotated[int, typer.Option(help="Cores of each.")],
    memory: Annotated[str, typer.Option(help="Memory of each, as 4Gi.")] = "4Gi",
    name: Annotated[str, typer.Option(help="Of the RayJob.")] = "memflux-campaign",
    secret: Annotated[
        str, typer.Option(help="Secret with Ray's token, under the key auth_token.")
    ] = "memflux-ray-token",
    claim: Annotated[
        str | None, typer.Option(help="Shared volume claim, mounted on the parent of the path OUT.")
    ] = None,
    retries: Annotated[int, typer.Option(help="Times to go on when it stops or loses its head.")] = 10,
    write: Annotated[Path | None, typer.Option("--file", help="Where to write it; default: standard output.")] = None,
    as_json: Json = False,
) -> None:
    """Print a KubeRay RayJob that runs a campaign. Nobody has run one on a Kubernetes cluster: read it first.

    Example: memflux cluster kubernetes c.yaml --out s3://b/c --image IMG --workers 8 --cpus 4 | kubectl apply -f -
    """
    from memflux.platform.campaigns.campaign import Campaign

    try:
        from memflux.platform.launching.kubernetes import KubernetesJob
    except ImportError as error:
        raise MissingDependency(f"this needs Ray ({error}); pip install 'memflux[cluster]'.") from None
    job = KubernetesJob(
        campaign=Campaign.from_yaml(file).to_yaml(),
        out=out,
        image=image,
        workers=workers,
        cpus=cpus,
        memory=memory,
        name=name,
        secret=secret,
        claim=claim,
        retries=retries,
    )
    text = job.manifest()
    if write is not None:
        _write(write, text)
    if as_json:
        emit({"name": name, "entrypoint": job.entrypoint(), "file": write, "manifest": text}, True)
    elif write is None:
        sys.stdout.write(text)


def _beside(place: str) -> Path:
    """The default of --folder: next to the data set, or here for one at a URL."""
    return Path(f"{place}.slurm") if "://" not in place else Path(f"{place.rstrip('/').rpartition('/')[2]}.slurm")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; give another place.") from None


def _say(sentence: str) -> None:
    console.print(Text(sentence), soft_wrap=True)
