import numpy as np
import pytest

from memflux.analysis.bootstrap import half_widths, resampled_means


def test_the_first_mean_is_that_of_all_rows_and_the_others_scatter_as_it_would():
    rows = np.random.default_rng(0).normal(3.0, 2.0, (400, 2, 3))
    means = resampled_means(rows, 500, np.random.default_rng(1))
    assert means.shape == (501, 2, 3)
    np.testing.assert_allclose(means[0], rows.mean(axis=0))
    np.testing.assert_allclose(means[1:].mean(axis=0), means[0], atol=0.02)
    np.testing.assert_allclose(half_widths(means), 1.96 * rows.std(axis=0) / 20, rtol=0.1)


def test_the_same_generator_draws_the_same():
    rows = np.arange(10.0)[:, None]
    one, two = (resampled_means(rows, 5, np.random.default_rng(0)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.ptp(one[1:]) > 0
    assert half_widths(resampled_means(np.ones((4, 1)), 5, np.random.default_rng(0)))[0] == pytest.approx(0.0)
