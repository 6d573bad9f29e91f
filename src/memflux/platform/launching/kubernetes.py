"""A KubeRay RayJob that runs a campaign, as text for kubectl."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from memflux.errors import InvalidValue, check_integer
from memflux.platform.environment import WORKER_ENVIRONMENT
from memflux.platform.launching.command import check_url, entrypoint

RAY_VERSION = "2.60.0"  # of the image, too; KubeRay asks for it where tokens are on
MOUNT = "/etc/memflux"
FILE = "campaign.yaml"
TOKEN_KEY = "auth_token"
USER = 1000  # what Ray's own images run as
STOP_S = 60  # how long a run that is stopped may drain
_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_IMAGE = re.compile(r"[\w][\w.:/@-]*")
_MEMORY = re.compile(r"[1-9]\d*(Ki|Mi|Gi|Ti)")

HEADER = """\
# A campaign as a KubeRay RayJob, written by `memflux cluster kubernetes`.
# NOBODY HAS RUN THIS ON A KUBERNETES CLUSTER: its fields follow the reference of KubeRay 1.6, and its
# entrypoint is run by a test on a local Ray. Read it before you apply it. It needs the KubeRay operator
# 1.6 or newer and, once, a token:
#   kubectl create secret generic {secret} --from-literal={key}="$(openssl rand -hex 32)"
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class KubernetesJob:
    """What to ask Kubernetes for. Raises InvalidValue for values that no manifest can have."""

    campaign: str  # text of the campaign file
    out: str  # URL of the folder to fill, which every pod reaches, or a path with `claim` mounted on it
    image: str  # with memflux and Ray in it
    workers: int  # pods that solve
    cpus: int  # of each
    memory: str = "4Gi"  # of each, and of the head
    name: str = "memflux-campaign"
    secret: str = "memflux-ray-token"
    retries: int = 10  # times that the campaign is gone on with when it stops or loses its head
    keep: int = 600  # seconds until the pods go when it has finished
    claim: str | None = None  # PersistentVolumeClaim (ReadWriteMany) to mount at the folder's parent

    def __post_init__(self) -> None:
        """Check every field that a person gives."""
        check_integer("workers", self.workers, low=1, high=100_000)
        check_integer("cpus", self.cpus, low=1, high=10_000)
        check_integer("retries", self.retries, low=0, high=1000)
        check_integer("keep", self.keep, low=0, high=10**6)
        for field in ("name", "secret", "claim"):
            value = getattr(self, field)
            if value is not None and not _LABEL.fullmatch(value):
                raise InvalidValue(f"{field} = {value!r} is not a name in Kubernetes; give a-z, 0-9 and -, at most 40.")
        if not _IMAGE.fullmatch(self.image):
            raise InvalidValue(f"image = {self.image!r} is not that of a container; give NAME:TAG.")
        if not _MEMORY.fullmatch(self.memory):
            raise InvalidValue(f"memory = {self.memory!r} is not an amount; give one as 4Gi.")
        path = "://" not in self.out
        if path and self.claim is None:
            raise InvalidValue(f"out = {self.out!r} is in no pod's reach; give a URL as s3://..., or --claim a volume.")
        if path and (not self.out.startswith("/") or self.out.count("/") < 2):
            raise InvalidValue(f"out = {self.out!r} is not below a mount; give an absolute path as /data/c.")
        if not path:
            if self.claim is not None:
                raise InvalidValue("claim is for a path; a URL needs no volume.")
            check_url(self.out)

    def manifest(self) -> str:
        """The YAML of a ConfigMap with the campaign and of the RayJob."""
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name},
            "data": {FILE: self.campaign},
        }
        header = HEADER.format(secret=self.secret, key=TOKEN_KEY)
        documents = [config, self.ray_job()]
        return header + yaml.safe_dump_all(documents, sort_keys=False, width=1000, allow_unicode=True)

    def ray_job(self) -> dict[str, Any]:
        """The RayJob."""
        workers = {
            "groupName": "solvers",
            "replicas": self.workers,
            "minReplicas": self.workers,
            "maxReplicas": self.workers,
            "rayStartParams": {"num-cpus": str(self.cpus)},
            "template": {"spec": self._pod("ray-worker", self.cpus)},
        }
        # The head schedules and drives; nothing is solved there.
        head = {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": {"spec": self._pod("ray-head", 2)},
        }
        cluster = {
            "rayVersion": RAY_VERSION,
            "authOptions": {"mode": "token", "secretName": self.secret},
            "headGroupSpec": head,
            "workerGroupSpecs": [workers],
        }
        spec = {
            "entrypoint": self.entrypoint(),
            "entrypointNumCpus": 0,
            "runtimeEnvYAML": yaml.safe_dump(
                {"env_vars": {**WORKER_ENVIRONMENT, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)}}
            ),
            # The others pass the line through a shell of a submitter, in which RAY_ADDRESS is empty.
            "submissionMode": "HTTPMode",
            "backoffLimit": self.retries,  # each one a new cluster, which goes on with the same folder
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": self.keep,
            "rayClusterSpec": cluster,
        }
        return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": self.name}, "spec": spec}

    def entrypoint(self) -> str:
        """The line that the head's pod runs."""
        return entrypoint(f"{MOUNT}/{FILE}", self.out)

    def _pod(self, container: str, cpus: int) -> dict[str, Any]:
        mounts: list[dict[str, Any]] = [{"name": "campaign", "mountPath": MOUNT, "readOnly": True}]
        volumes: list[dict[str, Any]] = [{"name": "campaign", "configMap": {"name": self.name}}]
        if self.claim is not None:
            mounts.append({"name": "data", "mountPath": str(Path(self.out).parent)})
            volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": self.claim}})
        amounts = {"cpu": str(cpus), "memory": self.memory}
        secret = {"secretKeyRef": {"name": self.secret, "key": TOKEN_KEY}}
        return {
            "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER},
            "containers": [
                {
                    "name": container,
                    "image": self.image,
                    "env": [
                        {"name": "RAY_AUTH_MODE", "value": "token"},
                        {"name": "RAY_AUTH_TOKEN", "valueFrom": secret},
                        {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
                        *({"name": name, "value": value} for name, value in WORKER_ENVIRONMENT.items()),
                    ],
                    "resources": {"requests": dict(amounts), "limits": dict(amounts)},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        }
