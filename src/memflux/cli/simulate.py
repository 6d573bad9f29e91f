"""`memflux simulate`: one device, one drive, one curve."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memflux.cli.changes import changes
from memflux.cli.output import Json, emit, progress
from memflux.errors import DataError, InvalidValue, MissingDependency, check_choice, check_integer

if TYPE_CHECKING:
    import numpy as np

    from memflux.device import Device
    from memflux.traces import Profiles, Trace
    from memflux.waveform import Waveform

PICTURES = (".png", ".svg", ".pdf")
PHASES_INSIDE = (0.125, 0.375, 0.625, 0.875)  # a triangle's half amplitude on its ways up and down: other states
MAX_FRAMES = 2000


def simulate(
    preset: Annotated[
        str | None, typer.Option(help="seed (default), S1, S2, Ex107, fit-a or fit-b.", show_default=False)
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the device (energies in eV, else SI); repeatable.")
    ] = None,
    waveform: Annotated[str, typer.Option(help="triangle or sine.")] = "triangle",
    amplitude: Annotated[
        float | None, typer.Option(help="Amplitude [V]; default 10. In A with --source current.")
    ] = None,
    period: Annotated[float | None, typer.Option(help="Period \\[s]; default 8.")] = None,
    cycles: Annotated[int, typer.Option(help="Cycles.")] = 2,
    drive: Annotated[Path | None, typer.Option(help="CSV of time \\[s], voltage [V], instead of --waveform.")] = None,
    source: Annotated[str, typer.Option(help="voltage or current.")] = "voltage",
    series_resistance: Annotated[float, typer.Option(help="Resistor before the device [Ohm].")] = 0.0,
    compliance: Annotated[float | None, typer.Option(help="Compliance [A], or [V] of a current source.")] = None,
    from_state: Annotated[
        Path | None, typer.Option(help="State (.npz) of --save-state to go on from, with its device.")
    ] = None,
    save_state: Annotated[Path | None, typer.Option(help="Write the state at the end, for --from-state.")] = None,
    control: Annotated[
        str, typer.Option(help="accurate, fast, reference, reference-S1, reference-Ex107.")
    ] = "accurate",
    engine: Annotated[str, typer.Option(help="auto, petsc or compiled.")] = "auto",
    samples: Annotated[int, typer.Option(help="Samples a cycle of accurate and fast.")] = 160,
    out: Annotated[Path | None, typer.Option(help="CSV to write: time, voltage, current.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG, SVG or PDF of the I-V curve.")] = None,
    inside: Annotated[
        Path | None, typer.Option(help="PNG, SVG or PDF of bands, field, densities, currents and heat in the channel.")
    ] = None,
    profiles: Annotated[
        str | None,
        typer.Option(
            help="Times \\[s] of --inside and --json, with commas; else --inside shows rest and four of the last cycle."
        ),
    ] = None,
    animate: Annotated[Path | None, typer.Option(help="GIF or MP4 of the last cycle, inside and out.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of --animate, evenly in time.")] = 80,
    as_json: Json = False,
) -> None:
    """Simulate one device with full physics; look at its curve and inside it.

    Example: memflux simulate --preset S2 --set barrier_left=0.12 --plot s2.png --inside inside.png --animate s2.gif
    """
    import numpy as np

    from memflux.circuit import Circuit
    from memflux.device import Device
    from memflux.solvers.compiled import is_cold
    from memflux.solvers.control import SolverControl
    from memflux.solvers.solver import simulate as run
    from memflux.state import State

    if save_state is not None and (engine == "cuda" or SolverControl.preset(control).adaptive):
        raise InvalidValue(
            f"control = {control!r} with engine = {engine!r} leaves no state; choose accurate or fast and "
            "petsc or compiled, or drop --save-state."
        )
    if source == "current" and drive is None and amplitude is None:
        raise InvalidValue("--source current needs an --amplitude in A; write for example --amplitude 1e-6.")
    state = None if from_state is None else State.load(from_state)
    name = preset or ("seed" if from_state is None else from_state.name)
    device = state.device if state is not None and preset is None else Device.preset(name)
    device = device.replace(**changes(change or []))
    circuit = Circuit(source=source, series_resistance=series_resistance, compliance=compliance)
    wave = _drive(waveform, amplitude, period, cycles, drive)
    targets = _Targets(out=out, save_state=save_state, plot=plot, inside=inside, animate=animate)
    targets.check()
    looks = _looks(profiles, inside, as_json, wave)
    film = np.array([]) if animate is None else _film(frames, wave)
    times = np.union1d(looks, film)
    if is_cold() and not as_json:
        typer.echo("compiling the solver for this processor, once: about a minute", err=True)
    trace = run(
        device,
        wave,
        control=control,
        engine=engine,
        samples=samples,
        profiles=times if times.size else None,
        circuit=circuit,
        state=state,
    )
    _write(targets, trace, device, name, looks, film, as_json)
    result = _summary(device, trace, as_json)
    if as_json and profiles is not None and trace.profiles is not None:
        result["profiles"] = _listed(trace.profiles.at(looks))
    emit(result, as_json, title=f"{name} under {type(wave).__name__}")
    if not trace.ok:
        raise typer.Exit(1)


def _drive(kind: str, amplitude: float | None, period: float | None, cycles: int, path: Path | None) -> "Waveform":
    from memflux.waveform import PiecewiseLinear, Sine, Triangle

    if path is not None:
        if amplitude is not None or period is not None or kind != "triangle":
            raise InvalidValue(
                f"--drive {path} says all about the voltage; leave out --waveform, --amplitude and --period."
            )
        return PiecewiseLinear.from_csv(path, cycles=cycles)
    peak, duration = 10.0 if amplitude is None else amplitude, 8.0 if period is None else period
    if check_choice("waveform", kind, ("triangle", "sine")) == "sine":
        return Sine(amplitude=peak, period=duration, cycles=cycles)
    return Triangle(amplitude=peak, period=duration, cycles=cycles)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Targets:
    """Files to write; None: not wanted."""

    out: Path | None
    save_state: Path | None
    plot: Path | None
    inside: Path | None
    animate: Path | None

    def check(self) -> None:
        """Refuse what could not be written before anything is solved."""
        for target in (self.plot, self.inside):
            if target is not None and target.suffix.lower() not in PICTURES:
                raise InvalidValue(
                    f"{target} is no picture that can be written; give a name that ends in .png, .svg or .pdf."
                )
        for target in (self.out, self.save_state, self.plot, self.inside):
            if target is not None and not target.resolve().parent.is_dir():
                raise DataError(f"{target} is not in an existing folder; make the folder first.")
            if target is not None and target.is_dir():
                raise DataError(f"{target} is a folder; give the name of a file.")
        if self.plot is None and self.inside is None and self.animate is None:
            return
        try:
            from memflux.platform.animation import check_animation
        except ImportError:
            raise MissingDependency("pictures need matplotlib; run pip install 'memflux[report]'.") from None
        if self.animate is not None:
            check_animation(self.animate)


def _write(
    targets: _Targets,
    trace: "Trace",
    device: "Device",
    name: str,
    looks: "np.ndarray",
    film: "np.ndarray",
    quiet: bool,
) -> None:
    """All files that were asked for; `looks` and `film` [s] are the times of --inside and --animate."""
    if targets.save_state is not None and trace.state is not None:
        trace.state.save(targets.save_state)
    if targets.out is not None:
        _write_csv(targets.out, trace)
    if targets.plot is not None:
        _draw(targets.plot, trace, name)
    if targets.inside is not None and (seen := _seen(trace, looks)):
        _draw_inside(targets.inside, seen, device)
    if targets.animate is not None and (seen := _seen(trace, film)):
        _film_of(targets.animate, seen, device, quiet)


def _looks(text: str | None, inside: Path | None, as_json: bool, wave: "Waveform") -> "np.ndarray":
    """Times [s] of the looks inside, sorted; the drive's own check says what is out of range."""
    import numpy as np

    if text is None:
        if inside is None:
            return np.array([])
        phases = np.array([0.0, *(wave.cycles - 1 + p for p in PHASES_INSIDE)])
        return phases * float(wave.periods())
    if inside is None and not as_json:
        raise InvalidValue(f"--profiles {text} would not be shown; add --inside FILE.png or --json.")
    try:
        return np.unique([float(part) for part in text.split(",")])
    except ValueError:
        raise InvalidValue(f"--profiles {text!r} is no list of times in s; write for example 1,2.5.") from None


