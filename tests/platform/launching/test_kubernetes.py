"""The text of a RayJob: what KubeRay reads is what was meant."""

import shlex

import pytest
import yaml

from memflux.errors import InvalidValue
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.launching.kubernetes import KubernetesJob

CAMPAIGN = Campaign(space="9d", count=7, engine="compact").to_yaml()


def job(**changes):
    fields = {"campaign": CAMPAIGN, "out": "s3://b/c", "image": "ghcr.io/x/memflux:1", "workers": 3, "cpus": 4}
    return KubernetesJob(**(fields | changes))


@pytest.fixture
def documents():
    """ConfigMap and RayJob, as a reader of YAML sees them."""
    return list(yaml.safe_load_all(job().manifest()))


def test_the_campaign_travels_as_it_is(documents, tmp_path):
    config, ray_job = documents
    assert (config["kind"], config["metadata"]["name"]) == ("ConfigMap", "memflux-campaign")
    file = tmp_path / "c.yaml"
    file.write_text(config["data"]["campaign.yaml"])
    assert Campaign.from_yaml(file) == Campaign(space="9d", count=7, engine="compact")
    assert (ray_job["apiVersion"], ray_job["kind"]) == ("ray.io/v1", "RayJob")


def test_the_job_ends_goes_on_and_cleans_up(documents):
    spec = documents[1]["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] == 600
    assert spec["backoffLimit"] == 10
    assert spec["submissionMode"] == "HTTPMode"
    assert spec["entrypointNumCpus"] == 0
    assert yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["PYTHONSAFEPATH"] == "1"
    assert shlex.split(spec["entrypoint"]) == [
        "exec", "memflux", "campaign", "run", "/etc/memflux/campaign.yaml", "--out", "s3://b/c",
        "--executor", "ray", "--address", "$RAY_ADDRESS", "--json",
    ]  # fmt: skip


def test_nothing_is_solved_on_the_head(documents):
    cluster = documents[1]["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (3, 3, 3)
    assert workers["rayStartParams"]["num-cpus"] == "4"
    container = workers["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "4Gi"} == container["resources"]["requests"]


def test_every_pod_has_the_token_and_no_rights(documents):
    cluster = documents[1]["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "memflux-ray-token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        variables = {entry["name"]: entry for entry in container["env"]}
        assert variables["RAY_AUTH_MODE"]["value"] == "token"
        secret = variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": "memflux-ray-token", "key": "auth_token"}
        assert variables["RAY_USAGE_STATS_ENABLED"]["value"] == "0"
        assert {"name": "campaign", "mountPath": "/etc/memflux", "readOnly": True} in container["volumeMounts"]


def test_its_first_lines_say_that_nobody_ran_it():
    lines = job().manifest().splitlines()
    assert lines[1].startswith("# NOBODY HAS RUN THIS ON A KUBERNETES CLUSTER")
    assert any("kubectl create secret generic memflux-ray-token" in line for line in lines[:6])
    assert "&id" not in job().manifest()


def test_a_path_is_on_a_volume():
    text = job(out="/data/c", claim="shared").manifest()
    pod = list(yaml.safe_load_all(text))[1]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}} in pod["volumes"]
    assert {"name": "data", "mountPath": "/data"} in pod["containers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"workers": 0}, "workers = 0 is out of range"),
        ({"cpus": 0}, "cpus = 0 is out of range"),
        ({"retries": -1}, "retries = -1 is out of range"),
        ({"name": "Mine_1"}, "name = 'Mine_1' is not a name in Kubernetes"),
        ({"secret": "a b"}, "secret = 'a b' is not a name"),
        ({"image": "a b"}, "image = 'a b' is not that of a container"),
        ({"memory": "4GB"}, "memory = '4GB' is not an amount; give one as 4Gi"),
        ({"out": "data/c"}, "out = 'data/c' is in no pod's reach"),
        ({"out": "data/c", "claim": "shared"}, "out = 'data/c' is not below a mount"),
        ({"out": "/c", "claim": "shared"}, "out = '/c' is not below a mount"),
        ({"claim": "shared"}, "claim is for a path"),
        ({"out": "x9://b"}, "Protocol not known: x9"),
    ],
)
def test_what_no_manifest_can_have_is_one_sentence(changes, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        job(**changes)
