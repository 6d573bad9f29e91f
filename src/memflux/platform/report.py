"""The report of a run: one self-contained HTML page, built from the files of the run alone."""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from memflux.analysis.inverse import FitResult
from memflux.analysis.pareto import ParetoResult
from memflux.analysis.sensitivity import SobolResult
from memflux.dataset import Dataset
from memflux.device import QUANTITIES
from memflux.metrics import on_off_ratio
from memflux.platform import figures, sensitivity_figures
from memflux.platform.inside_figures import inside
from memflux.platform.page import Section, write_page
from memflux.platform.provenance import provenance
from memflux.platform.run import RunFolder
from memflux.solvers.solver import simulate
from memflux.space import DRIVE_PARAMETERS
from memflux.training.data import split
from memflux.training.evaluate import Evaluation, evaluate
from memflux.training.surrogate import Surrogate

PHASES_INSIDE = (1.0, 1.25, 1.5, 1.75)  # cycles at which profiles are shown


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Material:
    """What the sections draw on, read once."""

    run: RunFolder
    data: Dataset
    surrogate: Surrogate | None
    errors: Evaluation | None  # of the test set


def build_report(folder: str | Path) -> Path:
    """Write `report.html` into the run's folder and return its path.

    Raises DataError where the folder or its data set is missing or damaged.
    """
    run = RunFolder.at(folder)
    data = Dataset.open(run.dataset)
    surrogate = Surrogate.load(run.surrogate) if run.surrogate.is_dir() else None
    material = _Material(run=run, data=data, surrogate=surrogate, errors=_test_errors(surrogate, data))
    sections = [make(material) for make in _SECTIONS]
    write_page(
        run.report,
        title="From a device to answers",
        subtitle=_space_line(data),
        tiles=_tiles(material),
        sections=sections,
        about=provenance() | {"data set": data.content_hash, "engine": data.manifest.method.engine},
    )
    return run.report


def _space_line(data: Dataset) -> str:
    space = data.space
    if space is None:
        return f"{len(data)} devices"
    names = ", ".join(figures.label(n) for n in space.names)
    return f"Design space {space.name}: {len(space.names)} parameters ({names}), {space.cycles} cycles"


def _test_errors(surrogate: Surrogate | None, data: Dataset) -> Evaluation | None:
    """Errors on the devices that training never saw; rows are places in the data set."""
    if surrogate is None:
        return None
    chosen = np.flatnonzero(split(data.devices, data.drive, surrogate.record["fractions"]).test)
    if chosen.size == 0:
        return None
    result = evaluate(
        surrogate,
        data.devices[chosen],
        data.drive[chosen],
        data.traces[chosen],
        surrogate.published,
    )
    return dataclasses.replace(result, rows=chosen[result.rows])


def _tiles(m: _Material) -> list[tuple[str, str]]:
    """The figures a reader wants first."""
    ok = int(m.data.traces.ok.sum())
    tiles = [(f"{len(m.data)}", "devices simulated with the FV model"), (f"{len(m.data) - ok}", "solves failed")]
    seconds = float(np.nanmean(m.data.rows.biography["wall_time_s"]))
    tiles.append((f"{seconds:.2f} s", "a curve and core, FV model"))
    if m.errors is not None:
        tiles.append((f"{100 * m.errors.nmae.mean():.2f} %", f"mean nMAE on {m.errors.rows.size} unseen devices"))
    for row in m.run.steps():
        if row["what"] == "Sobol indices" and row["seconds"] > 0:
            tiles.append((f"{row['amount'] / row['seconds']:,.0f} /s", "curves asked of the surrogate"))
    return tiles


def _accuracy(m: _Material) -> Section:
    title = "The surrogate against the physics"
    if m.surrogate is None or m.errors is None:
        return Section(
            title=title,
            text="",
            missing=f"no surrogate with a test set here; run `memflux train {m.run.dataset} --out {m.run.surrogate}`.",
        )
    rows = [m.errors.best, m.errors.median, m.errors.worst]
    truth = m.data.traces[np.array(rows)].cycle()
    drive = m.data.drive[np.array(rows)]
    guess = m.surrogate(m.data.devices[np.array(rows)], drive).cycle()
    of = {int(r): float(e) for r, e in zip(m.errors.rows, m.errors.nmae, strict=True)}
    shown = figures.curves(
        ("best", "median", "worst"), truth.voltage, truth.current, guess.current, [of[r] for r in rows]
    )
    statistics = m.errors.to_dict()
    table: list[tuple[str, ...]] = [("error on unseen devices", "mean", "median", "95 %", "largest")]
    for name, key in (("nMAE in amperes", "nmae"), ("nMAE, scaled as published", "nmae_scaled")):
        if isinstance(values := statistics[key], dict):
            table.append((name, *(f"{100 * values[k]:.3f} %" for k in ("mean", "median", "p95", "max"))))
    return Section(
        title=title,
        text=(
            f"Last cycle of three of the {m.errors.rows.size} devices that training never saw, and the error of "
            "all of them. nMAE: half the mean absolute difference over the larger peak."
        ),
        images=(
            (figures.embed(shown), "I-V curves of the best, median and worst predicted test devices"),
            (figures.embed(figures.sorted_errors(m.errors.nmae)), "sorted test errors"),
        ),
        table=tuple(table),
    )


def _sensitivity(m: _Material) -> Section:
    title = "What the symmetry and the on-off ratio depend on"
    if not m.run.answer("sobol").exists():
        return Section(title=title, text="", missing=_hint(m, "sobol"))
    s = SobolResult.from_json(m.run.answer("sobol"))
    drawn = sensitivity_figures.sobol(s)
    notes = " ".join(s.notes)
    return Section(
        title=title,
        text=(
            f"Sobol indices from {s.evaluations:,} curves asked of the surrogate, with 95 % confidence intervals from "
            f"{s.resamples} bootstrap resamples. {notes}"
        ).strip(),
        images=((figures.embed(drawn), "Sobol indices"),),
    )


