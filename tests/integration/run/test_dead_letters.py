"""Dead letters on a real broker: published, listed once, and replayed."""

import time
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from etl.errors import SettingsError
from etl.kafka import client as port
from etl.kafka import ports
from etl.kafka.ports import open_producer
from etl.model.schemas import DEAD_LETTERS
from etl.run.dead_letters import Choice, Letter, list_letters, publish, replay
from images import local
from tests.integration.topics import in_json, make_anew, output, run_consume, send

FULL: dict[str, Any] = {
    "value": b"\xff\x00",
    "key": b"m1",
    "content_type": "application/json",
    "reason": "undecodable",
    "detail": "no JSON: ünexpected",
    "stage": "consume",
    "partition": 1,
    "offset": 42,
    "index": 3,
    "record_time": 1_767_600_000_000,
    "replays": 2,
}


def put(client: port.Client, *letters: dict[str, Any], run: str = "r1") -> int:
    settings = client.settings
    rows = [{"topic": settings.topic, **letter} for letter in letters]
    with open_producer(settings) as producer:
        return publish(producer, settings.dead_letter_topic, [pa.Table.from_pylist(rows, schema=DEAD_LETTERS)], run)


def listed(client: port.Client, choice: Choice | None = None) -> list[Letter]:
    return list(list_letters(client, choice or Choice()))


def replayed(client: port.Client) -> list[tuple[Any, ...]]:
    topic = client.settings.topic
    blocks = list(ports.read(client.settings, topic, client.log_spans(topic)))
    return [
        (key, value, dict(headers))
        for block in blocks
        for key, value, headers in zip(block.keys, block.values, block.headers, strict=True)
    ]


def test_letters_when_published_come_back_as_they_were(client: port.Client, topic: str) -> None:
    before = datetime.now(UTC).timestamp() - 1
    assert put(client, FULL) == 1
    (letter,) = listed(client)
    expected = {**FULL, "topic": topic, "run": "r1", "file": None, "line": None}
    assert {name: getattr(letter, name) for name in expected} == expected
    assert before <= letter.published.timestamp() <= time.time() + 1


@pytest.mark.parametrize(("key", "value"), [(None, None), (b"m1", None), (None, b"x")])
def test_letters_when_parts_are_missing(client: port.Client, key: bytes | None, value: bytes | None) -> None:
    put(client, {"reason": "missing-key", "key": key, "value": value, "offset": 1})
    (letter,) = listed(client)
    assert letter.key == key
    assert letter.value == (b"" if key is None and value is None else value)
    assert (letter.content_type, letter.detail, letter.partition, letter.replays) == (None, None, None, 0)


def test_letters_when_published_twice_are_listed_once(client: port.Client) -> None:
    superseded = {**FULL, "reason": "superseded", "value": b"{}"}
    others = [{**FULL, "index": 4}, {**FULL, "offset": 43}, {**FULL, "partition": 0}, superseded]
    for run in ("r1", "r2"):
        put(client, FULL, *others, run=run)
    assert len(listed(client)) == 5
    assert {letter.run for letter in listed(client)} == {"r1"}


def test_letters_when_the_origin_comes_again_are_all_listed_and_replayed(client: port.Client) -> None:
    again = [
        {**FULL, "record_time": FULL["record_time"] + 1},
        {**FULL, "value": b"\xff\x01"},
        {**FULL, "value": None},
        {**FULL, "key": b"m2"},
        {**FULL, "record_time": -1},
        {**FULL, "record_time": -1, "value": b"other"},
    ]
    put(client, FULL, *again)
    for run in ("r1", "r2"):
        put(client, *again, FULL, run=run)
    assert [letter.value for letter in listed(client)] == [each["value"] for each in (FULL, *again)]
    assert [letter.record_time for letter in listed(client)] == [each["record_time"] for each in (FULL, *again)]
    assert replay(client, Choice()).sent == 7
    assert sorted(str(value) for _, value, _ in replayed(client)) == sorted(str(e["value"]) for e in (FULL, *again))


def test_letters_when_each_day_has_a_file_of_the_same_name_are_all_listed(client: port.Client) -> None:
    days = [
        {"reason": "recorded", "value": b"monday;x;", "file": "plant.csv", "line": 2},
        {"reason": "recorded", "value": b"tuesday;;", "file": "plant.csv", "line": 2},
        {"reason": "timestamp", "value": b"wednesday;1", "file": "plant.csv", "line": 2},
    ]
    for run, day in enumerate(days):
        for _ in range(2):
            put(client, {**day, "topic": None}, run=f"day-{run}")
    assert [(letter.run, letter.value) for letter in listed(client)] == [
        (f"day-{run}", day["value"]) for run, day in enumerate(days)
    ]
    assert replay(client, Choice()).from_files == 3


@pytest.mark.parametrize("values", [(b"[1]", b"[2]"), (b"[]", b"[]")], ids=["another value", "the same value"])
def test_letters_when_a_topic_is_made_anew_are_all_listed_and_replayed(
    kafka: local.Service, client: port.Client, values: tuple[bytes, bytes]
) -> None:
    topic = client.settings.topic
    for run, value in zip(("r1", "r2"), values, strict=True):
        send(kafka, topic, in_json(value))
        run_consume(run)
        letters = output(run, "dead-letters")
        assert [letter["offset"] for letter in letters] == [0]
        for _ in range(2):
            put(client, *letters, run=run)
        if run == "r1":
            make_anew(client)
    assert [(letter.run, letter.offset, letter.value) for letter in listed(client)] == [
        ("r1", 0, values[0]),
        ("r2", 0, values[1]),
    ]
    assert replay(client, Choice()).sent == 2
    assert sorted(value for _, value, _ in replayed(client)) == sorted([*values, values[1]])


