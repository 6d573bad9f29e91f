"""A thousand requests that nobody should send: each gets a 4xx and a sentence, none a 5xx or a wait."""

import functools
import json

import hypothesis
import numpy as np
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from compact_served import NAME, TOKEN, CompactServed
from memflux.device import QUANTITIES
from memflux.platform.serving.access import digest
from memflux.platform.serving.endpoint import application
from memflux.platform.serving.wire import ARROW, JSON, Question, encode

ROUTES = ("predict", "quantities", "gradient", "errors")
MODEL = CompactServed()
SETTINGS = hypothesis.settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)
NUMBERS = ("length", "barrier_left", "mobility_electron", "temperature")


@functools.cache
def served():
    """The application and a caller of it that sees no exceptions."""
    app = application({NAME: MODEL}, digest(TOKEN))
    return app, TestClient(app, raise_server_exceptions=False)


def post(body, route="quantities", kind=JSON, token=TOKEN):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    return served()[1].post(f"/v1/models/{NAME}/{route}", content=content, headers=headers)


def refused(answer, *statuses):
    assert answer.status_code in (statuses or (404, 413, 415, 422)), (answer.status_code, answer.text[:300])
    assert answer.json()["error"]


def arrow():
    devices, drive = MODEL.space.sample(3, seed=0)
    devices = devices.replace(length=1.5e-6)
    return encode(Question(devices=devices, drive=drive, quantities=()), MODEL.space.device)


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda m: m.value)
def test_what_the_page_allows_and_what_it_forbids(route, mode):
    schema = schemathesis.openapi.from_asgi("/openapi.json", served()[0])
    operation = schema[f"/v1/models/{{name}}/{route}"]["POST"]

    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    @SETTINGS
    def try_it(case):
        case.path_parameters["name"] = NAME
        response = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.status_code < 500, response.text

    try_it()


@SETTINGS
@hypothesis.given(data=st.data())
def test_damaged_streams(data):
    body = bytearray(arrow())
    cut = data.draw(st.integers(0, len(body) - 1))
    if data.draw(st.booleans()):
        body = body[:cut]
    else:
        for _ in range(8):
            body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    answer = post(bytes(body), "quantities", ARROW)
    refused(answer)  # nothing is asked of the devices, so whatever survives is refused too


@SETTINGS
@hypothesis.given(
    content=st.binary(max_size=400), kind=st.sampled_from([JSON, ARROW, "text/plain", "application/x-pickle"])
)
def test_rubbish(content, kind):
    refused(post(content, "quantities", kind))


@SETTINGS
@hypothesis.given(
    name=st.sampled_from(NUMBERS),
    value=st.sampled_from(
        ["NaN", "Infinity", "-Infinity", "1e999", "null", "true", '"1e-6"', "[[1.0]]", "{}", "9" * 400]
    ),
    route=st.sampled_from(ROUTES),
)
def test_what_is_no_finite_number(name, value, route):
    asked = '"cost": {"kind": "curve", "target": [1.0]}' if route == "gradient" else '"quantities": ["symmetry"]'
    refused(post(f'{{{asked}, "devices": {{"{name}": [{value}]}}}}'.encode(), route))


@SETTINGS
@hypothesis.given(name=st.sampled_from(sorted(QUANTITIES)), power=st.integers(1, 60), up=st.booleans())
def test_wrong_units(name, power, up):
    """A value beyond the range of its field, as millivolts for volts or metres for micrometres are."""
    bounds = QUANTITIES[name]
    end = bounds.high if up else bounds.low
    value = float(end) + (1.0 if up else -1.0) * max(abs(float(end)), 1e-30) * 10.0**power
    if not np.isfinite(value):
        return
    refused(post({"devices": {name: [value]}, "quantities": ["symmetry"]}))


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "Basic", "é" * 20])
@pytest.mark.parametrize("route", ROUTES)
def test_without_the_token(token, route):
    body = json.dumps({"quantities": ["symmetry"]}).encode()
    headers = {"Authorization": f"Bearer {token}".encode(), "Content-Type": JSON}
    answer = served()[1].post(f"/v1/models/{NAME}/{route}", content=body, headers=headers)
    refused(answer, 401)


def test_too_much():
    refused(post({"devices": {"length": [1e-6] * 1001}, "quantities": ["symmetry"]}), 413)
    refused(post(b" " * (64 * 2**20 + 1)), 413)
    refused(post({"quantities": ["symmetry"] * 33}), 422)
    refused(post(b"[" * 100_000), 422)
