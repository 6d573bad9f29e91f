"""Campaigns as Ray jobs on a head with a dashboard: followed, stopped, gone on with; mistakes are sentences."""

import http.server
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import yaml
from ray.job_submission import JobSubmissionClient

from launched import SLOW, head_options, wait_for
from memflux.errors import InvalidValue, ServiceError
from memflux.platform.campaigns.campaign import Campaign
from slurm.local_slurm import free_ports

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def place():
    """The dashboard's address of a head with a token, which finds memflux, and the file of its pace."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    (folder / "pace").write_text("1.0")
    (port,) = free_ports(1)
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_USAGE_STATS_ENABLED": "0"}
    own |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "MEMFLUX_TEST_PACE": str(folder / "pace")}
    own["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own["PYTHONPATH"] = os.pathsep.join(p for p in (str(SLOW), os.environ.get("PYTHONPATH")) if p)
    words = head_options(folder, f"--dashboard-port={port}", "--include-dashboard=true", "--dashboard-host=127.0.0.1")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *words], env=os.environ | own, stdout=log, stderr=log
        )
    wait_for(lambda: "Ray runtime started." in (folder / "log").read_text(), 120, "the head starts")
    yield f"http://127.0.0.1:{port}", folder / "pace"
    process.terminate()
    process.wait(timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def head(place):
    """The dashboard's address."""
    return place[0]


@pytest.fixture
def there(cheap, place):
    """The campaign, with the head's token in the place where Ray's client looks first."""
    (cheap.folder / ".ray").mkdir()
    (cheap.folder / ".ray" / "auth_token").write_text(TOKEN)
    # What Ray's own client would obey, whatever address it is given.
    cheap.environment.update(RAY_AUTH_MODE="token", RAY_ADDRESS="http://127.0.0.1:1", MEMFLUX_TEST_PACE=str(place[1]))
    cheap.pace(1.0)
    return cheap


def submit(cheap, address, *more, code=0):
    return cheap.memflux("submit", cheap.file, "--address", address, "--out", "data", *more, code=code)


def begin(cheap, address):
    """A client that follows, and the lines of its standard error so far."""
    words = ["-m", "memflux.cli", "submit", str(cheap.file), "--address", address, "--out", "data", "--json"]
    log = cheap.folder / "client.err"
    return subprocess.Popen(
        [sys.executable, *words], env=cheap.environment, cwd=cheap.folder, stdout=subprocess.PIPE, stderr=log.open("w")
    ), log


@pytest.mark.slow
def test_followed_interrupted_stopped_and_gone_on_with(there, head):
    client, log = begin(there, head)
    wait_for(lambda: there.shards("data") >= 2, 120, "shards")
    client.send_signal(signal.SIGINT)
    assert client.wait(timeout=30) == 130
    text = log.read_text()
    assert f"--out is {there.folder}/data on every node" in text
    assert "the job goes on; follow it with: memflux submit" in text
    assert "Running entrypoint" in text
    running = submit(there, head, "--detach", "--json")
    assert running["status"] == "RUNNING"
    assert running["job"].endswith("-1")
    made = there.shards("data")
    wait_for(lambda: there.shards("data") > made, 30, "it goes on")
    stopped = submit(there, head, "--stop", "--json", code=75)
    assert stopped == running | {"status": "STOPPED", "exit_code": 75}
    assert 0 < there.shards("data") < 150
    assert submit(there, head, "--stop", "--json", code=75) == stopped
    there.pace(0)
    last = submit(there, head, "--json")
    assert (last["status"], last["exit_code"], last["out"]) == ("SUCCEEDED", 0, f"{there.folder}/data")
    assert last["job"] == running["job"].removesuffix("1") + "2"
    assert there.content_hash("data") == there.undisturbed()


