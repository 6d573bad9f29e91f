"""The endpoint on a real, small Ray; one for the whole file."""

import functools
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import ray

import compact_served
from compact_served import NAME, TOKEN, CompactServed, load
from memflux.analysis.quantities import evaluate
from memflux.contracts import CurveCost
from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue, ServiceError
from memflux.metrics import symmetry
from memflux.platform.asking.executor_ray import SideBySide
from memflux.platform.asking.questions import Morris, Optimise, Sobol
from memflux.platform.asking.run import InTurn, Task, ask
from memflux.platform.cluster import local_cluster
from memflux.platform.serving import client as client_file
from memflux.platform.serving import serve as serve_file
from memflux.platform.serving.client import Client
from memflux.platform.serving.serve import Scale, check_port, endpoint, free_port, start, stop
from memflux.solvers.solver import Solver
from processes import command_of, descendants

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
SMALL = Scale(cpus=0.5, solvers=1)
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def cluster():
    # Workers cannot import this folder, so the loader travels as code.
    ray.cloudpickle.register_pickle_by_value(compact_served)
    with local_cluster(cores=3, object_store=2**28) as cluster:
        yield cluster
    ray.cloudpickle.unregister_pickle_by_value(sys.modules["compact_served"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the endpoint keeps what its solvers solve."""
    return tmp_path_factory.mktemp("serve") / "kept"


@pytest.fixture(scope="module")
def running(cluster, kept):
    scale = Scale(replicas=2, cpus=0.5, solvers=1)
    with endpoint({NAME: "unused"}, port=free_port(), token=TOKEN, scale=scale, keep=kept, loader=load) as running:
        yield running


@pytest.fixture
def asked(running):
    with Client(running.url, model=NAME, token=TOKEN, timeout=60.0) as client:
        yield client


def test_answers_equal_the_local_model(asked, monkeypatch):
    monkeypatch.setattr(client_file, "CURVES_A_REQUEST", 300)  # more devices than one request takes
    model = CompactServed()
    devices, drive = model.space.sample(1000, seed=0)
    far, near = asked(devices, drive), model(devices, drive)
    np.testing.assert_allclose(far.current, near.current, rtol=1e-12)
    np.testing.assert_array_equal(far.voltage, near.voltage)
    np.testing.assert_array_equal(far.inside, near.inside)
    names = ("symmetry", "on_off_ratio")
    local = evaluate(model, devices, drive, names)
    np.testing.assert_allclose(asked.quantities(devices, drive, names), local, rtol=1e-12)
    cost = CurveCost(kind="log_curve", target=near.current[0, :41])
    for a, b in zip(
        asked.value_and_gradient(devices[:50], drive, cost),
        model.value_and_gradient(devices[:50], drive, cost),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_analyses_side_by_side_say_what_they_say_in_turn(asked, running, tmp_path):
    analyses = [Sobol(name="s", base_samples=32), Optimise(name="o", generations=4), Morris(name="m", trajectories=8)]
    tasks = [Task(analysis, asked.space) for analysis in analyses]
    opened = functools.partial(Client, running.url, NAME, token=TOKEN)
    for folder, asking in (("turn", InTurn(asked)), ("ray", SideBySide(opened, actors=2, cpus=0.25))):
        outcome = ask(tasks, asked, asking, tmp_path / folder)
        assert [outcome.state(name) for name in "som"] == ["answered"] * 3
    for name in ("s.json", "o.json", "m.json"):
        assert (tmp_path / "turn" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()


def test_solvers_answer_for_what_the_model_does_not_know(asked, kept):
    space = CompactServed().space
    devices, drive = space.sample(3, seed=4)
    devices = devices.replace(vacancy_offset=np.where(np.arange(3) == 2, 0.9, devices.vacancy_offset))
    found = asked.measure(devices, drive, ["symmetry"], defer=True)
    np.testing.assert_array_equal(found.exact, [False, False, True])
    exact = Solver(samples=CompactServed().samples)(devices[2:], drive)
    np.testing.assert_allclose(found.values[2, 0], symmetry(exact)[0], rtol=1e-9)
    end = time.monotonic() + 30.0
    while not list((kept / NAME).glob("shard-*")) and time.monotonic() < end:
        time.sleep(0.05)
    data = Dataset.open(kept / NAME)
    np.testing.assert_array_equal(data.devices.vacancy_offset, [0.9])
    np.testing.assert_allclose(data.traces.current, exact.current, rtol=1e-9)
    assert data.space == space
    for _ in range(2):
        assert asked.predict(devices[:2], drive, verify=2).exact.all()


def test_statuses_over_the_wire(running):
    with httpx.Client(base_url=running.url, timeout=60.0, trust_env=False) as http:
        path = f"/v1/models/{NAME}/predict"
        assert [http.get(p).status_code for p in ("/healthz", "/readyz")] == [200, 200]
        assert http.post(path).status_code == 401
        assert http.post(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        answer = http.post(path, headers=HEADERS, json={"devices": {"barrier_left": [0.1, 0.12]}})
        assert np.shape(answer.json()["current"]) == (2, 81)
        unknown = http.post(f"/v1/models/{NAME[:-1]}/predict", headers=HEADERS, json={})
        assert (unknown.status_code, f"Did you mean '{NAME}'" in unknown.json()["error"]) == (404, True)
        large = http.post(path, headers=HEADERS, content=b" " * (64 * 2**20 + 1))
        assert (large.status_code, "send several" in large.json()["error"]) == (413, True)
        wrong = http.post(path, headers=HEADERS, json={"devices": {"barrier_left": [99.0]}})
        assert (wrong.status_code, "out of range" in wrong.json()["error"]) == (422, True)


def test_ten_callers_at_once_get_their_own_answers(asked):
    model = CompactServed()
    asked.models()

    def ask(seed: int) -> bool:
        devices, drive = model.space.sample(200, seed=seed)
        return np.array_equal(asked(devices, drive).current, model(devices, drive).current)

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(ask, range(10), timeout=60))


def test_replicas_listen_on_loopback_alone(running):
    replicas = [pid for pid in descendants(os.getpid()) if b"ray::ServeReplica" in command_of(pid)]
    assert len(replicas) == 2
    for pid in replicas:
        nodes = {os.readlink(handle)[8:-1] for handle in Path(f"/proc/{pid}/fd").iterdir() if handle.is_symlink()}
        lines = [line.split() for f in ("tcp", "tcp6") for line in Path(f"/proc/net/{f}").read_text().splitlines()]
        addresses = {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in nodes}
        assert addresses == {"0000000000000000FFFF00000100007F"}


def test_addresses_that_cannot_be_listened_on_are_named():
    with pytest.raises(InvalidValue, match=r"1\.2\.3\.4:8000 .*no such address\); give 127\.0\.0\.1"):
        check_port("1.2.3.4", 8000)
    with pytest.raises(InvalidValue, match="no such host is known"):
        check_port("no-such-host.invalid", 8000)


def test_token_is_not_shown(running):
    assert TOKEN not in repr(running)


def test_a_second_endpoint_in_one_ray_is_refused(running):
    with pytest.raises(InvalidValue, match="Ray Serve runs in this Ray already"):
        start({NAME: "unused"}, host="127.0.0.1", port=free_port(), token=TOKEN, loader=load)


def test_what_cannot_be_served_is_a_sentence(running, monkeypatch):
    port = int(running.url.rpartition(":")[2])
    with pytest.raises(InvalidValue, match=f"127.0.0.1:{port} cannot be listened on"):
        check_port("127.0.0.1", port)
    with pytest.raises(InvalidValue, match="cannot be part of a URL"):
        start({"a/b": "unused"}, host="127.0.0.1", port=port, token=TOKEN, loader=load)
    with pytest.raises(InvalidValue, match="models has no entries"):
        start({}, host="127.0.0.1", port=port, token=TOKEN, loader=load)
    monkeypatch.setattr(serve_file.serve, "status", lambda: type("None yet", (), {"proxies": {}}))
    with pytest.raises(InvalidValue, match="9 replicas and 0 solvers need 9 CPUs"):
        start({NAME: "unused"}, host="127.0.0.1", port=free_port(), token=TOKEN, scale=Scale(replicas=9), loader=load)
    with pytest.raises(InvalidValue, match="the token has 5 characters"):
        start({NAME: "unused"}, host="127.0.0.1", port=free_port(), token="short", loader=load)
    with pytest.raises(DataError, match="neither a folder nor a pretrained"):
        start({NAME: "no-such-folder"}, host="127.0.0.1", port=free_port(), token=TOKEN)
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    with pytest.raises(InvalidValue, match="listens on every interface"):
        start({NAME: "unused"}, host="127.0.0.1", port=port, token=TOKEN, loader=load)


def test_the_end_is_an_end_and_a_start_that_fails_leaves_nothing(running, cluster, capfd, kept):
    """Last in the file: it stops the endpoint of the others."""
    stop()
    time.sleep(1.0)  # what Ray has to say of it comes late
    assert capfd.readouterr() == ("", "")
    assert len(Dataset.open(kept / NAME)) == 3  # the last two were written at an end, and once
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/healthz", trust_env=False)

    def fails_in_replicas(folder: object, scale: Scale) -> CompactServed:
        if ray.get_runtime_context().get_actor_id() is not None:
            raise RuntimeError("no such model here")
        return CompactServed()

    port = free_port()
    with pytest.raises(ServiceError, match="did not start"):
        start(
            {NAME: "unused"}, host="127.0.0.1", port=port, token=TOKEN, scale=Scale(cpus=0.5), loader=fails_in_replicas
        )
    check_port("127.0.0.1", port)
    (kept / NAME / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        start({NAME: "unused"}, host="127.0.0.1", port=port, token=TOKEN, scale=SMALL, keep=kept, loader=load)
    check_port("127.0.0.1", port)
