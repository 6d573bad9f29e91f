"""The report of a study: its best trials, how the search went, and which settings decide."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from memflux.errors import InvalidValue
from memflux.platform.figures import ACCENT, MODEL, MUTED, STYLE, embed, label, plain_numbers
from memflux.platform.page import Section, write_page
from memflux.platform.provenance import provenance
from memflux.platform.tuning.importance import Importances, importances
from memflux.platform.tuning.journal import Tally, best_trials, ended, read, tally, value_of
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.subject import PRESETS
from memflux.training.setting import Value

PAGE, DOCUMENT = "report.html", "report.json"
SHOWN = 10  # best trials in the table
ACROSS = 3  # slices beside each other
PLAIN = 1e-3  # smallest number on an axis that is not better a power of ten
# what people read
NAMED = {"nmae": "validation nMAE", "loop_error": "cross-validated L_b"}
UNITS = {
    "nmae": (100.0, "%"),
    "inference_time": (1e6, "µs"),
    "parameters": (1.0, ""),
    "loop_error": (1.0, ""),
}


def build_report(folder: Path) -> dict[str, Any]:
    """Write `report.html` and `report.json` into a study's folder, and return what the latter holds.

    The study may be under way. Raises DataError where there is none, InvalidValue where no trial has finished yet.
    """
    plan, study = read(folder)
    trials = study.get_trials(deepcopy=False)
    best = best_trials(study)
    if not best:
        raise InvalidValue(f"no trial of {folder} is complete yet; report again when one is.")
    counts = tally(study)
    try:
        ranks = importances(trials) if len(plan.objectives) == 1 else None
    except InvalidValue:
        ranks = None  # too few trials yet
    document = {
        "model": plan.model,
        "objectives": list(plan.objectives),
        "complete": counts.complete,
        "pruned": counts.pruned,
        "failed": counts.failed,
        "running": counts.running,
        "epochs": counts.epochs,
        "best": [_entry(plan, t) for t in best[:SHOWN]],
        "failures": [{"number": t.number, "reason": ended(t).failure} for t in trials if ended(t).failure],
        "importances": None if ranks is None else ranks.to_dict(),
    }
    sections: list[Section | None] = [
        _best(plan, best),
        _history(plan, trials),
        _importances(ranks),
        _slices(plan, trials),
    ]
    sections += [_parallel(plan, trials), _failures(trials)]
    write_page(
        folder / PAGE,
        title=f"Tuning the {plan.model.replace('_', ' ')} model",
        subtitle=_subtitle(plan),
        tiles=_tiles(plan, counts, trials),
        sections=[s for s in sections if s is not None],
        about={**provenance(), "sampler": plan.sampler, "pruner": plan.pruner, "seed": plan.seed},
    )
    (folder / DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return document


def _entry(plan: Plan, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        **dict(zip(plan.objectives, trial.values, strict=True)),
        "epochs": ended(trial).epochs,
        "seconds": ended(trial).seconds,
        "settings": {**plan.held(), **trial.params},
    }


def _subtitle(plan: Plan) -> str:
    names = ", ".join(label(n) for n in plan.settings())
    source = f" (ranges: {PRESETS[plan.search].source})" if isinstance(plan.search, str) else ""
    return f"{names}{source}; data set {plan.dataset}"


def _tiles(plan: Plan, counts: Tally, trials: Sequence[FrozenTrial]) -> list[tuple[str, str]]:
    hours = sum(ended(t).seconds for t in trials) / 3600.0
    assert counts.best is not None
    return [
        (_shown(plan.objectives[0], counts.best), f"best {_named(plan.objectives[0])}"),
        (f"{counts.ended}", f"trials, of which {counts.pruned} were ended early and {counts.failed} failed"),
        (f"{counts.epochs:,}", f"{plan.subject.passes} of all trials"),
        (f"{hours:.2f} h", "of training"),
    ]


def _best(plan: Plan, best: Sequence[FrozenTrial]) -> Section:
    names = list(plan.settings())
    header = ("trial", *map(_named, plan.objectives), plan.subject.passes, *map(label, names))
    rows = [
        (
            f"{t.number}",
            *(_shown(n, v) for n, v in zip(plan.objectives, t.values, strict=True)),
            f"{ended(t).epochs}",
            *(_setting(t.params[n]) for n in names),
        )
        for t in best[:SHOWN]
    ]
    what = "The front: no trial is better in all objectives." if len(plan.objectives) > 1 else "Of the complete trials."
    return Section(title="Best trials", text=what, table=(header, *rows))


def _history(plan: Plan, trials: Sequence[FrozenTrial]) -> Section:
    factor, unit = UNITS[plan.objectives[0]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.2), layout="constrained")
        ax = figure.subplots()
        pruned = [t for t in trials if t.state == TrialState.PRUNED and t.intermediate_values]
        done = [t for t in trials if t.state == TrialState.COMPLETE]
        ax.plot(
            [t.number for t in pruned], [factor * value_of(t) for t in pruned], "x", color=MUTED, label="ended early"
        )
        ax.plot([t.number for t in done], [factor * value_of(t) for t in done], "o", color=ACCENT, label="complete")
        best = np.minimum.accumulate([value_of(t) for t in done])
        places = [t.number for t in done] + [max(t.number for t in trials)]
        ax.step(places, factor * best[[*range(len(done)), -1]], where="post", color=MODEL, label="best so far")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="trial", ylabel=_axis(plan.objectives[0], unit), yscale="log")
        plain_numbers(ax.yaxis)
        ax.legend()
    text = "A trial that was ended early is shown with its last error."
    return Section(title="How the search went", text=text, images=((embed(figure), "error of each trial"),))


def _importances(ranks: Importances | None) -> Section:
    title = "Which settings decide"
    if ranks is None:
        return Section(title=title, text="", missing="it takes twelve trials, and one objective, to rank settings.")
    order = ranks.order[::-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 0.8 + 0.42 * len(order)), layout="constrained")
        ax = figure.subplots()
        place = np.arange(len(order))
        shown = (
            ("variance (fANOVA)", ranks.variance, ACCENT),
            ("gain", ranks.gain, MODEL),
            ("permutation", ranks.permutation, MUTED),
        )
        for k, (name, values, colour) in enumerate(shown):
            ax.barh(place + 0.26 * (1 - k), values[order], height=0.24, color=colour, label=name)
        ax.set_yticks(place, [label(ranks.names[k]) for k in order])
        ax.set(xlabel="share", xlim=(0, None))
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    text = (
        f"Three ways to share the variance of the logarithm of the error, from {ranks.trials} trials, {ranks.pruned} "
        f"of them ended early. The boosted model behind gain and permutation has R2 = {ranks.r2:.2f} on trials that "
        "it was not fitted to: the nearer to 1, the more they can be believed."
    )
    return Section(title=title, text=text, images=((embed(figure), "importances"),))


def _slices(plan: Plan, trials: Sequence[FrozenTrial]) -> Section:
    shown = [t for t in trials if _is_sound(t)]
    names = list(plan.settings())
    factor, unit = UNITS[plan.objectives[0]]
    rows = -(-len(names) // ACROSS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.5 * rows), layout="constrained")
        axes = figure.subplots(rows, ACROSS, squeeze=False, sharey=True).ravel()
        for ax, name in zip(axes, names, strict=False):
            _slice(ax, shown, name, factor)
        for ax in axes[::ACROSS]:
            ax.set_ylabel(_axis(plan.objectives[0], unit))
        for ax in axes[len(names) :]:
            ax.set_visible(False)
    text = "Dots: complete trials; crosses: ended early."
    return Section(title="One setting at a time", text=text, images=((embed(figure), "error over each setting"),))


def _slice(ax: Axes, trials: Sequence[FrozenTrial], name: str, factor: float) -> None:
    for state, mark, colour in ((TrialState.PRUNED, "x", MUTED), (TrialState.COMPLETE, "o", ACCENT)):
        chosen = [t for t in trials if t.state == state]
        places = [_place(t, name) for t in chosen]
        ax.plot(places, [factor * value_of(t) for t in chosen], mark, markersize=4, color=colour)
    distribution = trials[0].distributions[name]
    ax.set(xlabel=label(name), yscale="log")
    plain_numbers(ax.yaxis)
    if isinstance(distribution, CategoricalDistribution):
        ax.set_xticks(range(len(distribution.choices)), [str(c) for c in distribution.choices], rotation=30, ha="right")
        ax.set_xlim(-0.5, len(distribution.choices) - 0.5)
    elif getattr(distribution, "log", False):
        ax.set_xscale("log")
        if distribution.low >= PLAIN:  # type: ignore[attr-defined]
            plain_numbers(ax.xaxis)
    elif isinstance(distribution, IntDistribution):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _parallel(plan: Plan, trials: Sequence[FrozenTrial]) -> Section:
    """A line a trial through its settings, each on its own scale from bottom to top, the better the darker."""
    shown = sorted((t for t in trials if _is_sound(t)), key=value_of, reverse=True)
    names = list(plan.settings())
    errors = np.log([value_of(t) for t in shown])
    share = (errors.max() - errors) / max(np.ptp(errors), 1e-12)
    heights = np.array([[_height(t, n) for n in names] for t in shown])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        ax = figure.subplots()
        colours = matplotlib.colormaps["viridis_r"](share)
        for line, colour, part in zip(heights, colours, share, strict=True):
            ax.plot(range(len(names)), line, color=colour, linewidth=0.8 + 1.2 * part, alpha=0.35 + 0.65 * part)
        for place, name in enumerate(names):
            low, high = _ends(shown[0].distributions[name])
            ax.text(place, -0.04, low, ha="center", va="top", fontsize=8)
            ax.text(place, 1.04, high, ha="center", va="bottom", fontsize=8)
            ax.axvline(place, color=MUTED, linewidth=0.6)
        ax.set_xticks(range(len(names)), [label(n) for n in names], rotation=20, ha="right")
        ax.tick_params(axis="x", length=0, pad=14)
        ax.set(ylim=(-0.02, 1.02), xlim=(-0.3, len(names) - 0.7), yticks=[])
        for spine in ax.spines.values():
            spine.set_visible(False)
    text = "A line a trial, the darker the smaller its error."
    return Section(title="All settings together", text=text, images=((embed(figure), "parallel coordinates"),))


def _failures(trials: Sequence[FrozenTrial]) -> Section | None:
    failed = [t for t in trials if ended(t).failure]
    if not failed:
        return None
    rows = tuple((f"{t.number}", ended(t).failure) for t in failed)
    return Section(title="Trials that failed", text="With the reason.", table=(("trial", "reason"), *rows))


def _is_sound(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and 0 < value_of(trial) < np.inf


def _place(trial: FrozenTrial, name: str) -> float:
    """Where a setting lies on its axis: its value, or the number of its choice."""
    distribution, value = trial.distributions[name], trial.params[name]
    return float(distribution.choices.index(value) if isinstance(distribution, CategoricalDistribution) else value)


def _height(trial: FrozenTrial, name: str) -> float:
    """The same from 0, the lowest, to 1, the highest."""
    distribution = trial.distributions[name]
    place = _place(trial, name)
    if isinstance(distribution, CategoricalDistribution):
        return place / max(len(distribution.choices) - 1, 1)
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    if distribution.log:  # type: ignore[attr-defined]
        place, low, high = np.log(place), np.log(low), np.log(high)
    return float((place - low) / (high - low))


def _ends(distribution: Any) -> tuple[str, str]:
    if isinstance(distribution, CategoricalDistribution):
        return _setting(distribution.choices[0]), _setting(distribution.choices[-1])
    return _setting(distribution.low), _setting(distribution.high)


def _named(objective: str) -> str:
    return NAMED.get(objective, label(objective))


def _axis(objective: str, unit: str) -> str:
    return f"{_named(objective)} / {unit}" if unit else _named(objective)


def _shown(objective: str, value: float) -> str:
    factor, unit = UNITS[objective]
    return f"{factor * value:.4g} {unit}".strip()


def _setting(value: Value | None) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
