"""`memflux export`: a surrogate as one file for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from memflux.cli.output import Json, emit


def export(
    surrogate: Annotated[str, typer.Argument(help="Folder of the surrogate, or the name of a pretrained one.")],
    target: Annotated[Path, typer.Argument(metavar="FILE", help="What to write: .onnx, or .pt2 of torch.export.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a surrogate as one file that needs no memflux: parameters in SI (eV) and voltage in V to current in A.

    The file is asked for 16 devices, and kept where it answers as the surrogate does. A data set is
    written by memflux campaign export. A recurrent model takes a minute or two.

    Example: memflux export runs/surrogate surrogate.onnx
    """
    from memflux.training.export import check_target
    from memflux.training.export import export as write
    from memflux.training.surrogate import Surrogate

    check_target(target, overwrite=overwrite)  # before the surrogate is looked for
    loaded = Surrogate.load(surrogate)
    written = write(loaded, target, overwrite=overwrite)
    result = {
        "file": str(target),
        "form": written.form,
        "inputs": written.inputs,
        "parameters": loaded.parameters,
        "difference": written.difference,
        "mb": target.stat().st_size / 1e6,
    }
    emit(result, as_json, title="export")


def register(app: typer.Typer) -> None:
    """Mount the command of this module."""
    app.command("export")(export)
