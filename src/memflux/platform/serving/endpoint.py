"""The HTTP application around loaded models: routes, token, limits, and errors in one sentence.

It knows nothing of Ray: `serve` runs it as Ray Serve replicas, tests call it in process. Every
route but /healthz, /readyz and /openapi.json, which hold no data, wants the token. Models answer
in one worker thread, so that the event loop stays free for the health routes and for saying 503 to
a request too many.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI, Request, Security
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from memflux import __version__
from memflux.analysis.quantities import CURVES_AT_ONCE, QUANTITIES, evaluate, label
from memflux.contracts import CurveCost
from memflux.device import FIELDS, Devices
from memflux.errors import InvalidValue, MemfluxError, check_choice
from memflux.platform.serving import replies
from memflux.platform.serving.access import matches
from memflux.platform.serving.wire import ARROW, JSON, MAX_BYTES, Question, TooLarge, decode
from memflux.space import Space
from memflux.traces import Traces
from memflux.waveform import Waveform

logger = logging.getLogger(__name__)

DESCRIPTION = (
    "Current traces, quantities and gradients of memristive devices, answered by trained surrogates. "
    "GET /v1/models says which models are served, with their parameters, ranges and test errors. "
    "Energies are in eV, everything else in SI units. Questions and answers are JSON, or Arrow streams for large "
    "batches; an error is one sentence in the field 'error'. Every route but /healthz, /readyz and /openapi.json "
    "wants the header 'Authorization: Bearer TOKEN'."
)
OPEN_ROUTES = ("/healthz", "/readyz", "/openapi.json")
LONGEST_SENTENCE = 1_000  # characters of an error that are sent


class Served(Protocol):
    """What an endpoint asks of a model; `memflux.training.surrogate.Surrogate` has it."""

    @property
    def parameters(self) -> tuple[str, ...]: ...
    @property
    def space(self) -> Space: ...
    @property
    def drive(self) -> Waveform: ...
    @property
    def samples(self) -> int: ...
    @property
    def cycles(self) -> int: ...
    @property
    def test_errors(self) -> Mapping[str, Any]: ...
    def __call__(self, devices: Devices, drive: Waveform) -> Traces: ...
    def value_and_gradient(
        self, devices: Devices, drive: Waveform, cost: CurveCost
    ) -> tuple[np.ndarray, np.ndarray]: ...


class Busy(MemfluxError):
    """As many requests wait as the endpoint lets wait."""


Answer = Callable[[Served, Question, str], Response]


class Desk:
    """Models by name, and the one thread that asks them; at most `queue` requests wait or run."""

    def __init__(self, models: Mapping[str, Served], queue: int) -> None:
        self.models = dict(models)
        self.queue = queue
        self.waiting = 0  # touched by the event loop alone
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    @property
    def full(self) -> bool:
        """Whether the next question would be refused."""
        return self.waiting >= self.queue

    async def ask(self, name: str, request: Request, answer: Answer) -> Response:
        """The answer of model `name` to the question in the request's body."""
        if name not in self.models:
            raise HTTPException(404, _unknown(name, self.models))
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind not in (ARROW, JSON):
            raise HTTPException(415, f"content type {kind!r} is not known; send {JSON} or {ARROW}.")
        if self.full:
            raise Busy(f"{self.waiting} requests are waiting already; try again in a second.")
        self.waiting += 1
        try:
            body = await _body(request)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, _answer, self.models[name], body, kind, answer)
        finally:
            self.waiting -= 1


def application(models: Mapping[str, Served], token_digest: str, queue: int = 32) -> ASGIApp:
    """The guarded ASGI application; `token_digest` is `access.digest` of the token."""
    for name, model in models.items():
        _rehearse(name, model)
    desk = Desk(models, queue)
    # No /docs and /redoc: these pages load code from elsewhere and could not send the token.
    app = FastAPI(title="memflux", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None)
    _open_routes(app, desk)
    _model_routes(app, desk)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(MemfluxError, _on_memflux)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_bug)
    app.add_middleware(Guard, token_digest=token_digest)
    return app


class Guard:
    """Refuses every request without the token before its body is read."""

    def __init__(self, app: ASGIApp, token_digest: str) -> None:
        self.app = app
        self.token_digest = token_digest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_ROUTES:
            given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            if not matches(given, self.token_digest):
                sentence = "the token is missing or wrong; send it as 'Authorization: Bearer TOKEN'."
                response = _error(401, sentence, {"WWW-Authenticate": "Bearer"})
                await response(scope, receive, send)
                return
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.app(scope, receive, send)


def _open_routes(app: FastAPI, desk: Desk) -> None:
    @app.get("/healthz", summary="The process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Models are loaded and the queue has room")
    async def readyz() -> JSONResponse:
        ready = not desk.full
        return JSONResponse({"status": "ready" if ready else "busy"}, status_code=200 if ready else 503)


def _model_routes(app: FastAPI, desk: Desk) -> None:
    token = [Security(HTTPBearer(auto_error=False))]  # the Guard checks it; here it is documented

    @app.get("/v1/models", summary="What is served", dependencies=token)
    async def models() -> dict[str, Any]:
        return {"models": [describe(name, model) for name, model in desk.models.items()]}

    routes: tuple[tuple[str, str, Answer], ...] = (
        ("predict", "Current traces of devices", _predict),
        ("quantities", "Symmetry, on-off ratio of devices", _quantities),
        ("gradient", "A cost of devices and its gradient", _gradient),
    )
    for path, summary, answer in routes:
        app.post(f"/v1/models/{{name}}/{path}", summary=summary, dependencies=token, openapi_extra=_request_body(path))(
            _handler(desk, answer)
        )


