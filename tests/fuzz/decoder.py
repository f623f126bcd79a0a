"""Records of the topic. An input is content type, key and value, with a NUL between them."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from etl.codec.columns import ARROW, JSON
from etl.codec.envelope import Decoded, decode
from etl.codec.originals import originals
from etl.kafka.records import Headers, Records
from etl.model.measurements import Measurement, Measurements
from etl.model.schemas import DEAD_LETTERS, RECORDS, consumed
from etl.stages.transform.clean import Times, clean

BATCH = 200
WORDS = (
    *(ARROW.encode() + b"\0", JSON.encode() + b"\0", b"\0", b"\0\0", b"\0\0\0\0\1", b"\xff\xff\xff\xff", b"ARROW1"),
    *(b"timestamp", b"voltage", b"state", b"current", b'"timestamp":', b'"voltage":', b'"state":"', b"2026-01-05T"),
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(
        b"null",
        b"true",
        b"NaN",
        b"-inf",
        b"1e400",
        b"-0",
        b"1e-999",
        b"9" * 20,
        b"9" * 5000,
        b"[" * 2000,
        b'{"a":' * 999,
    ),
    *(b"1767600000", b"1767600000123", b"-1", b"00:00:00Z", b"+99:99", b"now", b"20260105", b"\xd9\xa1\xd9\xa2"),
)
MEASUREMENTS = Measurements(
    (
        Measurement("voltage", "double", decimals=2, minimum=0.0, maximum=1000.0),
        Measurement("current", "double"),
        Measurement("state", "text"),
    )
)
_TIME = 1_767_600_000_000
_ONE_BY_ONE = 8  # decoding each record alone takes a hundred times as long
_ORIGINALS = 50


def check(inputs: Sequence[bytes]) -> None:
    """Check that each record is readings or one dead letter with its bytes, whatever is decoded with it."""
    records = _records(inputs)
    decoded = decode(records, "topic", MEASUREMENTS)
    _check_balance(records, decoded)
    _check_originals(decoded)
    clean(decoded.readings, MEASUREMENTS, {}, Times(0, _TIME))
    middle = len(inputs) // 2
    parts = [records.part(0, middle), records.part(middle, len(inputs))]
    parts = [part for part in parts if part.offsets]
    if len(parts) > 1:
        _check_same(decoded, [decode(part, "topic", MEASUREMENTS) for part in parts])
        first = records.part(0, _ONE_BY_ONE)
        singles = [decode(first.part(at, at + 1), "topic", MEASUREMENTS) for at in range(len(first.offsets))]
        _check_same(decode(first, "topic", MEASUREMENTS), singles)


def _records(inputs: Sequence[bytes]) -> Records:
    types: list[bytes] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    for each in inputs:
        kind, _, rest = each.partition(b"\0")
        key, mark, value = rest.partition(b"\0")
        types.append(kind)
        keys.append(key or None)
        values.append(value if mark else None)
    headers: list[Headers] = [[("content-type", kind)] if kind else [] for kind in types]
    number = len(inputs)
    return Records([0] * number, list(range(number)), [_TIME] * number, keys, values, headers)


def _check_balance(records: Records, decoded: Decoded) -> None:
    assert decoded.readings.schema == consumed(MEASUREMENTS)
    assert decoded.records.schema == RECORDS
    assert decoded.dead_letters.schema == DEAD_LETTERS
    for table in decoded[:3]:
        table.validate(full=True)
    readings = Counter(decoded.readings["offset"].to_pylist())
    letters = {letter["offset"]: letter for letter in decoded.dead_letters.to_pylist()}
    assert len(letters) == decoded.dead_letters.num_rows, "a record has two dead letters"
    for at, offset in enumerate(records.offsets):
        letter = letters.get(offset)
        if letter is None:
            assert decoded.sizes[at] == readings[offset], "a reading is lost"
            assert readings[offset] or _is_empty(records, at), "a record is lost"
            continue
        assert offset not in readings, "a record has readings and a dead letter"
        assert decoded.sizes[at] == 1
        assert (letter["value"], letter["key"]) == (records.values[at], records.keys[at]), "not the original bytes"


def _is_empty(records: Records, at: int) -> bool:
    """Return whether a record is a stream of no readings."""
    with pa.ipc.open_stream(records.values[at]) as reader:
        return sum(batch.num_rows for batch in reader) == 0


def _check_originals(decoded: Decoded) -> None:
    chosen = decoded.readings.slice(0, _ORIGINALS)
    found = originals(chosen, decoded.records, MEASUREMENTS)
    raw = {record["offset"]: record for record in decoded.records.to_pylist()}
    for offset, value, key in zip(chosen["offset"].to_pylist(), found.values, found.keys, strict=True):
        if offset in raw:
            assert key == raw[offset]["key"], "not the original key"
            assert value == raw[offset]["value"] or raw[offset]["content_type"] != JSON, "not the original bytes"


def _check_same(together: Decoded, parts: Sequence[Decoded]) -> None:
    for place in range(3):
        joined = pa.concat_tables([part[place] for part in parts])
        # NaN differs from itself, so tables are compared as text.
        same = joined.equals(together[place]) or str(joined.to_pylist()) == str(together[place].to_pylist())
        assert same, "records are decoded in another way alone"
