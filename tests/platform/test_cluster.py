"""The embedded Ray: private, scrubbed, and ended by whoever started it."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from memflux.errors import InvalidValue, ServiceError
from memflux.platform import cluster
from memflux.platform.cluster import local_cluster, make_token_private
from memflux.platform.environment import scrub_launcher_environment

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import ray
from memflux.platform.cluster import local_cluster
from processes import descendants

@ray.remote(num_cpus=1)
def environment():
    return dict(os.environ)

def listening():
    # Hexadecimal local addresses, as the kernel writes them, of what this process and its children listen on.
    nodes = set()
    for pid in family(os.getpid()):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            try:
                name = os.readlink(handle)
            except OSError:
                continue
            if name.startswith("socket:["):
                nodes.add(name[8:-1])
    lines = [l.split() for f in ("tcp", "tcp6") for l in Path(f"/proc/self/net/{f}").read_text().splitlines()[1:]]
    return [l[1].partition(":")[0] for l in lines if l[3] == "0A" and l[9] in nodes]

def family(pid):
    return [pid, *descendants(pid)]

before = signal.getsignal(signal.SIGTERM)
with local_cluster(cores=1) as cluster:
    inside = ray.get(environment.remote(), timeout=60)
    addresses = listening()
    with local_cluster() as nested:
        pass
    alive = ray.is_initialized()
    folder = ray._private.worker._global_node.get_temp_dir_path()
    guard = oct(Path(folder).parent.stat().st_mode & 0o777)
token = Path.home() / ".ray" / "auth_token"
print(json.dumps({
    "embedded": cluster.embedded, "nested": nested.embedded, "alive": alive, "ended": not ray.is_initialized(),
    "inside": {k: inside.get(k) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PMI_RANK", "SLURM_STEP_ID", "KEPT")},
    "outside": [os.environ.get("PMI_RANK"), os.environ.get("MKL_NUM_THREADS")],
    "signal": signal.getsignal(signal.SIGTERM) == before, "folder": folder, "left": Path(folder).parent.exists(),
    "listening": addresses, "guard": guard, "beyond": os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"),
    "mode": oct(token.stat().st_mode & 0o777),
}))
"""


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_an_embedded_ray_is_private_and_leaves_nothing(tmp_path):
    launcher = {"PMI_RANK": "0", "SLURM_STEP_ID": "3", "KEPT": "yes", "HOME": str(tmp_path)}
    launcher |= {"PYTHONPATH": str(Path(__file__).parents[1])}  # for processes
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")} | launcher
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["embedded"]
    assert not told["nested"]
    assert told["alive"]
    assert told["ended"]
    assert told["inside"] == {
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PMI_RANK": None, "SLURM_STEP_ID": None, "KEPT": "yes"
    }  # fmt: skip
    assert told["outside"] == ["0", None]
    assert told["signal"]
    assert told["folder"].startswith("/tmp/memflux-ray-")
    assert not told["left"]
    assert told["mode"] == "0o600"
    assert told["guard"] == "0o700"
    assert told["beyond"] is None
    assert len(told["listening"]) >= 5
    assert set(told["listening"]) <= {"0100007F", "0000000000000000FFFF00000100007F"}, "not on 127.0.0.1 alone"


def test_the_address_auto_is_refused():
    with pytest.raises(InvalidValue, match="'auto' may be anyone's Ray"), local_cluster(address="auto"):
        pytest.fail("connected")


def test_a_cluster_that_does_not_answer_is_one_sentence():
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ServiceError, match=r"no Ray at '127\.0\.0\.1:1'"), local_cluster(address="127.0.0.1:1"):
        pytest.fail("connected")
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:x", ":5"])
def test_an_address_without_a_port_is_refused(address):
    with pytest.raises(InvalidValue, match="give host:port"), local_cluster(address=address):
        pytest.fail("connected")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home and no word about tokens."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_token_is_the_owners_alone(home):
    make_token_private()
    token = home / ".ray" / "auth_token"
    text = token.read_text()
    assert len(text) == 64
    assert mode(token) == 0o600
    make_token_private()
    assert token.read_text() == text


def test_a_token_that_others_can_read_is_closed(home):
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("there")
    token.chmod(0o644)
    make_token_private()
    assert mode(token) == 0o600
    assert token.read_text() == "there"


@pytest.mark.parametrize(("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "given")])
def test_no_token_is_made_where_none_is_wanted(home, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    make_token_private()
    assert not (home / ".ray").exists()


def test_launcher_variables_are_taken_away(monkeypatch):
    for name in ("PMI_RANK", "PMIX_ID", "OMPI_COMM_WORLD_RANK", "SLURM_STEP_ID", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "1")
    scrub_launcher_environment()
    assert [n for n in ("PMI_RANK", "PMIX_ID", "OMPI_COMM_WORLD_RANK", "SLURM_STEP_ID") if n in os.environ] == []
    assert os.environ["SLURM_JOB_ID"] == "1"


def test_a_silent_head_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(cluster, "SILENT_S", 0.1)
    monkeypatch.setattr(cluster, "head_answers", lambda: False)
    with pytest.raises(ServiceError, match="nothing is lost: start the cluster and run the same command again"):
        cluster.require_head()
