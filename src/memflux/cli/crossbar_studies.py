"""`memflux crossbar faults`, `analogue`, `lines`: accuracy and currents of arrays that are not perfect."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.output import Json, emit
from memflux.cli.question import Out, Seed, bars, check_out, finish
from memflux.errors import InvalidValue, check_integer, check_number

if TYPE_CHECKING:
    from memflux.analysis.crossbar.bitmaps import Images
    from memflux.analysis.crossbar.distributions import Distributions
    from memflux.analysis.crossbar.faults import FaultsResult
    from memflux.analysis.crossbar.networks import Network

Arrays = Annotated[int, typer.Option(help="Arrays that are made and written.")]
Hidden = Annotated[list[int] | None, typer.Option("--hidden", help="Neurons of a layer before the output; repeatable.")]
Epochs = Annotated[int, typer.Option(help="Of the training.")]
Cells = Annotated[str, typer.Option("--distributions", help="Of the cells: printed, script, or a JSON file.")]


def faults(
    bits: Annotated[int, typer.Option(help="Bits a weight of the network that meets the faults.")] = 4,
    arrays: Arrays = 10,
    hidden: Hidden = None,
    epochs: Epochs = 200,
    distributions: Cells = "printed",
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """scikit-learn's 8 x 8 digits: accuracy against bits, flipped pixels, stuck and dead cells, and weak pulses.

    Example: memflux crossbar faults --bits 4 --arrays 10
    """
    from memflux.analysis.crossbar.faults import against_faults

    check_out(out)
    check_integer("bits", bits, low=1, high=32)
    cells = distributions_of(distributions)
    network, tests = _trained(hidden, epochs, seed)
    with bars(as_json)("arms") as tick:
        result = against_faults(network, tests, bits=bits, distributions=cells, arrays=arrays, seed=seed, progress=tick)
    finish(result, out, as_json, _faults_table(result), f"8 x 8 digits, {bits} bits, {arrays} arrays")


def analogue(
    levels: Annotated[int, typer.Option(help="Levels of a cell where spread and lines are varied; 0: any.")] = 0,
    arrays: Arrays = 5,
    hidden: Hidden = None,
    epochs: Epochs = 200,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """scikit-learn's 8 x 8 digits by analogue dot products: accuracy against levels, spread and resistance of lines.

    Example: memflux crossbar analogue --levels 16
    """
    from memflux.analysis.crossbar.analogue import Levels, against_imperfections

    check_out(out)
    base = Levels(count=levels or None)
    network, tests = _trained(hidden, epochs, seed)
    result = against_imperfections(network, tests, base=base, arrays=arrays, seed=seed)
    table = {
        "in floating point": f"{result.float_accuracy:.4f}",
        "levels": _line(result.levels, result.by_level),
        "deviation of ln G": _line(result.spreads, result.by_spread),
        "ohm a segment": _line(result.ohms, result.by_ohms),
    }
    finish(result, out, as_json, table, "8 x 8 digits, analogue")


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
    conductances = _random_array(distributions_of(distributions), rows, columns, share, seed)
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


def _trained(hidden: list[int] | None, epochs: int, seed: int) -> "tuple[Network, Images]":
    """A network for the 8 x 8 digits, and those that it has not seen."""
    from memflux.analysis.crossbar.bitmaps import digits_8x8
    from memflux.analysis.crossbar.networks import Training, train

    training = Training(hidden=tuple(hidden or (32,)), epochs=epochs)
    rest, tests = digits_8x8(seed=seed)
    return train(rest.inputs, rest.labels, training, seed=seed), tests


def distributions_of(text: str) -> "Distributions":
    """The distributions of this name, or in this file."""
    from memflux.analysis.crossbar.distributions import VARIANTS, read_distributions

    if text in VARIANTS:
        return VARIANTS[text]
    if not Path(text).is_file():
        raise InvalidValue(f"distributions = {text!r} is neither printed nor script nor a file; choose one of them.")
    return read_distributions(text)


def _random_array(cells: "Distributions", rows: int, columns: int, share: float, seed: int) -> Any:
    """Conductances [S] of an array of which a share of the cells is set."""
    import numpy as np

    from memflux.analysis.crossbar.cells import Cells as Many

    many = Many(rows * columns, cells, seed=seed)
    many.low[:] = np.random.default_rng(seed).random(rows * columns) < share
    return (1.0 / many.resistance().astype(np.float64)).reshape(rows, columns)


def _faults_table(result: "FaultsResult") -> dict[str, Any]:
    unset = "  ".join(f"{v:g}: {p:.2%}" for v, p in zip(result.voltages, result.unset, strict=True))
    return {
        "in floating point": f"{result.float_accuracy:.4f}",
        "bits, cut towards zero": _line(result.widths, result.truncated),
        "bits, rounded": _line(result.widths, result.rounded),
        "flipped pixels": _line(result.pixels, result.flips),
        "stuck in the LRS": _line(result.stuck, result.stuck_accuracy),
        "cells that work": _line(result.working, result.working_accuracy),
        "write voltage [V]": _line(result.voltages, result.voltage_accuracy),
        "cells it does not set": unset,
    }


def _line(at: Any, values: Any) -> str:
    return "  ".join(f"{x:g}: {y:.3f}" for x, y in zip(at, values, strict=True))


def _finite(value: Any) -> float | None:
    return float(value) if value == value else None  # JSON knows no nan


def register(group: typer.Typer) -> None:
    """Mount the commands."""
    group.command("faults")(faults)
    group.command("analogue")(analogue)
    group.command("lines")(lines)
