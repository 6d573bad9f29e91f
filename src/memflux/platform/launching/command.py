"""The command that a cluster runs for a campaign, as words and as a line of a shell."""

import contextlib
import os
import shlex
from pathlib import Path

from memflux.errors import InvalidValue, MissingDependency
from memflux.folder import Folder

COMPLETE = 0
STOPPED = 75  # exit code of `memflux campaign run` that was asked to stop and can go on (EX_TEMPFAIL)


def campaign_run(file: str, out: str, address: str) -> list[str]:
    """The words after `memflux`, to run a campaign on the Ray at `address`."""
    return ["campaign", "run", file, "--out", out, "--executor", "ray", "--address", address, "--json"]


def entrypoint(file: str, out: str, program: str = "memflux") -> str:
    """The line that a Ray job runs, in a shell, where Ray has put its address into RAY_ADDRESS.

    Every word but that variable is quoted. The shell is replaced by the program, so that a signal
    to it is a signal to the run.
    """
    words = campaign_run(file, out, "ADDRESS")
    where = words.index("ADDRESS")
    before, after = shlex.join([program, *words[:where]]), shlex.join(words[where + 1 :])
    return f'exec {before} "$RAY_ADDRESS" {after}'


def absolute(out: str) -> str:
    """`out` as every machine understands it: a URL as it is, a local path made absolute.

    Raises InvalidValue for one that is neither, or that a job script cannot hold.
    """
    if any(ord(character) < 32 for character in out) or not out.strip():
        raise InvalidValue(f"out = {out!r} is not the name of a folder; give a path, or the URL of one.")
    if "://" not in out:
        return os.path.abspath(os.path.expanduser(out))
    check_url(out)
    return out


def check_url(url: str) -> None:
    """See that fsspec knows the protocol; its package is needed on the cluster, not here. Raises InvalidValue."""
    with contextlib.suppress(MissingDependency):
        Folder.at(url)


def check_file(file: Path) -> Path:
    """The campaign file, absolute, after a look at what is in it. Raises InvalidValue."""
    from memflux.platform.campaigns.campaign import Campaign

    Campaign.from_yaml(file)
    return file.absolute()
