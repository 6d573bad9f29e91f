"""Event files of a training, read back as TensorBoard reads them."""

import math
import struct
import sys

import pytest

from memflux.errors import DataError, MissingDependency
from memflux.training.event_log import EventLog
from memflux.training.schedule import Step


def scalars(folder):
    """(tag, step, value) of every scalar in the event files of a folder."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:  # records of length, its checksum, event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


def step(epoch, validation):
    return Step(epoch=epoch, epochs=4, loss=0.5 / epoch, validation=validation, skipped=epoch)


def test_every_look_is_written_and_what_is_not_finite_left_out(tmp_path):
    with EventLog(tmp_path) as log:
        log(step(2, 0.25))
        log(step(4, math.inf))
    assert scalars(tmp_path) == [
        ("loss", 2, 0.25), ("validation_nMAE", 2, 0.25), ("steps_left_out", 2, 2.0),
        ("loss", 4, 0.125), ("steps_left_out", 4, 4.0),
    ]  # fmt: skip


def test_a_training_that_goes_on_adds_to_the_folder(tmp_path):
    for epoch in (1, 2):
        with EventLog(tmp_path) as log:
            log(step(epoch, 0.5))
    assert {epoch for _, epoch, _ in scalars(tmp_path)} == {1, 2}


def test_a_file_in_its_place_is_one_sentence(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match=r"taken cannot be written \(.*\); give another folder"):
        EventLog(tmp_path / "taken")


def test_without_the_library_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingDependency, match=r"pip install 'memflux\[training\]'"):
        EventLog(tmp_path)
