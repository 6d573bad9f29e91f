"""A real Slurm on this machine, in a folder of its own: munged, slurmctld and a slurmd for each pretended node.

    python tests/slurm/local_slurm.py install           # apt-get install, Debian or Ubuntu, as root
    python tests/slurm/local_slurm.py start FOLDER --nodes 2 --cpus 2
    SLURM_CONF=FOLDER/slurm.conf sinfo
    python tests/slurm/local_slurm.py stop FOLDER

Needs root, because slurmd starts jobs as other users. Nothing outside FOLDER is touched, every port
is one that was free, and daemons are stopped by their pid files: a Slurm of the machine stays as it is.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
DAEMONS = ("munged", "slurmctld", "slurmd")
MAY_INSTALL = ("CI", "MEMFLUX_TEST_INSTALL")  # environment variables that allow tests to call apt-get
ADVICE = f"apt-get install -y {' '.join(PACKAGES)}, as root, or set {MAY_INSTALL[1]}=1"
START_S = 60.0

# MessageTimeout and the intervals are short, because all of it is on one machine and tests wait for it.
# Nodes share their cores with each other: they are pretended.
CONF = """\
ClusterName=memflux
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={controller}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=0,defer_batch=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
MinJobAge=3600
OverTimeLimit=0
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class NoSlurm(RuntimeError):
    """There is no Slurm here that could be started; the sentence says why."""


def install() -> None:
    """Install Slurm and munge from Debian's packages. Raises NoSlurm where that cannot be."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoSlurm("Slurm is not installed, and cannot be without root and apt-get.")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", *words], env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            raise NoSlurm(f"apt-get {words[0]} failed: {' '.join(done.stderr.split())[-300:]}")


def ensure() -> None:
    """See that Slurm can be started here; install it where the environment allows. Raises NoSlurm."""
    if os.geteuid() != 0:
        raise NoSlurm("a test Slurm needs root: slurmd starts jobs as other users.")
    if all(_find(name) for name in DAEMONS):
        return
    if not any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in MAY_INSTALL):
        raise NoSlurm(f"no Slurm here; {ADVICE}.")
    install()


def start(folder: Path, nodes: int = 1, cpus: int = 2) -> Path:
    """Start everything in `folder`; the path of slurm.conf, for SLURM_CONF. Raises NoSlurm."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / "state").mkdir()
    conf = folder / "slurm.conf"
    names = [f"n{i}" for i in range(nodes)]
    ports = free_ports(nodes + 1)
    lines = [
        f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} State=UNKNOWN"
        for name, port in zip(names, ports[1:], strict=True)
    ]
    conf.write_text(CONF.format(host=socket.gethostname(), folder=folder, controller=ports[0], nodes="\n".join(lines)))
    try:
        _start_munge(folder)
        _daemon(folder, "slurmctld", [], "slurmctld.pid")
        for name in names:
            (folder / f"spool-{name}").mkdir()
            _daemon(folder, "slurmd", ["-N", name], f"slurmd-{name}.pid")
        _wait_idle(conf, nodes)
    except NoSlurm:
        stop(folder)
        raise
    return conf


def stop(folder: Path) -> None:
    """Stop what the pid files in `folder` name: slurmd first, munged last."""
    files = [*folder.glob("slurmd-*.pid"), folder / "slurmctld.pid", folder / "munged.pid"]
    for path in files:
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text())
            os.kill(pid, signal.SIGTERM)
            _wait_gone(pid)
        path.unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _start_munge(folder: Path) -> None:
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    places = [f"--key-file={key}", f"--socket={folder}/munge.sock", f"--pid-file={folder}/munged.pid"]
    places += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"]
    # --force: it would rather not have its files below a folder like /tmp
    _run(["munged", "--force", *places])
    _wait_file(folder / "munge.sock", folder / "munged.log")


def _daemon(folder: Path, name: str, words: list[str], pid_file: str) -> None:
    _run([name, "-f", str(folder / "slurm.conf"), *words])
    _wait_file(folder / pid_file, folder / pid_file.replace(".pid", ".log"))


def _run(words: list[str]) -> None:
    path = _find(words[0])
    if path is None:
        raise NoSlurm(f"no {words[0]} here; {ADVICE}.")
    done = subprocess.run([path, *words[1:]], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise NoSlurm(f"{words[0]} does not start: {' '.join((done.stderr or done.stdout).split())[-300:]}")


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _wait_file(path: Path, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > deadline:
            text = log.read_text()[-300:] if log.exists() else ""
            raise NoSlurm(f"{path.name} does not appear: {' '.join(text.split())}")
        time.sleep(0.05)


def _wait_idle(conf: Path, nodes: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%t"],
            env=os.environ | {"SLURM_CONF": str(conf)}, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        if done.stdout.split() == ["idle"] * nodes:
            return
        if time.monotonic() > deadline:
            raise NoSlurm(f"the nodes of Slurm do not become idle: {done.stdout} {done.stderr}")
        time.sleep(0.2)


def _wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 15.0
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("install", "start", "stop"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cpus", type=int, default=len(os.sched_getaffinity(0)))
    words = parser.parse_args()
    if words.action == "install":
        install()
    elif words.folder is None:
        parser.error(f"{words.action} needs a FOLDER")
    elif words.action == "start":
        print(start(words.folder.absolute(), words.nodes, words.cpus))
    else:
        stop(words.folder.absolute())


if __name__ == "__main__":
    try:
        main()
    except NoSlurm as error:
        sys.exit(str(error))
