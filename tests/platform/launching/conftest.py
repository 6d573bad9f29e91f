"""A slow campaign, another Ray of the same user, and a real Slurm, where there is one."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from launched import SLOW, Cheap, head_options, wait_for
from slurm import local_slurm


@pytest.fixture
def cheap(tmp_path):
    """A campaign of 150 shards of 4 devices, a second each until `pace` says otherwise."""
    file = tmp_path / "c.yaml"
    file.write_text("space: 5d-parametric\ncount: 600\nseed: 3\nengine: compact\nshard_size: 4\nsamples: 16\n")
    foreign = ("RAY_", "SLURM_", "SBATCH_")
    variables = {n: v for n, v in os.environ.items() if not n.startswith(foreign)}
    path = os.pathsep.join(p for p in (str(SLOW), os.environ.get("PYTHONPATH")) if p)
    variables |= {"PYTHONPATH": path, "MEMFLUX_TEST_PACE": str(tmp_path / "pace"), "HOME": str(tmp_path)}
    campaign = Cheap(folder=tmp_path, file=file, environment=variables)
    campaign.pace(1.0)
    return campaign


@pytest.fixture
def other_ray():
    """Another Ray of the same user, with a token of its own; the process of its `ray start --block`."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    (folder / "token").write_text("0123456789abcdef0123456789abcdef")
    (folder / "token").chmod(0o600)
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_USAGE_STATS_ENABLED": "0"}
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *head_options(folder)],
            env=os.environ | variables | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}, stdout=file, stderr=file,
        )  # fmt: skip
    wait_for(lambda: "Ray runtime started." in log.read_text(), 90, log.read_text())
    yield process
    process.terminate()
    process.wait(timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def slurm_conf():
    """The slurm.conf of a Slurm with two pretended nodes of two cores, which ends with the tests."""
    try:
        local_slurm.ensure()
    except local_slurm.NoSlurm as error:
        pytest.skip(str(error))
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    try:
        conf = local_slurm.start(folder, nodes=2, cpus=2)
    except local_slurm.NoSlurm as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(str(error))
    yield conf
    subprocess.run(["scancel", "--me", "--signal=KILL"], env=os.environ | {"SLURM_CONF": str(conf)}, check=False)
    local_slurm.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)
