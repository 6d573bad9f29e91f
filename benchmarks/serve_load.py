"""An endpoint under load: its rate beside the bare model, latencies at half its capacity, and three times too much.

One replica of one CPU with one torch thread; callers and Ray's proxy share the other core.
"""

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import aiohttp
import numpy as np
import torch

import harness
from harness import Row
from memflux import Client, Surrogate
from memflux.analysis.quantities import evaluate, quantity_from_text
from memflux.platform.cluster import local_cluster
from memflux.platform.serving.serve import Endpoint, Scale, endpoint, free_port
from memflux.platform.serving.wire import ARROW, Question, encode

MODEL = "5d-parametric"
AT_ONCE = 4_096  # devices of a large question
LARGEST = 64  # devices of a small one
NAMES = ("symmetry", "on_off_ratio")
BODIES = 200  # different small questions
CALLERS = 8  # when the capacity is measured
PATIENCE = 10.0  # s, before a caller calls it a time-out
RECOVERED_IN = 2.0  # s


def rates(quick: bool) -> Iterator[Row]:
    """arrays of 4,096: rate beside the bare model"""
    torch.set_num_threads(1)
    model = Surrogate.load(MODEL).on("cpu", "float32")
    devices, drive = model.space.sample(AT_ONCE, seed=0)
    repeats = 5 if quick else 30
    with _served() as served, Client(served.url, token=served.token, precision="float32") as client:
        kinds: dict[str, tuple[Callable[[], object], Callable[[], object], float]] = {
            "quantities": (
                lambda: evaluate(model, devices, drive, NAMES),
                lambda: client.quantities(devices, drive, NAMES),
                0.7,
            ),
            "full curves, float32": (lambda: model(devices, drive), lambda: client(devices, drive), 0.35),
        }
        for name, (bare, asked, bar) in kinds.items():
            near, far = _in_turn(bare, asked, repeats)
            note = f"{AT_ONCE / near:.0f} devices a second in process, {AT_ONCE / far:.0f} through the endpoint"
            yield Row(
                what=f"{name}: share of the bare rate", value=near / far, unit="1", bar=bar, better="higher", note=note
            )


def load(quick: bool) -> Iterator[Row]:
    """open loop"""
    with _served() as served:
        yield from asyncio.run(_load(served, quick))


async def _load(served: Endpoint, quick: bool) -> list[Row]:
    bodies = _bodies()
    async with _session(served) as ask:
        await _closed_loop(ask, bodies, 2.0)  # first steps
        capacity = await _closed_loop(ask, bodies, 3.0 if quick else 10.0)
        rate = max(40.0, 0.5 * capacity)
        calm = await _open_loop(ask, bodies, rate, 5.0 if quick else 60.0, seed=1)
        flood = await _open_loop(ask, bodies, 3.0 * capacity, 3.0 if quick else 20.0, seed=2)
        await asyncio.sleep(RECOVERED_IN)
        after = await _open_loop(ask, bodies, rate, 3.0 if quick else 10.0, seed=3)
    note = f"{len(calm)} requests of 1 to {LARGEST} devices at {rate:.0f} a second; capacity {capacity:.0f}"
    statuses = [a.status for a in flood]
    busy = statuses.count(503)
    other = len(flood) - busy - statuses.count(200)
    turned = f"{len(flood)} requests, {busy} got 503; p99 of those answered {1e3 * _p99(flood):.0f} ms"
    return [
        Row(what="open loop at half the capacity: p99", value=1e3 * _p99(calm), unit="ms", bar=100.0, note=note),
        Row(what="open loop at half the capacity: errors", value=_errors(calm), unit="1", bar=0.0),
        Row(what="three times the capacity: neither 200 nor 503", value=other, unit="1", bar=0.0, note=turned),
        Row(
            what="three times the capacity: requests shed", value=busy / len(flood), unit="1", bar=0.05, better="higher"
        ),
        Row(what=f"{RECOVERED_IN:g} s after it: p99", value=1e3 * _p99(after), unit="ms", bar=100.0),
        Row(what=f"{RECOVERED_IN:g} s after it: errors", value=_errors(after), unit="1", bar=0.0),
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request: its HTTP status, 0 for none, and its seconds from the moment it was due."""

    status: int
    seconds: float


@contextlib.contextmanager
def _served() -> Iterator[Endpoint]:
    with local_cluster(1), endpoint({MODEL: MODEL}, port=free_port(), scale=Scale()) as served:
        yield served


@contextlib.asynccontextmanager
async def _session(served: Endpoint) -> AsyncIterator[Callable]:
    """A function that sends one question and returns its HTTP status; 0 where none came in time."""
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": ARROW}
    url = f"{served.url}/v1/models/{MODEL}/quantities"
    connector = aiohttp.TCPConnector(limit=0)
    patience = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=patience) as session:

        async def ask(body: bytes) -> int:
            try:
                async with session.post(url, data=body) as response:
                    await response.read()
                    return response.status
            except (aiohttp.ClientError, TimeoutError):
                return 0

        yield ask


def _bodies() -> list[bytes]:
    """Small questions, as a program sends them."""
    model, generator = Surrogate.load(MODEL), np.random.default_rng(0)
    asked = tuple(quantity_from_text(name) for name in NAMES)
    bodies = []
    for seed in range(BODIES):
        devices, drive = model.space.sample(int(generator.integers(1, LARGEST + 1)), seed=seed)
        bodies.append(encode(Question(devices=devices, drive=drive, quantities=asked), model.space.device))
    return bodies


async def _closed_loop(ask: Callable, bodies: Sequence[bytes], seconds: float) -> float:
    """Requests a second of CALLERS who ask again as soon as they are answered."""
    end, done = time.perf_counter() + seconds, 0

    async def caller(first: int) -> None:
        nonlocal done
        k = first
        while time.perf_counter() < end:
            assert await ask(bodies[k % len(bodies)]) == 200
            done, k = done + 1, k + CALLERS

    await asyncio.gather(*(caller(k) for k in range(CALLERS)))
    return done / seconds


async def _open_loop(ask: Callable, bodies: Sequence[bytes], rate: float, seconds: float, seed: int) -> list[Asked]:
    """Poisson arrivals that wait for nobody."""
    generator = np.random.default_rng(seed)
    due = np.cumsum(generator.exponential(1.0 / rate, size=int(rate * seconds)))
    began = time.perf_counter()

    async def one(k: int) -> Asked:
        status = await ask(bodies[int(generator.integers(len(bodies)))])
        return Asked(status, time.perf_counter() - began - due[k])

    tasks = []
    for k, moment in enumerate(due):
        await asyncio.sleep(max(0.0, moment - (time.perf_counter() - began)))
        tasks.append(asyncio.create_task(one(k)))
    return list(await asyncio.gather(*tasks))


def _p99(asked: Sequence[Asked]) -> float:
    """99th percentile of the seconds of those that were answered."""
    return float(np.quantile([a.seconds for a in asked if a.status == 200] or [np.inf], 0.99))


def _errors(asked: Sequence[Asked]) -> int:
    return sum(a.status != 200 for a in asked)


def _in_turn(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of each of two calls that take turns, so that a slow minute hits both."""
    times = np.empty((repeats, 2))
    for _ in range(3):
        first(), second()
    for k in range(repeats):
        for column, call in enumerate((first, second)):
            began = time.perf_counter()
            call()
            times[k, column] = time.perf_counter() - began
    near, far = np.median(times, axis=0)
    return float(near), float(far)


if __name__ == "__main__":
    harness.run("serve_load", [rates, load])
