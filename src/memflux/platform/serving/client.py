"""A remote endpoint as a Differentiable Predictor; needs httpx and Arrow, neither Ray nor torch."""

import dataclasses
import functools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx
import numpy as np
from jaxtyping import Bool, Float

from memflux.analysis.quantities import AbstractQuantity, Quantity, resolve
from memflux.contracts import CurveCost
from memflux.device import Devices
from memflux.errors import InvalidValue, MemfluxError, ServiceError, check_choice
from memflux.platform.serving.access import check_token, read_token
from memflux.platform.serving.replies import read
from memflux.platform.serving.wire import ARROW, MAX_VALUES, PRECISIONS, Question, encode
from memflux.space import Space
from memflux.traces import Traces
from memflux.waveform import Waveform

CURVES_A_REQUEST = 16_384  # devices
NUMBERS_A_REQUEST = 8_192  # so that several replicas have something to do
GRADIENTS_A_REQUEST = 4_096
IN_FLIGHT = 2  # one request is computed while the next is made and sent
ATTEMPTS = 6
FIRST_PAUSE = 0.1  # s, doubled at every attempt
LONGEST_PAUSE = 5.0  # s
OF_THE_PROXY = (500, 502, 504)  # said without our words where a replica died of it, or with it

# Requests are pure, so asking again is safe; a read time-out is not retried, since the model is
# then at work and would be asked twice.
LOST = (httpx.NetworkError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.RemoteProtocolError)
OF_THE_PROXY = (500, 502, 504)  # without a sentence of the endpoint's: the replica that was asked died


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curves:
    """Traces of B devices; the ends of their bands, where asked for; and which the solver answered for."""

    traces: Traces
    low: Float[np.ndarray, "B T"] | None  # A
    high: Float[np.ndarray, "B T"] | None  # A
    exact: Bool[np.ndarray, " B"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Numbers:
    """Q quantities of B devices, and how far to trust them.

    The true value lies within `half_width` with a probability of 95 %, on average over devices like those of the
    calibration; NaN outside the training space and where the model keeps no true curves, 0 where `exact`.
    """

    values: Float[np.ndarray, "B Q"]
    half_width: Float[np.ndarray, "B Q"]
    inside: Bool[np.ndarray, " B"]
    exact: Bool[np.ndarray, " B"]  # the solver answered


class Client:
    """One model behind an endpoint: `client(devices, drive)`, `quantities`, `value_and_gradient`.

    The token is `token`, or the content of `token_file`, or the variable MEMFLUX_TOKEN. `model`
    may be left out where the endpoint serves one. `timeout` [s] bounds one answer, not a batch. With `precision`
    "float32" currents travel at half the size.
    Raises InvalidValue for what the endpoint finds wrong with a question, ServiceError where it
    cannot be reached, is too busy, or refuses the token.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        token: str | None = None,
        token_file: str | Path | None = None,
        timeout: float = 120.0,
        precision: str = "float64",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.precision = check_choice("precision", precision, PRECISIONS)
        self._model = model
        self._http = _http(self.url, token_of(token, token_file), timeout, transport)

    def __call__(self, devices: Devices, drive: Waveform) -> Traces:
        """Traces [B, T] of B devices on the phase grid, as the model itself would return them."""
        return self.predict(devices, drive).traces

    def predict(
        self, devices: Devices, drive: Waveform, *, bands: str | None = None, verify: int = 0, defer: bool = False
    ) -> Curves:
        """Traces [B, T] with what the endpoint knows of their errors.

        `bands` ("pointwise" or "curve") asks for their ends. The endpoint's solvers answer for the `verify` devices of
        which the model knows least (at most 64), and with `defer` for all outside its training space.
        """
        drive = drive.for_batch(len(devices))
        times = drive.cycles * self.samples + 1
        curve, word = (len(devices), times), (len(devices),)
        found = self._gather(
            "predict",
            Question(devices=devices, drive=drive, precision=self.precision, bands=bands, verify=verify, defer=defer),
            {"current": curve, "status_class": word, "status": word, "inside": word}
            | ({"low": curve, "high": curve} if bands else {})
            | ({"exact": word} if verify or defer else {}),
            min(CURVES_A_REQUEST, max(1, MAX_VALUES // times)),
        )
        time, voltage = drive.grid(self.samples)
        traces = Traces(
            time=np.broadcast_to(time, curve),
            voltage=np.broadcast_to(voltage, curve),
            current=found["current"],
            period=np.broadcast_to(np.asarray(drive.periods(), dtype=np.float64), len(devices)),
            cycles=drive.cycles,
            status_class=found["status_class"],
            status=found["status"],
            inside=found.get("inside"),
        )
        exact = found.get("exact", np.zeros(len(devices), dtype=bool))
        return Curves(traces=traces, low=found.get("low"), high=found.get("high"), exact=exact)

    def band(
        self, devices: Devices, drive: Waveform, kind: str = "pointwise"
    ) -> tuple[Float[np.ndarray, "B T"], Float[np.ndarray, "B T"]]:
        """Lower and upper ends [A] of the bands around the curves, as `Surrogate.band` has them."""
        found = self.predict(devices, drive, bands=kind)
        assert found.low is not None
        assert found.high is not None
        return found.low, found.high

    def quantities(self, devices: Devices, drive: Waveform, names: Sequence[Quantity]) -> Float[np.ndarray, "B Q"]:
        """Registered quantities, computed by the endpoint; NaN where undefined. Names, or descriptions."""
        return self.measure(devices, drive, names).values

    def measure(
        self, devices: Devices, drive: Waveform, names: Sequence[Quantity], *, verify: int = 0, defer: bool = False
    ) -> Numbers:
        """`quantities` with the half widths of their intervals; `verify` and `defer` as in `predict`."""
        wanted = tuple(_described(name) for name in names)
        drive = drive.for_batch(len(devices))
        shape, flag = (len(devices), len(wanted)), (len(devices),)
        found = self._gather(
            "quantities",
            Question(devices=devices, drive=drive, quantities=wanted, verify=verify, defer=defer),
            {"values": shape, "half_width": shape, "inside": flag} | ({"exact": flag} if verify or defer else {}),
            min(NUMBERS_A_REQUEST, max(1, MAX_VALUES // (drive.cycles * self.samples + 1))),
        )
        exact = found.pop("exact", np.zeros(len(devices), dtype=bool))
        return Numbers(**found, exact=exact)

    def quantity_errors(self, names: Sequence[Quantity]) -> Float[np.ndarray, "N Q"] | None:
        """Predicted minus true quantities of the held-out devices of the model.

        None where it keeps none, and where a quantity is code, which does not travel.
        """
        wanted = tuple(q for q in map(resolve, names) if isinstance(q, AbstractQuantity))
        if len(wanted) < len(names):
            return None
        one = self.space.sample(1, seed=0)
        body = self._post("errors", Question(devices=one[0], drive=one[1], quantities=wanted))
        errors = read(body, {"errors": (-1, len(wanted))})["errors"]
        return errors if len(errors) else None

    def value_and_gradient(
        self, devices: Devices, drive: Waveform, cost: CurveCost
    ) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, "B P"]]:
        """Cost [B] and its gradient [B, P] per SI unit (eV for energies) of each parameter."""
        drive = drive.for_batch(len(devices))
        found = self._gather(
            "gradient",
            Question(devices=devices, drive=drive, cost=cost),
            {"cost": (len(devices),), "gradient": (len(devices), len(self.parameters))},
            min(GRADIENTS_A_REQUEST, max(1, MAX_VALUES // (drive.cycles * self.samples + 1))),
        )
        return found["cost"], found["gradient"]

    def models(self) -> list[dict[str, Any]]:
        """What the endpoint serves: name, parameters, space, drive, samples, cycles, test errors of each."""
        answer = self._send("GET", "/v1/models", None)
        try:
            return [dict(entry) for entry in answer.json()["models"]]
        except (ValueError, KeyError, TypeError):
            raise ServiceError(f"{self.url} is not a memflux endpoint; check the address.") from None

    @property
    def model(self) -> str:
        """Name of the model that answers."""
        return str(self._about["name"])

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the P parameters."""
        return tuple(self._about["parameters"])

    @functools.cached_property
    def space(self) -> Space:
        """The space the model was trained on."""
        return Space.from_dict(self._about["space"])

    @property
    def samples(self) -> int:
        """Samples a cycle."""
        return int(self._about["samples"])

    @property
    def cycles(self) -> int:
        """Cycles of the drives it answers for."""
        return int(self._about["cycles"])

    def close(self) -> None:
        """Close the connections; also done by leaving a `with` block."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @functools.cached_property
    def _about(self) -> dict[str, Any]:
        """The entry of this model in `models()`, asked once."""
        entries = {str(entry["name"]): entry for entry in self.models()}
        if self._model is None and len(entries) == 1:
            return next(iter(entries.values()))
        return entries[check_choice("model", self._model, entries)]

    def _gather(
        self, what: str, question: Question, shapes: Mapping[str, tuple[int, ...]], size: int
    ) -> dict[str, np.ndarray]:
        """The arrays of an answer, from requests of at most `size` devices; numbers in float64."""
        count = len(question.devices)
        if (question.verify or question.defer) and count > size:
            raise InvalidValue(f"{count} devices cannot be verified at once; ask for at most {size}.")
        whole: dict[str, np.ndarray] = {}
        lock = threading.Lock()

        def ask(part: slice) -> None:
            rows = part.stop - part.start
            asked = dataclasses.replace(question, devices=question.devices[part], drive=question.drive[part])
            found = read(self._post(what, asked), {n: (rows, *s[1:]) for n, s in shapes.items()}, optional=("inside",))
            for name, array in found.items():
                with lock:
                    if name not in whole:
                        whole[name] = _empty(name, shapes[name])
                whole[name][part] = array

        self._in_parts(ask, count, size)
        return whole or {name: _empty(name, shape) for name, shape in shapes.items()}

    def _in_parts(self, ask: Callable[[slice], None], count: int, size: int) -> None:
        """`ask` every slice of at most `size` rows, IN_FLIGHT at a time; the first error ends it."""
        parts = [slice(first, min(first + size, count)) for first in range(0, count, size)]
        if len(parts) < 2:
            for part in parts:
                ask(part)
            return
        pool = ThreadPoolExecutor(max_workers=IN_FLIGHT)
        try:
            for done in [pool.submit(ask, part) for part in parts]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _post(self, what: str, question: Question) -> bytes:
        path = f"/v1/models/{quote(self.model, safe='')}/{what}"
        return self._send("POST", path, encode(question, self.space.device)).content

    def _send(self, method: str, path: str, body: bytes | None) -> httpx.Response:
        """One request, tried again after connection errors, 503 and the death of a replica."""
        headers = {"Content-Type": ARROW} if body is not None else {}
        trouble = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE))
            try:
                response = self._http.request(method, path, content=body, headers=headers)
            except LOST as error:
                trouble = f"cannot be reached ({error})"
                continue
            except httpx.TimeoutException:
                raise ServiceError(f"{self.url} did not answer in time; raise timeout or ask for less.") from None
            except httpx.HTTPError as error:
                raise ServiceError(f"{self.url} failed: {error}") from None
            if response.status_code == 503:
                trouble = f"is too busy ({_sentence(response)})"
            elif response.status_code in OF_THE_PROXY and not _says_why(response):
                trouble = f"lost the replica that was asked ({response.status_code})"
            else:
                return _checked(response, self.url)
        raise ServiceError(f"{self.url} {trouble}; gave up after {ATTEMPTS} attempts.")


def _empty(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Room for an array of an answer: flags, words, or numbers in float64."""
    kinds: dict[str, type] = {"inside": bool, "exact": bool, "status": object, "status_class": object}
    return np.empty(shape, dtype=kinds.get(name, np.float64))


def _http(url: str, token: str, timeout: float, transport: httpx.BaseTransport | None) -> httpx.Client:
    if not url.startswith(("http://", "https://")):
        raise InvalidValue(f"url = {url!r} has no scheme; write it as http://127.0.0.1:8000.")
    # trust_env=False: a proxy named in the environment must see neither loopback traffic nor the token.
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {token}", "User-Agent": "memflux"},
        timeout=httpx.Timeout(timeout, connect=5.0),
        transport=transport,
        trust_env=False,
    )


