"""What analyses are asked for, from the words of an option, or of the line of a file by the same name."""

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from memflux.errors import DataError, InvalidValue

if TYPE_CHECKING:
    from memflux.analysis.constraint import Constraint
    from memflux.analysis.optimise import Target
    from memflux.analysis.quantities import Quantity
    from memflux.analysis.tradeoff import Variability

AXES = ("barrier_left", "barrier_right", "mobility_vacancy")  # of the published maps
PUBLISHED = ("symmetry=0", "on_off_ratio=1")  # targets
EXAMPLES = {
    "--fix": "--fix period=8",
    "--target": "--target symmetry=0, or symmetry=0/0.1",
    "--at-least": "--at-least on_off_ratio=0.7",
    "--at-most": "--at-most symmetry=0.3",
    "--spread": "--spread barrier_left=0.05",
}


def quantity(text: str, voltage: float) -> "Quantity":
    """The quantity a user means: a name, one with parameters as `symmetry(cycle=0)`, or FILE.py:FUNCTION."""
    from memflux.analysis.quantities import OnOffRatio, quantity_from_text

    file, colon, function = text.rpartition(":")
    if colon and file.endswith(".py"):
        return _own(Path(file), function)
    return OnOffRatio(voltage=voltage) if text == OnOffRatio.name else quantity_from_text(text)


def quantities_of(texts: Sequence[str] | None, voltage: float) -> "list[Quantity]":
    """The quantities a user means; the published ones where none is named."""
    return [quantity(text, voltage) for text in texts or ("symmetry", "on_off_ratio")]


def _own(file: Path, name: str) -> "Quantity":
    """The user's own function Traces -> [B]; the file is run, as it would be by Python."""
    if not file.is_file():
        raise DataError(f"{file} is no file; give FILE.py:FUNCTION with a function of Traces in it.")
    found = runpy.run_path(str(file)).get(name)
    if not callable(found):
        raise InvalidValue(f"{file} has no function {name!r}; give the name of a function of Traces in it.")
    return cast("Quantity", found)


def objective(text: str, voltage: float) -> "tuple[Quantity, str]":
    """A quantity and its sense from QUANTITY:min or QUANTITY:max."""
    name, colon, sense = text.rpartition(":")
    if not colon:
        raise InvalidValue(f"--objective {text} has no sense; give {text}:min or {text}:max.")
    return quantity(name, voltage), sense


def number(option: str, text: str, part: str) -> float:
    """The number that `part` of what was given to an option must be."""
    try:
        return float(part)
    except ValueError:
        raise InvalidValue(f"{option} {text} does not end in =NUMBER; write for example {EXAMPLES[option]}.") from None


def assigned(option: str, texts: Sequence[str] | None) -> dict[str, float]:
    """Names and numbers of what was given to an option as NAME=NUMBER; a name may hold an = in brackets."""
    pairs = [(text, *text.rpartition("=")) for text in texts or []]
    return {name.strip(): number(option, text, part) for text, name, _, part in pairs}


def constraints(at_least: Sequence[str], at_most: Sequence[str], voltage: float) -> "list[Constraint]":
    """Limits on quantities from QUANTITY=NUMBER, one for each quantity named."""
    from memflux.analysis.constraint import Constraint

    low, high = assigned("--at-least", at_least), assigned("--at-most", at_most)
    names = dict.fromkeys([*low, *high])
    return [Constraint(quantity=quantity(name, voltage), low=low.get(name), high=high.get(name)) for name in names]


def target(text: str, voltage: float) -> "Target":
    """A quantity and the value that is wanted of it, from QUANTITY=VALUE or QUANTITY=VALUE/SCALE."""
    from memflux.analysis.optimise import Target

    name, _, numbers = text.rpartition("=")
    value, slash, scale = (part.strip() for part in numbers.partition("/"))
    return Target(
        value=number("--target", text, value),
        scale=number("--target", text, scale) if slash else 1.0,
        quantity=quantity(name.strip(), voltage),
    )


def axes_of(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Names and numbers of points of the axes, from PARAMETER or PARAMETER=POINTS; None where no axis says a number."""
    if not texts:
        return AXES, None
    pairs = [text.partition("=") for text in texts]
    counts = [count for _, _, count in pairs]
    if not any(counts):
        return tuple(name for name, _, _ in pairs), None
    for text, count in zip(texts, counts, strict=True):
        if not count.isdecimal():
            raise InvalidValue(f"--axis {text} has no number of points; write for example --axis barrier_left=64.")
    return tuple(name for name, _, _ in pairs), tuple(map(int, counts))


def variability(spread: Sequence[str], copies: int, quantile: float | None) -> "Variability | None":
    """How devices differ as they are made, from PARAMETER=RELATIVE; None where they do not."""
    from memflux.analysis.tradeoff import Variability

    if not spread:
        if quantile is not None:
            raise InvalidValue("--quantile is of devices that differ; give their --spread, or leave it out.")
        return None
    found = assigned("--spread", spread)
    if quantile is None:
        return Variability(spread=found, devices=copies)
    return Variability(spread=found, devices=copies, statistic="quantile", quantile=quantile)


def numbers(option: str, text: str | None) -> list[float] | None:
    """The numbers of V,V."""
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValue(f"{option} = {text} is not a list of numbers; write them as 0.5,2.") from None