@pytest.mark.slow
def test_the_entrypoint_of_the_kubernetes_manifest_runs(there, head):
    there.pace(0)
    words = (
        "cluster",
        "kubernetes",
        there.file,
        "--out",
        f"file://{there.folder}/data",
        "--image",
        "x",
        "--workers",
        1,
    )
    there.file.write_text(there.file.read_text().replace("count: 600", "count: 8"))
    text = there.memflux(*words, "--cpus", 1).stdout
    config, job = yaml.safe_load_all(text)
    mount = there.folder / "mounted here"
    mount.mkdir()
    (mount / "campaign.yaml").write_text(config["data"]["campaign.yaml"])
    line = job["spec"]["entrypoint"].replace("/etc/memflux/campaign.yaml", f"'{mount}/campaign.yaml'")
    # As KubeRay's operator does in its HTTPMode.
    token = {"Authorization": f"Bearer {TOKEN}"}
    client = JobSubmissionClient(head, headers=token)
    name = client.submit_job(entrypoint=line, runtime_env=yaml.safe_load(job["spec"]["runtimeEnvYAML"]))
    wait_for(lambda: str(client.get_job_status(name)) in ("SUCCEEDED", "FAILED"), 90, client.get_job_logs(name))
    assert str(client.get_job_status(name)) == "SUCCEEDED", client.get_job_logs(name)
    assert there.content_hash("data") == there.undisturbed()


@pytest.mark.slow
def test_a_run_that_fails_is_exit_code_1(there, head):
    (there.folder / "data").write_text("a file")
    done = submit(there, head, code=1)
    assert "failed: Job entrypoint command failed with exit code 1" in done.stderr


def test_a_head_that_does_not_find_memflux_is_one_sentence(there, head):
    done = submit(there, head, "--program", "no-such-memflux", code=1)
    assert "the head does not find memflux on its PATH" in done.stderr


def test_nothing_to_stop_is_one_sentence(there, head):
    done = submit(there, head, "--stop", code=1)
    assert "no job of this campaign into data was submitted there" in done.stderr


@pytest.mark.parametrize(
    ("token", "mode", "sentence"),
    [
        (None, None, "asks for a token; put its token into ~/.ray/auth_token"),
        (None, "token", "RAY_AUTH_MODE asks for a token, and there is none here"),
        ("f" * 32, "token", "does not know this token"),
    ],
    ids=["off", "missing", "wrong"],
)
def test_a_token_that_is_not_there_or_not_right_is_one_sentence(cheap, head, token, mode, sentence):
    if mode:
        cheap.environment["RAY_AUTH_MODE"] = mode
    if token:
        (cheap.folder / "token").write_text(token)
        cheap.environment["RAY_AUTH_TOKEN_PATH"] = str(cheap.folder / "token")
    done = submit(cheap, head, code=1)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (cheap.folder / "data").exists()


@pytest.mark.parametrize(
    ("address", "error", "sentence"),
    [
        ("auto", InvalidValue, "may be anyone's Ray"),
        ("head:8265", InvalidValue, "give one as http://head:8265"),
        ("http://head", InvalidValue, "give one as http://head:8265"),
        ("http://head:99999", InvalidValue, "give one as http://head:8265"),
        ("ray://head:10001", InvalidValue, "give one as http://head:8265"),
        ("http://127.0.0.1:1", ServiceError, "Connection refused; is its dashboard running"),
    ],
)
def test_an_address_that_is_none_is_one_sentence(address, error, sentence, monkeypatch):
    from memflux.platform.launching.jobs import connect

    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(error, match=sentence):
        connect(address)


def test_someone_who_is_no_dashboard_is_one_sentence(tmp_path, monkeypatch):
    from memflux.platform.launching import jobs

    monkeypatch.setattr(jobs, "REACH_S", 0.5)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ServiceError, match="answers 404; is it the dashboard of a Ray"):
            jobs.connect(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    with http.server.HTTPServer(("127.0.0.1", 0), None) as mute, pytest.raises(ServiceError, match="timed out"):
        jobs.connect(f"http://127.0.0.1:{mute.server_port}")


def test_the_name_of_a_job_depends_on_campaign_and_folder():
    from memflux.platform.launching.jobs import family

    one = Campaign(space="9d", count=7)
    names = {family(one, "/a"), family(one, "/b"), family(Campaign(space="9d", count=8), "/a")}
    assert len(names) == 3
    assert family(Campaign(space="9d", count=7), "/a") in names
