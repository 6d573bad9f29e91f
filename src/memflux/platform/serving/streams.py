"""Arrow IPC streams with JSON in the schema's metadata: written, and read from strangers."""

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from memflux.errors import InvalidValue

METADATA = b"memflux"


def write_stream(batches: Sequence[Mapping[str, pa.Array]], about: Mapping[str, object]) -> bytes:
    """One record batch each of `batches`, `about` beside them, as an Arrow IPC stream."""
    fields = [pa.field(name, column.type) for name, column in batches[0].items()]
    schema = pa.schema(fields, {METADATA: json.dumps(about).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for columns in batches:
            if columns:
                writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
    return sink.getvalue().to_pybytes()


def read_stream(body: bytes, check: Callable[[pa.Schema], None]) -> tuple[pa.Table, dict[str, Any]]:
    """Table and metadata of a stream that nobody vouches for; `check` may refuse its schema.

    Raises InvalidValue where it is damaged, compressed, dictionary-encoded, or without metadata.
    """
    try:
        messages = pa.ipc.MessageReader.open_stream(body)
        first = messages.read_next_message()
        if first.type != "schema":  # pyarrow would read memory that is not there
            raise InvalidValue("the body is not an Arrow stream: it does not begin with a schema.")
        schema = pa.ipc.read_schema(first)
        check(schema)
        table = pa.Table.from_batches([_batch(message, schema) for message in _rest(messages)], schema)
    except (pa.ArrowException, OSError, EOFError, StopIteration, UnicodeDecodeError) as error:
        raise InvalidValue(f"the body is not an Arrow stream: {str(error) or 'it ends early'}.") from None
    about = parse_json((schema.metadata or {}).get(METADATA, b""))
    if not isinstance(about, dict):
        raise InvalidValue("the metadata of the Arrow stream is not a JSON object; put one under 'memflux'.")
    return table, about


def parse_json(text: bytes) -> Any:
    """Strict JSON: NaN, Infinity and anything malformed raise InvalidValue."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except InvalidValue:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"the request is not JSON: {error}.") from None


def _refuse(constant: str) -> None:
    raise InvalidValue(f"the JSON holds {constant}, which is no JSON number; leave the field out.")


def _rest(messages: Any) -> Iterator[Any]:
    while True:
        try:
            yield messages.read_next_message()
        except StopIteration:
            return


def _batch(message: Any, schema: pa.Schema) -> pa.RecordBatch:
    if message.type != "record batch" or _compressed(memoryview(message.metadata)):
        # A few compressed kilobytes can unfold into more memory than the machine has.
        raise InvalidValue("the Arrow stream is compressed or has dictionaries; send plain record batches.")
    batch = pa.ipc.read_record_batch(message, schema)
    batch.validate(full=True)
    return batch


def _compressed(flatbuffer: memoryview) -> bool:
    """Whether a record batch message declares compression (Arrow's Message.fbs: `header` is field
    2 of Message, `compression` field 3 of RecordBatch); pyarrow has already verified the buffer."""

    def number(code: str, at: int) -> int:
        return int(struct.unpack_from(f"<{code}", flatbuffer, at)[0])

    def field(table: int, index: int) -> int:
        vtable, slot = table - number("i", table), 4 + 2 * index
        offset = number("H", vtable + slot) if slot < number("H", vtable) else 0
        return table + offset if offset else 0

    at = field(number("I", 0), 2)
    return field(at + number("I", at), 3) != 0