def test_letters_when_others_wrote_them_are_listed(kafka: local.Service, client: port.Client) -> None:
    topic, dead = client.settings.topic, client.settings.dead_letter_topic
    origin = [("etl-reason", b"future"), ("etl-topic", topic.encode()), ("etl-partition", b"0"), ("etl-offset", b"7")]
    odd = [("etl-offset", "²".encode()), ("etl-replays", "²".encode()), ("etl-line", b"9" * 5000), ("etl-index", b"x")]
    send(
        kafka,
        dead,
        {"key": b"m1", "value": b"{}", "headers": origin},
        {"key": b"m1", "value": b"{}", "headers": origin},
        {"key": b"m1", "value": b"{}", "headers": odd},
        {"key": b"m1", "value": b"{}"},
    )
    found = [(letter.reason, letter.offset, letter.record_time, letter.replays) for letter in listed(client)]
    assert found == [("future", 7, None, 0), ("", None, None, 0)]
    assert replay(client, Choice(reasons=frozenset(["future"]))).sent == 1


def test_letters_when_chosen(client: port.Client) -> None:
    put(client, {**FULL, "offset": 1}, {**FULL, "offset": 2, "reason": "late"})
    time.sleep(0.05)
    between = datetime.now(UTC)
    time.sleep(0.05)
    put(client, {**FULL, "offset": 3}, {**FULL, "offset": 4, "reason": "future"}, run="r2")

    def offsets(**conditions: Any) -> list[int | None]:
        return [letter.offset for letter in listed(client, Choice(**conditions))]

    assert offsets() == [1, 2, 3, 4]
    assert offsets(reasons=frozenset(["late", "future"])) == [2, 4]
    assert offsets(run="r1") == [1, 2]
    assert offsets(since=between) == [3, 4]
    assert offsets(until=between) == [1, 2]
    assert offsets(run="r2", reasons=frozenset(["late"])) == []


def test_letters_when_the_topic_is_missing(client: port.Client) -> None:
    settings = client.settings.model_copy(update={"dead_letter_topic": "nowhere"})
    with port.connect(settings) as other, pytest.raises(SettingsError, match="nowhere does not exist"):
        listed(other)


def test_letters_when_a_detail_is_long_are_still_taken(client: port.Client) -> None:
    put(client, {**FULL, "detail": "x" * 2_000_000})
    assert listed(client)[0].detail == "x" * 1000


def test_letters_when_as_large_as_the_source_allows_are_taken(kafka: local.Service, client: port.Client) -> None:
    import random

    topic = client.settings.topic
    largest = int(client.topic_settings(topic)["max.message.bytes"])
    # What a record and its batch add to the value: https://kafka.apache.org/documentation/#recordbatch
    value = random.Random(1).randbytes(largest - 100)
    send(kafka, topic, in_json(value), max_request_size=2 * largest)
    run_consume("r1")
    letters = output("r1", "dead-letters")
    put(client, *letters)
    assert listed(client)[0].value == value


def test_letters_when_one_is_too_large_names_the_topic(client: port.Client) -> None:
    import random

    with pytest.raises(SettingsError, match=rf"topic {client.settings.dead_letter_topic} .*max\.message\.bytes"):
        put(client, {**FULL, "value": random.Random(1).randbytes(3_000_000)})


def test_replay_when_nothing_is_forced_leaves_out_losers_and_files(client: port.Client) -> None:
    lost = [{**FULL, "offset": i, "reason": r} for i, r in enumerate(["conflicting", "superseded", "late"])]
    file = {"topic": None, "reason": "recorded", "value": b"x", "file": "a.csv", "line": 1}
    put(client, FULL, *lost, file)
    put(client, FULL, file, run="r2")
    done = replay(client, Choice())
    assert (done.sent, done.lost, done.from_files) == (1, 3, 1)
    assert replayed(client) == [
        (b"m1", b"\xff\x00", {"etl-replays": b"3", "content-type": b"application/json"}),
    ]


def test_replay_when_forced_sends_losers(client: port.Client) -> None:
    put(client, {**FULL, "reason": "late"}, {**FULL, "reason": "superseded"})
    done = replay(client, Choice(reasons=frozenset(["late"])), force=True)
    assert (done.sent, done.lost, done.from_files) == (1, 0, 0)
    assert len(replayed(client)) == 1


def test_replay_when_a_record_is_dead_again_counts(kafka: local.Service, client: port.Client) -> None:
    send(kafka, client.settings.topic, in_json(b"[]"))
    run_consume("r1")
    for replays, run in enumerate(("r1", "r2")):
        letters = output(run, "dead-letters")
        assert [(letter["offset"], letter["replays"]) for letter in letters] == [(replays, replays)]
        put(client, *letters, run=run)
        assert replay(client, Choice(run=run)).sent == 1
        client.commit(client.settings.topic, {0: replays + 1, 1: 0} if replays == 0 else {0: 2, 1: 0})
        if replays == 0:
            run_consume("r2")
    # Three different records on the topic by now, two letters: no replay is taken for the record it came from.
    assert [letter.replays for letter in listed(client)] == [0, 1]
