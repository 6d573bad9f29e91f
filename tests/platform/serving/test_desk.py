"""The desk: questions of one kind are asked as one, and do not spoil each other."""

import asyncio
import dataclasses
import json
import threading

import numpy as np
import pytest

from compact_served import NAME, CompactServed
from memflux.analysis.quantities import OnOffRatio, Symmetry
from memflux.errors import InvalidValue
from memflux.platform.serving import answers as answers_file
from memflux.platform.serving import desk as desk_file
from memflux.platform.serving.answers import ROUTES, Model
from memflux.platform.serving.desk import Busy, Desk, Ticket
from memflux.platform.serving.wire import ARROW, JSON, Question, encode

ROUTE = {route.name: route for route in ROUTES}
MODEL = CompactServed()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting(CompactServed):
    """Remembers how many devices each call had, and waits in the first one until `open` is set."""

    calls: list = dataclasses.field(default_factory=list)
    open: threading.Event = dataclasses.field(default_factory=threading.Event)

    def __call__(self, devices, drive):
        self.calls.append(len(devices))
        assert self.open.wait(30)
        if np.any(devices.length == 3e-6):
            raise RuntimeError("a model that breaks at some devices")
        return super().__call__(devices, drive)


class Tally:
    """A meter."""

    def __init__(self):
        self.seen = []

    def answered(self, model, route, questions, devices, seconds):
        assert seconds > 0
        self.seen.append((model, route, questions, devices))

    def refused(self, model, route, status):
        self.seen.append((model, route, status))


def ticket(count, route="predict", seed=0, **changes):
    devices, drive = MODEL.space.sample(count, seed=seed)
    question = Question(devices=devices, drive=drive, **changes)
    return Ticket(
        model=NAME, route=ROUTE[route], body=encode(question, MODEL.space.device), content_type=ARROW
    ), question


def run(tickets, meter=None):
    """Answers or errors of tickets that arrive while the first of them is at work, and the calls of the model."""
    model = Counting()
    desk = Desk({NAME: model}, queue=100, meter=meter)

    async def whole():
        first = asyncio.create_task(desk.ask(tickets[0]))
        while not model.calls:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(desk.ask(t)) for t in tickets[1:]]
        await asyncio.sleep(0.01)
        model.open.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    return asyncio.run(whole()), model.calls


def test_questions_that_arrive_during_a_batch_are_the_next_one():
    pairs = [ticket(count, seed=count) for count in (1, 2, 3, 4)]
    tally = Tally()
    answers, calls = run([t for t, _ in pairs], tally)
    assert calls == [1, 9]
    assert tally.seen == [(NAME, "predict", 1, 1), (NAME, "predict", 3, 9)]
    for (_, question), (_, answer) in zip(pairs, answers, strict=True):
        np.testing.assert_array_equal(answer.arrays["current"], MODEL(question.devices, question.drive).current)


def test_only_questions_of_one_kind_go_together():
    several = [
        ticket(1)[0],
        ticket(2)[0],
        ticket(2, precision="float32")[0],
        ticket(2, "quantities", quantities=())[0],
        ticket(3)[0],
    ]
    answers, calls = run(several)
    assert calls == [1, 5, 2]
    assert answers[2][1].arrays["current"].dtype == np.float32
    assert isinstance(answers[3], InvalidValue)


def test_a_large_question_goes_alone(monkeypatch):
    monkeypatch.setattr(desk_file, "AT_ONCE", 4)
    assert run([ticket(count)[0] for count in (1, 3, 9, 1)])[1] == [1, 4, 9]


