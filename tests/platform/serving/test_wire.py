import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memflux.analysis.quantities import OnOffRatio, Symmetry
from memflux.contracts import CurveCost
from memflux.device import FIELDS, QUANTITIES, Device, Devices
from memflux.errors import InvalidValue
from memflux.platform.serving.streams import read_stream, write_stream
from memflux.platform.serving.wire import ARROW, JSON, MAX_DEVICES, Question, TooLarge, decode, encode
from memflux.waveform import PiecewiseLinear, PulseTrain, Sine, Triangle

BASE = Device.preset("seed").replace(donor_density=1e21)
OWN = Triangle(amplitude=10.0, period=8.0, cycles=2)


def same_devices(a: Devices, b: Devices) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f), equal_nan=getattr(a, f).dtype.kind == "f") for f in FIELDS)


@st.composite
def device_batches(draw):
    count = draw(st.integers(1, 6))
    names = draw(st.sets(st.sampled_from(sorted(set(QUANTITIES) - {"vacancy_charge", "vacancy_site_density"}))))
    columns = {}
    for name in names:
        low, high = QUANTITIES[name].low, min(QUANTITIES[name].high, 9e27)  # densities below that of the sites
        values = draw(st.lists(st.floats(low, high), min_size=count, max_size=count))
        columns[name] = np.array(values)
    if draw(st.booleans()):
        columns["vacancy_charge"] = np.array(
            draw(st.lists(st.sampled_from([-1.0, 1.0, 2.0]), min_size=count, max_size=count))
        )
        columns["barrier_lowering"] = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
        kinds = st.sampled_from(["equilibrium", "lowered"])
        columns["contact_density"] = np.array(draw(st.lists(kinds, min_size=count, max_size=count)))
    return Devices.repeat(draw(st.sampled_from([BASE, Device.preset("S1")])), count, **columns)


def drives(count: int):
    some = np.linspace(1.0, 5.0, count)
    return [
        Triangle(amplitude=3.0, period=2.0),
        Triangle(amplitude=some, period=8.0, cycles=3),
        Sine(amplitude=some, period=2 * some),
        PulseTrain(amplitude=-2.0, width=1e-3 * some, ramp=1e-4, rest=1e-3, cycles=5),
        PiecewiseLinear(times=np.array([0.0, 1.0, 2.5]), voltages=np.array([0.0, 3.0, -1.0]), cycles=4),
    ]


@settings(max_examples=25, deadline=None)
@given(devices=device_batches(), which=st.integers(0, 4))
def test_questions_survive_the_arrow_round_trip(devices, which):
    drive = drives(len(devices))[which]
    cost = CurveCost(kind="curve", target=np.linspace(-1e-6, 2e-6, 9), cycle=0)
    quantities = (Symmetry(signed=True), OnOffRatio(voltage=3.0))
    asked = Question(devices=devices, drive=drive, quantities=quantities, cost=cost)
    # The server's own device and drive must not matter where the client says all.
    heard = decode(encode(asked, BASE), ARROW, Device.preset("S2"), OWN)
    assert same_devices(heard.devices, devices)
    assert type(heard.drive) is type(drive)
    np.testing.assert_equal(heard.drive.to_dict(), drive.to_dict())
    assert heard.quantities == quantities
    np.testing.assert_equal(heard.cost.to_dict(), cost.to_dict())


def test_only_columns_that_differ_travel():
    devices = Devices.repeat(BASE, 3, barrier_left=np.array([0.1, 0.1, BASE.barrier_left]))
    table, about = read_stream(encode(Question(devices=devices, drive=OWN), BASE), lambda schema: None)
    assert table.column_names == ["barrier_left"]
    assert about["count"] == 3
    equal = Question(devices=Devices.repeat(BASE, 4), drive=OWN)
    assert len(decode(encode(equal, BASE), ARROW, BASE, OWN).devices) == 4


def test_json_columns_rows_and_single_values():
    by_column = {"devices": {"barrier_left": [0.1, 0.12], "length": 2e-6}, "drive": {"amplitude": 4}}
    by_row = {"devices": [{"barrier_left": 0.1, "length": 2e-6}, {"barrier_left": 0.12, "length": 2e-6}]}
    first = decode(json.dumps(by_column).encode(), JSON, BASE, OWN)
    second = decode(json.dumps(by_row).encode(), JSON, BASE, OWN)
    assert same_devices(first.devices, second.devices)
    assert first.devices.donor_density[0] == BASE.donor_density
    assert (first.drive.amplitude, first.drive.period, second.drive.amplitude) == (4.0, 8.0, 10.0)
    assert len(decode(b"{}", JSON, BASE, OWN).devices) == 1