def token_of(token: str | None, token_file: str | Path | None) -> str:
    """The token that is given, or that of the file, or of the environment; InvalidValue where there is none or two."""
    if token is not None and token_file is not None:
        raise InvalidValue("token and token_file are both given; give one of them.")
    if token_file is not None:
        return read_token(Path(token_file))
    found = token if token is not None else os.environ.get("MEMFLUX_TOKEN")
    if not found:
        raise InvalidValue("there is no token; give token or token_file, or set MEMFLUX_TOKEN.")
    return check_token(found)


def _described(name: Quantity) -> AbstractQuantity:
    quantity = resolve(name)
    if not isinstance(quantity, AbstractQuantity):
        raise InvalidValue(f"quantity = {name!r} is code, which does not travel; ask for curves and apply it here.")
    return quantity


def _checked(response: httpx.Response, url: str) -> httpx.Response:
    if response.is_success:
        return response
    error: type[MemfluxError] = InvalidValue if response.status_code in (404, 413, 422) else ServiceError
    raise error(f"{url} refused ({response.status_code}): {_sentence(response)}")


def _sentence(response: httpx.Response) -> str:
    """The endpoint's own sentence, or what the status code means."""
    return _says_why(response) or response.reason_phrase or "no reason given"


def _says_why(response: httpx.Response) -> str | None:
    """The sentence of the endpoint itself; None where something before it answered."""
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return None
