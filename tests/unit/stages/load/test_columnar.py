from typing import Any

import pyarrow as pa
import pytest
from cassandra.cqltypes import BooleanType, DateType, DoubleType, LongType, SimpleDateType, UTF8Type
from cassandra.protocol import ColumnMetadata
from cassandra.query import PreparedStatement
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import SettingsError
from etl.stages.load import columnar, messages

QUERY_ID = bytes(range(16))
TYPES: dict[str, tuple[Any, pa.DataType]] = {
    "equipment_id": (UTF8Type, pa.string()),
    "day": (SimpleDateType, pa.date32()),
    "timestamp": (DateType, pa.timestamp("ms", "UTC")),
    "voltage": (DoubleType, pa.float64()),
    "state": (UTF8Type, pa.string()),
    "count": (LongType, pa.int64()),
    "quality": (UTF8Type, pa.string()),
    "write_time": (LongType, pa.int64()),
    "replaces": (BooleanType, pa.bool_()),
}
COLUMNS = [name for name in TYPES if name != "replaces"]

LONG = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ROW = st.fixed_dictionaries(
    {
        "equipment_id": st.sampled_from(["a", "b", "größer", ""]) | TEXT,
        "day": st.integers(-(2**31), 2**31 - 1),
        "timestamp": LONG,
        "voltage": st.none() | st.floats(),
        "state": st.none() | TEXT,
        "count": st.none() | LONG,
        "quality": st.just("") | TEXT,
        "write_time": LONG,
        "replaces": st.none() | st.booleans(),
    }
)


def prepared(names: list[str], key: list[int], **types: Any) -> PreparedStatement:
    markers = [
        ColumnMetadata("k", "t", "[timestamp]" if name == "write_time" else name, types.get(name, TYPES[name][0]))
        for name in names
    ]
    return PreparedStatement(markers, QUERY_ID, key, "INSERT", None, 5, [], None)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        {
            name: pa.array(
                [row[name] for row in rows], {"day": pa.int32(), "timestamp": pa.int64()}.get(name, type_)
            ).cast(type_)
            for name, (_, type_) in TYPES.items()
        }
    )


def bodies(
    batches: Any, statement: PreparedStatement, table: pa.Table, rows: int, size: int, version: int
) -> list[Any]:
    target = messages.target_of(statement)
    return [
        (batch.rows, batch.size, batch.routing_key, messages._body(batch, version))
        for part in columnar._slices([table])
        for batch in batches(target, part, rows, size)
    ]


@given(
    st.lists(ROW, min_size=1, max_size=30),
    st.integers(0, 5),
    st.integers(1, 9),
    st.integers(1, 900),
    st.sampled_from([4, 5]),
)
def test_bytes_equal_the_drivers_when_rows_are_anything(
    rows: list[dict[str, Any]], skipped: int, most_rows: int, most_bytes: int, version: int
) -> None:
    table = pa.concat_tables([table_of(rows), table_of(rows[:7])]).slice(min(skipped, len(rows) - 1))
    statement = prepared(COLUMNS, [0, 1])
    ours, drivers = (
        bodies(batches, statement, table, most_rows, most_bytes, version)
        for batches in (messages.columnar_batches, messages.bound_batches)
    )
    assert ours == drivers
    assert sum(batch[0] for batch in ours) == table.num_rows


def reading(**values: Any) -> dict[str, Any]:
    return {
        "equipment_id": "m",
        "day": 1,
        "timestamp": 2,
        "voltage": 3.0,
        "state": None,
        "count": None,
        "quality": "",
        "write_time": 4,
        "replaces": False,
    } | values


def test_batch_holds_one_partition_when_partitions_follow_each_other() -> None:
    table = table_of(
        [
            reading(equipment_id=name, day=day)
            for name, day in [("a", 1), ("a", 1), ("b", 1), ("b", 2)]
            for _ in range(2)
        ]
    )
    batches = list(
        messages.columnar_batches(messages.target_of(prepared(COLUMNS, [0, 1])), table.to_batches()[0], 400, 10**6)
    )
    # The driver routes by the keyspace of a statement only if that has a length.
    assert [len(batch) for batch in batches] == [batch.rows for batch in batches] == [4, 2, 2]
    assert len({batch.routing_key for batch in batches}) == 3


def test_routing_key_is_the_value_when_the_partition_key_is_one_column() -> None:
    part = table_of([reading()]).to_batches()[0]
    batch = next(messages.columnar_batches(messages.target_of(prepared(COLUMNS, [0])), part, 400, 10**6))
    assert batch.routing_key == b"m"