def _handler(desk: Desk, answer: Answer) -> Callable[..., Any]:
    async def handle(name: str, request: Request) -> Response:
        return await desk.ask(name, request, answer)

    return handle


def describe(name: str, model: Served) -> dict[str, Any]:
    """What GET /v1/models says of one model."""
    return {
        "name": name,
        "parameters": list(model.parameters),
        "space": model.space.to_dict(),
        "drive": model.drive.to_dict(),
        "samples": model.samples,
        "cycles": model.cycles,
        "quantities": list(QUANTITIES),
        "test_errors": dict(model.test_errors),
    }


def _answer(model: Served, body: bytes, kind: str, answer: Answer) -> Response:
    question = decode(body, kind, model.space.device, model.drive)
    question.check_size(model.samples)
    return answer(model, question, kind)


def _predict(model: Served, question: Question, kind: str) -> Response:
    devices, drive = question.devices, question.drive
    parts = []
    for first in range(0, len(devices), CURVES_AT_ONCE):
        part = slice(first, first + CURVES_AT_ONCE)
        parts.append(model(devices[part], drive[part]))
    if kind == ARROW:
        return Response(replies.curves_to_arrow(parts, model.samples), media_type=ARROW)
    return JSONResponse(replies.curves_to_json(parts[0], model.samples))


def _quantities(model: Served, question: Question, kind: str) -> Response:
    if not question.quantities:
        raise InvalidValue(f"quantities is empty; ask for one or more of {', '.join(QUANTITIES)}.")
    values = evaluate(model, question.devices, question.drive, question.quantities)
    names = [label(q) for q in question.quantities]
    if kind == ARROW:
        return Response(replies.arrays_to_arrow({"values": values}, {"values": names}), media_type=ARROW)
    return JSONResponse({"quantities": names, "values": replies.listed(values)})


def _gradient(model: Served, question: Question, kind: str) -> Response:
    if question.cost is None:
        raise InvalidValue("the request has no cost; give its kind and its target.")
    cost, gradient = model.value_and_gradient(question.devices, question.drive, question.cost)
    names = list(model.parameters)
    if kind == ARROW:
        arrays = {"cost": cost, "gradient": gradient}
        return Response(replies.arrays_to_arrow(arrays, {"gradient": names}), media_type=ARROW)
    return JSONResponse({"parameters": names, "cost": replies.listed(cost), "gradient": replies.listed(gradient)})


def _rehearse(name: str, model: Served) -> None:
    """One prediction before the first request: a broken model fails at the start, not at a user's."""
    shape = model(Devices.of(model.space.device), model.drive).current.shape
    if shape != (1, model.cycles * model.samples + 1):
        raise InvalidValue(
            f"model {name!r} answers one device with shape {shape} at {model.samples} samples and {model.cycles} "
            "cycles; it is not on the phase grid and cannot be served."
        )


async def _body(request: Request) -> bytes:
    """The body, given up as soon as it is longer than MAX_BYTES."""
    sentence = f"the request is longer than {MAX_BYTES} bytes; send several."
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BYTES:
        raise TooLarge(sentence)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise TooLarge(sentence)
        parts.append(part)
    return b"".join(parts)


def _unknown(name: str, models: Mapping[str, Served]) -> str:
    try:
        check_choice("model", name, models)
    except InvalidValue as error:
        return str(error)
    raise AssertionError(name)


def _error(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence[:LONGEST_SENTENCE]}, status_code=status, headers=dict(headers or {}))


async def _on_http(_: Request, error: Any) -> JSONResponse:
    return _error(error.status_code, str(error.detail), error.headers)


async def _on_memflux(request: Request, error: Any) -> JSONResponse:
    match error:
        case Busy():
            return _error(503, str(error), {"Retry-After": "1"})
        case TooLarge():
            return _error(413, str(error))
        case InvalidValue():
            return _error(422, str(error))
    return await _on_bug(request, error)


async def _on_disconnect(_: Request, __: Any) -> JSONResponse:
    return _error(400, "the request ended before its body did.")


async def _on_bug(request: Request, error: Any) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(500, "the model could not answer; the endpoint's log says why.")


def _request_body(path: str) -> dict[str, Any]:
    """The JSON form of a request, for the OpenAPI page."""
    values = {"oneOf": [{"type": "array", "items": {}}, {}]}
    properties: dict[str, Any] = {
        "devices": {"type": "object", "properties": {name: values for name in FIELDS}},
        "drive": {"type": "object", "description": "kind and fields; absent: the model's own drive"},
    }
    if path == "quantities":
        properties["quantities"] = {"type": "array", "items": {"type": "string", "enum": list(QUANTITIES)}}
    if path == "gradient":
        fields = [f.name for f in dataclasses.fields(CurveCost)]
        properties["cost"] = {"type": "object", "properties": {name: {} for name in fields}}
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}, ARROW: {}}}}
