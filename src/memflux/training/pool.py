"""Several data sets that one surrogate is trained on: a first one, and others that add rows to its training part."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from memflux import waveform
from memflux.dataset import Dataset
from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.rows import Method, free_family, keys_of
from memflux.space import Space
from memflux.traces import Traces
from memflux.training.coverage import coverage
from memflux.training.data import FRACTIONS, base_drive, split
from memflux.waveform import Waveform

LEFT_OUT = ("failed", "outside", "known", "held_out")
"""Why a row of a further data set is not learned from: it was not solved, lies outside the training space, is there
already, or belongs to another part than training. Validation and test stay those of the first data set, so that errors
with and without the others compare."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pool:
    """B devices to train on, their drive and their traces; those of the first data set come first."""

    devices: Devices
    drive: Waveform
    traces: Traces
    hashes: tuple[str, ...]  # content hash of each data set
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)  # of further rows: added, and each of LEFT_OUT

    @classmethod
    def of(cls, first: Dataset) -> Self:
        """All rows of one data set."""
        return cls(devices=first.devices, drive=first.drive, traces=first.traces, hashes=(first.content_hash,))

    @property
    def dataset_hash(self) -> str | list[str]:
        """What a record says of the data: one content hash, or a list."""
        return self.hashes[0] if len(self.hashes) == 1 else list(self.hashes)

    def __len__(self) -> int:
        return len(self.devices)


def pooled(first: Dataset, others: Mapping[str, Dataset], space: Space, fractions: Sequence[float] = FRACTIONS) -> Pool:
    """The rows of `first`, and of `others` (by name) those that may add to its training part; LEFT_OUT has the rest.

    Raises InvalidValue for another space than `space`, or another family of drive, number of samples or control than
    those of `first`.
    """
    if not others:
        return Pool.of(first)
    space = dataclasses.replace(space, cycles=first.drive.cycles)
    for name, data in others.items():
        _refuse_others(name, data, first, space)
    trained = base_drive(first.drive.for_batch(len(first)), space)
    known, parts = set(_identities(first)[first.traces.ok]), [first]
    counts = dict.fromkeys(("added", *LEFT_OUT), 0)
    for data in others.values():
        reasons = _reasons(data, space, trained, known, fractions)
        for reason in counts:
            counts[reason] += int((reasons == reason).sum())
        parts.append(data.take(reasons == "added"))
        known.update(_identities(parts[-1]))
    return Pool(
        devices=Devices.concatenate([part.devices for part in parts]),
        drive=waveform.concatenate([part.drive for part in parts], [len(part) for part in parts]),
        traces=Traces.concatenate([part.traces for part in parts]),
        hashes=tuple(data.content_hash for data in (first, *others.values())),
        counts=counts,
    )


def _reasons(data: Dataset, space: Space, trained: Waveform, known: set[str], fractions: Sequence[float]) -> np.ndarray:
    """For each row [B] one of LEFT_OUT, or "added"."""
    devices, drive, ok = data.devices.resolved(), data.drive.for_batch(len(data)), data.traces.ok
    inside = coverage(space, trained, data.manifest.samples, devices, drive)[0]
    there = np.array([key in known for key in _identities(data)], dtype=bool)
    held_out = ~split(data.devices, drive, fractions).train
    return np.select([~ok, ~inside, there, held_out], LEFT_OUT, default="added")


def _identities(data: Dataset) -> np.ndarray:
    """A text a row [B]: equal for equal devices, drives and samples, whatever has solved them."""
    manifest = data.manifest
    return keys_of(data.devices, manifest.drive, data.rows.drive, manifest.samples, Method())


def _refuse_others(name: str, data: Dataset, first: Dataset, space: Space) -> None:
    if data.space is not None and dataclasses.replace(data.space, cycles=space.cycles) != space:
        raise InvalidValue(
            f"{name} is of the space {data.space.name!r} and the first data set of {space.name!r}, which differ in "
            "parameters, ranges or constants; leave it out."
        )
    mine, wanted = data.manifest, first.manifest
    pairs: dict[str, tuple[Any, Any]] = {
        "family of drive": (free_family(mine.drive), free_family(wanted.drive)),
        "samples a cycle": (mine.samples, wanted.samples),
        "control": (mine.method.control, wanted.method.control),
    }
    for what, (found, needed) in pairs.items():
        if found != needed:
            raise InvalidValue(f"{name} has {what} = {found} and the first data set {needed}; leave it out.")
