"""`memflux crossbar`: networks in arrays of measured resistive cells, and arrays with resistive lines."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.output import Json, emit
from memflux.cli.question import Out, Seed, bars, check_out, finish
from memflux.errors import InvalidValue, check_choice, check_integer, check_number

if TYPE_CHECKING:
    from memflux.analysis.crossbar.arrays import Arm, ArraysResult
    from memflux.analysis.crossbar.bitmaps import Images
    from memflux.analysis.crossbar.distributions import Distributions
    from memflux.analysis.crossbar.faults import FaultsResult

crossbar = typer.Typer(
    no_args_is_help=True, help="Networks in arrays of measured resistive cells (doi 10.1039/d5nr02690c)."
)

Bits = Annotated[int, typer.Option(help="Bits a weight, from 1 to 32.")]
Arrays = Annotated[int, typer.Option(help="Arrays that are made and written.")]
Hidden = Annotated[list[int] | None, typer.Option("--hidden", help="Neurons of a layer before the output; repeatable.")]
ArmOption = Annotated[str, typer.Option("--arm", help="How cells are written: as-published, write-verify or spares.")]
Cells = Annotated[str, typer.Option("--distributions", help="Of the cells: printed, script, or a JSON file.")]
Voltage = Annotated[float, typer.Option("--voltage", help="Write with + and - this voltage [V].")]
Compliance = Annotated[float, typer.Option("--compliance", help="Of SET pulses [A]; below 100e-6 some are lost.")]
Redraw = Annotated[
    str | None, typer.Option(help="What a cell draws anew: never, resistance or all; default: as the arm has it.")
]
Attempts = Annotated[int | None, typer.Option(help="At a cell that reads back wrong; default: as the arm has it.")]
SpareShare = Annotated[float | None, typer.Option("--spare-share", help="Spare cells as a share of the array's.")]
Working = Annotated[float, typer.Option("--yield", help="Share of the cells that work; 1: an array of tested cells.")]
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
    chosen = _arm(arm, voltage, compliance, redraw, attempts, spare_share, working)
    cells = _distributions(distributions)
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
    epochs: Annotated[int, typer.Option(help="Of the training.")] = 15,
    rounding: Rounding = "towards-zero",
    integers: Integers = False,
    distributions: Cells = "printed",
    voltage: Voltage = 5.0,
    compliance: Compliance = 200e-6,
    redraw: Redraw = None,
    attempts: Attempts = None,
    spare_share: SpareShare = None,
    working: Working = 1.0,
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
    chosen = _arm(arm, voltage, compliance, redraw, attempts, spare_share, working)
    cells = _distributions(distributions)
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


@crossbar.command("faults")
def faults(
    bits: Annotated[int, typer.Option(help="Bits a weight of the network that meets the faults.")] = 4,
    arrays: Arrays = 10,
    arm: ArmOption = "as-published",
    hidden: Hidden = None,
    epochs: Annotated[int, typer.Option(help="Of the training.")] = 200,
    distributions: Cells = "printed",
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """scikit-learn's 8 x 8 digits: accuracy against bits, flipped pixels, stuck and dead cells, and weak pulses.

    Example: memflux crossbar faults --bits 4 --arrays 10
    """
    from memflux.analysis.crossbar.arrays import ARMS
    from memflux.analysis.crossbar.bitmaps import digits_8x8
    from memflux.analysis.crossbar.faults import against_faults
    from memflux.analysis.crossbar.networks import Training, train

    check_out(out)
    base = ARMS[check_choice("arm", arm, ARMS)]
    check_integer("bits", bits, low=1, high=32)
    cells = _distributions(distributions)
    rest, tests = digits_8x8(seed=seed)
    training = Training(hidden=tuple(hidden or (32,)), epochs=epochs)
    network = train(rest.inputs, rest.labels, training, seed=seed)
    with bars(as_json)("arms") as tick:
        result = against_faults(
            network, tests, bits=bits, base=base, distributions=cells, arrays=arrays, seed=seed, progress=tick
        )
    finish(result, out, as_json, _faults_table(result), f"8 x 8 digits, {arm}, {bits} bits, {arrays} arrays")


@crossbar.command("lines")
def lines(
    rows: Annotated[int, typer.Option(help="Rows of the array.")] = 256,
    columns: Annotated[int, typer.Option(help="Columns of the array.")] = 256,
    ohms: Annotated[float, typer.Option("--ohms", help="Resistance of a segment of line [ohm].")] = 1.0,
    share: Annotated[float, typer.Option(help="Share of the cells that are in the LRS.")] = 0.5,
    voltage: Annotated[float, typer.Option(help="At every row [V].")] = 0.1,
    distributions: Cells = "printed",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """What resistive lines leave of the currents of a random array: Kirchhoff's equations, with a bound of the error.

    Example: memflux crossbar lines --rows 256 --columns 256 --ohms 1
    """
    from time import perf_counter

    import numpy as np

    from memflux.analysis.crossbar.lines import MOST_CELLS, LineNetwork, Lines

    check_integer("rows", rows, low=1, high=MOST_CELLS)
    check_integer("columns", columns, low=1, high=MOST_CELLS // rows)
    check_number("share", share, low=0.0, high=1.0)
    check_number("voltage", voltage, low=1e-6, high=1e6, unit="V")
    conductances = _random_array(_distributions(distributions), rows, columns, share, seed)
    began = perf_counter()
    network = LineNetwork(conductances, Lines(row=ohms, column=ohms))
    solution = network.solve(np.full((1, rows), voltage))
    seconds = perf_counter() - began
    ideal = voltage * conductances.sum(axis=0)
    kept = solution.currents[0] / ideal
    result = {
        "unknowns": 2 * rows * columns,
        "seconds": seconds,
        "current": float(solution.currents.sum()),
        "current_without_lines": float(ideal.sum()),
        "kept_least": float(kept.min()),
        "kept_most": float(kept.max()),
        "error_bound": _finite(solution.bound[0]),
        "error_bound_currents": _finite(solution.current_bound[0]),
        "imbalance": float(solution.currents.sum() / solution.sources.sum() - 1),
    }
    emit(result, as_json, f"{rows} x {columns} cells, {ohms:g} ohm a segment")


def _arm(
    name: str,
    voltage: float,
    compliance: float,
    redraw: str | None,
    attempts: int | None,
    spare_share: float | None,
    working: float,
) -> "Arm":
    """The arm of this name with what the command line changes."""
    from dataclasses import replace

    from memflux.analysis.crossbar.arrays import ARMS

    arm = ARMS[check_choice("arm", name, ARMS)]
    pulses = replace(arm.writing.pulses, voltage=voltage, compliance=compliance)
    changed = {"attempts": attempts, "spares": spare_share}
    writing = replace(arm.writing, pulses=pulses, **{k: v for k, v in changed.items() if v is not None})
    options = replace(arm.options, redraw=redraw or arm.options.redraw, working=working)
    return replace(arm, options=options, writing=writing)


def _distributions(text: str) -> "Distributions":
    from memflux.analysis.crossbar.distributions import VARIANTS, read_distributions

    if text in VARIANTS:
        return VARIANTS[text]
    if not Path(text).is_file():
        raise InvalidValue(f"distributions = {text!r} is neither printed nor script nor a file; choose one of them.")
    return read_distributions(text)


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


def _random_array(cells: "Distributions", rows: int, columns: int, share: float, seed: int) -> Any:
    """Conductances [S] of an array of which a share of the cells is set."""
    import numpy as np

    from memflux.analysis.crossbar.cells import Cells as Many

    many = Many(rows * columns, cells, seed=seed)
    many.low[:] = np.random.default_rng(seed).random(rows * columns) < share
    return (1.0 / many.resistance().astype(np.float64)).reshape(rows, columns)


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
        table |= {"with one pixel flipped, faultless cells": f"{result.ideal_flips:.4f}", "with one pixel flipped": flips}
    for what, wrong, implied in (
        ("ones", result.ones_wrong, result.ones_implied),
        ("zeros", result.zeros_wrong, result.zeros_implied),
    ):
        said = "" if implied is None else f"; the distributions imply {implied:.4%} before spares"
        table[f"{what} that read back wrong"] = f"{wrong:.4%}{said}"
    return table | {"spare cells used": f"{result.spares_used.mean():.1f} in the mean, {result.spares_used.max():.0f} at most"}


def _faults_table(result: "FaultsResult") -> dict[str, Any]:
    def line(at: Any, values: Any) -> str:
        return "  ".join(f"{x:g}: {y:.3f}" for x, y in zip(at, values, strict=True))

    unset = "  ".join(f"{v:g}: {p:.2%}" for v, p in zip(result.voltages, result.unset, strict=True))
    return {
        "in floating point": f"{result.float_accuracy:.4f}",
        "bits, cut towards zero": line(result.widths, result.truncated),
        "bits, rounded": line(result.widths, result.rounded),
        "flipped pixels": line(result.pixels, result.flips),
        "stuck in the LRS": line(result.stuck, result.stuck_accuracy),
        "cells that work": line(result.working, result.working_accuracy),
        "write voltage [V]": line(result.voltages, result.voltage_accuracy),
        "cells it does not set": unset,
    }


def _finite(value: Any) -> float | None:
    return float(value) if value == value else None  # JSON knows no nan


def register(app: typer.Typer) -> None:
    """Mount the group."""
    app.add_typer(crossbar, name="crossbar")
