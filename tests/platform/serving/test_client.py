"""The client against a transport that is the application itself, or a stub."""

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from compact_served import NAME, TOKEN, CompactServed
from memflux.analysis.quantities import OnOffRatio, Symmetry, evaluate
from memflux.contracts import CurveCost, Differentiable
from memflux.errors import InvalidValue, ServiceError
from memflux.platform.serving import client as client_file
from memflux.platform.serving.access import digest
from memflux.platform.serving.client import ATTEMPTS, Client
from memflux.platform.serving.endpoint import application
from memflux.waveform import PulseTrain, Triangle

URL = "http://endpoint"


class Relay:
    """Hands requests to the application, after the given responses or errors; remembers them."""

    def __init__(self, *first: httpx.Response | Exception, models=None, fleet=None) -> None:
        served = models or {NAME: CompactServed()}
        self.app = TestClient(application(served, digest(TOKEN), fleet=fleet), base_url=URL)
        self.first = list(first)
        self.seen: list[httpx.Request] = []
        self.received = 0  # bytes

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self.first:
            step = self.first.pop(0)
            if isinstance(step, Exception):
                raise step
            return step
        answer = self.app.request(
            request.method, str(request.url), content=request.content, headers=dict(request.headers)
        )
        self.received += len(answer.content)
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


def client(relay, **options) -> Client:
    return Client(URL, **({"model": NAME, "token": TOKEN, "transport": httpx.MockTransport(relay)} | options))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(client_file, "FIRST_PAUSE", 0.0)


@pytest.fixture(scope="module")
def asked():
    return client(Relay())


def test_it_is_a_differentiable_predictor_with_the_models_attributes(asked):
    model = CompactServed()
    assert isinstance(asked, Differentiable)
    assert (asked.parameters, asked.samples, asked.cycles) == (model.parameters, 40, 2)
    assert asked.space == model.space
    assert [entry["name"] for entry in asked.models()] == [NAME]