def _pareto(m: _Material) -> Section:
    title = "The trade-off, as predicted and as simulated"
    if not m.run.answer("pareto").exists():
        return Section(title=title, text="", missing=_hint(m, "pareto"))
    p = ParetoResult.from_json(m.run.answer("pareto"))
    check = (m.run.read(m.run.checks) or {}).get("pareto")
    verified = None if check is None else np.array(check["objectives"], dtype=np.float64)
    rows = [] if check is None else check["rows"]
    drawn = figures.pareto_front(p.quantities, p.objectives, verified, rows)
    goals = " and ".join(
        f"{'least' if s == 'min' else 'greatest'} {figures.label(q)}"
        for q, s in zip(p.quantities, p.senses, strict=True)
    )
    distance = ""
    if verified is not None and len(rows):
        off = np.abs(verified - p.objectives[rows])
        each = ", ".join(
            f"{figures.label(q)} {o:.3f}" for q, o in zip(p.quantities, np.nanmax(off, axis=0), strict=True)
        )
        distance = f" {len(rows)} of them were simulated with the FV model: the largest differences are {each}."
    return Section(
        title=title,
        text=(
            f"{len(p.objectives)} devices that, by the surrogate, no other beats in {goals}, "
            f"from {p.evaluations:,} curves.{distance}"
        ),
        images=((figures.embed(drawn), "Pareto front"),),
    )


def _fit(m: _Material) -> Section:
    title = "The device behind a measured curve"
    if not m.run.answer("fit").exists():
        return Section(title=title, text="", missing=_hint(m, "fit", " CURVE.csv"))
    f = FitResult.from_json(m.run.answer("fit"))
    check = (m.run.read(m.run.checks) or {}).get("fit") or {}
    physics = np.array(check["current"], dtype=np.float64) if "current" in check else None
    drawn = figures.fit(f.voltage, f.target, f.prediction, physics)
    known = check.get("truth") or {}
    header = ("parameter", "fitted", "range of the fits that are as good", *(("true value",) if known else ()))
    table = [header]
    for k, name in enumerate(f.names):
        row = [
            figures.label(name),
            f"{_number(f.parameters[name])} {_unit(name)}",
            f"{_number(f.low[k])} to {_number(f.high[k])}",
        ]
        table.append((*row, *((f"{_number(known[name])} {_unit(name)}",) if known else ())))
    about = ""
    if known:
        about += " The curve was made with the FV model and noise, so the true values are known."
    if check.get("nmae") is not None:
        about += (
            f" Simulated with the FV model, the fitted device is {100 * check['nmae']:.2f} % (nMAE) from the curve."
        )
    return Section(
        title=title,
        text=(
            f"Found from {len(f.costs)} starts at once in {f.calls} calls ({f.evaluations:,} devices "
            f"with gradients); {f.alike} starts ended within 10 % of the best cost.{about}"
        ),
        images=((figures.embed(drawn), "measured and fitted curve"),),
        table=tuple(table),
    )


def _inside(m: _Material) -> Section:
    row = _switching_most(m)
    device, drive = m.data.devices[row], m.data.drive[row]
    times = [p * float(drive.periods()) for p in PHASES_INSIDE if p <= drive.cycles]
    control = str(m.data.manifest.recipe.get("control", "accurate"))
    trace = simulate(device, drive, control=control, samples=m.data.manifest.samples, profiles=times)
    title = "Inside one device"
    if not trace.ok:
        return Section(title=title, text="", missing=f"the device of row {row} was not solved: {trace.status}.")
    return Section(
        title=title,
        text=(
            f"Device {int(m.data.index[row])} of the data set, the one that switches most: what carriers and vacancies "
            "do while the voltage is swept. The left contact is grounded; energies count from its Fermi level."
        ),
        images=((figures.embed(inside(trace, device)), "bands, field, densities, currents and heat in the channel"),),
    )


def _switching_most(m: _Material) -> int:
    """The row whose on-off ratio is farthest from that of a curve without memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # small drives have none
        ratio = np.asarray(on_off_ratio(m.data.traces))
    distance = np.where(np.isfinite(ratio), np.abs(ratio - 0.5), -1.0)
    return int(np.where(m.data.traces.ok, distance, -2.0).argmax())


def _timings(m: _Material) -> Section:
    rows = m.run.steps()
    if not rows:
        return Section(title="Time spent", text="", missing="no timings were kept in this run.")
    table: list[tuple[str, ...]] = [("step", "seconds", "amount", "a second")]
    for row in rows:
        rate = row["amount"] / row["seconds"] if row["seconds"] > 0 and row["unit"] == "curves" else None
        shown = "" if rate is None else f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        table.append((row["what"], f"{row['seconds']:.1f}", f"{row['amount']:,} {row['unit']}", shown))
    return Section(title="Time spent", text="Wall time of each step on this machine.", table=tuple(table))


_SECTIONS: tuple[Callable[[_Material], Section], ...] = (_accuracy, _sensitivity, _pareto, _fit, _inside, _timings)


def _hint(m: _Material, name: str, argument: str = "") -> str:
    """The command that makes what is missing."""
    return f"not computed; run `memflux {name}{argument} --model {m.run.surrogate} --out {m.run.answer(name)}`."


def _number(value: float) -> str:
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"


def _unit(name: str) -> str:
    unit = (DRIVE_PARAMETERS.get(name) or QUANTITIES[name]).unit
    return "" if unit == "1" else unit.replace("^2", "²").replace("^-3", "⁻³")
