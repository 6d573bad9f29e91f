"""What the failures of a campaign have in common: a shallow tree over the parameters, told in sentences."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from memflux.dataset import Summary
from memflux.folder import Folder
from memflux.platform.campaigns.shard_work import NODE_LOST, OUT_OF_MEMORY
from memflux.shards import Manifest, complete_shards, read_columns, read_tallies
from memflux.space import Parameter, Space

DEPTH = 3  # of the tree: conditions that a region may have
FATE = (OUT_OF_MEMORY, NODE_LOST)  # classes of the machine, not of the device
ENOUGH = 10  # failures below which chance would do the telling
SHARDS = 64  # read of those with failures, and of the others
PRUNED = 0.01  # impurity that a split has to take away (of 0.5) to be worth telling
FOLDS = 5
TRUSTED = 0.65  # area under the curve on rows that the tree has not seen; 0.5 is chance
TELLING = (
    2.0,
    0.1,
)  # a region fails at least so many times as often as the rest, and holds such a part of the failures


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A box of parameters where solves fail more often, in one way, than elsewhere."""

    status_class: str
    conditions: tuple[str, ...]  # "mobility_vacancy > 3.1e-09 m^2/(V s)", all of which hold
    share: float  # of the failures of this class that lie in it
    rate: float  # of the devices in it that fail so
    elsewhere: float  # of the devices outside that do

    def __str__(self) -> str:
        return (
            f"{self.status_class}: {_percent(self.share)} of them have {' and '.join(self.conditions)}, "
            f"where {_percent(self.rate)} of the devices end so, and {_percent(self.elsewhere)} elsewhere"
        )


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.2g} %"


def common_regions(summary: Summary, url: str) -> list[Region]:
    """Regions that tell failed devices from the others, class by class, the most telling first.

    None for a class with too few failures, or where a tree grown on a part of the rows does not foretell
    the failures of the rest, or that says nothing about devices (lost nodes, lack of memory). At most
    128 shards are read, drawn at random, and of them only the parameters and classes.
    """
    space, tally = summary.manifest.space, summary.tally
    told = [name for name, rows in tally.failed.items() if name not in FATE and ENOUGH <= len(rows) < tally.rows]
    if space is None or not told:
        return []
    unit, classes, weight = _rows(Folder.at(url), summary.manifest, space)
    return [region for name in told for region in _telling(name, unit, classes == name, weight, space.parameters)]


def _telling(
    name: str, unit: np.ndarray, failed: np.ndarray, weight: np.ndarray, parameters: Sequence[Parameter]
) -> list[Region]:
    """The regions of one class."""
    if min(failed.sum(), (~failed).sum()) < ENOUGH:
        return []
    leaf = max(5, int(0.02 * failed.sum()))
    tree = DecisionTreeClassifier(
        max_depth=DEPTH, min_samples_leaf=leaf, class_weight="balanced", ccp_alpha=PRUNED, random_state=0
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    if roc_auc_score(failed, cross_val_predict(tree, unit, failed, cv=folds, method="predict_proba")[:, 1]) < TRUSTED:
        return []
    at = tree.fit(unit, failed).apply(unit)
    regions = [_region(name, how, at == leaf, failed, weight) for leaf, how in _leaves(tree, parameters)]
    factor, share = TELLING
    telling = [r for r in regions if r.rate >= factor * r.elsewhere and r.share >= share]
    return sorted(telling, key=lambda region: -region.share)


def _rows(folder: Folder, manifest: Manifest, space: Space) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [B, P] of the unit cube, status classes [B], and how many rows of the data set each stands for [B]."""
    shards, _ = complete_shards(folder, manifest)
    tallies = read_tallies(folder, shards)
    generator = np.random.default_rng(0)
    parts = []
    for wanted in (True, False):
        kind = [s for s, t in zip(shards, tallies, strict=True) if bool(t.failures) is wanted]
        chosen = generator.permutation(len(kind))[:SHARDS]
        for i in chosen:
            table = read_columns(folder, kind[i], [*space.names, "status_class"])
            unit = space.unit(np.stack([table[name].to_numpy() for name in space.names], axis=1))
            weight = np.full(len(unit), len(kind) / len(chosen))
            parts.append((unit, table["status_class"].to_numpy().astype(str), weight))
    points, classes, weights = zip(*parts, strict=True)
    return np.concatenate(points), np.concatenate(classes), np.concatenate(weights)


def _region(
    name: str, conditions: tuple[str, ...], inside: np.ndarray, failed: np.ndarray, weight: np.ndarray
) -> Region:
    bad = weight * failed
    return Region(
        status_class=name,
        conditions=conditions,
        share=float(bad[inside].sum() / bad.sum()),
        rate=float(bad[inside].sum() / weight[inside].sum()),
        elsewhere=float(bad[~inside].sum() / max(weight[~inside].sum(), 1e-300)),
    )


def _leaves(tree: DecisionTreeClassifier, parameters: Sequence[Parameter]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each leaf with the conditions that lead to it, one sentence a side of a parameter."""
    nodes = tree.tree_
    todo: list[tuple[int, dict[tuple[int, str], float]]] = [(0, {})]
    while todo:
        node, path = todo.pop()
        if nodes.children_left[node] == nodes.children_right[node]:
            yield node, tuple(_condition(parameters[i], sign, path[i, sign]) for i, sign in sorted(path))
            continue
        axis, threshold = int(nodes.feature[node]), float(nodes.threshold[node])
        for child, sign in ((nodes.children_left[node], "<"), (nodes.children_right[node], ">")):
            todo.append((int(child), path | {(axis, sign): threshold}))  # a later condition is the tighter one


def _condition(parameter: Parameter, sign: str, at: float) -> str:
    value = parameter.low * (parameter.high / parameter.low) ** at if parameter.log else _between(parameter, at)
    return f"{parameter.name} {sign} {value:.3g}" + ("" if parameter.unit == "1" else f" {parameter.unit}")


def _between(parameter: Parameter, at: float) -> float:
    return parameter.low + at * (parameter.high - parameter.low)
