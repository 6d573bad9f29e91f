"""A trained surrogate as one file for other runtimes: physical quantities in, currents out, nothing of memflux needed.

The scalings are in the graph. The file is a function of

    parameters [B, P]  float64, SI (eV for energies), in the order of `surrogate.parameters`
    voltage    [B, T]  float64, V, at the phases k / samples of the drive; only where the model sees the voltage
    -> current [B, T]  float64, A

of any batch B. What a surrogate says about a device outside its space, it does not say.
"""

import contextlib
import dataclasses
import io
import json
import os
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memflux import __version__
from memflux.errors import DataError, InvalidValue, check_choice
from memflux.training.models import name_of
from memflux.training.onnx_file import ask_onnx, need_packages, to_onnx
from memflux.training.surrogate import Surrogate

if TYPE_CHECKING:
    from torch.export import ExportedProgram

FORMS = {".onnx": "onnx", ".pt2": "torch"}
ASKED = 16  # random devices of its space that a file is compared with the surrogate on
TOLERANCE = 1e-6  # of each curve's peak
METADATA = "memflux.json"  # name of the extra file in a .pt2
REFUSALS = (RuntimeError, ValueError, TypeError)  # torch has no error of its own for what it cannot write
SHOWN = 300  # characters of one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written."""

    form: str  # "onnx" or "torch"
    inputs: tuple[str, ...]  # ("parameters",) or ("parameters", "voltage")
    difference: float  # largest of the currents to the surrogate's, over the peak of the curve


def export(
    surrogate: Surrogate, path: "str | os.PathLike[str]", form: str | None = None, *, overwrite: bool = False
) -> Exported:
    """Write a surrogate as "onnx" (.onnx) or as a program of torch.export, "torch" (.pt2); None: by the suffix.

    The file is loaded again and asked for 16 random devices of the surrogate's space, together and
    one alone; it appears only where it answers within 1e-6 of every curve's peak. Space, drive,
    parameters with units and versions are in `metadata_props` of an ONNX file and in the extra
    file "memflux.json" of a .pt2 (torch loads that with pickle: open files of your own only).

    Raises InvalidValue for an unknown suffix or form, a target that is there already (unless
    `overwrite`) and a model that the form cannot hold; MissingDependency without onnx, onnxscript
    and onnxruntime; DataError where the file answers otherwise or cannot be written.
    """
    target = Path(path)
    chosen = check_target(target, form, overwrite=overwrite)
    if chosen == "onnx":
        need_packages()
    exact = surrogate.on("cpu", "float64")
    function = Physical(exact)
    content = _content(_program(function, chosen), function, _metadata(exact), chosen)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}{target.suffix}")
    try:
        fresh.write_bytes(content)
        difference = _difference(exact, function, fresh, chosen)
        if not difference <= TOLERANCE:
            raise DataError(
                f"{target} was not written: read again it differs from the surrogate by {difference:.1e} of a curve's "
                f"peak and {TOLERANCE:g} is allowed; {_other(chosen)}."
            )
        os.replace(fresh, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}; choose another folder.") from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
    return Exported(form=chosen, inputs=function.names, difference=difference)


def check_target(target: Path, form: str | None = None, *, overwrite: bool = False) -> str:
    """The form that `target` is written in; raises as `export` does."""
    if form is None and target.suffix not in FORMS:
        raise InvalidValue(f"{target} ends with none of {', '.join(FORMS)}; give such a name, or the form.")
    chosen = check_choice("form", form or FORMS[target.suffix], FORMS.values())
    # os.path, because Path raises where a folder may not be looked into
    if os.path.isdir(target):
        raise InvalidValue(f"{target} is a folder; give the name of a file that ends with {' or '.join(FORMS)}.")
    if not os.path.isdir(target.parent):
        raise InvalidValue(f"{target.parent} is not a folder that can be written to; make it, or give another.")
    if os.path.exists(target) and not overwrite:
        raise InvalidValue(f"{target} is there already; give another name, or overwrite it on purpose.")
    return chosen