def test_one_question_does_not_spoil_the_others():
    broken = Ticket(model=NAME, route=ROUTE["predict"], body=b"{", content_type=JSON)
    worse = json.dumps({"devices": {"length": [3e-6]}}).encode()
    breaks = Ticket(model=NAME, route=ROUTE["predict"], body=worse, content_type=JSON)
    fine = json.dumps({"devices": {"length": [1e-6]}}).encode()
    answers, _ = run(
        [ticket(1)[0], broken, breaks, Ticket(model=NAME, route=ROUTE["predict"], body=fine, content_type=JSON)]
    )
    assert isinstance(answers[1], InvalidValue)
    assert isinstance(answers[2], RuntimeError)
    assert answers[3][1].arrays["current"].shape == (1, 81)


def test_who_has_gone_away_is_not_answered():
    model = Counting()
    desk = Desk({NAME: model}, queue=100)

    async def whole():
        first = asyncio.create_task(desk.ask(ticket(1)[0]))
        while not model.calls:
            await asyncio.sleep(0.001)
        gone = asyncio.create_task(desk.ask(ticket(7)[0]))
        await asyncio.sleep(0.01)
        gone.cancel()
        stays = asyncio.create_task(desk.ask(ticket(2)[0]))
        await asyncio.sleep(0.01)
        model.open.set()
        await asyncio.gather(first, stays)

    asyncio.run(whole())
    assert model.calls == [1, 2]


def test_places_are_counted():
    desk = Desk({NAME: MODEL}, queue=1)
    with desk.place():
        assert desk.full
        with pytest.raises(Busy, match="1 requests are waiting already"), desk.place():
            pass
    assert not desk.full


def test_curves_on_their_way_are_bounded_in_bytes(monkeypatch):
    (first, question), (second, _), (small, _) = ticket(4), ticket(4, seed=1), ticket(1, seed=2)
    monkeypatch.setattr(desk_file, "MOST_BYTES", int(1.5 * question.curve_bytes(MODEL.samples)))
    desk = Desk({NAME: MODEL}, queue=100)

    async def whole():
        await desk.ask(first)
        with pytest.raises(Busy, match="the curves of 1 requests are on their way"):
            await desk.ask(second)
        await desk.ask(small)  # there is room for it
        desk.release(first)
        again, asked = ticket(4, seed=1)
        _, answer = await desk.ask(again)
        np.testing.assert_array_equal(answer.arrays["current"], MODEL(asked.devices, asked.drive).current)

    asyncio.run(whole())


def test_bytes_of_curves_count_their_bands():
    _, plain = ticket(3)
    _, banded = ticket(3, bands="curve")
    assert plain.curve_bytes(40) == 8 * 3 * (40 * plain.drive.cycles + 1)
    assert banded.curve_bytes(40) == 3 * plain.curve_bytes(40)


def test_a_meter_that_breaks_costs_nobody_an_answer():
    class Broken(Tally):
        def answered(self, *_):
            raise RuntimeError("no such counter")

    answers, calls = run([ticket(1)[0], ticket(2)[0]], Broken())
    assert calls == [1, 2]
    assert [len(answer) for _, answer in answers] == [1, 2]


def test_a_route_that_breaks_everything_leaves_nobody_waiting(monkeypatch):
    def worse(questions):
        raise KeyboardInterrupt

    monkeypatch.setattr(desk_file, "together", worse)
    desk = Desk({NAME: MODEL}, queue=100)
    waiting = ticket(1)[0]
    desk._tickets.append(waiting)
    with pytest.raises(KeyboardInterrupt):
        desk._work()
    assert isinstance(waiting.answer.exception(), KeyboardInterrupt)


def test_errors_are_found_once_a_quantity_and_forgotten_all_at_once(monkeypatch):
    class Kept(CompactServed):
        def held_out(self):
            devices, drive = self.space.sample(5, seed=9)
            return devices, drive, self(devices, drive)

    monkeypatch.setattr(answers_file, "REMEMBERED", 2)
    model = Model(Kept())
    for k in range(6):
        assert model.errors([Symmetry(), OnOffRatio(voltage=1.0 + k)]).shape == (5, 2)
    assert len(model._errors) <= 4
