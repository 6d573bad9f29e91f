"""The application in process: no Ray, no socket."""

import asyncio
import dataclasses
import json
import threading

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from compact_served import NAME, TOKEN, CompactServed
from memflux.errors import InvalidValue
from memflux.metrics import symmetry
from memflux.platform.serving import endpoint
from memflux.platform.serving.access import digest
from memflux.platform.serving.endpoint import application
from memflux.platform.serving.wire import ARROW
from memflux.stand_in import StandIn

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Broken(CompactServed):
    """Answers the rehearsal, then fails with something an answer must not show."""

    def __call__(self, devices, drive):
        if len(devices) == 2:
            raise RuntimeError("secret /path/of/the/server")
        return super().__call__(devices, drive)


@pytest.fixture(scope="module")
def http():
    app = application({NAME: CompactServed(), "broken": Broken()}, digest(TOKEN))
    return TestClient(app, raise_server_exceptions=False)


def post(http, path, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(
        f"/v1/models/{path}", content=content, headers=HEADERS | {"Content-Type": "application/json"} | headers
    )


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN])
@pytest.mark.parametrize("path", ["/v1/models", "/docs", "/redoc", "/nothing", "/healthz/", "//healthz"])
def test_everything_wants_the_token(http, header, path):
    answer = http.get(path, headers={} if header is None else {"Authorization": header}, follow_redirects=False)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "token" in answer.json()["error"]


def test_health_wants_none(http):
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}


def test_models_are_described(http):
    entries = {entry["name"]: entry for entry in http.get("/v1/models", headers=HEADERS).json()["models"]}
    entry = entries[NAME]
    assert entry["parameters"] == list(CompactServed().parameters)
    assert (entry["samples"], entry["cycles"], entry["test_errors"]) == (40, 2, {"median": 0.01})
    assert entry["space"]["name"] == NAME


def test_openapi_lists_the_routes(http):
    description = http.get("/openapi.json").json()
    paths = description["paths"]
    assert {f"/v1/models/{{name}}/{what}" for what in ("predict", "quantities", "gradient")} <= set(paths)
    assert "GET /v1/models" in description["info"]["description"]
    assert "Ray" not in description["info"]["description"]
    assert [http.get(path, headers=HEADERS).status_code for path in ("/docs", "/redoc")] == [404, 404]


def test_json_curves_equal_the_model(http):
    body = {"devices": {"barrier_left": [0.1, 0.15]}, "drive": None}
    answer = post(http, f"{NAME}/predict", body).json()
    model = CompactServed()
    devices = model.space.sample(2, seed=0)[0].repeat(model.space.device, 2, barrier_left=np.array([0.1, 0.15]))
    local = model(devices, model.drive)
    np.testing.assert_allclose(answer["current"], local.current, rtol=1e-12)
    np.testing.assert_allclose(answer["time"], local.time, rtol=1e-12)
    assert answer["inside"] == local.inside.tolist()
    quantities = post(http, f"{NAME}/quantities", body | {"quantities": ["symmetry"]}).json()
    np.testing.assert_allclose(np.array(quantities["values"])[:, 0], symmetry(local), rtol=1e-12)
    cost = {"kind": "curve", "target": local.current[0, :41].tolist(), "cycle": 0}
    gradient = post(http, f"{NAME}/gradient", body | {"cost": cost}).json()
    assert gradient["cost"][0] == 0.0
    assert np.shape(gradient["gradient"]) == (2, len(model.parameters))


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("5d-parametrik/predict", {}, 404, "Did you mean '5d-parametric'"),
        (f"{NAME}/predictt", {}, 404, "Not Found"),
        (f"{NAME}/predict", b"{", 422, "not JSON"),
        (f"{NAME}/predict", {"devices": {"barrier_left": [99.0]}}, 422, "out of range"),
        (f"{NAME}/quantities", {}, 422, "quantities is empty"),
        (f"{NAME}/gradient", {}, 422, "has no cost"),
        (f"{NAME}/gradient", {"cost": {"kind": "curve", "target": [1.0] * 9}}, 422, "resample the target to 41"),
        (f"{NAME}/predict", {"devices": {"length": [1e-6] * 1001}}, 413, "at most 1000 as JSON"),
        (f"{NAME}/predict", {"devices": {"x" * 5000: [1.0]}}, 422, "x" * 900),
    ],
)
def test_refusals_are_one_sentence_with_their_status(http, path, body, status, sentence):
    answer = post(http, path, body)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]
    assert len(answer.json()["error"]) <= 1000


