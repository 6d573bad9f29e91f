"""Pictures that commands write beside their answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memflux.cli.simulate import PICTURES
from memflux.errors import DataError, InvalidValue, MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = Annotated[Path | None, typer.Option("--figure", help="PNG, SVG or PDF to draw the result in.")]


def check_picture(path: Path | None) -> None:
    """Refuse a picture that could not be drawn before minutes are spent."""
    if path is None:
        return
    if path.suffix.lower() not in PICTURES:
        raise InvalidValue(f"--figure {path} is no picture that can be written; end it in .png, .svg or .pdf.")
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise DataError(f"--figure {path} is not a file in an existing folder; make the folder or name another file.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependency("pictures need matplotlib; run pip install 'memflux[report]'.") from None


def write_picture(figure: "Figure", path: Path) -> None:
    """Write a figure in the format of its name; DataError where that cannot be done."""
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; choose a folder that can be.") from None
