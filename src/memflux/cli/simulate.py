"""`memflux simulate`: one device, one drive, one curve."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memflux.cli.output import Json, emit
from memflux.errors import DataError, InvalidValue, MemfluxError

if TYPE_CHECKING:
    from memflux.device import Device
    from memflux.traces import Trace
    from memflux.waveform import Waveform


def simulate(
    preset: Annotated[str, typer.Option(help="seed, S1, S2, Ex107, fit-a or fit-b.")] = "seed",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the device (energies in eV, else SI); repeatable.")
    ] = None,
    amplitude: Annotated[float | None, typer.Option(help="Amplitude of the triangle [V]; default 10.")] = None,
    period: Annotated[float | None, typer.Option(help="Period of the triangle \\[s]; default 8.")] = None,
    cycles: Annotated[int, typer.Option(help="Cycles.")] = 2,
    drive: Annotated[Path | None, typer.Option(help="CSV of time \\[s], voltage [V], instead of the triangle.")] = None,
    control: Annotated[
        str, typer.Option(help="accurate, fast, reference, reference-S1, reference-Ex107.")
    ] = "accurate",
    engine: Annotated[str, typer.Option(help="auto, petsc or compiled.")] = "auto",
    samples: Annotated[int, typer.Option(help="Samples a cycle of accurate and fast.")] = 160,
    out: Annotated[Path | None, typer.Option(help="CSV to write: time, voltage, current.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG, SVG or PDF of the I-V curve.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate one device with full physics.

    Example: memflux simulate --preset S2 --set barrier_left=0.12 --plot s2.png
    """
    from memflux.device import Device
    from memflux.solvers.solver import simulate as run
    from memflux.waveform import PiecewiseLinear, Triangle

    device = Device.preset(preset).replace(**_changes(change or []))
    if drive is not None and (amplitude is not None or period is not None):
        raise InvalidValue(f"--drive {drive} says all about the voltage; leave out --amplitude and --period.")
    wave: Waveform = (
        Triangle(
            amplitude=10.0 if amplitude is None else amplitude, period=8.0 if period is None else period, cycles=cycles
        )
        if drive is None
        else PiecewiseLinear.from_csv(drive, cycles=cycles)
    )
    for target in (out, plot):
        if target is not None and not target.resolve().parent.is_dir():
            raise DataError(f"{target} is not in an existing folder; make the folder first.")
    trace = run(device, wave, control=control, engine=engine, samples=samples)
    if out is not None:
        _write_csv(out, trace)
    if plot is not None:
        _draw(plot, trace, preset)
    emit(_summary(device, trace, as_json), as_json, title=f"{preset} under {type(wave).__name__}")
    if not trace.ok:
        raise typer.Exit(1)


def _changes(texts: list[str]) -> dict[str, object]:
    """FIELD=VALUE texts as typed values."""
    from memflux.device import QUANTITIES

    changes: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidValue(f"--set {text!r} is not FIELD=VALUE; write for example --set barrier_left=0.12.")
        if name == "barrier_lowering" and value.lower() in ("true", "false"):
            changes[name] = value.lower() == "true"
        elif name in QUANTITIES:
            try:
                changes[name] = float(value)
            except ValueError:
                changes[name] = value  # the device's own check names field and range
        else:
            changes[name] = value
    return changes


def _summary(device: "Device", trace: "Trace", full: bool) -> dict[str, object]:
    from memflux.metrics import symmetry

    history = trace.history
    assert history is not None
    result: dict[str, object] = {
        "status": trace.status,
        "levels": len(trace),
        "peak current [A]": float(abs(trace.current[trace.current == trace.current]).max(initial=0.0)),
        "symmetry": float(symmetry(trace)) if trace.ok else None,
        "newton steps": history.newton_steps,
        "rejected steps": int(history.rejected.size),
        "seconds": history.wall_time,
    }
    if full:
        curves = {
            name: [None if v != v else v for v in getattr(trace, name).tolist()]
            for name in ("time", "voltage", "current")
        }
        return result | {"device": device.to_dict()} | curves
    return result


def _write_csv(path: Path, trace: "Trace") -> None:
    import numpy as np

    table = np.stack([trace.time, trace.voltage, trace.current], axis=1)
    np.savetxt(path, table, delimiter=",", header="time [s],voltage [V],current [A]", comments="")


def _draw(path: Path, trace: "Trace", title: str) -> None:
    try:
        from memflux.platform.figures import single_curve
    except ImportError:
        raise MemfluxError("--plot needs matplotlib; run pip install 'memflux[report]'.") from None
    figure = single_curve(trace, title)
    try:
        figure.savefig(path, dpi=160)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{path} cannot be written: {error}; give a .png, .svg or .pdf in an existing folder."
        ) from None


def register(app: typer.Typer) -> None:
    """Mount the command of this module."""
    app.command("simulate")(simulate)
