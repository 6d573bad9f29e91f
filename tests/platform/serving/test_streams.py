import json

import pyarrow as pa
import pytest

from memflux.errors import InvalidValue
from memflux.platform.serving.streams import METADATA, parse_json, read_stream, write_stream


def accept(schema: pa.Schema) -> None:
    assert schema.names


def test_round_trip_of_several_batches():
    body = write_stream([{"a": pa.array([1.0, 2.0])}, {"a": pa.array([3.0])}], {"count": 3})
    table, about = read_stream(body, accept)
    assert table["a"].to_pylist() == [1.0, 2.0, 3.0]
    assert about == {"count": 3}


def _compressed(codec: str) -> bytes:
    schema = pa.schema([("a", pa.float64())], {METADATA: json.dumps({}).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(pa.record_batch([pa.array([0.0] * 1000)], schema=schema))
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_streams_are_refused_before_they_unfold(codec):
    with pytest.raises(InvalidValue, match="compressed"):
        read_stream(_compressed(codec), accept)


def test_dictionaries_are_refused():
    body = write_stream([{"a": pa.array(["x", "y", "x"]).dictionary_encode()}], {})
    with pytest.raises(InvalidValue, match="dictionaries"):
        read_stream(body, accept)


@pytest.mark.parametrize("cut", [0, 3, 40, 200])
def test_truncated_streams_are_a_sentence(cut):
    body = write_stream([{"a": pa.array([1.0] * 100)}], {"count": 100})
    with pytest.raises(InvalidValue, match=r"not an Arrow stream|compressed"):
        read_stream(body[:cut], accept)


def test_stream_without_metadata_is_a_sentence():
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("a", pa.float64())])):
        pass
    with pytest.raises(InvalidValue, match="not JSON"):
        read_stream(sink.getvalue().to_pybytes(), accept)


@pytest.mark.parametrize("text", [b"", b"{", b"[NaN]", b"\xff", b"[" * 100_000, b"[1e, 2]", b'{"a": Infinity}'])
def test_bad_json_is_a_sentence(text):
    with pytest.raises(InvalidValue, match="JSON"):
        parse_json(text)


def test_a_stream_that_begins_with_something_else_than_a_schema():
    """pyarrow.ipc.read_schema reads memory that is not there."""
    whole = write_stream([{"a": pa.array([1.0, 2.0])}], {"count": 2})
    messages = pa.ipc.MessageReader.open_stream(whole)
    messages.read_next_message()
    with pytest.raises(InvalidValue, match="does not begin with a schema"):
        read_stream(messages.read_next_message().serialize().to_pybytes(), lambda schema: None)