def _film(frames: int, wave: "Waveform") -> "np.ndarray":
    """Times [s] of the frames: the last cycle from end to end."""
    import numpy as np

    period = float(wave.periods())
    check_integer("frames", frames, low=2, high=MAX_FRAMES)
    return np.linspace((wave.cycles - 1) * period, wave.cycles * period, frames)


def _summary(device: "Device", trace: "Trace", full: bool) -> dict[str, object]:
    from memflux.metrics import symmetry

    history = trace.history
    assert history is not None
    result: dict[str, object] = {
        "status": trace.status,
        "levels": len(trace),
        "peak current [A]": float(abs(trace.current[trace.current == trace.current]).max(initial=0.0)),
        "symmetry": float(symmetry(trace)) if trace.ok else None,
        "energy of the last cycle [J]": float(trace.cycle().energy[-1]) if trace.ok else None,
        "newton steps": history.newton_steps,
        "rejected steps": int(history.rejected.size),
        "seconds": history.wall_time,
    }
    if full:
        curves = {name: _plain(getattr(trace, name)) for name in ("time", "voltage", "current")}
        return result | {"device": device.to_dict()} | curves
    return result


def _listed(seen: "Profiles") -> dict[str, object]:
    """All that is known of the inside, by name; see `Profiles` for units."""
    names = [f.name for f in dataclasses.fields(seen)] + ["edges", "field", "j_total", "dissipation"]
    return {name: _plain(getattr(seen, name)) for name in names}


