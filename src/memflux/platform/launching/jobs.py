"""A campaign as a Ray job: submitted to a cluster that runs, followed, stopped, and gone on with."""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import ray
from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray.job_submission import JobSubmissionClient

from memflux.errors import InvalidValue, ServiceError
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.cluster import REACH_S
from memflux.platform.environment import WORKER_ENVIRONMENT
from memflux.platform.launching.command import COMPLETE, STOPPED, entrypoint

FILE = "campaign.yaml"
PREFIX = "memflux"
STOP_S = 60  # how long a job that is stopped may finish its shards before Ray kills it (its own default: 3)
FAILED = 1
PAUSE_S = 1.0
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
# Ray's client would go to the address in these, whatever it is told.
_OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
# They say at level INFO what they do, whatever their parents' level.
_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
_NOT_FOUND = 127  # exit code of a shell that does not find a program
_TOKEN_ADVICE = (
    "put its token into ~/.ray/auth_token (mode 0600) or the file that RAY_AUTH_TOKEN_PATH names, "
    "and set RAY_AUTH_MODE=token"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job of a campaign on a Ray cluster."""

    name: str  # its submission id
    status: str  # PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED
    exit_code: int | None  # of the run; None while it runs, and where it was killed
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in _ENDED

    @property
    def code(self) -> int:
        """What to exit with: 0 complete, 75 stopped and resumable, 1 failed."""
        if self.status == "SUCCEEDED":
            return COMPLETE
        return STOPPED if self.status == "STOPPED" or self.exit_code == STOPPED else FAILED


class CampaignJobs:
    """The jobs of one campaign into one folder, on the cluster whose dashboard is at `address`.

    They are told from others by their names: a digest of campaign and folder, and a number.
    Every method raises ServiceError, in one sentence, where the cluster does not answer as it should.
    """

    def __init__(self, address: str, campaign: Campaign, out: str) -> None:
        self._client = connect(address)
        self._campaign = campaign
        self._out = out
        self._family = family(campaign, out)

    def latest(self) -> Job | None:
        """The last job that was submitted, if there was one."""
        numbers = [int(name.removeprefix(self._family)) for name in self._names()]
        return self.look(f"{self._family}{max(numbers)}") if numbers else None

    def submit(self, program: str = "memflux") -> Job:
        """The job that runs; a new one, which goes on with the folder, where there is none.

        `program` is memflux as the head of the cluster finds it.
        """
        latest = self.latest()
        if latest is not None and not latest.ended:
            return latest
        number = 1 if latest is None else int(latest.name.removeprefix(self._family)) + 1
        name = f"{self._family}{number}"
        variables = {**WORKER_ENVIRONMENT, "RAY_USAGE_STATS_ENABLED": "0", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)}
        with _folder_with(self._campaign) as folder, _sentences(f"the job {name} was refused"):
            self._client.submit_job(
                entrypoint=entrypoint(FILE, self._out, program),
                submission_id=name,
                runtime_env={"working_dir": str(folder), "env_vars": variables},
                metadata={"memflux_out": self._out},
                entrypoint_num_cpus=0,
            )
        return self.look(name)

    def look(self, name: str) -> Job:
        """A job as it is now."""
        with _sentences(f"the job {name} cannot be looked at"):
            info = self._client.get_job_info(name)
        message = " ".join((info.message or "").split())
        if info.driver_exit_code == _NOT_FOUND:
            message = "the head does not find memflux on its PATH; start its Ray where it does, or give --program."
        status = str(getattr(info.status, "value", info.status))
        return Job(name=name, status=status, exit_code=info.driver_exit_code, message=message)

    def stop(self, name: str) -> Job:
        """Ask a job to stop, and wait until it has drained and ended."""
        with _sentences(f"the job {name} cannot be stopped"):
            self._client.stop_job(name)
        return self._wait(name, STOP_S + 30.0)

    def follow(self, name: str, write: Callable[[str], object]) -> Job:
        """Hand what the job prints to `write` until it ends; the job as it ended."""
        while not (job := self.look(name)).ended and job.status == "PENDING":
            time.sleep(PAUSE_S)
        # A connection that breaks is no news of the job; its output then starts again from where it was.
        seen = 0
        while True:
            skip = seen
            with contextlib.suppress(OSError, RuntimeError):
                seen = max(seen, asyncio.run(self._tail(name, write, skip)))
            if (job := self.look(name)).ended:
                return job
            time.sleep(PAUSE_S)

    async def _tail(self, name: str, write: Callable[[str], object], skip: int) -> int:
        """Write what comes after the first `skip` characters; how many there were."""
        seen = 0
        async for text in self._client.tail_job_logs(name):
            new = text[max(0, skip - seen) :]
            seen += len(text)
            if new:
                write(new)
        return seen

    def _wait(self, name: str, patience_s: float) -> Job:
        deadline = time.monotonic() + patience_s
        while not (job := self.look(name)).ended:
            if time.monotonic() > deadline:
                raise ServiceError(f"the job {name} does not stop in {patience_s:g} s; look at it with --detach.")
            time.sleep(PAUSE_S / 2)
        return job

    def _names(self) -> list[str]:
        with _sentences("the jobs cannot be listed"):
            names = [job.submission_id for job in self._client.list_jobs()]
        return [n for n in names if n and n.startswith(self._family) and n.removeprefix(self._family).isdigit()]


def family(campaign: Campaign, out: str) -> str:
    """How the names of all jobs of one campaign into one folder begin."""
    recipe = json.dumps([campaign.model_dump(mode="json"), out], sort_keys=True)
    return f"{PREFIX}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}-"


def connect(address: str) -> JobSubmissionClient:
    """A client of the cluster whose dashboard is at `address`, in bounded time.

    Raises InvalidValue for what is no address, ServiceError where nobody listens, or the token is
    missing or wrong.
    """
    if address == "auto":
        raise InvalidValue("address = 'auto' may be anyone's Ray; give that of a dashboard, as http://head:8265.")
    parts = urllib.parse.urlsplit(address)
    try:
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not None
    except ValueError:  # a port that is none
        good = False
    if not good:
        raise InvalidValue(f"address = {address!r} is not that of a dashboard; give one as http://head:8265.")
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    address = address.rstrip("/")
    _probe(address)
    with _without(_OVERRIDES), _sentences(f"no Ray jobs at {address!r}"):
        return JobSubmissionClient(address)


def _probe(address: str) -> None:
    """Ray's client would wait without end for one who accepts and says nothing."""
    try:
        headers = get_auth_headers_if_auth_enabled({})
    except ray.exceptions.RayError:
        raise ServiceError(f"RAY_AUTH_MODE asks for a token, and there is none here; {_TOKEN_ADVICE}.") from None
    request = urllib.request.Request(f"{address}/api/version", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=REACH_S) as answer:
            json.loads(answer.read())["ray_version"]
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            what = "asks for a token" if error.code == 401 else "does not know this token"
            raise ServiceError(f"the Ray at {address!r} {what}; {_TOKEN_ADVICE}.") from None
        raise ServiceError(f"{address!r} answers {error.code}; is it the dashboard of a Ray?") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = getattr(error, "reason", None) or error
        raise ServiceError(f"no Ray jobs at {address!r}: {cause}; is its dashboard running, and reachable?") from None


@contextlib.contextmanager
def _sentences(what: str) -> Iterator[None]:
    """Make what Ray's client raises a sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:  # requests' errors are OSErrors
        text = " ".join(str(error).split())
        raise ServiceError(f"{what}: {text[:300]}") from None


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """Hide environment variables."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextlib.contextmanager
def _folder_with(campaign: Campaign) -> Iterator[Path]:
    """A folder with the campaign file and nothing else, for a moment: it is what travels to the cluster."""
    folder = Path(tempfile.mkdtemp(prefix="memflux-submit-"))
    try:
        (folder / FILE).write_text(campaign.to_yaml(), encoding="utf-8")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
