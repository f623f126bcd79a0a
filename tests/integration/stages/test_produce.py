"""Produce on a real broker: what arrives, in which order, and what stops it before it writes."""

from pathlib import Path
from typing import Any

import pytest

from etl.codec.columns import ARROW
from etl.codec.envelope import decode
from etl.errors import SettingsError
from etl.kafka import client as port
from etl.kafka import ports
from etl.kafka.records import Records
from etl.run.dead_letters import Choice, list_letters
from images import local
from tests.integration.topics import MEASUREMENTS, generate, made_topics, run_produce

START = 1_767_600_000_000
LETTER = {
    "value": b"2026-01-05;;x",
    "reason": "recorded",
    "detail": "3 cells instead of 2",
    "stage": "generate",
    "file": "input.csv",
    "line": 7,
}


def rows(number: int, machines: int = 3) -> list[dict[str, Any]]:
    return [
        {
            "equipment_id": f"m{i % machines}",
            "timestamp": START + i,
            "voltage": float(i),
            "state": None if i % 2 else "on",
        }
        for i in range(number)
    ]


def read_blocks(client: port.Client) -> list[Records]:
    topic = client.settings.topic
    return list(ports.read(client.settings, topic, client.log_spans(topic)))


def read_back(client: port.Client) -> list[dict[str, Any]]:
    decoded = [decode(block, client.settings.topic, MEASUREMENTS) for block in read_blocks(client)]
    assert not any(part.dead_letters.num_rows for part in decoded)
    return [row for part in decoded for row in part.readings.to_pylist()]


@pytest.mark.parametrize("form", ["arrow", "json"])
def test_produce_when_read_back_is_complete_and_in_order(
    client: port.Client, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("ETL_PRODUCE_FORMAT", form)
    monkeypatch.setenv("ETL_PRODUCE_BATCH_READINGS", "100")
    sent = rows(2000)
    sent[10] |= {"json": b'{"timestamp":"2026-01-05T08:00:00Z","voltage":"off"}'}
    generate("r1", sent)
    manifest = run_produce("r1")
    # Of the machine with the JSON reading, the batches end there: 3 readings, 1, 663 in 7 batches; the others in 7.
    records = 1 + 1 + 7 + 7 + 7 if form == "arrow" else 2000
    assert manifest.summary.counts == {"produced": 2000, "records": records, "dead_letters": 0}
    got = read_back(client)
    assert len(got) == 2000
    for name in ("m0", "m1", "m2"):
        values = [row["voltage"] for row in got if row["equipment_id"] == name]
        assert values == [None if "json" in row else row["voltage"] for row in sent if row["equipment_id"] == name]
    assert [row["bad"] for row in got if row["bad"]] == ["voltage"]


def test_produce_when_arrow_is_compressed_and_typed(client: port.Client) -> None:
    generate("r1", rows(300))
    run_produce("r1")
    headers = [list(h) for block in read_blocks(client) for h in block.headers]
    assert headers == [[("content-type", ARROW.encode())]] * 3


def test_produce_when_generate_left_dead_letters_publishes_them(client: port.Client) -> None:
    generate("r1", rows(3), [LETTER])
    assert run_produce("r1").summary.counts["dead_letters"] == 1
    (letter,) = list_letters(client, Choice())
    assert (letter.value, letter.file, letter.line, letter.run) == (LETTER["value"], "input.csv", 7, "r1")
    assert (letter.key, letter.topic, letter.content_type, letter.detail) == (None, None, None, LETTER["detail"])


def test_produce_when_repeated_appends_again(client: port.Client) -> None:
    for run in ("r1", "r2"):
        generate(run, rows(30), [LETTER])
        run_produce(run)
    # A run that has finished is not done again.
    run_produce("r2")
    assert len(read_back(client)) == 60
    assert len(list(list_letters(client, Choice()))) == 1


def test_produce_when_there_is_nothing_does_not_connect(
    kafka: local.Service, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with made_topics(kafka, topic, tmp_path):
        monkeypatch.setenv("ETL_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        generate("r1", [])
        assert run_produce("r1").summary.counts == {"produced": 0, "records": 0, "dead_letters": 0}


@pytest.mark.parametrize("missing", ["ETL_KAFKA_TOPIC", "ETL_KAFKA_DEAD_LETTER_TOPIC"])
def test_produce_when_a_topic_is_missing_writes_nothing(
    client: port.Client, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv(missing, "nowhere")
    generate("r1", rows(30), [LETTER])
    with pytest.raises(SettingsError, match="nowhere does not exist"):
        run_produce("r1")
    assert read_back(client) == []
    assert list(list_letters(client, Choice())) == []


@pytest.mark.parametrize(
    ("readings", "letters", "expected"),
    [
        ([], [LETTER], "all 1 lines of the recorded file were rejected"),
        ([{"equipment_id": "m", "timestamp": START, "json": b'{"timestamp":1,"voltage":"1.234"}'}], [], "no cell of"),
    ],
)
def test_produce_ends_with_an_exit_code_when_nothing_of_a_file_is_usable_and_all_of_it_is_published(
    client: port.Client, readings: list[dict[str, Any]], letters: list[dict[str, Any]], expected: str
) -> None:
    generate("r1", readings, letters)
    with pytest.raises(SettingsError, match=expected):
        run_produce("r1")
    assert [letter.value for letter in list_letters(client, Choice())] == [letter["value"] for letter in letters]
    # The stage is done: the run goes on from here.
    assert run_produce("r1").summary.counts["dead_letters"] == len(letters)
    assert len(list(list_letters(client, Choice()))) == len(letters)
