"""Which predictor a command asks: a surrogate folder, or a model behind an endpoint."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from memflux.cli.output import console
from memflux.errors import InvalidValue
from memflux.platform.asking.model import Model
from memflux.space import Space

ModelOption = Annotated[str | None, typer.Option("--model", help="Folder or name of a surrogate on this machine.")]
UrlOption = Annotated[str | None, typer.Option("--url", help="Address of an endpoint, such as http://127.0.0.1:8000.")]
NameOption = Annotated[str | None, typer.Option("--name", help="The model at the endpoint, where it serves several.")]
TokenOption = Annotated[
    Path | None, typer.Option("--token-file", help="File with the endpoint's token; default: MEMFLUX_TOKEN.")
]
SpaceOption = Annotated[str | None, typer.Option("--space", help="Space preset to ask in; default: the model's own.")]

PROBES = 64  # devices of another space that are checked against the model's own


def predictor(model: str | None, url: str | None, name: str | None, token_file: Path | None) -> Model:
    """The surrogate or the client that the options name; InvalidValue unless they name exactly one."""
    if model is not None:
        if url is not None:
            raise InvalidValue("--model and --url are both given; give a surrogate folder or an endpoint.")
        if name is not None or token_file is not None:
            raise InvalidValue("--name and --token-file belong to --url; leave them out with --model.")
        from memflux.training.surrogate import Surrogate

        return Surrogate.load(model)
    if url is None:
        raise InvalidValue("there is no model to ask; give --model FOLDER, or --url ADDRESS with --token-file.")
    from memflux.platform.serving.client import Client

    return Client(url, model=name, token_file=token_file)


def opener(model: str | None, url: str | None, name: str | None, token_file: Path | None) -> Callable[[], Model]:
    """What makes the model of `predictor` in another process, which need not have the token's file or variable."""
    if url is None:
        from memflux.training.surrogate import Surrogate

        return functools.partial(Surrogate.load, str(model))
    from memflux.platform.serving.client import Client, token_of

    return functools.partial(Client, url, name, token=token_of(None, token_file))


def asked(
    model: str | None, url: str | None, name: str | None, token_file: Path | None, space: str | None
) -> tuple[Model, Space]:
    """What the options of a command name: `predictor` and `space_of`."""
    found = predictor(model, url, name, token_file)
    return found, space_of(found, space)


def space_of(model: Model, preset: str | None) -> Space:
    """The space to ask in, with a remark where it reaches beyond what the model was trained on."""
    if preset is None and model.space.drive == "random":
        raise InvalidValue(
            f"the model answers for any drive, and the random ones of its space {model.space.name!r} are no question; "
            "name the space of your drive with --space, for example 5d-parametric."
        )
    if preset is None:
        return model.space
    space = Space.preset(preset)
    outside = int(np.sum(~model.space.contains(*space.sample(PROBES, seed=0))))
    if outside:
        console.print(
            f"{outside} of {PROBES} devices of space {space.name} lie outside {model.space.name}, "
            "which the model was trained on; answers there are extrapolated."
        )
    return space
