"""The bootstrap of means: how far an estimate would move with another sample of the same size."""

import numpy as np
from jaxtyping import Float

NORMAL_95 = 1.959964  # standard deviations on each side of a normal mean that hold 95 %


def resampled_means(
    rows: Float[np.ndarray, "N *K"], resamples: int, generator: np.random.Generator
) -> Float[np.ndarray, "R *K"]:
    """The mean of all N rows, then that of each of `resamples` draws of N rows with replacement: R = 1 + resamples.

    One draw at a time, as the number of times that each row is in it: memory does not grow with `resamples`.
    """
    count = len(rows)
    flat = rows.reshape(count, -1)
    means = np.empty((1 + resamples, flat.shape[1]))
    means[0] = flat.mean(axis=0)
    for draw in range(1, 1 + resamples):
        times = np.bincount(generator.integers(count, size=count), minlength=count)
        means[draw] = times @ flat / count
    return means.reshape(-1, *rows.shape[1:])


def half_widths(estimates: Float[np.ndarray, "R *I"]) -> Float[np.ndarray, "*I"]:
    """Half widths of 95 % intervals, from an estimate (the first row, not used) and those of R - 1 resamples."""
    return NORMAL_95 * estimates[1:].std(axis=0, ddof=1)
