"""The design and the estimators against SALib's, and the bound on what an error may change."""

import numpy as np
import pytest
from SALib.analyze import sobol as reference
from SALib.sample import sobol as reference_design

from memflux.analysis.bootstrap import half_widths, resampled_means
from memflux.analysis.saltelli import SaltelliDesign, indices, pairs, products, variances, widened_by_error

P = 4
PROBLEM = {"num_vars": P, "names": list("abcd"), "bounds": [[0.0, 1.0]] * P}
J, K = pairs(P)


def design(second_order, count=256, at_once=10**6):
    blocks = list(SaltelliDesign(P, second_order, np.random.default_rng(3)).blocks(count, at_once))
    return np.concatenate(blocks), len(blocks)


def model(x):
    return 7.0 + x[..., 0] + np.sin(6 * x[..., 1]) * (1 + x[..., 2]) + x[..., 0] * x[..., 3] ** 2


def estimates(blocks, resamples=400):
    centred = blocks - blocks.mean()
    return indices(resampled_means(products(centred, P), resamples, np.random.default_rng(0)), P)


@pytest.mark.parametrize("second_order", [True, False])
def test_the_design_is_that_of_salib_over_the_same_sequence(second_order):
    points, _ = design(second_order)
    theirs = reference_design.sample(PROBLEM, 256, calc_second_order=second_order, seed=np.random.default_rng(3))
    np.testing.assert_array_equal(points.reshape(-1, P), theirs)


def test_parts_make_the_same_design():
    whole, one = design(True)
    parts, many = design(True, at_once=100)  # eight base samples
    np.testing.assert_array_equal(parts, whole)
    assert (one, many) == (1, 32)
    assert design(True, count=16, at_once=1)[1] == 16


def test_a_design_goes_on_where_it_ended():
    sequence = SaltelliDesign(P, False, np.random.default_rng(3))
    halves = [np.concatenate(list(sequence.blocks(128, 300))) for _ in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), design(False)[0])


@pytest.mark.parametrize("second_order", [True, False])
def test_indices_and_intervals_are_those_of_salib(second_order):
    blocks = model(design(second_order)[0])
    theirs = reference.analyze(PROBLEM, blocks.ravel(), calc_second_order=second_order, num_resamples=400, seed=1)
    ours = estimates(blocks)
    width = half_widths(ours)
    assert ours.shape == (401, 2 * P + second_order * J.size)
    for part, name in ((slice(0, P), "S1"), (slice(P, 2 * P), "ST")):
        np.testing.assert_allclose(ours[0, part], theirs[name], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(width[part], theirs[f"{name}_conf"], rtol=0.25)
    if second_order:
        np.testing.assert_allclose(ours[0, 2 * P :], theirs["S2"][J, K], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(width[2 * P :], theirs["S2_conf"][J, K], rtol=0.25)


def test_many_outputs_at_once_are_each_by_itself():
    points, _ = design(True)
    outputs = np.stack([model(points), points[..., 1], np.ones(points.shape[:2])], axis=2)
    together = estimates(outputs - outputs.mean(axis=(0, 1)), resamples=2)
    np.testing.assert_allclose(together[0, :, 0], estimates(model(points), resamples=2)[0], atol=1e-12)
    np.testing.assert_array_equal(together[:, :, 2], 0.0)  # a constant has no indices


def test_the_variance_of_a_constant_is_not_its_rounding():
    means = products(np.full((8, P + 2), 0.1), P).mean(axis=0, keepdims=True)
    assert variances(means)[0] == 0.0
    assert np.isfinite(indices(means, P)).all()


def exact(f):
    """First, total and second order of a function on a grid of three coordinates."""
    f = f - f.mean()
    variance = (f**2).mean()
    alone = [f.mean(axis=tuple({0, 1, 2} - {i})) for i in range(3)]
    first = [(a**2).mean() / variance for a in alone]
    total = [1 - (f.mean(axis=i) ** 2).mean() / variance for i in range(3)]
    both = [(f.mean(axis=3 - i - j) ** 2).mean() / variance - first[i] - first[j] for i, j in ((0, 1), (0, 2), (1, 2))]
    return np.array([*first, *total, *both])


@pytest.mark.parametrize("size", [0.01, 0.1, 0.4, 0.99])
def test_no_error_of_a_given_size_leaves_the_bound(size):
    generator = np.random.default_rng(5)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 6)] * 3, indexing="ij")
    predicted = x + 0.5 * y + 0.7 * x * y + 0.2 * z**2
    index = exact(predicted)
    width = widened_by_error(index, np.zeros_like(index), size)
    shapes = [x, y, z, x * y, x * z, predicted, -predicted, *generator.normal(size=(40, 6, 6, 6))]
    for shape in shapes:
        error = size * predicted.std() * (shape - shape.mean()) / shape.std()
        assert (np.abs(exact(predicted - error) - index) <= width + 1e-12).all()


def test_the_bound_is_reached():
    x, y, _ = np.meshgrid(*[np.linspace(-1, 1, 6)] * 3, indexing="ij")
    predicted = (x + y) / (x + y).std()
    turn = np.arcsin(0.1)  # the truth is the prediction turned towards x, the error at right angles to it
    towards = (x - y) / (x - y).std()
    truth = np.cos(turn) * (np.cos(turn) * predicted + np.sin(turn) * towards)
    assert (truth - predicted).std() == pytest.approx(0.1)
    width = widened_by_error(exact(predicted), np.zeros(9), 0.1)
    assert exact(truth)[0] - 0.5 == pytest.approx(width[0], rel=1e-9)


def test_what_an_error_adds():
    index, sampled = np.array([0.0, 0.3, 1.0, -0.02, 1.01]), np.array([0.0, 0.05, 0.0, 0.03, 0.02])
    np.testing.assert_allclose(widened_by_error(index, sampled, 0.0), [0.0, 0.05, 0.0, 0.03, 0.02], atol=1e-12)
    assert (widened_by_error(index, sampled, 0.1) > sampled).all()
    np.testing.assert_allclose(widened_by_error(index, sampled, 2.0), [1.0, 0.7, 1.0, 1.02, 1.01])  # anything goes
    assert np.isnan(widened_by_error(index, sampled, np.nan)).all()
    assert widened_by_error(np.array([0.0]), np.array([0.0]), 0.1)[0] == pytest.approx(0.01)
