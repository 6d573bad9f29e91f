"""What the four parameters of a Ag/MoS2/Au cell look like over many cells, and the rates of failure that follow.

Measured: Marraccini et al., Nanoscale (2025), doi 10.1039/d5nr02690c, figure 3 and section 3.1; 47 devices.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Self

from scipy.special import ndtr

from memflux.errors import DataError, InvalidValue, check_choice, check_number

LARGEST_FILE = 1_000_000  # bytes
LN10 = math.log(10.0)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Distributions:
    """Distributions of the cells: three lognormal in natural logarithm, HRS = 10^normal.

    V_SET and |V_RESET| in V, LRS and HRS (low and high resistance state) in ohm.
    """

    set_mu: float  # mean of ln(V_SET / V)
    set_sigma: float
    reset_mu: float  # mean of ln(|V_RESET| / V)
    reset_sigma: float
    lrs_mu: float = 6.253  # mean of ln(LRS / ohm): only the script of the paper gives it
    lrs_sigma: float = 1.041
    hrs_mean: float = 6.041  # mean of log10(HRS / ohm): likewise
    hrs_deviation: float = 0.769

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            spread = field.name.endswith(("sigma", "deviation"))
            number = check_number(field.name, getattr(self, field.name), low=0.0 if spread else -30.0, high=30.0)
            object.__setattr__(self, field.name, number)

    def set_fails(self, voltage: float) -> float:
        """P(V_SET > voltage): the share of cells that a pulse of `voltage` [V] does not set."""
        return _above(voltage, self.set_mu, self.set_sigma)

    def reset_fails(self, voltage: float) -> float:
        """P(|V_RESET| > |voltage|): the share of cells that a pulse of `voltage` [V] does not reset."""
        return _above(abs(voltage), self.reset_mu, self.reset_sigma)

    def lrs_above(self, threshold: float) -> float:
        """P(LRS > threshold [ohm]): the share of cells that read as 0 although they are set."""
        return _above(threshold, self.lrs_mu, self.lrs_sigma)

    def hrs_below(self, threshold: float) -> float:
        """P(HRS < threshold [ohm]): the share of cells that read as 1 although they are reset."""
        return 1.0 - _above(threshold, self.hrs_mean * LN10, self.hrs_deviation * LN10)


PRINTED = Distributions(set_mu=0.202, set_sigma=0.776, reset_mu=-0.025, reset_sigma=0.810)
"""As printed in the paper (figure 3b, c)."""

SCRIPT = Distributions(set_mu=0.20177, set_sigma=0.20177, reset_mu=-0.00248, reset_sigma=0.81)
"""As its script draws them: V_SET with the mean in the place of the deviation, so that 5 V sets every cell."""

VARIANTS = {"printed": PRINTED, "script": SCRIPT}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Shares of the bits that read back wrong."""

    ones: float  # of the ones
    zeros: float  # of the zeros

    @classmethod
    def implied(
        cls,
        cells: Distributions,
        *,
        voltage: float,
        threshold: float,
        attempts: int = 1,
        redrawn: bool = False,
        working: float = 1.0,
        shorted: float = 0.0,
    ) -> Self:
        """What the distributions imply for fresh cells, written `attempts` times with +-voltage [V].

        `redrawn`: the resistance is drawn anew whenever the cell switches; otherwise once, and verifying cures
        nothing. Another attempt resets before it sets (and the reverse), so it needs both voltages to suffice.
        `working`: the share of cells that are not dead, `shorted`: the share of the dead that are shorts.
        """
        p_set, p_reset = cells.set_fails(voltage), cells.reset_fails(voltage)
        p_low, p_high = cells.lrs_above(threshold), cells.hrs_below(threshold)
        again_low = p_reset + (1 - p_reset) * p_low ** (attempts - 1) if redrawn else 1.0
        cured = (1 - p_set) * (1 - p_reset) * (1 - p_high ** (attempts - 1)) if redrawn else 0.0
        ones = p_set + (1 - p_set) * p_low * again_low
        dead = 1 - working
        return cls(ones=working * ones + dead * (1 - shorted), zeros=working * p_high * (1 - cured) + dead * shorted)


def read_distributions(path: str | Path, variant: str = "printed") -> Distributions:
    """The distributions in a JSON file, in one of two forms; DataError in one sentence where it holds neither.

    One object with the fields of `Distributions`, or the collection with the blocks "paper" and "repository_script"
    ("printed" takes V_SET and V_RESET from the first and both resistances, which the paper does not print, from the
    second; "script" takes the deviation of V_SET that is used there).
    """
    check_choice("variant", variant, VARIANTS)
    found = _json(Path(path))
    try:
        if "repository_script" not in found:
            return _of_numbers(found)
        return _of_collection(found, variant)
    except InvalidValue as error:
        raise DataError(f"{path}: {error}") from None
    except (KeyError, TypeError, OverflowError):
        names = ", ".join(f.name for f in dataclasses.fields(Distributions))
        raise DataError(f"{path} does not hold the distributions of cells; give an object with {names}.") from None


def _of_collection(found: dict[str, Any], variant: str) -> Distributions:
    script = found["repository_script"]
    block = found["paper"] if variant == "printed" else script
    v_set, v_reset = block["V_SET_lognormal"], block["V_RESET_magnitude_lognormal"]
    fields = {
        "set_mu": v_set["mu"],
        "set_sigma": v_set["sigma"] if variant == "printed" else v_set["sigma_actually_used"],
        "reset_mu": v_reset["mu"],
        "reset_sigma": v_reset["sigma"],
        "lrs_mu": script["LRS_lognormal_natural_log"]["mu"],
        "lrs_sigma": script["LRS_lognormal_natural_log"]["sigma"],
        "hrs_mean": script["HRS_log10_normal"]["mean"],
        "hrs_deviation": script["HRS_log10_normal"]["std"],
    }
    return _of_numbers(fields)


def _of_numbers(fields: dict[str, Any]) -> Distributions:
    """JSON writes 1 for 1.0."""
    return Distributions(**{name: check_number(name, value, low=-30.0, high=30.0) for name, value in fields.items()})


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} is larger than {LARGEST_FILE} bytes; give the JSON file of the distributions.")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give a JSON file of distributions.") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path} is not JSON; give a JSON file of distributions.") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no JSON object; give a JSON file of distributions.")
    return found


def _above(level: float, mu: float, sigma: float) -> float:
    """P(X > level) of ln X normal with mean mu and deviation sigma."""
    if level <= 0.0:
        return 1.0
    if sigma == 0.0:
        return float(math.log(level) < mu)
    return float(ndtr((mu - math.log(level)) / sigma))