def test_curves_beyond_the_limit_are_413(http):
    drive = {"kind": "sine", "amplitude": 1, "period": 1, "cycles": 100_000}
    answer = post(http, f"{NAME}/predict", {"devices": {"length": [1e-6] * 20}, "drive": drive})
    assert answer.status_code == 413
    assert "at most 1048576 values in one request, that is fewer cycles" in answer.json()["error"]


def test_body_beyond_the_limit_is_413_announced_or_not(http):
    big = b" " * (64 * 2**20 + 1)
    assert post(http, f"{NAME}/predict", big).status_code == 413

    def stream():
        for _ in range(65):
            yield b" " * 2**20

    answer = http.post(f"/v1/models/{NAME}/predict", content=stream(), headers=HEADERS)
    assert answer.status_code == 413


def test_a_body_that_does_not_arrive_is_408_and_frees_its_place(monkeypatch):
    monkeypatch.setattr(endpoint, "ARRIVES_WITHIN", 0.05)
    app = application({NAME: CompactServed()}, digest(TOKEN), queue=1)

    async def post_slowly(pause):
        async def stream():
            yield b"{"
            await asyncio.sleep(pause)
            yield b"}"

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=HEADERS) as client:
            return await client.post(f"/v1/models/{NAME}/predict", content=stream())

    late = asyncio.run(post_slowly(0.5))
    assert late.status_code == 408
    assert "did not arrive within 0.05 s" in late.json()["error"]
    assert asyncio.run(post_slowly(0.0)).status_code == 200


def test_other_content_is_415_and_other_methods_405(http):
    assert post(http, f"{NAME}/predict", b"", **{"Content-Type": "application/x-python-pickle"}).status_code == 415
    assert http.get(f"/v1/models/{NAME}/predict", headers=HEADERS).status_code == 405
    damaged = post(http, f"{NAME}/predict", b"no stream", **{"Content-Type": ARROW})
    assert damaged.status_code == 422


def test_a_failing_model_shows_nothing_of_itself(http, caplog):
    answer = post(http, "broken/predict", {"devices": {"length": [1e-6, 2e-6]}})
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model could not answer; the endpoint's log says why."}
    assert "secret" in caplog.text


def test_a_model_off_the_grid_is_not_served():
    with pytest.raises(InvalidValue, match="cannot be served"):
        application({NAME: dataclasses.replace(CompactServed(), cycles=3)}, digest(TOKEN))


@pytest.mark.timeout(60)
def test_full_queue_is_503_while_health_answers():
    started, release = threading.Event(), threading.Event()

    class Slow(CompactServed):
        def __call__(self, devices, drive):
            if len(devices) == 2:
                started.set()
                assert release.wait(30)
            return super().__call__(devices, drive)

    body = {"devices": {"length": [1e-6, 2e-6]}}
    with TestClient(application({NAME: Slow(model=StandIn(samples=8))}, digest(TOKEN), queue=1)) as http:
        answers = []
        first = threading.Thread(target=lambda: answers.append(post(http, f"{NAME}/predict", body)))
        first.start()
        assert started.wait(30)
        refused = post(http, f"{NAME}/predict", body)
        health, ready = http.get("/healthz").status_code, http.get("/readyz").status_code
        release.set()
        first.join(30)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "waiting already" in refused.json()["error"]
    assert (health, ready, answers[0].status_code) == (200, 503, 200)
