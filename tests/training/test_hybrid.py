"""The hybrid model: its two branches, its configs, and that it learns."""

import numpy as np
import pytest
import torch

from memflux.errors import InvalidValue
from memflux.metrics import nmae
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.data import split
from memflux.training.hybrid import Hybrid, HybridConfig, over_peak
from memflux.training.loop import fit
from memflux.training.losses import composite_loss
from memflux.training.model import peak_error
from memflux.training.models import config_from_dict, config_to_dict
from memflux.training.schedule import Schedule

SPACE = Space.preset("5d-parametric")
TIMES = 21


def built(**fields):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Hybrid(HybridConfig(filters=4, units=6, width=8, **fields), inputs=3, times=TIMES).double().eval()


def example(count=5):
    """Scaled parameters, voltages one each, and targets."""
    generator = torch.Generator().manual_seed(1)
    unit, voltage, shape = (torch.rand(count, n, generator=generator, dtype=torch.float64) for n in (3, TIMES, TIMES))
    return unit, voltage, (2 * shape - 1, shape[:, 0])


@pytest.mark.parametrize("kernel", [1, 4, 5])
def test_the_sequence_branch_looks_back_only(kernel):
    model = built(kernel=kernel, output="published")
    unit, voltage, _ = example()
    later = voltage.clone()
    later[:, 9] += 0.5
    with torch.no_grad():
        before, after = model.sequence(voltage), model.sequence(later)
        (curve,), (curve_after,) = model(unit, voltage), model(unit, later)
    assert before.shape == (5, TIMES, 6)
    torch.testing.assert_close(after[:, :9], before[:, :9], rtol=0, atol=0)
    torch.testing.assert_close(curve_after[:, :9], curve[:, :9], rtol=0, atol=0)
    assert ((curve_after - curve)[:, 9:].abs() > 1e-9).all()  # it remembers


def test_one_voltage_for_all_is_that_voltage_each():
    model = built()
    unit, voltage, _ = example()
    with torch.no_grad():
        for one, each in zip(model(unit, voltage[:1]), model(unit, voltage[:1].expand(5, -1)), strict=True):
            torch.testing.assert_close(one, each, rtol=1e-12, atol=1e-12)


def test_kernel_may_be_longer_than_the_parameters():
    model = built(kernel=9)
    unit, voltage, _ = example()
    assert model(unit, voltage)[0].shape == (5, TIMES)


def test_shapes_have_a_peak_of_one_and_follow_small_currents_linearly():
    logs = torch.linspace(-3.0, 5.0, 9, dtype=torch.float64)[None]
    torch.testing.assert_close(over_peak(logs), logs.sinh() / logs.sinh().abs().max())
    torch.testing.assert_close(over_peak(1e-6 * logs), logs / 5.0, rtol=1e-5, atol=0)
    assert torch.isfinite(over_peak(torch.tensor([[0.0, 0.0], [1e4, -1e4]]))).all()
    point = logs.clone().requires_grad_()
    assert torch.autograd.gradcheck(over_peak, (point,))


def test_a_zero_log_has_a_gradient():
    """A current that crosses zero is on no kink."""
    point = torch.tensor([[0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(over_peak, (point,))


@pytest.mark.parametrize("deviation", [0.7, 5.0])
@pytest.mark.parametrize("output", ["peaks", "published"])
def test_loss_is_the_composite_one_and_that_of_the_peak(output, deviation):
    """A peak that spans decades counts no more than one that spans a factor of e."""
    model = built(output=output, alpha=0.3, peak_weight=2.0, peak_threshold=0.4)
    unit, voltage, targets = example()
    targets = targets if output == "peaks" else targets[:1]
    model.prepare(unit, voltage, targets, deviation)
    with torch.no_grad():
        outputs = model(unit, voltage)
        wanted = composite_loss(outputs[0], targets[0], 0.3, 2.0, 0.4)
        if output == "peaks":
            wanted += peak_error(outputs, targets, torch.tensor(min(deviation, 1.0), dtype=torch.float64))
        torch.testing.assert_close(model.loss(unit, voltage, targets), wanted, check_dtype=False)
    assert len(outputs) == len(targets)


@pytest.mark.parametrize(
    "change",
    [
        {"filters": 0},
        {"kernel": 0},
        {"units": 0},
        {"width": 0},
        {"alpha": 1.5},
        {"peak_weight": -1.0},
        {"peak_threshold": 2.0},
        {"times": 0.0},
        {"output": "peak"},
    ],
)
def test_bad_configs_are_refused(change):
    with pytest.raises(InvalidValue, match=next(iter(change))):
        HybridConfig(**change)


def test_a_share_of_the_times_is_learned():
    model = built(times=0.2, output="published")
    unit, voltage, targets = example()
    learned = model.learned.tolist()
    assert len(learned) == 4 == len(set(learned))
    assert learned == sorted(learned)
    elsewhere = torch.ones(TIMES, dtype=torch.bool)
    elsewhere[learned] = False
    changed = targets[0] + 7.0 * elsewhere
    assert model.loss(unit, voltage, targets[:1]) == model.loss(unit, voltage, (changed,))
    changed[:, learned[1]] += 1.0
    assert model.loss(unit, voltage, targets[:1]) != model.loss(unit, voltage, (changed,))
    assert built(times=0.2, output="published").learned.tolist() == learned  # by the seed
    assert built().learned is None


def test_config_survives_its_dictionary():
    config = HybridConfig(kernel=3)
    assert config_from_dict("hybrid", config_to_dict(config)) == config
    with pytest.raises(InvalidValue, match="'filter' is not a field of a hybrid model; did you mean 'filters'"):
        config_from_dict("hybrid", {"filter": 3})


def test_it_learns_the_compact_model():
    """Clearly better than the mean curve."""
    devices, drive = SPACE.sample(150, seed=0)
    traces = StandIn(samples=16)(devices, drive)
    config = HybridConfig(filters=4, kernel=3, units=12, width=24)
    schedule = Schedule(epochs=60, batch_size=32, optimiser="adamw", learning_rate=1e-2, weight_decay=0.0)
    surrogate = fit(devices, drive, traces, SPACE, config, schedule)
    parts = split(devices, drive)
    truth = traces.current[parts.test]
    mean = traces.current[parts.train].mean(axis=0)
    baseline = nmae(np.broadcast_to(mean, truth.shape), truth).mean()
    assert surrogate.test_errors["nmae"]["mean"] < 0.3 * baseline
