"""`memflux crossbar digits`, `mnist`: networks in arrays of measured resistive cells."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli import crossbar_studies
from memflux.cli.crossbar_studies import Arrays, Cells, Epochs, Hidden, distributions_of
from memflux.cli.output import Json
from memflux.cli.question import Out, Seed, bars, check_out, finish
from memflux.errors import InvalidValue, check_choice, check_integer

if TYPE_CHECKING:
    from memflux.analysis.crossbar.arrays import Arm, ArraysResult

crossbar = typer.Typer(
    no_args_is_help=True, help="Networks in arrays of measured resistive cells (doi 10.1039/d5nr02690c)."
)

Bits = Annotated[int, typer.Option(help="Bits a weight, from 1 to 32.")]
ArmOption = Annotated[str, typer.Option("--arm", help="How cells are written: as-published, write-verify or spares.")]
Voltage = Annotated[float, typer.Option("--voltage", help="Write with + and - this voltage [V].")]
Compliance = Annotated[float, typer.Option("--compliance", help="Of SET pulses [A]; below 100e-6 some are lost.")]
Redraw = Annotated[
    str | None, typer.Option(help="What a cell draws anew: never, resistance or all; default: as the arm has it.")
]
Attempts = Annotated[int | None, typer.Option(help="At a cell that reads back wrong; default: as the arm has it.")]
SpareShare = Annotated[float | None, typer.Option("--spare-share", help="Spare cells as a share of the array's.")]
Working = Annotated[float, typer.Option("--yield", help="Share of the cells that work; 1: an array of tested cells.")]
Rewrites = Annotated[int, typer.Option(help="Random contents that an array held before.")]
Rounding = Annotated[str, typer.Option(help="Of weights: towards-zero, as published, or nearest.")]
Integers = Annotated[
    bool, typer.Option("--integers", help="Take the integers for weights, without the scale of each tensor.")
]


@crossbar.command("digits")
def digits(
    bitmaps: Annotated[Path | None, typer.Option(help="CSV file; default: that of the reference data.")] = None,
    variant: Annotated[str | None, typer.Option(help="Of the bitmaps; default: the file's first.")] = None,
    bits: Bits = 3,
    arrays: Arrays = 100,
    arm: ArmOption = "as-published",
    hidden: Hidden = None,
    starts: Annotated[int, typer.Option(help="Trainings, of which the one that quantisation harms least.")] = 8,
    rounding: Rounding = "towards-zero",
    integers: Integers = False,
    distributions: Cells = "printed",
    voltage: Voltage = 5.0,
    compliance: Compliance = 200e-6,
    redraw: Redraw = None,
    attempts: Attempts = None,
    spare_share: SpareShare = None,
    working: Working = 1.0,
    rewrites: Rewrites = 0,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Bitmaps of digits: train a network, write it to arrays, read it back; all single-pixel flips, too.

    Example: memflux crossbar digits --bits 3 --arrays 100 --arm spares
    """
    from memflux.analysis.crossbar.arrays import fill_arrays
    from memflux.analysis.crossbar.bitmaps import read_bitmaps
    from memflux.analysis.crossbar.networks import Training, train_quantised

    check_out(out)
    chosen = _arm(arm, voltage, compliance, redraw, attempts, spare_share, working, rewrites, arrays)
    cells = distributions_of(distributions)
    images = read_bitmaps(_bitmaps(bitmaps), variant)
    training = Training(hidden=tuple(hidden or (20, 20)))
    _, quantised = train_quantised(
        images.inputs, images.labels, training, bits, rounding=rounding, scaled=not integers, starts=starts, seed=seed
    )
    with bars(as_json)("arrays") as tick:
        result = fill_arrays(
            quantised,
            images,
            chosen,
            distributions=cells,
            arrays=arrays,
            scaled=not integers,
            seed=seed,
            progress=tick,
        )
    finish(result, out, as_json, _arrays_table(result), f"{arrays} arrays, {arm}, {bits} bits")


