"""What a posterior says, in sentences: which parameters a sweep determines, which it does not, what would."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse.csgraph import connected_components

DETERMINED, CONSTRAINED = 0.1, 0.5  # posterior over prior deviation
TIED = 0.9  # correlation above which two parameters are known in combination alone
NAMED = 0.35  # weight of a parameter in a direction, below which it is left out
APART = 0.1  # of a parameter's range between devices that are not the same
DEVIATION = 12.0**-0.5  # of the prior, in parts of a parameter's range


def misfit(excess: float, scale: float, band: bool) -> tuple[str, ...]:
    """How well the best device explains the curve; `excess` is chi^2 over the degrees of freedom."""
    said = []
    if scale > 1.0:
        said.append(
            f"The best device misses the curve by more than noise (chi^2 is {excess:.3g} a degree of freedom): all "
            f"deviations are taken {scale:.2g} times as large, and hold only if the misfit is random."
        )
    if not band:
        said.append("The model has no calibrated band: its own error is taken as none.")
    return tuple(said)


def widths(names: Sequence[str], width: Float[np.ndarray, " F"]) -> tuple[str, ...]:
    """Which parameters are known, by their deviation over that of the prior."""
    groups: dict[str, list[str]] = {"determines": [], "constrains": [], "does not determine": []}
    for name, share in zip(names, width, strict=True):
        verb = "determines" if share <= DETERMINED else "constrains" if share <= CONSTRAINED else "does not determine"
        groups[verb].append(f"{name} (± {share * DEVIATION:.2g} of its range)")
    return tuple(f"The sweep {verb} {', '.join(found)}." for verb, found in groups.items() if found)


def combinations(
    names: Sequence[str],
    correlation: Float[np.ndarray, "F F"],
    width: Float[np.ndarray, " F"],
    information: Float[np.ndarray, " F"],
    directions: Float[np.ndarray, "F F"],
) -> tuple[str, ...]:
    """Pairs that are tied, and the combinations that the curve knows best and least."""
    said = []
    loose = np.maximum(width[:, None], width) > DETERMINED
    for group in _groups((np.abs(correlation) > TIED) & loose):
        pairs = np.abs(correlation[np.ix_(group, group)])[np.triu_indices(len(group), 1)]
        tied = f"{pairs.min():.2f} to {pairs.max():.2f}" if pairs.size > 1 else f"{pairs[0]:.2f}"
        together = ", ".join(names[k] for k in group[:-1]) + f" and {names[group[-1]]}"
        said.append(f"{together} are known in combination alone (correlation of magnitude {tied}).")
    if len(names) > 1:
        for k, word in ((-1, "best"), (0, "least")):
            length = f"± {1 / np.sqrt(information[k]):.2g}" if information[k] > 1.0 else "unknown"
            said.append(f"Known {word}: {_direction(names, directions[:, k])} ({length}, in parts of the ranges).")
    return tuple(said)


def others(points: Float[np.ndarray, "K F"], best: Float[np.ndarray, " F"]) -> tuple[str, ...]:
    """Whether devices elsewhere explain the curve as well."""
    away = int((np.abs(points - best).max(axis=1, initial=0.0) > APART).sum())
    if not away:
        return ()
    return (
        f"{away} other end{'s' * (away > 1)} of the fit, over {APART:g} of a range away, "
        f"explain{'s' * (away == 1)} the curve as well.",
    )


def further(
    names: Sequence[str],
    width: Float[np.ndarray, " F"],
    drive: Mapping[str, float],
    after: Float[np.ndarray, " F"],
) -> tuple[str, ...]:
    """Which further sweep tells most, and of which parameters."""
    sweep = " and ".join(f"{name} {value:.3g}" for name, value in drive.items())
    loose = [k for k in range(len(names)) if width[k] > DETERMINED]
    if not loose:
        return (f"No further sweep is needed; the one with {sweep} would tell most.",)
    gains = ", ".join(f"{names[k]} from ± {width[k] * DEVIATION:.2g} to ± {after[k] * DEVIATION:.2g}" for k in loose)
    return (f"A further sweep with {sweep} would narrow {gains} of the range.",)


def no_further() -> tuple[str, ...]:
    """No other sweep can be asked of the model."""
    return (
        "The model answers for one drive alone and cannot say which further sweep would help; "
        "ask one of a space that varies amplitude or period.",
    )


def chain(steps: int, autocorrelation: float, long: float) -> tuple[str, ...]:
    """Whether chains are long enough to be trusted."""
    if np.isfinite(autocorrelation) and steps >= long * autocorrelation:
        return ()
    return (
        f"The chains of {steps} steps are short of {long:g} autocorrelation times ({autocorrelation:.3g} steps): "
        "ask for more steps before trusting the tails.",
    )


def _groups(tied: Bool[np.ndarray, "F F"]) -> list[list[int]]:
    """Parameters that are tied to each other, directly or through others."""
    count, labels = connected_components(tied & ~np.eye(len(tied), dtype=bool), directed=False)
    members = [np.flatnonzero(labels == k).tolist() for k in range(count)]
    return [group for group in members if len(group) > 1]


def _direction(names: Sequence[str], weights: Float[np.ndarray, " F"]) -> str:
    """The larger weights, the largest positive."""
    weights = weights * np.sign(weights[np.abs(weights).argmax()])
    terms = [(w, n) for w, n in zip(weights, names, strict=True) if abs(w) >= NAMED * np.abs(weights).max()]
    return " ".join(f"{'-' if w < 0 else '+'} {abs(w):.2f} {n}" for w, n in terms).removeprefix("+ ")
