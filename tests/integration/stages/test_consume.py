"""Consume on a real broker: the range, what it holds, and what cannot be read."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from kafka import KafkaAdminClient, TopicPartition

from etl.errors import DeliveryError, EtlError, NothingNew, SettingsError, Unreachable
from etl.kafka import client as port
from etl.kafka import ports
from etl.kafka.records import Span
from etl.model.schemas import CHUNK_BYTES
from etl.run.workspace import Range, open_workspace
from etl.settings import RunSettings
from images import local
from tests.integration.topics import (
    ARROW_HEADERS,
    arrow,
    await_end,
    in_json,
    output,
    run_consume,
    send,
    stream,
    transaction,
)
from tests.unit.codec.formats.records import message


def voltages(run: str) -> list[float | None]:
    rows = output(run, "readings")
    return [row["voltage"] for row in sorted(rows, key=lambda row: (row["partition"], row["offset"], row["index"]))]


def delete_before(service: local.Service, topic: str, offset: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=service.address)
    admin.delete_records({TopicPartition(topic, 0): offset})
    admin.close()


def test_consume_when_formats_are_mixed(kafka: local.Service, client: port.Client, topic: str) -> None:
    value = b'{"timestamp":"2026-01-05T08:00:00Z","voltage":3,"state":"on"}'
    before = int(time.time() * 1000) - 1
    send(kafka, topic, arrow(1, 2), in_json(value, b"m2"), arrow(4, partition=1))
    manifest = run_consume("r1")
    assert manifest.summary.counts == {"consumed": 4, "rejected": 0, "records": 3}
    assert manifest.summary.offsets == [Range(topic, 0, None, 0, 2), Range(topic, 1, None, 0, 1)]
    rows = sorted(output("r1", "readings"), key=lambda row: (row["partition"], row["offset"], row["index"]))
    origins = [(row["equipment_id"], row["partition"], row["offset"], row["index"]) for row in rows]
    assert origins == [("m1", 0, 0, 0), ("m1", 0, 0, 1), ("m2", 0, 1, 0), ("m1", 1, 0, 0)]
    assert [row["voltage"] for row in rows] == [1, 2, 3, 4]
    assert all(before <= row["record_time"] <= int(time.time() * 1000) + 1 for row in rows)
    (record,) = output("r1", "records")
    assert (record["offset"], record["key"], record["value"]) == (1, b"m2", value)
    assert client.committed(topic) == {0: None, 1: None}


MAPPING = """
record: sparkplug
readings: metrics
timestamp: timestamp
equipment: {template: "{$.group}-{$.node}"}
tag: name
value: value
measurements: {voltage: U}
"""


def test_consume_names_aliases_by_births_of_other_partitions_and_runs_when_it_reads_sparkplug(
    kafka: local.Service, python: port.Client, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mapping.yaml").write_text(MAPPING, encoding="utf-8")
    monkeypatch.setenv("ETL_CONSUME_MAPPING_FILE", str(tmp_path / "mapping.yaml"))
    birth = message({"name": "U", "alias": 1, "datatype": 10, "double_value": 230.5})
    data = message({"alias": 1, "double_value": 231.0, "timestamp": 1_767_600_001_000})
    send(kafka, topic, {"key": b"spBv1.0/Plant/NBIRTH/Press", "value": birth, "partition": 1})
    time.sleep(0.01)  # a birth of another partition counts by its record timestamp
    send(kafka, topic, {"key": b"spBv1.0/Plant/NDATA/Press", "value": data})
    run_consume("r1")
    assert sorted(voltages("r1"), key=str) == [230.5, 231.0]
    monkeypatch.setenv("ETL_CONSUME_FROM_OFFSET", "0:0,1:1")
    assert run_consume("r2").summary.counts == {"consumed": 1, "rejected": 0, "records": 1}
    assert voltages("r2") == [231.0]


BAD_INPUT: list[tuple[str, dict[str, Any]]] = [
    ("undecodable", in_json(b'{"voltage":')),
    ("undecodable", in_json(b"\xff")),
    ("undecodable", in_json(b"[]")),
    ("undecodable", in_json(b"")),
    ("undecodable", {"key": b"m1", "value": None}),
    ("undecodable", {"key": b"m1", "value": stream(1, 2)[:-60], "headers": list(ARROW_HEADERS)}),
    ("undecodable", {"key": b"m1", "value": b"{}", "headers": list(ARROW_HEADERS)}),
    ("schema", {"key": b"m1", "value": stream(1).replace(b"timestamp", b"timestomp"), "headers": list(ARROW_HEADERS)}),
    ("missing-key", in_json(b"{}", None)),
    ("missing-key", in_json(b"{}", b"")),
    ("missing-key", in_json(b"{}", b"\xff")),
    ("missing-key", in_json(b"{}", b"x" * 300)),
    ("content-type", {"key": b"m1", "value": b"a,b", "headers": [("content-type", b"text/csv")]}),
]


def test_consume_when_input_is_bad_goes_on_and_keeps_its_bytes(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    good = in_json(b'{"timestamp":1767600000,"voltage":1}')
    huge = in_json(b'{"timestamp":1767600000,"voltage":true,"state":"' + b"x" * 100_000 + b'"}')
    send(kafka, topic, good, *(record for _, record in BAD_INPUT), huge, arrow(float("nan"), float("inf")), arrow())
    counts = run_consume("r1").summary.counts
    assert counts == {"consumed": len(BAD_INPUT) + 4, "rejected": len(BAD_INPUT), "records": len(BAD_INPUT) + 4}
    letters = output("r1", "dead-letters")
    assert [letter["reason"] for letter in letters] == [reason for reason, _ in BAD_INPUT]
    for offset, (letter, (_, record)) in enumerate(zip(letters, BAD_INPUT, strict=True), start=1):
        assert (letter["value"], letter["key"]) == (record["value"], record["key"])
        assert (letter["topic"], letter["partition"], letter["offset"]) == (topic, 0, offset)
    rows = output("r1", "readings")
    assert [row["bad"] for row in rows] == [None, "voltage,state", None, None]
    assert str([row["voltage"] for row in rows]) == "[1.0, None, nan, inf]"


def test_consume_when_transactions_were_aborted_takes_what_was_committed(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    send(kafka, topic, arrow(1))
    with transaction(kafka, topic) as producer:
        producer.send(topic, **arrow(2))
        producer.flush()
        producer.abort_transaction()
        producer.begin_transaction()
        producer.send(topic, **arrow(3))
        producer.commit_transaction()
    await_end(client, 5)
    manifest = run_consume("r1")
    assert voltages("r1") == [1, 3]
    assert manifest.summary.offsets[0] == Range(topic, 0, None, 0, 5)
    client.commit(topic, {0: 5, 1: 0})
    with pytest.raises(NothingNew):
        run_consume("r2")


def test_consume_when_only_aborted_records_came_moves_on(kafka: local.Service, client: port.Client, topic: str) -> None:
    with transaction(kafka, topic) as producer:
        producer.send(topic, **arrow(2))
        producer.flush()
        producer.abort_transaction()
    await_end(client, 2)
    manifest = run_consume("r1")
    assert manifest.summary.counts == {"consumed": 0, "rejected": 0, "records": 0}
    assert manifest.summary.offsets[0] == Range(topic, 0, None, 0, 2)


def test_consume_when_nothing_is_new_says_so_and_leaves_nothing(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    with pytest.raises(NothingNew, match=topic):
        run_consume("r1")
    # The same run, asked again later, finds what has come.
    send(kafka, topic, arrow(1))
    run_consume("r1")
    assert voltages("r1") == [1]


def test_consume_when_committed_starts_there(kafka: local.Service, client: port.Client, topic: str) -> None:
    send(kafka, topic, arrow(1), arrow(2), arrow(3, partition=1))
    client.commit(topic, {0: 1})
    manifest = run_consume("r1")
    assert voltages("r1") == [2, 3]
    assert manifest.summary.offsets == [Range(topic, 0, 1, 1, 2), Range(topic, 1, None, 0, 1)]


def test_consume_when_retried_reads_the_same_range(
    kafka: local.Service, client: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka, topic, arrow(1), arrow(2))
    with monkeypatch.context() as patch:
        # A crash after the first block.
        patch.setattr("etl.stages.consume.decode", lambda *_: (_ for _ in ()).throw(Unreachable("crash")))
        with pytest.raises(Unreachable, match="crash"):
            run_consume("r1")
    send(kafka, topic, arrow(3))
    client.commit(topic, {0: 1})
    manifest = run_consume("r1")
    assert voltages("r1") == [1, 2]
    assert manifest.summary.offsets[0] == Range(topic, 0, None, 0, 2)
    files = open_workspace(RunSettings().workspace_url, "r1")
    assert len(files.files.glob(f"{files.root}/r1/consume/*/manifest.json")) == 1


@pytest.mark.parametrize(
    ("most", "taken"),
    [
        (1, [1, 2, 3]),
        (3, [1, 2, 3]),
        (4, [1, 2, 3, 4]),
        (5, [1, 2, 3, 4]),
        (6, [1, 2, 3, 4, 5, 6]),
        (99, list(range(1, 8))),
    ],
)
def test_consume_when_capped_ends_on_a_record(
    kafka: local.Service, client: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch, most: int, taken: list[int]
) -> None:
    send(kafka, topic, arrow(1, 2, 3), in_json(b'{"voltage":4}'), arrow(5, 6), arrow(7))
    monkeypatch.setenv("ETL_CONSUME_MAX_READINGS", str(most))
    got: list[float | None] = []
    runs = 0
    while len(got) < 7:
        runs += 1
        manifest = run_consume(f"r{runs}")
        if runs == 1:
            assert voltages("r1") == taken
        got += voltages(f"r{runs}")
        assert manifest.summary.counts["consumed"] <= max(most, 3)
        assert sum(item.end + item.left for item in manifest.summary.offsets) == 4
        client.commit(topic, {item.partition: item.end for item in manifest.summary.offsets})
    # No reading twice, none left out, whatever the cap.
    assert got == [1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(NothingNew):
        run_consume("last")


def test_consume_when_capped_over_partitions_loses_nothing(
    kafka: local.Service, client: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka, topic, *(in_json(b'{"voltage":%d}' % i, partition=i % 2) for i in range(500)))
    monkeypatch.setenv("ETL_CONSUME_MAX_READINGS", "70")
    got: list[float | None] = []
    for run in range(8):
        manifest = run_consume(f"r{run}")
        client.commit(topic, {item.partition: item.end for item in manifest.summary.offsets})
        got += voltages(f"r{run}")
    assert sorted(got) == list(range(500))  # type: ignore[type-var]


def test_consume_when_records_were_deleted_names_their_number_and_the_way_out(
    kafka: local.Service, python: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka, topic, *(arrow(i) for i in range(10)))
    python.commit(topic, {0: 2})
    delete_before(kafka, topic, 7)
    with pytest.raises(DeliveryError, match=r"5 records were deleted .*--from-offset 0:7"):
        run_consume("r1")
    monkeypatch.setenv("ETL_CONSUME_FROM_OFFSET", "0:7")
    manifest = run_consume("r2")
    assert voltages("r2") == [7, 8, 9]
    assert manifest.summary.offsets[0] == Range(topic, 0, 2, 7, 10)


def test_consume_when_never_committed_begins_at_what_is_left(
    kafka: local.Service, python: port.Client, topic: str
) -> None:
    send(kafka, topic, *(arrow(i) for i in range(5)))
    delete_before(kafka, topic, 3)
    assert run_consume("r1").summary.offsets[0] == Range(topic, 0, None, 3, 5)
    assert voltages("r1") == [3, 4]


def test_consume_when_records_are_deleted_before_a_retry(
    kafka: local.Service, client: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka, topic, *(arrow(i) for i in range(10)))
    with monkeypatch.context() as patch:
        patch.setattr("etl.stages.consume.decode", lambda *_: (_ for _ in ()).throw(Unreachable("crash")))
        with pytest.raises(Unreachable):
            run_consume("r1")
    delete_before(kafka, topic, 4)
    with pytest.raises(DeliveryError, match="4 records were deleted"):
        run_consume("r1")
    # Also when it happens in between.
    with pytest.raises(DeliveryError, match="can no longer be read"):
        list(ports.read(client.settings, topic, {0: Span(0, 10)}))


def test_consume_when_committed_is_beyond_the_end(kafka: local.Service, python: port.Client, topic: str) -> None:
    send(kafka, topic, arrow(1))
    python.commit(topic, {0: 5})
    with pytest.raises(DeliveryError, match=r"offset 5 of partition 0, which ends at 1.*--from-offset 0:0"):
        run_consume("r1")


@pytest.mark.parametrize(
    ("given", "taken"),
    [("0", [0, 1, 2, 3]), ("1", [1, 3]), ("0:1", [1]), ("0:9", []), ("1:0", [2, 3]), ("0:2,1:1", [3])],
)
def test_consume_when_told_where_to_begin(
    kafka: local.Service, python: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch, given: str, taken: list[int]
) -> None:
    send(kafka, topic, *(arrow(i, partition=i // 2) for i in range(4)))
    python.commit(topic, {0: 2, 1: 2})
    monkeypatch.setenv("ETL_CONSUME_FROM_OFFSET", given)
    if not taken:
        with pytest.raises(NothingNew):
            run_consume("r1")
        return
    assert [item.committed for item in run_consume("r1").summary.offsets] == [2, 2]
    assert voltages("r1") == taken


def test_consume_when_told_a_partition_that_is_not_there(
    python: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_CONSUME_FROM_OFFSET", "7:0")
    with pytest.raises(SettingsError, match=f"topic {topic} has no partition 7"):
        run_consume("r1")


def test_consume_when_told_a_time(
    kafka: local.Service, python: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka, topic, arrow(1), arrow(2, partition=1))
    time.sleep(0.05)
    between = datetime.now(UTC)
    time.sleep(0.05)
    send(kafka, topic, arrow(3), arrow(4))
    python.commit(topic, {0: 3, 1: 1})
    monkeypatch.setenv("ETL_CONSUME_FROM_TIME", between.isoformat())
    assert run_consume("r1").summary.offsets == [Range(topic, 0, 3, 1, 3), Range(topic, 1, 1, 1, 1)]
    assert voltages("r1") == [3, 4]


def test_consume_when_there_is_much_keeps_files_small(
    kafka: local.Service, client: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.stages.consume.CHUNK_ROWS", 1000)
    send(kafka, topic, *(arrow(*range(i, i + 300)) for i in range(0, 6000, 300)), in_json(b'{"voltage":6000}'))
    manifest = run_consume("r1")
    assert voltages("r1") == list(range(6001))
    assert max(file.rows for file in manifest.files) <= 1000
    assert len(manifest.names("records")) == len(manifest.names("readings")) >= 7


def test_consume_when_raw_records_are_much_keeps_files_small(
    kafka: local.Service, python: port.Client, topic: str
) -> None:
    padding = b"x" * 900_000
    send(
        kafka,
        topic,
        *(in_json(b'{"voltage":%d,"more":"%b"}' % (i, padding)) for i in range(80)),
        compression_type="lz4",
    )
    manifest = run_consume("r1")
    assert manifest.summary.counts["consumed"] == 80
    assert len(manifest.names("records")) == 3
    tables = [row["value"] for row in output("r1", "records")]
    assert sum(map(len, tables)) > 2 * CHUNK_BYTES


@pytest.mark.parametrize("missing", ["ETL_KAFKA_TOPIC"])
def test_consume_when_the_topic_is_missing(client: port.Client, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setenv(missing, "nowhere")
    with pytest.raises(SettingsError, match="nowhere does not exist"):
        run_consume("r1")


def test_consume_when_a_member_of_the_group_reads_too_does_not_join_it(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    send(kafka, topic, arrow(1))
    run_consume("r1")
    admin = KafkaAdminClient(bootstrap_servers=kafka.address)
    assert admin.describe_groups([topic])[topic]["members"] == []
    admin.close()


def test_errors_when_raised_have_the_exit_codes_of_the_command() -> None:
    codes = {kind.__name__: kind.exit_code for kind in EtlError.__subclasses__()}
    assert {codes[name] for name in ("SettingsError", "NothingNew", "Unreachable", "DeliveryError")} == {2, 3, 4, 5}


def test_stream_when_made_for_these_tests_is_canonical() -> None:
    assert pa.ipc.open_stream(stream(1.0)).schema.names == ["timestamp", "voltage"]
