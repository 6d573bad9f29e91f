"""Where questions wait: one thread asks the models, and concurrent questions of one kind are asked as one.

While a batch is computed, the questions that arrive pile up and make the next one: nobody waits for a
batch to fill, and under load the batches grow by themselves.
"""

import asyncio
import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from memflux.errors import MemfluxError
from memflux.platform.serving.answers import Model, Route, Served
from memflux.platform.serving.replies import Answer
from memflux.platform.serving.wire import JSON, MAX_JSON_VALUES, MAX_VALUES, Question, decode, together

T = TypeVar("T")
TAKEN = 64  # questions that are looked at together
AT_ONCE = 4_096  # devices of several questions; a larger one goes alone
MOST_BYTES = 2**31  # of curves that are computed or not yet written; the largest question has 0.8e9


class Busy(MemfluxError):
    """As many requests wait as the endpoint lets wait, or as many curves are on their way."""


class Meter(Protocol):
    """Who counts what was asked; `meter.RayMeter` tells Prometheus."""

    def answered(self, model: str, route: str, questions: int, devices: int, seconds: float) -> None:
        """`questions` were answered in one go."""

    def refused(self, model: str, route: str, status: int) -> None:
        """A question got an error of that HTTP status."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ticket:
    """A question that waits, as it came."""

    model: str
    route: Route
    body: bytes
    content_type: str
    answer: "Future[tuple[Question, Answer]]" = dataclasses.field(default_factory=Future)


Asked = tuple[Ticket, Question]


class Desk:
    """Models by name, and the one thread that asks them; at most `queue` questions wait or run.

    `check(route, question)` refuses questions before they are asked.
    """

    def __init__(
        self,
        models: Mapping[str, Served],
        queue: int,
        meter: Meter | None = None,
        check: Callable[[str, Question], None] = lambda *_: None,
    ) -> None:
        self.models = {name: Model(served) for name, served in models.items()}
        self.queue = queue
        self.waiting = 0  # touched by the event loop alone
        self._meter, self._check = meter, check
        self._tickets: collections.deque[Ticket] = collections.deque()
        self._held: dict[Ticket, int] = {}  # bytes of curves; touched by the thread of the models alone
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._clerk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clerk")

    @property
    def full(self) -> bool:
        """Whether the next question would be refused."""
        return self.waiting >= self.queue

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue; raises Busy where there is none."""
        if self.full:
            raise Busy(f"{self.waiting} requests are waiting already; try again in a second.")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def refused(self, model: str, route: str, status: int) -> None:
        """Count a question that got an error; a model that is not there is none of a name."""
        if self._meter is not None:
            self._meter.refused(model if model in self.models else "", route, status)

    async def ask(self, ticket: Ticket) -> tuple[Question, Answer]:
        """The question of a ticket and its answer; raises what is wrong with it."""
        self._tickets.append(ticket)
        self._thread.submit(self._work)  # one call a ticket; those of tickets taken along find nothing to do
        try:
            return await asyncio.wrap_future(ticket.answer)
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # it may have been taken already
                self._tickets.remove(ticket)
            raise

    def release(self, ticket: Ticket) -> None:
        """Its answer has been written, or nobody wants it any more."""
        self._thread.submit(self._held.pop, ticket, None)

    async def aside(self, work: Callable[[], T]) -> T:
        """`work()` in a thread beside that of the models, where it would hold up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._clerk, work)

    def _work(self) -> None:
        """Answer the questions that wait, in the order they came."""
        taken = [self._tickets.popleft() for _ in range(min(TAKEN, len(self._tickets)))]
        # A caller who has gone away has cancelled.
        present = [ticket for ticket in taken if ticket.answer.set_running_or_notify_cancel()]
        try:
            asked = [pair for ticket in present if (pair := self._decoded(ticket))]
            while asked:
                group = _group(asked)
                asked = [pair for pair in asked if pair not in group]
                self._settle(group)
        except BaseException as error:  # nobody may wait for ever
            for ticket in present:
                if not ticket.answer.done():
                    ticket.answer.set_exception(error)
            raise

    def _decoded(self, ticket: Ticket) -> Asked | None:
        served = self.models[ticket.model].served
        try:
            question = decode(ticket.body, ticket.content_type, served.space.device, served.drive)
            most = MAX_JSON_VALUES if ticket.content_type == JSON else MAX_VALUES
            question.check_size(served.samples, most)
            self._check(ticket.route.name, question)
            self._hold(ticket, question.curve_bytes(served.samples) if ticket.route.name == "predict" else 0)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to this question alone
            ticket.answer.set_exception(error)
            return None
        return ticket, question

    def _hold(self, ticket: Ticket, size: int) -> None:
        """Raises Busy where the answer would be one too many to hold in memory."""
        if self._held and sum(self._held.values()) + size > MOST_BYTES:
            raise Busy(f"the curves of {len(self._held)} requests are on their way already; try again in a second.")
        self._held[ticket] = size

    def _settle(self, group: Sequence[Asked]) -> None:
        """Answer questions as one; where that fails, each by itself, so that one cannot spoil the others."""
        first, began = group[0][0], time.perf_counter()
        try:
            answer = first.route.answer(self.models[first.model], together([q for _, q in group]))
        except Exception as error:  # noqa: BLE001  # raised again where the caller waits
            if len(group) == 1:
                first.answer.set_exception(error)
            else:
                for pair in group:
                    self._settle([pair])
            return
        seconds, start = time.perf_counter() - began, 0
        for ticket, question in group:
            rows = slice(start, start + len(question.devices))
            ticket.answer.set_result((question, answer if len(group) == 1 else answer.part(rows)))
            start = rows.stop
        if self._meter is not None:
            with contextlib.suppress(Exception):  # counting costs nobody an answer
                self._meter.answered(first.model, first.route.name, len(group), start, seconds)


def _group(asked: Sequence[Asked]) -> list[Asked]:
    """The first question, and later ones that can be asked with it."""
    ticket, question = asked[0]
    group, devices = [asked[0]], len(question.devices)
    if not ticket.route.together:
        return group
    for other, later in asked[1:]:
        same = (other.model, other.route.name) == (ticket.model, ticket.route.name)
        if same and devices + len(later.devices) <= AT_ONCE and question.goes_with(later):
            group.append((other, later))
            devices += len(later.devices)
    return group