@pytest.mark.parametrize("size", [3, 7, 100])
def test_answers_equal_the_local_model_however_they_are_split(asked, monkeypatch, size):
    for name in ("CURVES_A_REQUEST", "GRADIENTS_A_REQUEST", "NUMBERS_A_REQUEST"):
        monkeypatch.setattr(client_file, name, size)
    model = CompactServed()
    devices, _ = model.space.sample(20, seed=1)
    devices = devices.replace(length=np.linspace(1e-6, 3e-6, 20))
    drive = Triangle(amplitude=np.linspace(6.0, 9.0, 20), period=8.0, cycles=2)
    far, near = asked(devices, drive), model(devices, drive)
    for name in ("time", "voltage", "current", "period", "inside", "status", "status_class"):
        np.testing.assert_array_equal(getattr(far, name), getattr(near, name))
    assert far.cycles == near.cycles
    names = ("symmetry", OnOffRatio(voltage=3.0), Symmetry(signed=True))
    np.testing.assert_array_equal(asked.quantities(devices, drive, names), evaluate(model, devices, drive, names))
    cost = CurveCost(kind="log_curve", target=near.current[0, :41])
    for a, b in zip(
        asked.value_and_gradient(devices, drive, cost), model.value_and_gradient(devices, drive, cost), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_evaluate_leaves_quantities_to_the_endpoint(asked):
    model = CompactServed()
    devices, drive = model.space.sample(5, seed=2)
    relay = Relay()
    np.testing.assert_array_equal(
        evaluate(client(relay), devices, drive, ("symmetry",)), evaluate(model, devices, drive, ("symmetry",))
    )
    assert [r.url.path.rpartition("/")[2] for r in relay.seen] == ["models", "quantities"]


def test_no_devices_are_no_request(asked):
    devices, drive = CompactServed().space.sample(0, seed=0)
    assert asked(devices, drive).current.shape == (0, 81)
    assert asked.quantities(devices, drive, ["symmetry"]).shape == (0, 1)


def test_single_precision_halves_what_travels():
    devices, drive = CompactServed().space.sample(50, seed=3)
    whole, half = Relay(), Relay()
    far, near = client(half, precision="float32")(devices, drive), client(whole)(devices, drive)
    np.testing.assert_allclose(far.current, near.current, rtol=1e-7)
    assert far.current.dtype == np.float64
    assert half.received < 0.6 * whole.received
    with pytest.raises(InvalidValue, match="precision = 'float16'"):
        client(half, precision="float16")


def test_an_only_model_needs_no_name_and_a_wrong_one_is_corrected():
    assert client(Relay(), model=None).model == NAME
    with pytest.raises(InvalidValue, match="Did you mean '5d-parametric'"):
        _ = client(Relay(), model="5d-parametrik").samples
    two = {"a": CompactServed(), "b": CompactServed()}
    with pytest.raises(InvalidValue, match="choose one of a, b"):
        _ = client(Relay(models=two), model=None).samples


@pytest.mark.parametrize(
    "first",
    [
        [httpx.ConnectError("refused")],
        [httpx.ReadError("reset"), httpx.RemoteProtocolError("closed")],
        [httpx.Response(503, json={"error": "busy"}), httpx.Response(503, text="queue")],
        [httpx.Response(500, text="Internal Server Error"), httpx.Response(502, json={"detail": "gone"})],
    ],
)
def test_lost_connections_lost_replicas_and_503_are_tried_again(first):
    count = len(first)
    relay = Relay(*first)
    assert client(relay).samples == 40
    assert len(relay.seen) == count + 1


def test_it_gives_up_with_the_last_reason():
    relay = Relay(*[httpx.Response(503, json={"error": "32 requests are waiting"})] * ATTEMPTS)
    with pytest.raises(ServiceError, match=f"too busy .32 requests are waiting.; gave up after {ATTEMPTS}"):
        client(relay).models()
    unreachable = Relay(*[httpx.ConnectError("refused")] * ATTEMPTS)
    with pytest.raises(ServiceError, match=r"cannot be reached \(refused\)"):
        client(unreachable).models()


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        (httpx.ReadTimeout("slow"), "did not answer in time"),
        (httpx.Response(500, json={"error": "the model could not answer"}), r"\(500\): the model could not answer"),
        (httpx.Response(302, headers={"Location": "http://elsewhere"}), r"refused \(302\)"),
        (httpx.Response(200, text="<html>"), "is not a memflux endpoint"),
    ],
)
def test_other_trouble_is_a_sentence_at_once(first, sentence):
    relay = Relay(first)
    with pytest.raises(ServiceError, match=sentence):
        client(relay).models()
    assert len(relay.seen) == 1


def test_refusals_carry_the_servers_sentence(asked):
    devices, drive = CompactServed().space.sample(3, seed=0)
    with pytest.raises(ServiceError, match=r"\(401\): the token is missing or wrong"):
        client(Relay(), token="x" * 20).models()
    with pytest.raises(InvalidValue, match=r"\(422\): target has 9 samples"):
        asked.value_and_gradient(devices, drive, CurveCost(kind="curve", target=np.ones(9)))
    with pytest.raises(InvalidValue, match="2 entries for 3 devices"):
        asked(devices, Triangle(amplitude=np.array([1.0, 2.0]), period=1.0))
    with pytest.raises(InvalidValue, match="is code"):
        asked.quantities(devices, drive, [lambda traces: traces.current[:, 0]])
    with pytest.raises(InvalidValue, match="Did you mean 'symmetry'"):
        asked.quantities(devices, drive, ["symetry"])


def test_a_pulse_width_is_not_a_device_width(asked):
    devices, _ = CompactServed().space.sample(4, seed=3)
    drive = PulseTrain(amplitude=2.0, width=np.linspace(1e-3, 2e-3, 4), ramp=1e-4, rest=1e-3, cycles=3)
    np.testing.assert_array_equal(asked(devices, drive).current, CompactServed()(devices, drive).current)


def test_token_from_file_or_environment(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    assert client(Relay(), token=None, token_file=path).samples == 40
    monkeypatch.setenv("MEMFLUX_TOKEN", TOKEN)
    assert client(Relay(), token=None).samples == 40
    monkeypatch.delenv("MEMFLUX_TOKEN")
    with pytest.raises(InvalidValue, match="there is no token"):
        client(Relay(), token=None)
    with pytest.raises(InvalidValue, match="both given"):
        client(Relay(), token_file=path)
    with pytest.raises(InvalidValue, match="has no scheme"):
        Client("127.0.0.1:8000", token=TOKEN)