def _plain(values: "np.ndarray") -> list[object]:
    """Lists for JSON, in which None stands for what is not a number."""
    import numpy as np

    table = values.astype(object)
    table[~np.isfinite(values)] = None
    return table.tolist()


def _write_csv(path: Path, trace: "Trace") -> None:
    import numpy as np

    table = np.stack([trace.time, trace.voltage, trace.current], axis=1)
    np.savetxt(path, table, delimiter=",", header="time [s],voltage [V],current [A]", comments="")


def _draw(path: Path, trace: "Trace", title: str) -> None:
    from memflux.platform.figures import single_curve

    single_curve(trace, title).savefig(path, dpi=160)


def _seen(trace: "Trace", times: "np.ndarray") -> "Trace | None":
    """The trace with those looks only; None where the solve failed before the first of them."""
    import numpy as np

    if trace.profiles is None:
        return None
    chosen = trace.profiles.at(times)
    return dataclasses.replace(trace, profiles=chosen) if np.isfinite(chosen.psi).all(axis=1).any() else None


def _draw_inside(path: Path, trace: "Trace", device: "Device") -> None:
    from memflux.platform.inside_figures import inside

    inside(trace, device).savefig(path, dpi=130)


def _film_of(path: Path, trace: "Trace", device: "Device", quiet: bool) -> None:
    from memflux.platform.animation import animate

    with progress(quiet) as bar:
        task = bar.add_task("frames", total=None, note="")
        animate(trace, device, path, lambda done, count: bar.update(task, completed=done, total=count))


def register(app: typer.Typer) -> None:
    """Mount the command of this module."""
    app.command("simulate")(simulate)
