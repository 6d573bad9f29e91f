"""What tests of jobs on clusters share: a campaign whose pace can be set, and looks at processes."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from slurm import local_slurm

SLOW = Path(__file__).resolve().parent / "slurm" / "slow"


def wait_for(condition, seconds, what):
    """Wait until `condition()` is true; what it answered."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what}: not in {seconds} s"
        time.sleep(0.2)
    return answer


def processes_with(word: str) -> list[str]:
    """Command lines with `word` in them, or in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command, variables = ((entry / name).read_bytes() for name in ("cmdline", "environ"))
            except OSError:
                continue
            if word.encode() in command + variables:
                found.append(f"{entry.name}: {command.replace(bytes(1), b' ').decode(errors='replace')[:900]}")
    return found


def listening(pids: list[int]) -> set[str]:
    """Local addresses, in hexadecimal as the kernel writes them, that these processes listen on."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for handle in list(Path(f"/proc/{pid}/fd").iterdir()):
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(handle))
    lines = [line.split() for f in ("tcp", "tcp6") for line in Path(f"/proc/net/{f}").read_text().splitlines()[1:]]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cheap:
    """A compact campaign in a folder, whose pace can be set."""

    folder: Path
    file: Path
    environment: dict[str, str]

    def memflux(self, *words, code=0):
        """Call the command; the JSON of its last line, where that is what it is, or what became of it."""
        done = subprocess.run(
            [sys.executable, "-m", "memflux.cli", *map(str, words)], env=self.environment, cwd=self.folder,
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        last = (done.stdout.splitlines() or [""])[-1]
        return json.loads(last) if last.startswith("{") else done

    def pace(self, seconds):
        """How long the solver takes for a shard from now on."""
        path = Path(self.environment["MEMFLUX_TEST_PACE"])
        path.with_suffix(".new").write_text(str(seconds))
        path.with_suffix(".new").replace(path)

    def shards(self, out):
        """How many shards there are."""
        return len(list((self.folder / out).glob("*.parquet")))

    def content_hash(self, out):
        """The content hash of a data set that must be complete."""
        status = self.memflux("campaign", "status", out, "--json")
        assert status["done"] == status["wanted"]
        return status["content_hash"]

    def undisturbed(self):
        """The content hash of a serial run."""
        self.pace(0)
        self.memflux("campaign", "run", self.file, "--out", "serial", "--executor", "serial", "--json")
        return self.content_hash("serial")


def head_options(folder, *more):
    """Options of a head that shares the machine: on 127.0.0.1, every port its own."""
    names = ["", "ray-client-server-", "dashboard-agent-listen-", "dashboard-agent-grpc-", "runtime-env-agent-"]
    names += ["metrics-export-"]
    ports = [f"--{name}port={port}" for name, port in zip(names, local_slurm.free_ports(len(names)), strict=True)]
    own = ["--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2"]
    dashboard = [] if any("dashboard-port" in word for word in more) else ["--include-dashboard=false"]
    memory = ["--object-store-memory=100000000", "--no-monitor"]
    return ["--head", "--block", *ports, *own, *dashboard, *memory, f"--temp-dir={folder}/r", *more]
