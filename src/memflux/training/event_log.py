"""Event files of a training, which TensorBoard shows: tensorboard --logdir FOLDER."""

import math
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from memflux.errors import DataError, MissingDependency
from memflux.training.schedule import Step


class EventLog:
    """Called with each step of a training, it writes loss and validation error; a context manager.

    Raises MissingDependency without tensorboardX, DataError where the folder cannot be written. A training
    that goes on adds a file to the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingDependency("event files need tensorboardX; run pip install 'memflux[training]'.") from None
        try:
            # the time in a file's name is in whole seconds: two in one would share it
            self._writer = SummaryWriter(str(folder), filename_suffix=f".{uuid.uuid4().hex}")
        except OSError as error:
            raise DataError(f"{folder} cannot be written ({error.strerror}); give another folder.") from None

    def __call__(self, step: Step) -> None:
        """Values that are not finite are left out, as no chart has a place for them."""
        values = {"loss": step.loss, "validation nMAE": step.validation, "steps left out": step.skipped}
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(name.replace(" ", "_"), value, step.epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
