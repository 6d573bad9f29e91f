import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.cli.main import app
from memflux.cli.serve import named
from memflux.errors import DataError, InvalidValue
from memflux.platform.serving.client import Client
from memflux.platform.serving.serve import free_port
from memflux.space import Space
from memflux.stand_in import StandIn
from processes import descendants


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from memflux.training.loop import fit
    from memflux.training.schedule import Schedule
    from memflux.training.spectral import SpectralConfig

    space = Space.preset("5d-parametric")
    devices, drive = space.sample(60, seed=0)
    config = SpectralConfig(components=4, members=1, width=8, layers=2)
    traces = StandIn(samples=16)(devices, drive)
    path = tmp_path_factory.mktemp("surrogates") / "tiny"
    fit(devices, drive, traces, space, config, Schedule(epochs=1), seed=0).save(path)
    return path


def test_models_are_named_by_folder_or_by_hand():
    assert named(["runs/tiny", "best=runs/other/"]) == {"tiny": "runs/tiny", "best": "runs/other/"}
    with pytest.raises(InvalidValue, match="two models are called 'a'"):
        named(["x/a", "y/a"])


def test_help_has_an_example():
    result = CliRunner().invoke(app, ["serve", "--help"])
    assert result.exit_code == 0
    assert "Example: memflux serve" in result.output


def test_missing_folder_and_taken_port_are_told_before_ray_starts(folder, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("memflux.platform.cluster.local_cluster", lambda **_: started.append(1))
    token = ["--token-file", str(tmp_path / "token")]
    missing = CliRunner().invoke(app, ["serve", str(tmp_path / "none"), *token])
    assert isinstance(missing.exception, DataError)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = CliRunner().invoke(app, ["serve", str(folder), "--port", str(port), *token])
    assert isinstance(busy.exception, InvalidValue)
    assert f"127.0.0.1:{port} cannot be listened on" in str(busy.exception)
    large = CliRunner().invoke(app, ["serve", str(folder), "--port", str(free_port()), "--cpus", "1000", *token])
    assert isinstance(large.exception, InvalidValue)
    assert "1 replicas of 1000 CPUs and 0 solvers do not fit" in str(large.exception)
    alone = CliRunner().invoke(app, ["serve", str(folder), "--port", str(free_port()), "--keep", "kept", *token])
    assert str(alone.exception) == "keep = 'kept' is for what solvers solve; add --solvers, or leave --keep out."
    away = CliRunner().invoke(app, ["serve", str(folder), "--host", "1.2.3.4", *token])
    assert "no such address" in str(away.exception)
    assert not started
    assert not (tmp_path / "token").exists()


@pytest.mark.ray
@pytest.mark.timeout(150)
def test_it_serves_a_surrogate_until_sigterm(folder, tmp_path):
    from memflux.training.surrogate import Surrogate

    token_file = tmp_path / "token"
    command = [sys.executable, "-c", "from memflux.cli.main import main; main()"]
    options = ["serve", "tiny", "--port", str(free_port()), "--token-file", str(token_file), "--cpus", "1", "--json"]
    process = subprocess.Popen(
        command + options, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        told = json.loads(line)
        assert told["token_file"] == str(token_file)
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        local = Surrogate.load(folder).on("cpu", "float32")
        devices, drive = local.space.sample(50, seed=1)
        with Client(told["url"], token_file=token_file) as client:
            assert client.model == "tiny"
            np.testing.assert_allclose(client(devices, drive).current, local(devices, drive).current, rtol=1e-9)
            assert client.models()[0]["test_errors"].keys() == dict(local.test_errors).keys()
        children = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert token_file.read_text().strip() not in line + output + errors
    assert not output, "standard output belongs to the one result"
    assert "INFO" not in errors
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{told['url']}/healthz", trust_env=False)
    assert children
    assert not [pid for pid in children if _runs(pid)]


def _runs(pid: int) -> bool:
    """Whether the process exists and is no zombie that waits for its adoptive parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
