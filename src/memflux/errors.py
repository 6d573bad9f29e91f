"""The exceptions memflux raises, and the checks that word them.

A caller's mistake is an `InvalidValue` whose one sentence names the thing, the value, the
allowed range and the remedy. What numerics may do (a solve that diverges) is a status on the
trace, not an exception, until somebody asks for the single result of a failed solve.
"""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np


class MemfluxError(Exception):
    """Base of every error that memflux raises on purpose."""


class InvalidValue(MemfluxError, ValueError):
    """The caller passed a value outside what the named field allows."""


class MissingDependency(MemfluxError, ImportError):
    """An optional package is needed for this call and is not installed."""


class SolveFailed(MemfluxError, RuntimeError):
    """A single simulation was asked for and did not converge."""


class DataError(MemfluxError, RuntimeError):
    """A data set, surrogate or run folder is missing, damaged or of another version."""


class ServiceError(MemfluxError, RuntimeError):
    """An endpoint or a cluster could not be reached or refused the request."""


def _range(low: float, high: float, unit: str) -> str:
    tail = "" if unit == "1" else f" {unit}"
    if math.isinf(high):
        return f"at least {low:g}{tail}"
    return f"from {low:g} to {high:g}{tail}"


def check_number(name: str, value: object, *, low: float, high: float, unit: str = "1") -> float:
    """`value` as a float within [low, high], or InvalidValue naming field, value, unit, range."""
    tail = "" if unit == "1" else f" {unit}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidValue(f"{name} = {value!r} is not a number; give a number {_range(low, high, unit)}.")
    number = float(value)
    if not math.isfinite(number):
        raise InvalidValue(f"{name} = {number}{tail} is not finite; give a number {_range(low, high, unit)}.")
    if not low <= number <= high:
        raise InvalidValue(f"{name} = {number:g}{tail} is out of range; give a number {_range(low, high, unit)}.")
    return number


def check_numbers(name: str, values: object, *, low: float, high: float, unit: str = "1", ndim: int = 1) -> np.ndarray:
    """`values` as a read-only float64 array of `ndim` dimensions, every entry within [low, high]."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidValue(
            f"{name} = {values!r} is not an array of numbers; give numbers {_range(low, high, unit)}."
        ) from None
    if array.ndim != ndim:
        raise InvalidValue(f"{name} has shape {array.shape}; give an array of {ndim} dimension{'s' * (ndim != 1)}.")
    bad = ~((array >= low) & (array <= high))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f"{name}[{', '.join(map(str, where))}]"
        check_number(place, float(array[where]), low=low, high=high, unit=unit)
    array.flags.writeable = False
    return array


def check_integer(name: str, value: object, *, low: int, high: int) -> int:
    """`value` as an int within [low, high]."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidValue(f"{name} = {value!r} is not a whole number; give one from {low} to {high}.")
    if not low <= int(value) <= high:
        raise InvalidValue(f"{name} = {int(value)} is out of range; give a whole number from {low} to {high}.")
    return int(value)


def check_bool(name: str, value: object) -> bool:
    """`value` as a bool; 0 and 1 are refused, because they are usually a shifted argument."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidValue(f"{name} = {value!r} is not a truth value; give True or False.")
    return bool(value)


def check_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """`value` as one of `choices`, or InvalidValue that suggests the nearest."""
    known = tuple(choices)
    if isinstance(value, str) and value in known:
        return value
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InvalidValue(f"{name} = {value!r} is not known; choose one of {', '.join(known)}.{hint}")


def check_names(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse any name that is not in `known`, with a suggestion."""
    known = tuple(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose among {', '.join(known)}."
            raise InvalidValue(f"{name!r} is not a {what}; {hint}")
