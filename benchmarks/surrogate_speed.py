"""Time of a curve from surrogates, on one core: a single device, and 10,000 random ones.

The bars are of the network in float32 with its scaling to amperes; the call of a `Surrogate`, which checks
every device against the training space, stands beside. The least of several times, ten dropped before.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import harness
from harness import Row
from memflux import Space, Surrogate
from memflux.training.lstm import LstmConfig
from memflux.training.models import Config, build
from memflux.training.spectral import SpectralConfig

SPACE = "5d-parametric"
WARM_UPS = 10
AT_ONCE = {"spectral": 512, "LSTM": 256}  # devices a call of the network: what a cache holds


def spectral(quick: bool) -> Iterator[Row]:
    """spectral"""
    shipped = Surrogate.load(SPACE).on("cpu", "float32")
    yield from _rows("spectral, as shipped", shipped, quick, one=0.1, batch=8.0)
    yield from _rows("spectral, 4 layers of 64", _untrained(shipped, SpectralConfig()), quick, one=0.1, batch=8.0)


def lstm(quick: bool) -> Iterator[Row]:
    """LSTM 1 x 64, 320 steps"""
    shipped = Surrogate.load(SPACE).on("cpu", "float32")
    surrogate = _untrained(shipped, LstmConfig(output="peaks"))
    yield from _rows("LSTM 1 x 64, 320 steps", surrogate, quick, one=1.0, batch=350.0)


def _rows(name: str, surrogate: Surrogate, quick: bool, one: float, batch: float) -> Iterator[Row]:
    count = 1000 if quick else 10_000
    devices, drive = Space.preset(SPACE).sample(count, seed=0)
    unit = torch.tensor(surrogate.inputs.scale(surrogate.inputs.values(devices, drive)), dtype=torch.float32)
    seen = surrogate.voltages.scale(drive[:1].grid(surrogate.samples)[1])
    voltage = torch.tensor(seen, dtype=torch.float32).reshape(1, -1)
    step = AT_ONCE[name.partition(",")[0].partition(" ")[0]]
    torch.set_num_threads(1)

    def network(part: Tensor) -> Tensor:
        return surrogate.outputs.unscale(*surrogate.module(part, voltage), xp=torch)

    with torch.inference_mode():
        single = _least(lambda: network(unit[:1]), 200)
        many = _least(lambda: [network(part) for part in unit.split(step)], 3, warm_ups=1)
    asked = _least(lambda: surrogate(devices[:1], drive[:1]), 50)
    whole = _least(lambda: surrogate(devices, drive), 2, warm_ups=1)
    note = f"a call of the surrogate: {1e3 * asked:.2f} ms"
    yield Row(what=f"{name}: one curve", value=1e3 * single, unit="ms", bar=one, note=note)
    note = f"a call of the surrogate: {1e6 * whole / count:.1f} us"
    yield Row(what=f"{name}: a curve of {count}", value=1e6 * many / count, unit="us", bar=batch, note=note)


def _untrained(like: Surrogate, config: Config) -> Surrogate:
    """Another architecture with the scalings of a surrogate: weights do not change the time."""
    torch.manual_seed(0)
    module = build(config, inputs=len(like.parameters), times=like.cycles * like.samples + 1)
    return dataclasses.replace(like, module=module.requires_grad_(False))


def _least(call: Callable[[], object], repeats: int, warm_ups: int = WARM_UPS) -> float:
    """Least time of a call [s]."""
    for _ in range(warm_ups):
        call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    harness.run("surrogate_speed", [spectral, lstm])