def test_json_quantities_by_name_and_with_parameters():
    body = {"quantities": ["symmetry", {"name": "on_off_ratio", "voltage": 3}]}
    assert decode(json.dumps(body).encode(), JSON, BASE, OWN).quantities == (Symmetry(), OnOffRatio(voltage=3.0))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "not JSON"),
        (b"[]", "the request is not a JSON object"),
        ({"device_list": {}}, "'device_list' is not a key of a request"),
        ({"devices": {"barier_left": [0.1]}}, "did you mean 'barrier_left'"),
        ({"devices": {"barrier_left": ["0.1"]}}, "is not a number"),
        ({"devices": {"barrier_left": [True]}}, "is not a number"),
        ({"devices": {"barrier_left": [None]}}, "is not a number"),
        ({"devices": {"barrier_left": [[0.1]]}}, "is not a number"),
        ({"devices": {"barrier_left": [10**400]}}, "barrier_left cannot be read"),
        ({"devices": {"barrier_left": [99.0]}}, r"barrier_left\[0\] = 99 eV is out of range"),
        ({"devices": {"barrier_left": [0.1, 0.2], "length": [1e-6]}}, "as many as devices"),
        ({"devices": {"barrier_left": []}}, "as many as devices"),
        ({"devices": {"barrier_lowering": [1]}}, "is not a truth value"),
        ({"devices": {"contact_density": ["odd"]}}, "contact_density = 'odd' is not known"),
        ({"devices": []}, "devices is empty"),
        ({"devices": [{"length": 1e-6}, {}]}, r"devices\[1\] lacks length"),
        ({"devices": [3]}, "a device is not a JSON object"),
        ({"devices": 3}, "devices is not a JSON object"),
        ({"device": {"lenght": 1}}, "did you mean 'length'"),
        ({"drive": 3}, "drive is not a JSON object"),
        ({"drive": {"kind": "square"}}, "waveform kind = 'square' is not known"),
        ({"drive": {"kind": "triangle"}}, "the triangle waveform is incomplete"),
        ({"drive": {"amplitude": [[1], [2, 3]]}}, r"amplitude\[0\] = '\[1\]' is not a number"),
        ({"drive": {"amplitude": 10**400}}, "drive cannot be read"),
        ({"drive": {"amplitude": None}}, "amplitude = 'None' is no number"),
        ({"drive": {"amplitude": [1.0, 2.0]}}, "drive has 2 entries for 1 devices"),
        ({"quantities": "symmetry"}, "is not a list"),
        ({"quantities": ["symetry"]}, "Did you mean 'symmetry'"),
        ({"quantities": [{"name": "symmetry", "voltage": 1}]}, "'voltage' is not a parameter of symmetry"),
        ({"quantities": [{"name": "on_off_ratio", "voltage": "5"}]}, "voltage = '5' is not a number"),
        ({"quantities": ["symmetry"] * 33}, "list of at most 32"),
        ({"cost": []}, "cost is not a JSON object"),
        ({"cost": {"kind": "curve"}}, "the cost has no target"),
        ({"cost": {"kind": "curve", "target": "x"}}, "target = 'x' is no number"),
        ({"cost": {"kind": "curve", "target": [10**400]}}, "target cannot be read"),
        ({"cost": {"kind": "curve", "target": [1.0], "floor": "x"}}, "floor = 'x' is not a number"),
    ],
)
def test_malformed_json_is_refused_in_one_sentence(body, sentence):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidValue, match=sentence):
        decode(text, JSON, BASE, OWN)


@pytest.mark.parametrize(
    ("columns", "about", "sentence"),
    [
        ({"length": pa.array([1e-6])}, {}, "count = None is not a whole number"),
        ({"length": pa.array([1e-6])}, {"count": 2}, "column 'length' has 1 values for 2 devices"),
        ({"length": pa.array([1e-6, None])}, {"count": 2}, "'length' has 1 nulls"),
        ({"lenght": pa.array([1e-6])}, {"count": 1}, "did you mean 'length'"),
        ({"length": pa.array(["a"])}, {"count": 1}, "column 'length' is of type string"),
        ({"barrier_lowering": pa.array([1.0])}, {"count": 1}, "column 'barrier_lowering' is of type double"),
        ({"length": pa.array([[1e-6]])}, {"count": 1}, "column 'length' is of type list"),
        ({"length": pa.array([np.nan])}, {"count": 1}, "not finite"),
        ({"drive.width": pa.array([1.0])}, {"count": 1}, "'width' is not a field of a triangle"),
        ({"length": pa.array([1e-6])}, {"count": 1, "devices": {}}, "'devices' is not a key of the metadata"),
    ],
)
def test_malformed_arrow_is_refused_in_one_sentence(columns, about, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        decode(write_stream([columns], about), ARROW, BASE, OWN)


def test_repeated_columns_are_refused():
    schema = pa.schema([("length", pa.float64())] * 2, {b"memflux": b'{"count": 1}'})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1e-6])] * 2, schema=schema))
    with pytest.raises(InvalidValue, match="repeat a name"):
        decode(sink.getvalue().to_pybytes(), ARROW, BASE, OWN)


def test_sizes_are_bounded():
    with pytest.raises(TooLarge, match="at most 65536"):
        decode(write_stream([{}], {"count": MAX_DEVICES + 1}), ARROW, BASE, OWN)
    with pytest.raises(TooLarge, match="at most 1000 as JSON"):
        decode(json.dumps({"devices": {"length": [1e-6] * 1001}}).encode(), JSON, BASE, OWN)
    with pytest.raises(TooLarge, match="bytes"):
        decode(b" " * (64 * 2**20 + 1), JSON, BASE, OWN)
    long = Question(devices=Devices.repeat(BASE, 100), drive=Triangle(amplitude=1.0, period=1.0, cycles=100_000))
    with pytest.raises(TooLarge, match="2 such devices"):
        long.check_size(160)
