"""The HTTP application around loaded models: routes, token, limits, and errors in one sentence.

It knows nothing of Ray: `serve` runs it as Ray Serve replicas, tests call it in process. Every
route but /healthz, /readyz and /openapi.json, which hold no data, wants the token. The event loop only reads and
sends; models answer in a thread of their own (`desk`), so that health and 503 are said at any time.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Security
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from memflux import __version__
from memflux.analysis.quantities import QUANTITIES
from memflux.contracts import CurveCost
from memflux.device import FIELDS, Devices
from memflux.errors import InvalidValue, MemfluxError, check_choice
from memflux.platform.serving.access import matches
from memflux.platform.serving.answers import ROUTES, Route, Served
from memflux.platform.serving.desk import Busy, Desk, Meter, Ticket
from memflux.platform.serving.replies import Answer, listed
from memflux.platform.serving.verify import Fleet, check_verifiable, verified
from memflux.platform.serving.wire import ARROW, BANDS, JSON, MAX_BYTES, MAX_VERIFIED, PRECISIONS, Question, TooLarge

logger = logging.getLogger(__name__)

DESCRIPTION = (
    "Current traces, quantities and gradients of memristive devices, answered by trained surrogates. "
    "GET /v1/models says which models are served, with their parameters, ranges and test errors. "
    "Energies are in eV, everything else in SI units. Questions and answers are JSON, or Arrow streams for large "
    "batches; an error is one sentence in the field 'error'. Every route but /healthz, /readyz and /openapi.json "
    "wants the header 'Authorization: Bearer TOKEN'."
)
OPEN_ROUTES = ("/healthz", "/readyz", "/openapi.json")
ARRIVES_WITHIN = 60.0  # s, the body of a request
LONGEST_SENTENCE = 1_000  # characters of an error that are sent


def application(
    models: Mapping[str, Served],
    token_digest: str,
    queue: int = 32,
    meter: Meter | None = None,
    fleet: Fleet | None = None,
) -> ASGIApp:
    """The guarded ASGI application; `token_digest` is `access.digest` of the token.

    `meter` counts what is asked, `fleet` solves what is to be verified.
    """
    for name, model in models.items():
        _rehearse(name, model)
    desk = Desk(models, queue, meter, lambda route, question: check_verifiable(route, question, fleet))
    # No /docs and /redoc: these pages load code from elsewhere and could not send the token.
    app = FastAPI(title="memflux", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None)
    _open_routes(app, desk)
    _model_routes(app, desk, fleet)
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


def _model_routes(app: FastAPI, desk: Desk, fleet: Fleet | None) -> None:
    token = [Security(HTTPBearer(auto_error=False))]  # the Guard checks it; here it is documented

    @app.get("/v1/models", summary="What is served", dependencies=token)
    async def models() -> dict[str, Any]:
        return {"models": [describe(name, model.served) for name, model in desk.models.items()]}

    for route in ROUTES:
        path = f"/v1/models/{{name}}/{route.name}"
        app.post(path, summary=route.summary, dependencies=token, openapi_extra=_request_body(route.name))(
            _handler(desk, route, fleet)
        )


def _handler(desk: Desk, route: Route, fleet: Fleet | None) -> Callable[..., Any]:
    async def handle(name: str, request: Request) -> Response:
        try:
            return await _reply(desk, route, fleet, name, request)
        except Exception as error:
            desk.refused(name, route.name, _status(error))
            raise

    return handle


async def _reply(desk: Desk, route: Route, fleet: Fleet | None, name: str, request: Request) -> Response:
    """The answer to one request, which holds a place in the queue until it is written."""
    if name not in desk.models:
        raise HTTPException(404, _unknown(name, desk.models))
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind not in (ARROW, JSON):
        raise HTTPException(415, f"content type {kind!r} is not known; send {JSON} or {ARROW}.")
    served = desk.models[name].served
    with desk.place():
        ticket = Ticket(model=name, route=route, body=await _body(request), content_type=kind)
        try:
            question, answer = await desk.ask(ticket)
            if fleet is not None and (question.verify or question.defer):
                answer = await verified(name, served.samples, question, answer, fleet)
            return await desk.aside(lambda: _response(served, route.name, question, answer, kind))
        finally:
            desk.release(ticket)


def _response(served: Served, route: str, question: Question, answer: Answer, kind: str) -> Response:
    if kind == ARROW:
        return Response(answer.to_arrow(), media_type=ARROW)
    lists = answer.to_json()
    if route == "predict":  # people want the axes
        time, voltage = question.drive.grid(served.samples)
        shape = answer.arrays["current"].shape
        lists |= {"time": listed(np.broadcast_to(time, shape)), "voltage": listed(np.broadcast_to(voltage, shape))}
    return JSONResponse(lists)


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


def _rehearse(name: str, model: Served) -> None:
    """One prediction before the first request: a broken model fails at the start, not at a user's."""
    shape = model(Devices.of(model.space.device), model.drive).current.shape
    if shape != (1, model.cycles * model.samples + 1):
        raise InvalidValue(
            f"model {name!r} answers one device with shape {shape} at {model.samples} samples and {model.cycles} "
            "cycles; it is not on the phase grid and cannot be served."
        )


async def _body(request: Request) -> bytes:
    """The body, given up as soon as it is longer than MAX_BYTES or takes longer than ARRIVES_WITHIN."""
    sentence = f"the request is longer than {MAX_BYTES} bytes; send several."
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BYTES:
        raise TooLarge(sentence)
    parts, size = [], 0
    try:
        async with asyncio.timeout(ARRIVES_WITHIN):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BYTES:
                    raise TooLarge(sentence)
                parts.append(part)
    except TimeoutError:  # it would hold its place in the queue for ever
        late = f"the request's body did not arrive within {ARRIVES_WITHIN:g} s; send it again, or in smaller parts."
        raise HTTPException(408, late) from None
    return b"".join(parts)


def _unknown(name: str, models: Iterable[str]) -> str:
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
    status = _status(error)
    if status == 500:
        return await _on_bug(request, error)
    return _error(status, str(error), {"Retry-After": "1"} if status == 503 else None)


def _status(error: Exception) -> int:
    """The HTTP status of an error; 500 for what is not the caller's mistake."""
    match error:
        case HTTPException():
            return error.status_code
        case Busy():
            return 503
        case TooLarge():
            return 413
        case InvalidValue():
            return 422
    return 500


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
    if path == "predict":
        properties["precision"] = {"type": "string", "enum": list(PRECISIONS)}
        properties["bands"] = {"type": "string", "enum": list(BANDS)}
    if path in ("predict", "quantities"):
        properties["verify"] = {"type": "integer", "minimum": 0, "maximum": MAX_VERIFIED}
        properties["defer"] = {"type": "boolean"}
    if path in ("quantities", "errors"):
        properties["quantities"] = {"type": "array", "items": {"type": "string", "enum": list(QUANTITIES)}}
    if path == "gradient":
        fields = [f.name for f in dataclasses.fields(CurveCost)]
        properties["cost"] = {"type": "object", "properties": {name: {} for name in fields}}
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}, ARROW: {}}}}
