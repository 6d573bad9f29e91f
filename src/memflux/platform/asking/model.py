"""What can be asked: a surrogate on this machine, or the client of an endpoint."""

from typing import Protocol, runtime_checkable

from memflux.contracts import Differentiable
from memflux.space import Space


@runtime_checkable
class Model(Differentiable, Protocol):
    """What Surrogate and Client have in common."""

    @property
    def space(self) -> Space: ...
    @property
    def samples(self) -> int: ...
    @property
    def cycles(self) -> int: ...
