"""Saltelli's design and the estimators of Sobol' indices that belong to it, on whole arrays.

A base sample is a block of S evaluations: at A, at A with one coordinate of B (AB_1 .. AB_P), for the
second order also at B with one coordinate of A (BA_1 .. BA_P), and at B. First and total order are
Saltelli et al. (2010, doi 10.1016/j.cpc.2009.09.018), table 2 (b) and (f), the second order is Saltelli (2002,
doi 10.1016/S0010-4655(02)00280-1). SALib has the same estimators, and the tests compare with it; it
is not used, because its design is a loop over coordinates and each of its resamples a copy of the
sample, which together take longer than a surrogate that answers.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.stats import qmc

NEGLIGIBLE = 1e-12  # of the mean square: a variance below is rounding


class SaltelliDesign:
    """Blocks of a scrambled Sobol' sequence in 2 P dimensions; each call goes on where the last one ended."""

    def __init__(self, parameters: int, second_order: bool, generator: np.random.Generator) -> None:
        self.parameters, self.second_order = parameters, second_order
        self.evaluations = (2 * parameters if second_order else parameters) + 2  # S, of one base sample
        self._sequence = qmc.Sobol(d=2 * parameters, rng=generator)

    def blocks(self, count: int, points_at_once: int) -> Iterator[Float[np.ndarray, "N S P"]]:
        """The next `count` base samples, in parts of at most `points_at_once` points; all counts are powers of two."""
        part = 1 << max(points_at_once // self.evaluations, 1).bit_length() - 1
        for first in range(0, count, part):
            yield self._blocks(min(part, count - first))

    def _blocks(self, count: int) -> np.ndarray:
        a, b = np.split(self._sequence.random(count), 2, axis=1)
        points = np.repeat(a[:, None], self.evaluations, axis=1)
        points[:, -1] = b
        one = np.arange(self.parameters)
        points[:, 1 + one, one] = b
        if self.second_order:
            points[:, 1 + self.parameters : -1] = b[:, None]
            points[:, 1 + self.parameters + one, one] = a
        return points


def products(blocks: Float[np.ndarray, "N S *T"], parameters: int) -> Float[np.ndarray, "N K *T"]:
    """What the estimators average over the base samples; of outputs that are about centred, since a mean adds noise.

    Columns: half sum and half square sum of A and B; P of the first order; P of the total; and of each pair
    of parameters, where the blocks have a second order.
    """
    a, b = blocks[:, :1], blocks[:, -1:]
    ab, ba = blocks[:, 1 : 1 + parameters], blocks[:, 1 + parameters : -1]
    columns = [0.5 * (a + b), 0.5 * (a**2 + b**2), b * (ab - a), 0.5 * (a - ab) ** 2]
    if ba.shape[1]:
        j, k = pairs(parameters)
        columns.append(ba[:, j] * ab[:, k] - a * b)
    return np.concatenate(columns, axis=1)


def variances(means: Float[np.ndarray, "R K *T"]) -> Float[np.ndarray, "R *T"]:
    """The variance of the output, from means of `products`; 0 where it is a rounding error."""
    variance = means[:, 1] - means[:, 0] ** 2
    return np.where(variance > NEGLIGIBLE * means[:, 1], variance, 0.0)


def indices(means: Float[np.ndarray, "R K *T"], parameters: int) -> Float[np.ndarray, "R I *T"]:
    """Sobol' indices from means of `products`: P first, P total, then those of pairs; 0 without a variance."""
    variance = variances(means)[:, None]
    share = np.divide(means[:, 2:], variance, out=np.zeros_like(means[:, 2:]), where=variance > 0)
    if share.shape[1] > 2 * parameters:
        j, k = pairs(parameters)
        share[:, 2 * parameters :] -= share[:, j] + share[:, k]
    return share


def pairs(parameters: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs j < k of parameters, in the order of their indices."""
    j, k = np.triu_indices(parameters, 1)
    return j, k


def widened_by_error(
    index: Float[np.ndarray, "*I"], half_width: Float[np.ndarray, "*I"], relative_error: float
) -> Float[np.ndarray, "*I"]:
    """Half widths that hold for the truth, where index +- half_width holds for a predictor of it.

    `relative_error` is the standard deviation of prediction minus truth over that of the prediction;
    the mean of the error moves no index.
    In the space of functions with zero mean and finite variance, an index of f is cos^2 of the angle
    between f and a closed subspace: functions of x_i alone (first order), what is orthogonal to the
    functions of all others (total), the pure interactions of x_i and x_j (second). A truth no further than e from
    a prediction of length s lies within arcsin(e / s) of its direction, and so its angle to each subspace differs by no
    more. Nothing is assumed of the error but its size: the bound is reached where all of it depends on x_i
    alone, as the prediction does. With e >= s every index in [0, 1] is possible.
    """
    turn = np.arcsin(np.minimum(relative_error, 1.0))
    low, high = (np.arccos(np.sqrt(np.clip(index + sign * half_width, 0.0, 1.0))) for sign in (-1.0, 1.0))
    low, high = np.cos(np.minimum(low + turn, 0.5 * np.pi)) ** 2, np.cos(np.maximum(high - turn, 0.0)) ** 2
    return np.maximum(half_width, np.maximum(index - low, high - index))
