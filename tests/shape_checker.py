"""The type checker that pytest runs on memflux through jaxtyping: beartype, with two blind spots.

jaxtyping decorates functions one by one, while beartype knows `Self` only where it decorates the
whole class, and it refuses a protocol that isinstance cannot answer for. Annotations that hold
either are left unchecked, all others are enforced.
"""

import typing
from collections.abc import Callable

import beartype


def check(function: Callable[..., object]) -> Callable[..., object]:
    """`function` with its annotations enforced at every call."""
    hints = getattr(function, "__annotations__", {})
    function.__annotations__ = {name: hint for name, hint in hints.items() if not _unanswerable(hint)}
    return beartype.beartype(function)


def _unanswerable(hint: object) -> bool:
    if getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False):
        return True
    return hint is typing.Self or any(_unanswerable(part) for part in typing.get_args(hint))
