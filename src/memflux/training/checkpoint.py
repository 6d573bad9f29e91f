"""The folder of a surrogate: `weights.safetensors` and `surrogate.json`.

Once calibrated also `bands.json`, and `held_out.safetensors` with true curves. Nothing is ever unpickled.
"""

import json
import math
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from memflux import __version__
from memflux.errors import DataError, InvalidValue

FORMAT = 2
WEIGHTS = "weights.safetensors"
DOCUMENT = "surrogate.json"
BANDS = "bands.json"
HELD_OUT = "held_out.safetensors"
MAX_WEIGHTS = 2 * 1024**3  # bytes
MAX_DOCUMENT = 16 * 1024**2  # bytes
MAX_HELD_OUT = 64 * 1024**2  # bytes


def check_target(folder: str | Path) -> Path:
    """`folder` as a path, or InvalidValue where it holds something that is not a surrogate."""
    target = Path(folder)
    if target.exists() and not (target / DOCUMENT).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidValue(f"{target} exists and holds no surrogate; give a new or empty folder.")
    for parent in target.absolute().parents:
        if parent.exists() and not parent.is_dir():
            raise InvalidValue(f"{target} lies below {parent}, which is a file; give a new or empty folder.")
    return target


def write_folder(
    folder: str | Path,
    document: Mapping[str, object],
    module: nn.Module,
    bands: Mapping[str, object] | None = None,
    held_out: bytes | None = None,
) -> None:
    """Write the files beside `folder` and rename them into place; an older surrogate there is replaced.

    `document` gains "format" and "memflux" (the version); weights are kept in float32, the precision
    of training. Raises what `check_target` does.
    """
    target = check_target(folder)
    full = {"format": FORMAT, "memflux": __version__, **document}
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.parent / f".{target.name}.{uuid.uuid4().hex}.new"
    fresh.mkdir()
    try:
        (fresh / WEIGHTS).write_bytes(weights_of(module))
        (fresh / DOCUMENT).write_text(json.dumps(full, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if bands is not None:
            (fresh / BANDS).write_text(json.dumps(bands, allow_nan=False) + "\n", encoding="utf-8")
        if held_out is not None:
            (fresh / HELD_OUT).write_bytes(held_out)
        _put(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def weights_of(module: nn.Module) -> bytes:
    """The weights of a module as the content of a safetensors file, in float32."""
    state = module.state_dict()
    return save_tensors({k: value.detach().to("cpu", torch.float32).contiguous() for k, value in state.items()})


def read_document(folder: str | Path) -> dict[str, Any]:
    """`surrogate.json` of a folder, its format checked; DataError where it is missing or damaged."""
    path = Path(folder) / DOCUMENT
    document = _json(path)
    version = document.get("format") if isinstance(document, dict) else None
    if version != FORMAT:
        raise DataError(
            f"{path} has format {version!r} and this memflux {__version__} reads {FORMAT}; "
            "use the version that wrote it, or train again."
        )
    return document


def read_bands(folder: str | Path) -> dict[str, Any] | None:
    """`bands.json` of a folder; None without the file, DataError where it is damaged."""
    path = Path(folder) / BANDS
    if not path.exists():
        return None
    document = _json(path)
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no JSON object; remove it and calibrate again.")
    return document


def read_held_out(folder: str | Path) -> bytes | None:
    """`held_out.safetensors` of a folder; None without the file."""
    path = Path(folder) / HELD_OUT
    return _read(path, MAX_HELD_OUT) if path.exists() else None


def check_keys(found: object, wanted: Iterable[str], where: str) -> None:
    """DataError where `found` is no mapping with exactly the `wanted` keys; `where` names it."""
    if not isinstance(found, Mapping):
        raise DataError(f"{where} holds no JSON object; copy or train the surrogate again.")
    if missing := sorted(set(wanted) - set(found)):
        raise DataError(f"{where} has no {', '.join(missing)}; copy or train the surrogate again.")
    if unknown := sorted(set(found) - set(wanted)):
        raise DataError(f"{where} has the unknown {', '.join(unknown)}; use the version of memflux that wrote it.")


def load_weights(folder: str | Path, module: nn.Module) -> None:
    """Fill `module` (which may be on the meta device) from the folder: same names, shapes and types, finite."""
    path = Path(folder) / WEIGHTS
    try:
        tensors = load_tensors(_read(path, MAX_WEIGHTS))
    except SafetensorError as error:
        raise DataError(f"{path} is damaged ({error}); copy or train the surrogate again.") from None
    wanted = module.state_dict()
    check_keys(tensors, wanted, str(path))
    for name, value in tensors.items():
        _check_tensor(f"{name} in {path}", value, wanted[name])
    module.load_state_dict(tensors, strict=True, assign=True)


def _json(path: Path) -> Any:
    try:
        return json.loads(_read(path, MAX_DOCUMENT))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); copy or make it again.") from None


def _check_tensor(where: str, found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape:
        raise DataError(
            f"{where} has shape {tuple(found.shape)} and the model needs {tuple(wanted.shape)}; train again."
        )
    if found.dtype != wanted.dtype:
        raise DataError(f"{where} has type {found.dtype} and the model needs {wanted.dtype}; train again.")
    if not math.isfinite(float(found.double().abs().sum())):
        raise DataError(f"{where} holds numbers that are not finite; copy or train the surrogate again.")


def _read(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path} has {size} bytes and may have {limit}; it is not a surrogate of this format.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a folder that holds a surrogate.") from None


def _put(fresh: Path, target: Path) -> None:
    """Rename `fresh` to `target`; what was there is moved aside first and then removed."""
    aside = target.parent / f".{target.name}.{uuid.uuid4().hex}.old"
    if target.exists():
        target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
