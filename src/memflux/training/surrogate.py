"""A trained model as a Predictor: SI in, SI out, with its scaling, its space and its record."""

import dataclasses
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memflux.contracts import CurveCost
from memflux.device import Devices
from memflux.errors import DataError, InvalidValue, check_choice, check_integer
from memflux.space import Space
from memflux.traces import Traces
from memflux.training.bands import Bands, calibrate
from memflux.training.checkpoint import (
    BANDS,
    HELD_OUT,
    check_keys,
    load_weights,
    read_bands,
    read_document,
    read_held_out,
    write_folder,
)
from memflux.training.coverage import coverage as coverage_of
from memflux.training.evaluate import evaluate
from memflux.training.held_out import HeldOut
from memflux.training.model import AbstractModel, asked_of
from memflux.training.models import build, config_from_dict, config_to_dict, name_of
from memflux.training.scaling import (
    InputScaling,
    OutputScaling,
    PublishedScaling,
    VoltageScaling,
    output_from_dict,
    output_to_dict,
)
from memflux.training.spread import spread_of_members
from memflux.training.stream import StreamState
from memflux.waveform import Waveform
from memflux.waveform import from_dict as waveform_from_dict

PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
CHUNK = 4096  # devices evaluated at once
PIECE = 512  # samples of a stream evaluated at once; a multiple of the usual strides of a neural ODE
KEYS = ("format", "memflux", "model", "config", "space", "drive", "samples", "scaling", "record")
RECORD = (
    "seed", "schedule", "fractions", "split", "dropped", "dataset_hash", "seconds", "history", "test_errors", "about",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surrogate:
    """A Predictor and Differentiable that answers for one space, family of drive and number of cycles.

    One trained on a space of random drives answers for any drive of any number of cycles.

    Traces carry `inside` (within the training space) and a sentence a device. `record` is what
    training measured: seed, split, dropped rows, seconds, history, data set hash, test errors; and
    `about`, where somebody said it: how the data were made, the licence. `bands`, where somebody
    calibrated them, say how far the truth may lie from a curve; `truths` are curves of that calibration.
    """

    module: AbstractModel
    space: Space
    drive: Waveform  # of training; the base drive where the space varies it
    samples: int  # a cycle
    inputs: InputScaling
    voltages: VoltageScaling
    outputs: OutputScaling
    published: PublishedScaling | None  # of the published error; None where it is not defined
    record: Mapping[str, Any]
    bands: Bands | None = None
    truths: HeldOut | None = None

    def __post_init__(self) -> None:
        self.module.eval()  # no dropout in an answer

    @classmethod
    def load(cls, path_or_name: str | Path) -> Self:
        """A surrogate from its folder, or a pretrained one by its name.

        Raises DataError where the folder is missing or damaged, or the name is unknown.
        """
        folder = _find(path_or_name)
        document = read_document(folder)
        check_keys(document, KEYS, f"{folder}/surrogate.json")
        try:
            surrogate = cls._from_document(document)
        except (InvalidValue, TypeError, KeyError, AttributeError) as error:
            reason = str(error).rstrip(".?")
            raise DataError(f"{folder}/surrogate.json is not usable: {reason}; copy or train it again.") from None
        surrogate = dataclasses.replace(surrogate, bands=_bands(folder), truths=surrogate._truths(folder))
        load_weights(folder, surrogate.module)
        surrogate.module.double().requires_grad_(False)
        return surrogate

    def tested(self, devices: Devices, drive: Waveform, traces: Traces) -> Self:
        """The same surrogate with its errors on devices it was not trained on in its record."""
        result = evaluate(self, devices, drive, traces.on_grid(self.samples), self.published).to_dict()
        errors = {key: result[key] for key in ("count", "nmae", "nmae_scaled")}
        return dataclasses.replace(self, record={**self.record, "test_errors": errors})

    def described(self, about: Mapping[str, str]) -> Self:
        """The same surrogate with notes for its readers in its record."""
        return dataclasses.replace(self, record={**self.record, "about": dict(about)})

    def calibrated(
        self, devices: Devices, drive: Waveform, traces: Traces, coverage: float = 0.95, seed: int = 0
    ) -> Self:
        """The same surrogate with bands measured on devices drawn independently of its training.

        `traces` are their solved curves. Raises InvalidValue for devices outside the training space, and
        what `bands.calibrate` does.
        """
        if self.space.drive == "random":
            raise InvalidValue(
                "a surrogate for any drive has no bands, which are over the phase of one family of drives."
            )
        drive = self._checked(drive).for_batch(len(devices))
        outside = np.flatnonzero(~coverage_of(self.space, self.drive, self.samples, devices, drive)[0])
        if outside.size:
            raise InvalidValue(
                f"{outside.size} of the {len(devices)} devices lie outside the training space (the first is row "
                f"{outside[0]}), where no band is given; calibrate on a draw from the space {self.space.name!r}."
            )
        spread = self.spread if self.spread(devices[:1], drive[:1]) is not None else None
        traces = traces.on_grid(self.samples)
        bands = calibrate(self, devices, drive, traces, self.inputs, coverage, spread, seed)  # type: ignore[arg-type]
        return dataclasses.replace(self, bands=bands, truths=HeldOut.of(self.space, devices, drive, traces))

    def covers(self, devices: Devices, drive: Waveform) -> Bool[np.ndarray, " B"]:
        """Which devices lie in what it was trained on, as `inside` of its traces says."""
        devices, drive = devices.resolved(), drive.for_batch(len(devices))
        return coverage_of(self.space, self.drive, self.samples, devices, drive)[0]

    def spread(self, devices: Devices, drive: Waveform) -> Float[np.ndarray, "B T"] | None:
        """Standard deviation among the members of an ensemble [A]; None for a model without members."""
        unit = self._unit(devices, self._checked(drive).for_batch(len(devices)))
        return spread_of_members(self.module, self.outputs, unit)

    def held_out(self) -> tuple[Devices, Waveform, Traces] | None:
        """N devices that training never saw, their drives and their true traces; None without calibration."""
        return None if self.truths is None else self.truths.answered(self.space, self.drive, self.samples)

    def band(
        self, devices: Devices, drive: Waveform, kind: str = "pointwise"
    ) -> tuple[Float[np.ndarray, "B T"], Float[np.ndarray, "B T"]]:
        """Lower and upper ends [A] of the bands around the curves of `self(devices, drive)`; NaN outside the space.

        kind "pointwise" holds the truth at each time with the calibrated probability, "curve" the whole
        curve. They hold for devices drawn like the calibration's, on average over these. Raises
        InvalidValue without calibration.
        """
        if self.bands is None:
            raise InvalidValue(
                "this surrogate has no bands; calibrate it on fresh devices: Surrogate.calibrated or memflux calibrate."
            )
        prediction = self(devices, drive)
        unit = self._unit(devices, drive)
        ends = self.bands.around(prediction, unit, spread_of_members(self.module, self.outputs, unit), kind)
        # nothing was measured out there
        low, high = (np.where(prediction.inside[:, None], end, np.nan) for end in ends)  # type: ignore[index]
        return low, high

    def save(self, folder: str | Path) -> None:
        """Write the folder, at once or not at all; an older surrogate there is replaced."""
        document = {
            "model": name_of(self.module.config),
            "config": config_to_dict(self.module.config),
            "space": self.space.to_dict(),
            "drive": self.drive.to_dict(),
            "samples": self.samples,
            "scaling": {
                "inputs": self.inputs.to_dict(),
                "voltages": self.voltages.to_dict(),
                "outputs": output_to_dict(self.outputs),
                "published": None if self.published is None else self.published.to_dict(),
            },
            "record": dict(self.record),
        }
        bands = None if self.bands is None else self.bands.to_dict()
        write_folder(folder, document, self.module, bands, None if self.truths is None else self.truths.to_bytes())

    def on(self, device: str = "cpu", precision: str = "float64") -> Self:
        """The same surrogate with its weights on a torch device ("cpu", "cuda"), in "float64" or "float32"."""
        dtype = PRECISIONS[check_choice("precision", precision, PRECISIONS)]
        with asked_of(device):
            place = torch.device(device)
            with torch.device("meta"):
                module = build(self.module.config, inputs=len(self.parameters), times=self._times)
            state = {k: v.to(place, dtype, copy=True) for k, v in self.module.state_dict().items()}
        module.load_state_dict(state, strict=True, assign=True)
        return dataclasses.replace(self, module=module.requires_grad_(False))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the P parameters."""
        return self.inputs.names

    @property
    def cycles(self) -> int:
        """Cycles of every drive it answers for."""
        return self.drive.cycles

    @property
    def datasets(self) -> tuple[str, ...]:
        """Content hashes of the data sets it was trained on, as far as the record names them."""
        named = self.record["dataset_hash"]  # None, one, or a list of several
        return () if named is None else (named,) if isinstance(named, str) else tuple(named)

    @property
    def test_errors(self) -> Mapping[str, Any]:
        """nMAE in A and as published on the test set: mean, median, p95, max of each."""
        return self.record["test_errors"]

    def __call__(self, devices: Devices, drive: Waveform) -> Traces:
        """Traces [B, cycles * samples + 1] on the phase grid of `drive`.

        Raises InvalidValue for a drive of another family or number of cycles than trained on.
        """
        if self.space.drive == "random":
            return self.stream(devices, drive)[0]
        devices, drive = devices.resolved(), self._checked(drive).for_batch(len(devices))
        unit = self._unit(devices, drive)
        time, voltage = drive.grid(self.samples)
        current = np.empty((len(devices), voltage.shape[-1]))
        with torch.no_grad():
            for part in _chunks(len(devices)):
                current[part] = self._current(self._tensor(unit[part]), self._seen(voltage, part)).numpy()
        return self._traces(devices, drive, time, voltage, current)

    def _traces(
        self, devices: Devices, drive: Waveform, time: np.ndarray, voltage: np.ndarray, current: np.ndarray
    ) -> Traces:
        """The answer, with what coverage says of it; time and voltage are the drive's grid."""
        inside, reasons = coverage_of(self.space, self.drive, self.samples, devices, drive)
        traces = Traces.of(
            time=time,
            voltage=voltage,
            current=current,
            period=drive.periods(),
            cycles=drive.cycles,
            status=list(reasons),
            inside=inside,
        )
        return _without_overflow(traces)

    def stream(self, devices: Devices, drive: Waveform, state: StreamState | None = None) -> tuple[Traces, StreamState]:
        """Traces like those of a call, and the state that the next drive goes on from; None: at rest.

        A long protocol is given drive by drive, each of a period of its own: the first sample of each is the last of
        the one before. Raises InvalidValue where the surrogate is not for any drive, and for a state of
        other devices or another voltage.
        """
        if self.space.drive != "random":
            raise InvalidValue(
                f"this surrogate was trained on a {type(self.drive).__name__} from rest and cannot go on from a state; "
                "train one on a space of random drives."
            )
        devices, drive = devices.resolved(), drive.for_batch(len(devices))
        unit, (time, voltage) = self._unit(devices, drive), drive.grid(self.samples)
        voltage = np.broadcast_to(voltage, (len(devices), voltage.shape[-1]))
        if state is not None:
            state.check(devices, voltage[:, 0])
        current, memory = np.empty(voltage.shape), []
        with torch.no_grad():
            for number, part in enumerate(_chunks(len(devices))):
                before = None if state is None else state.memory[number]
                made, after = self._streamed(self._tensor(unit[part]), self._seen(voltage, part), before)
                current[part] = made if state is None else np.hstack([state.current[part, None], made])
                memory.append(after)
        end = StreamState(devices=devices, voltage=voltage[:, -1], current=current[:, -1], memory=tuple(memory))
        return self._traces(devices, drive, time, voltage, current), end

    def _streamed(self, unit: Tensor, voltage: Tensor, state: Any) -> tuple[np.ndarray, Any]:
        """Currents [A] of a stretch, without its first sample where there is a state from before; and its end.

        Some hundred samples at a time: a sequence model holds all its units at each.
        """
        module: Any = self.module
        size, curves = module.peak(unit)[:, 0], []
        first = 0 if state is None else 1
        while first < voltage.shape[1]:
            last = first + PIECE + (1 if state is None else 0)  # the start is no step of its own
            curve, state = module.stream(unit, voltage[:, first:last], state)
            curves.append(self.outputs.unscale(*(x.double().cpu() for x in (curve, size)), xp=torch).numpy())
            first = last
        return np.hstack(curves), state

    def value_and_gradient(
        self, devices: Devices, drive: Waveform, cost: CurveCost
    ) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, "B P"]]:
        """Cost [B] and its gradient [B, P] per SI unit (eV for energies) of each parameter, by autograd."""
        drive = self._checked(drive).for_batch(len(devices))
        values = self.inputs.values(devices, drive)
        unit = self.inputs.scale(values)
        voltage = drive.grid(self.samples)[1]
        voltage = np.broadcast_to(voltage, (len(devices), voltage.shape[-1]))
        slopes = self.inputs.slope(values)
        result, gradient = np.empty(len(devices)), np.empty(values.shape)
        for part in _chunks(len(devices)):
            point, seen = self._tensor(unit[part]).requires_grad_(), self._seen(voltage, part).requires_grad_()
            value = cost(self._current(point, seen), drive.cycles, xp=torch)
            slope, along = torch.autograd.grad(value.sum(), (point, seen), allow_unused=True)
            result[part], gradient[part] = value.detach().numpy(), _numpy(slope) * slopes[part]
            if along is not None and "amplitude" in self.parameters:
                column = self.parameters.index("amplitude")
                by_volt = (_numpy(along) * voltage[part]).sum(1) / self.voltages.span
                gradient[part, column] += by_volt / values[part, column]  # the voltage is proportional to it
        return result, gradient

    @property
    def _times(self) -> int:
        return self.cycles * self.samples + 1

    def _unit(self, devices: Devices, drive: Waveform) -> Float[np.ndarray, "B P"]:
        """Scaled parameters."""
        return self.inputs.scale(self.inputs.values(devices, drive))

    def _tensor(self, values: np.ndarray) -> Tensor:
        weight = next(self.module.parameters())
        return torch.tensor(values, dtype=weight.dtype, device=weight.device)

    def _seen(self, voltage: np.ndarray, part: slice) -> Float[Tensor, "_ T"]:
        """The scaled voltage of some rows, or the one of all; zeros for a model that does not look at it."""
        if not self.module.sees_voltage:
            return self._tensor(np.zeros((1, self._times)))
        return self._tensor(self.voltages.scale(voltage[part] if voltage.ndim == 2 else voltage[None]))

    def _current(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"]) -> Float[Tensor, "B T"]:
        """Currents [A] in float64 on the CPU; differentiable."""
        return self.outputs.unscale(*(x.double().cpu() for x in self.module(unit, voltage)), xp=torch)

    def _checked(self, drive: Waveform) -> Waveform:
        if self.space.drive == "random":
            return drive
        if type(drive) is not type(self.drive):
            raise InvalidValue(
                f"the drive is a {type(drive).__name__} and this surrogate was trained on a "
                f"{type(self.drive).__name__}; give that, or use the solver."
            )
        if drive.cycles != self.cycles:
            raise InvalidValue(
                f"cycles = {drive.cycles} of the drive differs from the {self.cycles} this surrogate was trained on; "
                f"give {self.cycles}, or use the solver."
            )
        return drive

    def _truths(self, folder: Path) -> HeldOut | None:
        content = read_held_out(folder)
        where = f"{folder}/{HELD_OUT}"
        return None if content is None else HeldOut.from_bytes(content, where, len(self.space.names), self._times)

    @classmethod
    def _from_document(cls, document: Mapping[str, Any]) -> Self:
        """Everything but the weights, which stay on the meta device until they are loaded."""
        space, drive = Space.from_dict(document["space"]), waveform_from_dict(document["drive"])
        samples = check_integer("samples", document["samples"], low=4, high=1_000_000)
        scaling = document["scaling"]
        check_keys(scaling, ("inputs", "voltages", "outputs", "published"), "scaling in surrogate.json")
        check_keys(document["record"], RECORD, "record in surrogate.json")
        config = config_from_dict(document["model"], document["config"])
        with torch.device("meta"):
            module = build(config, inputs=len(InputScaling.of(space).parameters), times=drive.cycles * samples + 1)
        return cls(
            module=module,
            space=space,
            drive=drive,
            samples=samples,
            inputs=InputScaling.from_dict(scaling["inputs"]),
            voltages=VoltageScaling.from_dict(scaling["voltages"]),
            outputs=output_from_dict(scaling["outputs"]),
            published=None if scaling["published"] is None else PublishedScaling.from_dict(scaling["published"]),
            record=document["record"],
        )


def _chunks(count: int) -> Iterator[slice]:
    """Rows that are evaluated at once."""
    return (slice(first, first + CHUNK) for first in range(0, count, CHUNK))


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()


def _bands(folder: Path) -> Bands | None:
    fields = read_bands(folder)
    try:
        return None if fields is None else Bands.from_dict(fields)
    except (InvalidValue, TypeError, KeyError, AttributeError) as error:
        reason = str(error).rstrip(".?")
        raise DataError(f"{folder}/{BANDS} is not usable: {reason}; remove it and calibrate again.") from None


def _find(path_or_name: str | Path) -> Path:
    """The folder meant by a path or a pretrained name; DataError naming what exists."""
    folder = Path(path_or_name)
    if folder.is_dir():
        return folder
    shipped = Path(str(files("memflux"))) / "pretrained"
    names = sorted(p.name for p in shipped.iterdir() if p.is_dir()) if shipped.is_dir() else []
    if str(path_or_name) in names:
        return shipped / str(path_or_name)
    known = f"the pretrained are {', '.join(names)}" if names else "no pretrained ones are installed"
    raise DataError(f"{path_or_name} is neither a folder nor a pretrained surrogate; {known}.")


def _without_overflow(traces: Traces) -> Traces:
    """Rows so far outside that the exponential overflows become failed rows of NaN."""
    lost = ~np.isfinite(traces.current).all(axis=1)
    if not lost.any():
        return traces
    status_class, status = traces.status_class.copy(), traces.status.copy()
    status_class[lost] = "diverged"
    status[lost] = [f"{s}; the extrapolation overflows" for s in status[lost]]
    current = np.where(lost[:, None], np.nan, traces.current)
    return dataclasses.replace(traces, current=current, status_class=status_class, status=status)