@crossbar.command("mnist")
def mnist(
    folder: Annotated[Path, typer.Argument(help="Folder with the four IDX files; nothing is fetched.")],
    bits: Bits = 4,
    arrays: Arrays = 5,
    arm: ArmOption = "as-published",
    hidden: Hidden = None,
    epochs: Epochs = 15,
    rounding: Rounding = "towards-zero",
    integers: Integers = False,
    distributions: Cells = "printed",
    voltage: Voltage = 5.0,
    compliance: Compliance = 200e-6,
    redraw: Redraw = None,
    attempts: Attempts = None,
    spare_share: SpareShare = None,
    working: Working = 1.0,
    rewrites: Rewrites = 0,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """MNIST from IDX files: train four layers, write them to arrays, read them back.

    Example: memflux crossbar mnist ~/mnist --bits 4 --arm spares
    """
    from memflux.analysis.crossbar.arrays import fill_arrays
    from memflux.analysis.crossbar.idx import read_mnist
    from memflux.analysis.crossbar.networks import Training, train_quantised

    check_out(out)
    chosen = _arm(arm, voltage, compliance, redraw, attempts, spare_share, working, rewrites, arrays)
    cells = distributions_of(distributions)
    rest, tests = read_mnist(folder)
    training = Training(hidden=tuple(hidden or (128, 64, 32)), epochs=epochs)
    network, quantised = train_quantised(
        rest.inputs, rest.labels, training, bits, rounding=rounding, scaled=not integers, seed=seed
    )
    with bars(as_json)("arrays") as tick:
        result = fill_arrays(
            quantised,
            tests,
            chosen,
            distributions=cells,
            arrays=arrays,
            scaled=not integers,
            flips=False,
            seed=seed,
            progress=tick,
        )
    table = {"accuracy in floating point": f"{network.accuracy(tests.inputs, tests.labels):.4f}"}
    finish(result, out, as_json, table | _arrays_table(result), f"MNIST, {arm}, {bits} bits")


def _arm(
    name: str,
    voltage: float,
    compliance: float,
    redraw: str | None,
    attempts: int | None,
    spare_share: float | None,
    working: float,
    rewrites: int,
    arrays: int,
) -> "Arm":
    """The arm of this name with what the command line changes; refuses what cannot be filled before training."""
    from dataclasses import replace

    from memflux.analysis.crossbar.arrays import ARMS, MOST_ARRAYS

    check_integer("arrays", arrays, low=1, high=MOST_ARRAYS)
    arm = ARMS[check_choice("arm", name, ARMS)]
    pulses = replace(arm.writing.pulses, voltage=voltage, compliance=compliance)
    writing = replace(
        arm.writing,
        pulses=pulses,
        attempts=arm.writing.attempts if attempts is None else attempts,
        spares=arm.writing.spares if spare_share is None else spare_share,
    )
    options = replace(arm.options, redraw=redraw or arm.options.redraw, working=working)
    return replace(arm, options=options, writing=writing, rewrites=rewrites)


def _bitmaps(path: Path | None) -> Path:
    """The file that is given, or that of the reference data."""
    if path is not None:
        return path
    folder = Path(os.environ.get("MEMFLUX_REFERENCE_DATA", "../shared/data"))
    usual = folder / "reram_statistics" / "digits_5x4.csv"
    if not usual.is_file():
        raise InvalidValue(
            f"there is no {usual}; give --bitmaps FILE.csv, a column digit and one of 0 or 1 a pixel, "
            "or set MEMFLUX_REFERENCE_DATA."
        )
    return usual


def _arrays_table(result: "ArraysResult") -> dict[str, Any]:
    images = f"{result.accuracy.mean():.4f} in the mean, {result.accuracy.min():.4f} in the worst array"
    table = {
        "cells an array": result.cells,
        "accuracy in faultless cells": f"{result.ideal_accuracy:.4f}",
        "accuracy": images,
        "arrays that tell every image": f"{result.flawless} of {result.accuracy.size}",
    }
    if result.flips is not None:
        flips = f"{result.flips.mean():.4f} in the mean, {result.flips.min():.4f} in the worst array"
        table |= {
            "one pixel flipped, faultless cells": f"{result.ideal_flips:.4f}",
            "one pixel flipped": flips,
        }
    if result.flip_map is not None:
        always = f"{(result.flip_map == 1.0).sum()} of {result.flip_map.size} in every array"
        table["flips that are told"] = f"{always}; {result.flips_ambiguous} are an image of another class"
    for what, wrong, implied in (
        ("ones", result.ones_wrong, result.ones_implied),
        ("zeros", result.zeros_wrong, result.zeros_implied),
    ):
        said = "" if implied is None else f"; the distributions imply {implied:.4%} before spares"
        table[f"{what} that read back wrong"] = f"{wrong:.4%}{said}"
    spares = result.spares_used
    return table | {"spare cells used": f"{spares.mean():.1f} in the mean, {spares.max():.0f} at most"}


def register(app: typer.Typer) -> None:
    """Mount the group."""
    crossbar_studies.register(crossbar)
    app.add_typer(crossbar, name="crossbar")