class Physical(nn.Module):
    """A surrogate with its scalings as one network: parameters in SI (eV) and voltages in V to currents in A."""

    low: Tensor  # [P], of the parameters, in the logarithm where on a log scale
    span: Tensor  # [P]
    log: Tensor  # [P], of bool
    rest: Tensor  # [1, T], in place of a voltage that is not looked at

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.module, self.voltages, self.outputs = surrogate.module, surrogate.voltages, surrogate.outputs
        for name, values in zip(("low", "span", "log"), surrogate.inputs.box(), strict=True):
            self.register_buffer(name, torch.tensor(values))
        self.register_buffer("rest", torch.zeros(1, surrogate.cycles * surrogate.samples + 1, dtype=torch.float64))
        self.names = ("parameters", "voltage") if self.module.sees_voltage else ("parameters",)

    def forward(
        self, parameters: Float[Tensor, "B P"], voltage: Float[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T"]:
        """Currents in A; without a voltage for models that do not look at it."""
        flat = torch.where(self.log, torch.where(self.log, parameters, 1.0).log(), parameters)
        seen = self.rest if voltage is None else (voltage - self.voltages.low) / self.voltages.span
        return self.outputs.unscale(*self.module((flat - self.low) / self.span, seen), xp=torch)


def _program(function: Physical, form: str) -> "ExportedProgram":
    """The operations of a function for a batch of any length."""
    # two rows, because torch takes a length of one for a constant
    parameters, voltage = torch.ones(2, len(function.low), dtype=torch.float64), function.rest.repeat(2, 1)
    example = (parameters, voltage)[: len(function.names)]
    batch = torch.export.Dim("batch")
    with _told(function, form), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        return torch.export.export(function, example, dynamic_shapes=tuple({0: batch} for _ in example), strict=False)


def _content(program: "ExportedProgram", function: Physical, metadata: dict[str, str], form: str) -> bytes:
    """The bytes of the file."""
    with _told(function, form):
        if form == "onnx":
            return to_onnx(program, "current", metadata)
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={METADATA: json.dumps(metadata)})
        return buffer.getvalue()


def _metadata(surrogate: Surrogate) -> dict[str, str]:
    """What somebody without memflux has to know; JSON where it is more than a word."""
    parameters = [{**dataclasses.asdict(p), "unit": p.unit} for p in surrogate.inputs.parameters]
    return {
        "memflux": __version__,
        "model": name_of(surrogate.module.config),
        "parameters": json.dumps(parameters),
        "voltage": "V, at the phases k / samples with k = 0 .. cycles * samples",
        "current": "A, at the same phases, positive into the right contact",
        "samples": str(surrogate.samples),
        "cycles": str(surrogate.cycles),
        "drive": json.dumps(surrogate.drive.to_dict()),
        "space": json.dumps(surrogate.space.to_dict()),
        "dataset_hash": ", ".join(surrogate.datasets) or "None",
    }


def _difference(surrogate: Surrogate, function: Physical, path: Path, form: str) -> float:
    """Largest difference of the currents in the file from the surrogate's, over the peak of each curve."""
    devices, drawn = surrogate.space.sample(ASKED, seed=0)
    drive = drawn if type(drawn) is type(surrogate.drive) else surrogate.drive
    wanted = surrogate(devices, drive).current
    voltage = np.broadcast_to(drive.grid(surrogate.samples)[1], wanted.shape)
    columns = (surrogate.inputs.values(devices, drive), voltage)
    inputs = {name: np.ascontiguousarray(c) for name, c in zip(function.names, columns, strict=False)}
    alone = {name: c[:1] for name, c in inputs.items()}
    with _told(function, form):
        answers = np.concatenate([_ask(path, some, form) for some in (inputs, alone)])
    wanted = np.concatenate([wanted, wanted[:1]])
    peak = np.maximum(np.abs(wanted).max(axis=1), np.finfo(np.float64).tiny)
    return float((np.abs(answers - wanted).max(axis=1) / peak).max())


def _ask(path: Path, inputs: dict[str, np.ndarray], form: str) -> np.ndarray:
    if form == "onnx":
        return ask_onnx(path, inputs)
    answer: Tensor = torch.export.load(path).module()(*(torch.from_numpy(c) for c in inputs.values()))
    return answer.numpy()


@contextlib.contextmanager
def _told(function: Physical, form: str) -> Iterator[None]:
    """What torch or onnxruntime refuses, as one sentence about the model."""
    try:
        yield
    except REFUSALS as error:
        reason = " ".join(str(error).split())[:SHOWN] or type(error).__name__
        raise InvalidValue(
            f"a surrogate of the model {name_of(function.module.config)} cannot be written in the form {form}; "
            f"{_other(form)}, or serve it: {reason}"
        ) from error


def _other(form: str) -> str:
    return f"write a {'.pt2' if form == 'onnx' else '.onnx'}"
