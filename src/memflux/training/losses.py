"""The published composite loss (Zamankhani, Data-driven modeling of hysteresis in ReRAM devices, section 4.2)."""

from jaxtyping import Float
from torch import Tensor


def composite_loss(
    prediction: Float[Tensor, "B T"],
    truth: Float[Tensor, "B T"],
    alpha: float,
    peak_weight: float,
    peak_threshold: float,
) -> Tensor:
    """Eq. 4: alpha * MSE + (1 - alpha) * gradient error + peak MSE; the mean over the batch, a scalar.

    Reading: the increment of index i leads from point i to point i + 1, as in eq. 2, and point i is
    a peak where that of the truth exceeds `peak_threshold` times the largest of its curve, in
    magnitude; the last point starts no increment and is none.
    """
    square = (prediction - truth).square()
    rise, true_rise = prediction.diff(dim=1).abs(), truth.diff(dim=1).abs()
    gradient = (rise - true_rise).square().mean()  # eq. 2: a rise taken for a fall of the same size costs nothing
    peak = true_rise > peak_threshold * true_rise.amax(1, keepdim=True)
    of_peaks = peak_weight * (square[:, :-1] * peak).sum(1).mean() / truth.shape[1]  # eq. 3 divides by all points
    return alpha * square.mean() + (1 - alpha) * gradient + of_peaks
