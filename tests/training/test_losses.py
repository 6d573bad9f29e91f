"""The composite loss is the published one, term by term."""

import pytest
import torch

from memflux.training.losses import composite_loss

PREDICTION = torch.tensor([[0.0, 0.3, 0.9, 0.2], [0.1, 0.0, -0.4, -1.1]], dtype=torch.float64)
TRUTH = torch.tensor([[0.0, 0.2, 1.0, 0.4], [0.0, 0.1, -0.3, -1.0]], dtype=torch.float64)


def published(prediction, truth, alpha, weight, threshold):
    """Eqs. 1-4 as loops over one curve."""
    n = len(truth)
    steps = [abs(float(truth[i + 1] - truth[i])) for i in range(n - 1)]
    peak = [step > threshold * max(steps) for step in steps] + [False]
    mse = sum((prediction[i] - truth[i]) ** 2 for i in range(n)) / n
    gradient = sum((abs(prediction[i + 1] - prediction[i]) - steps[i]) ** 2 for i in range(n - 1)) / (n - 1)
    of_peaks = sum(weight * (prediction[i] - truth[i]) ** 2 * peak[i] for i in range(n)) / n
    return float(alpha * mse + (1 - alpha) * gradient + of_peaks)


@pytest.mark.parametrize(
    ("alpha", "weight", "threshold"), [(1.0, 0.0, 0.5), (0.0, 0.0, 0.5), (0.5, 3.0, 0.5), (0.7, 1.0, 0.0)]
)
def test_it_is_the_mean_of_the_published_formulas(alpha, weight, threshold):
    wanted = [published(p, t, alpha, weight, threshold) for p, t in zip(PREDICTION, TRUTH, strict=True)]
    loss = composite_loss(PREDICTION, TRUTH, alpha, weight, threshold)
    assert float(loss) == pytest.approx(sum(wanted) / 2, rel=1e-12)


def test_increments_are_compared_without_their_sign():
    """As eq. 2 prints it: the mirrored curve has no gradient error."""
    assert float(composite_loss(-TRUTH, TRUTH, 0.0, 0.0, 0.5)) == 0.0
    assert float(composite_loss(-TRUTH, TRUTH, 1.0, 0.0, 0.5)) > 0.0


def test_a_flat_curve_has_no_peaks():
    flat = torch.zeros(1, 4, dtype=torch.float64)
    assert float(composite_loss(flat + 1.0, flat, 1.0, 5.0, 0.5)) == 1.0