def test_routing_key_follows_the_key_when_the_statement_has_another_order() -> None:
    part = table_of([reading()]).to_batches()[0]
    statement = prepared(["day", "timestamp", "equipment_id", "write_time"], [2, 0])
    batch = next(messages.columnar_batches(messages.target_of(statement), part, 400, 10**6))
    assert batch.routing_key == b"\0\1m\0" + b"\0\4\x80\0\0\1\0"


def test_batch_is_capped_when_rows_or_bytes_are_many() -> None:
    part = table_of([reading(state="x" * size) for size in [0, 0, 0, 9_000, 0, 0]]).to_batches()[0]
    target = messages.target_of(prepared(COLUMNS, [0, 1]))
    assert [batch.rows for batch in messages.columnar_batches(target, part, 2, 10**6)] == [2, 2, 2]
    assert [batch.rows for batch in messages.columnar_batches(target, part, 400, 1_000)] == [3, 1, 2]


def test_entries_carry_the_new_id_when_the_statement_was_prepared_again() -> None:
    part = table_of([reading(state="x" * size) for size in range(5)]).to_batches()[0]
    old, new = prepared(COLUMNS, [0, 1]), prepared(COLUMNS, [0, 1])
    new.query_id = bytes(16)
    for batches in (messages.columnar_batches, messages.bound_batches):
        batch = next(batches(messages.target_of(old), part, 400, 10**6)).renamed(new)
        expected = next(batches(messages.target_of(new), part, 400, 10**6))
        assert messages._body(batch, 5) == messages._body(expected, 5)
        assert (batch.routing_key, batch.keyspace) == (expected.routing_key, expected.keyspace)


@pytest.mark.parametrize("name", ["equipment_id", "day", "write_time"])
def test_row_is_refused_when_its_key_or_write_time_is_null(name: str) -> None:
    part = table_of([reading(), reading(**{name: None})]).to_batches()[0]
    for batches in (messages.columnar_batches, messages.bound_batches):
        with pytest.raises(ValueError, match=name):
            list(batches(messages.target_of(prepared(COLUMNS, [0, 1])), part, 400, 10**6))


def test_columnar_way_is_taken_when_the_driver_writes_the_same_bytes() -> None:
    part = table_of([reading()]).to_batches()[0]
    assert messages.encoding(messages.target_of(prepared(COLUMNS, [0, 1])), part, 5) is messages.columnar_batches


def test_drivers_way_is_taken_when_a_type_is_unknown() -> None:
    part = table_of([reading()]).to_batches()[0]
    statement = prepared([*COLUMNS, "replaces"], [0, 1])
    assert messages.encoding(messages.target_of(statement), part, 5) is messages.bound_batches


@pytest.mark.parametrize("broken", ["other bytes", "no such method"])
def test_drivers_way_is_taken_when_the_driver_has_changed(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "no such method":
        monkeypatch.setattr(messages._EncodedMessage, "send_body", None)
    else:
        send_body = messages.BatchMessage.send_body
        monkeypatch.setattr(messages.BatchMessage, "send_body", lambda *a: (a[1].write(b"new"), send_body(*a)))
    part = table_of([reading()]).to_batches()[0]
    assert messages.encoding(messages.target_of(prepared(COLUMNS, [0, 1])), part, 5) is messages.bound_batches


def test_write_is_refused_when_a_column_has_another_type() -> None:
    part = table_of([reading()]).to_batches()[0]
    statement = prepared(COLUMNS, [0, 1], state=DoubleType)
    part = table_of([reading(state="on")]).to_batches()[0]
    with pytest.raises(SettingsError, match="state"):
        list(messages.bound_batches(messages.target_of(statement), part, 400, 10**6))


def test_slices_are_small_when_rows_are_wide() -> None:
    table = pa.table({"text": ["x" * 1_000_000] * 20})
    assert [part.num_rows for part in columnar._slices([table, table.schema.empty_table()])] == [4, 4, 4, 4, 4]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_columnar_way_is_taken_when_text_is_of_another_kind(kind: pa.DataType) -> None:
    plain = table_of([reading(equipment_id=name, state=None) for name in "aab"])
    other = plain.set_column(0, "equipment_id", plain["equipment_id"].cast(kind))
    assert list(columnar._slices([other])) == list(columnar._slices([plain]))
