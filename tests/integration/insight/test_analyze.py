"""`etl analyze` on a real broker and node: what it writes, sends and repeats."""

import json
import math
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from pydantic import SecretStr
from structlog.testing import capture_logs

from etl.admin.schema import create_schema
from etl.cassandra.connection import connect
from etl.cassandra.store import Store
from etl.errors import NothingNew, SettingsError, Unreachable
from etl.insight import analyze as stage
from etl.insight import limits as insight_limits
from etl.insight import machine, watching
from etl.insight import repository as insight
from etl.insight.analyze import analyze
from etl.insight.indicators import unpack
from etl.insight.limits import default_limits
from etl.kafka import client as kafka
from etl.kafka import ports
from etl.kafka.ports import open_producer
from etl.model.measurements import read_measurements
from etl.settings import AnalyzeSettings, CassandraSettings, KafkaSettings, SchemaSettings
from images import local
from tests.integration.machine import Machine as Command

MEASUREMENTS = read_measurements()
LIMITS = Path(insight_limits.__file__).with_name("limits.yaml")
DAY = date(2026, 1, 5)
MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
FULL_DAY = 1440


@dataclass
class Plant:
    """A keyspace and topics of a test module; `equipment_id` is the test's own machine."""

    session: Session
    cassandra: CassandraSettings
    kafka: KafkaSettings
    equipment_id: str
    settings: AnalyzeSettings
    addresses: dict[str, str]

    def load(self, run: str, times: Sequence[datetime], **changes: Callable[[datetime], float]) -> None:
        """Write readings, and all that says so, in the order of the stage."""
        names = ["voltage", "current", "frequency", "temperature", "power_factor", "vibration"]
        columns = ", ".join(names)
        insert = self.session.prepare(
            f"INSERT INTO sensor_data (equipment_id, day, timestamp, {columns}, quality) VALUES (?,?,?,?,?,?,?,?,?,'')"
        )
        rows = []
        for time in times:
            noise = np.random.default_rng(int(time.timestamp())).normal(0, 1, len(names))
            usual = [400, 10, 50, 45, 0.85, 1.2]
            values = [value * (1 + 0.002 * share) for value, share in zip(usual, noise, strict=True)]
            for name, change in changes.items():
                values[names.index(name)] *= change(time)
            rows.append((self.equipment_id, time.date(), time, *values))
        execute_concurrent_with_args(self.session, insert, rows)
        for day in {time.date() for time in times}:
            hours = {time.hour for time in times if time.date() == day}
            self.session.execute(
                "INSERT INTO touched_days (run, equipment_id, day, hours) VALUES (%s,%s,%s,%s)",
                (run, self.equipment_id, day, hours),
            )
        marks = self.session.execute("SELECT timestamp FROM watermarks WHERE equipment_id = %s", (self.equipment_id,))
        self.mark(self.equipment_id, max([*times, *(row[0].replace(tzinfo=UTC) for row in marks if row[0])]))
        self.session.execute(
            "INSERT INTO runs (month, run, stage, shard, shards, attempt) VALUES ('2026-01', %s, 'load', 0, 1, 'a')",
            (run,),
        )

    def beside(self, name: str) -> "Plant":
        """Another machine of the plant, in the catalogue as this one is."""
        other = replace(self, equipment_id=f"{self.equipment_id}-{name}")
        other.declare()
        return other

    def declare(self, interval: int = 60) -> None:
        """Put the machine into the catalogue, or change it there; it sends so many seconds apart."""
        self.session.execute(
            "INSERT INTO equipment (equipment_id, name, nominal_voltage, rated_current, phases, interval_seconds)"
            " VALUES (%s, 'Pump', 400, 16, 3, %s)",
            (self.equipment_id, interval),
        )

    def without_mains(self) -> "Plant":
        """Take the ratings from the catalogue: the measurements of the machine are its own."""
        self.session.execute(
            "INSERT INTO equipment (equipment_id, nominal_voltage, rated_current, phases)"
            " VALUES (%s, null, null, null)",
            (self.equipment_id,),
        )
        return self

    def mark(self, equipment_id: str, time: datetime) -> None:
        self.session.execute("INSERT INTO watermarks (equipment_id, timestamp) VALUES (%s,%s)", (equipment_id, time))

    def analyze(self, **settings: Any) -> dict[str, int]:
        own = self.settings.model_copy(update=settings)
        return analyze(MEASUREMENTS, default_limits(), own, self.cassandra, self.kafka)

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        found = self.session.execute(f"SELECT JSON * FROM {query}", values)
        return [json.loads(row[0]) for row in found]

    def day(self, day: date = DAY) -> dict[str, Any]:
        (row,) = self.rows("machine_days WHERE equipment_id = %s AND year = 2026 AND day = %s", self.equipment_id, day)
        return row

    def events(self) -> list[dict[str, Any]]:
        return self.rows("machine_events WHERE equipment_id = %s AND year = 2026", self.equipment_id)

    def dropouts(self) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["kind"] == "dropout"]

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts of this machine on the topic, in order."""
        with kafka.connect(self.kafka) as client:
            spans = client.log_spans(self.kafka.events_topic)
        found = []
        for block in ports.read(self.kafka, self.kafka.events_topic, spans):
            for key, value in zip(block.keys, block.values, strict=True):
                alert = json.loads(value)
                assert key == alert["event_id"].encode()
                found.append(alert)
        return [alert for alert in found if alert["equipment_id"] == self.equipment_id]


@pytest.fixture(scope="module")
def place(services: list[local.Service]) -> Iterator[tuple[Session, CassandraSettings, KafkaSettings]]:
    with pytest.MonkeyPatch.context() as patch:
        for service in services:
            for name, value in service.environment.items():
                patch.setenv(name, value)
        cassandra = CassandraSettings(keyspace="insight")
        own = KafkaSettings(
            topic="insight", dead_letter_topic="insight-dead", events_topic="insight-events", group="insight"
        )
        list(create_schema(MEASUREMENTS, SchemaSettings(), cassandra, own))
        with connect(cassandra) as session:
            insert = session.prepare(
                "INSERT INTO sensor_data (equipment_id, day, timestamp, quality) VALUES ('others', ?, ?, '')"
            )
            times = [MIDNIGHT + number * HOUR for number in range(-10 * 24, 10 * 24)]
            execute_concurrent_with_args(session, insert, [(time.date(), time) for time in times])
            yield session, cassandra, own


@pytest.fixture
def plant(
    place: tuple[Session, CassandraSettings, KafkaSettings],
    services: list[local.Service],
    request: pytest.FixtureRequest,
) -> Iterator[Plant]:
    session, cassandra, own = place
    addresses = {name: value for service in services for name, value in service.environment.items()}
    plant = Plant(session, cassandra, own, request.node.name.removeprefix("test_"), AnalyzeSettings(), addresses)
    plant.declare()
    # The rest of the plant sends all the time.
    plant.mark("others", MIDNIGHT + timedelta(days=9))
    yield plant
    # How far the plant has come, and who is silent, is each test's own.
    for (equipment_id,) in session.execute("SELECT equipment_id FROM watermarks"):
        session.execute("DELETE FROM watermarks WHERE equipment_id = %s", (equipment_id,))


def minutes(start: datetime, count: int) -> list[datetime]:
    return [start + number * MINUTE for number in range(count)]


def without(times: list[datetime], start: datetime, end: datetime) -> list[datetime]:
    return [time for time in times if not start <= time < end]


def snapshot(plant: Plant) -> dict[str, list[dict[str, Any]]]:
    """All that is stored of the machine, but for the times at which it was."""
    key = (plant.equipment_id,)
    found = {
        "hours": plant.rows("machine_hours WHERE equipment_id = %s AND month = '2026-01'", *key),
        "days": plant.rows("machine_days WHERE equipment_id = %s AND year = 2026", *key),
        "minutes": plant.rows("machine_minutes WHERE equipment_id = %s AND day = '2026-01-05'", *key),
        "machine_events": plant.events(),
        "events": [row for row in plant.rows("events WHERE day = '2026-01-05'") if row["equipment_id"] == key[0]],
        "fleet_days": plant.rows("fleet_days WHERE day = '2026-01-05' AND equipment_id = %s", *key),
    }
    return {
        table: [{name: value for name, value in row.items() if name != "found"} for row in rows]
        for table, rows in found.items()
    }


def test_day_sums_up_its_readings_when_all_are_there(plant: Plant) -> None:
    plant.load("run-whole", minutes(MIDNIGHT, FULL_DAY))
    assert plant.analyze()["days"] >= 1
    row = plant.day()
    assert (row["expected"], row["received"], row["bad"]) == (FULL_DAY, FULL_DAY, 0)
    assert row["availability"] == row["utilisation"] == 1
    assert row["energy_kwh"] == pytest.approx(24 * math.sqrt(3) * 400 * 10 * 0.85 / 1000, rel=1e-3)
    assert row["power_factor"] == pytest.approx(0.85, rel=1e-3)
    assert row["state"] == "running"
    assert len(plant.rows("machine_hours WHERE equipment_id = %s AND month = '2026-01'", plant.equipment_id)) == 24
    (fleet,) = plant.rows("fleet_days WHERE day = %s AND equipment_id = %s", DAY, plant.equipment_id)
    assert fleet["name"] == "Pump"
    assert {name: fleet[name] for name in ("energy_kwh", "efficiency")} == {
        name: row[name] for name in ("energy_kwh", "efficiency")
    }


def test_nothing_is_analysed_when_no_load_has_ended_since(plant: Plant) -> None:
    plant.load("run-once", minutes(MIDNIGHT, 10))
    plant.analyze()
    before = plant.rows("pipeline_health WHERE day = %s", datetime.now(UTC).date())
    with pytest.raises(NothingNew):
        plant.analyze()
    after = plant.rows("pipeline_health WHERE day = %s", datetime.now(UTC).date())
    assert len(after) == len(before) + 1
    assert after[0]["lags"].keys() == {"0", "1", "2", "3"}


def test_event_is_withdrawn_when_late_readings_fill_the_gap(plant: Plant) -> None:
    times = minutes(MIDNIGHT, FULL_DAY)
    gap = MIDNIGHT + 8 * HOUR, MIDNIGHT + 12 * HOUR
    plant.load("run-gap", without(times, *gap))
    plant.analyze()
    (event,) = plant.events()
    assert (event["kind"], event["severity"]) == ("dropout", "severe")
    assert plant.day()["received"] == FULL_DAY - 240
    assert plant.day()["worst_event"] == event["event_id"]
    plant.load("run-late", minutes(gap[0], 240))
    plant.analyze()
    assert plant.events() == []
    assert plant.day()["received"] == FULL_DAY
    assert plant.day()["worst_event"] is None
    assert [alert["state"] for alert in plant.alerts()] == ["ended", "withdrawn"]
    assert {alert["event_id"] for alert in plant.alerts()} == {event["event_id"]}


def test_event_keeps_its_id_when_it_lasts_into_the_next_day(plant: Plant) -> None:
    plant.load("run-day-1", minutes(MIDNIGHT, 20 * 60))
    plant.analyze()
    (open_event,) = plant.events()
    assert open_event["end"] is None
    plant.load("run-day-2", minutes(MIDNIGHT + 30 * HOUR, 18 * 60))
    plant.analyze()
    (ended,) = plant.events()
    assert ended["event_id"] == open_event["event_id"]
    assert ended["end"] == "2026-01-06 06:00:00.000Z"
    assert ended["found"] == open_event["found"]
    assert [alert["state"] for alert in plant.alerts()] == ["open", "ended"]
    assert plant.day(DAY + timedelta(days=1))["events"] == 1


def test_sag_is_found_when_the_voltage_falls(plant: Plant) -> None:
    begin, end = MIDNIGHT + 10 * HOUR, MIDNIGHT + 10 * HOUR + 15 * MINUTE
    plant.load("run-sag", minutes(MIDNIGHT, FULL_DAY), voltage=lambda time: 0.7 if begin <= time < end else 1.0)
    plant.analyze()
    (event,) = [event for event in plant.events() if event["kind"] == "voltage_sag"]
    assert event["start"] == "2026-01-05 10:00:00.000Z"
    assert event["severity"] == "severe"
    assert event["observed"] == pytest.approx(280, rel=0.01)
    assert plant.day()["voltage_outside_seconds"] == 15 * 60


def test_event_keeps_its_id_when_late_readings_move_its_start(plant: Plant) -> None:
    gap = MIDNIGHT + 8 * HOUR, MIDNIGHT + 14 * HOUR
    plant.load("run-long-gap", without(minutes(MIDNIGHT, FULL_DAY), *gap))
    plant.analyze()
    (before,) = plant.dropouts()
    plant.load("run-part-of-gap", minutes(gap[0], 60))
    plant.analyze()
    (after,) = plant.dropouts()
    assert after["start"] > before["start"]
    assert (after["event_id"], after["found"]) == (before["event_id"], before["found"])
    assert [alert["state"] for alert in plant.alerts() if alert["kind"] == "dropout"] == ["ended"]


def test_event_is_sent_again_when_it_gets_worse_and_not_when_it_only_changes(plant: Plant) -> None:
    times = minutes(MIDNIGHT, FULL_DAY)
    begin, end = MIDNIGHT + 10 * HOUR, MIDNIGHT + 10 * HOUR + 15 * MINUTE
    seen = []
    for left in (0.9, 0.89, 0.7):
        plant.load(f"run-sag-{left}", times, voltage=lambda time, left=left: left if begin <= time < end else 1.0)
        plant.analyze()
        seen += [(event["severity"], event["observed"]) for event in plant.events() if event["kind"] == "voltage_sag"]
    assert [severity for severity, _ in seen] == ["mild", "mild", "severe"]
    assert [observed for _, observed in seen] == pytest.approx([360, 356, 280], rel=0.01)
    assert [alert["severity"] for alert in plant.alerts()] == ["mild", "severe"]


def test_event_stays_one_when_a_year_begins_within_it(plant: Plant) -> None:
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    days = [*minutes(new_year - 24 * HOUR, 20 * 60), *minutes(new_year + 6 * HOUR, 6 * 60)]
    query = "machine_events WHERE equipment_id = %s AND year = %s"
    plant.load("run-old-year", days[: 20 * 60])
    plant.analyze()
    (open_event,) = plant.rows(query, plant.equipment_id, 2025)
    plant.load("run-new-year", days[20 * 60 :])
    plant.analyze()
    (ended,) = plant.rows(query, plant.equipment_id, 2025)
    assert (ended["event_id"], ended["found"]) == (open_event["event_id"], open_event["found"])
    assert ended["end"] == "2026-01-01 06:00:00.000Z"
    # From noon on.
    (next_one,) = plant.events()
    plant.load("run-both-years", days)
    plant.analyze()
    assert plant.events() == [next_one]
    assert [alert["state"] for alert in plant.alerts()] == ["open", "ended", "open"]


def test_event_counts_on_its_own_day_when_the_days_around_are_looked_at_with_it(plant: Plant) -> None:
    plant.declare(interval=600)
    times = [MIDNIGHT + 10 * number * MINUTE for number in range(3 * 144)]
    plant.load("run-three-days", without(times, MIDNIGHT + 32 * HOUR, MIDNIGHT + 36 * HOUR))
    plant.analyze()
    assert [plant.day(DAY + timedelta(days=number))["events"] for number in range(3)] == [0, 1, 0]


@pytest.mark.parametrize(("machines", "events"), [(1, 1), (3, 0)], ids=["one", "three"])
def test_drift_is_that_of_the_weather_when_other_machines_show_it_too(plant: Plant, machines: int, events: int) -> None:
    plants = [replace(plant, equipment_id=f"{plant.equipment_id}-{number}") for number in range(machines)]
    times = [MIDNIGHT + 10 * number * MINUTE for number in range(8 * 144)]
    begin = MIDNIGHT + timedelta(days=6)
    for each in plants:
        each.declare(interval=600)
        each.load(
            f"run-{each.equipment_id}", times, temperature=lambda time: 1 + 0.3 * max((time - begin) / (48 * HOUR), 0)
        )
    plant.analyze()
    found = [event for each in plants for event in each.events() if event["kind"] == "sensor_drift"]
    assert len(found) == events
    assert all("°C above" in event["evidence"] for event in found)


def test_nothing_is_expected_when_a_machine_has_not_sent_before_or_the_plant_has_not_come_so_far(plant: Plant) -> None:
    # The clock of another machine is ahead, which tells nothing about how far readings have come.
    plant.mark("ahead", datetime(2100, 1, 1, tzinfo=UTC))
    first = MIDNIGHT + timedelta(days=9)
    plant.load("run-first", minutes(first + 10 * HOUR, 120))
    plant.analyze()
    row = plant.day(first.date())
    assert (row["expected"], row["received"], row["events"]) == (120, 120, 0)
    plant.load("run-second", minutes(first + 26 * HOUR, 60))
    plant.analyze()
    # It is known now, so that the night counts.
    assert plant.day(first.date())["expected"] == 120
    row = plant.day(first.date() + timedelta(days=1))
    assert (row["expected"], row["received"], row["events"]) == (180, 60, 1)


def test_trend_is_followed_for_weeks_and_goes_when_vibration_falls_again(plant: Plant) -> None:
    plant.declare(interval=600)
    plant.mark("others", MIDNIGHT + timedelta(days=4, milliseconds=-1))

    def load(run: str, first: int, count: int) -> None:
        times = [MIDNIGHT + timedelta(days=first) + 10 * number * MINUTE for number in range(144 * count)]
        plant.load(run, times, vibration=lambda time: 1 + 0.02 * min(since(time), 10 - 2 * since(time)))

    def since(time: datetime) -> float:
        return (time - MIDNIGHT) / timedelta(days=1)

    load("run-weeks", 0, 3)
    plant.analyze()
    load("run-next-day", 3, 1)
    plant.analyze()
    query = "trends WHERE measurement = 'vibration' AND equipment_id = %s"
    (trend,) = plant.rows(query, plant.equipment_id)
    assert trend["as_of"] == "2026-01-09 00:00:00.000Z"
    assert trend["per_day"] == pytest.approx(1.2 * 0.02, rel=0.1)
    load("run-mended", 4, 3)
    plant.analyze()
    assert plant.rows(query, plant.equipment_id) == []


def test_loads_are_done_in_parts_when_they_touch_many_days(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MOST_DAYS", 2)
    plant.load("run-part-1", [MIDNIGHT, MIDNIGHT + 24 * HOUR])
    plant.load("run-part-2", minutes(MIDNIGHT + 48 * HOUR, 10))
    real, marked = insight.mark_analyzed, []

    def crash_at_second(*given: Any) -> None:
        if marked:
            raise KeyboardInterrupt
        marked.append(given)
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(insight, "mark_analyzed", crash_at_second)
        with pytest.raises(KeyboardInterrupt):
            plant.analyze()
    counts = plant.analyze()
    assert (counts["loads"], counts["days"]) == (1, 1)
    plant.load("run-part-3", [MIDNIGHT, MIDNIGHT + 24 * HOUR])
    plant.load("run-part-4", [MIDNIGHT + 24 * HOUR, MIDNIGHT + 48 * HOUR])
    plant.load("run-part-5", [MIDNIGHT])
    # A day that several loads touch counts with each part, and no part takes the days of the one before.
    assert plant.analyze()["days"] == 5


def test_loads_that_end_while_it_runs_are_analysed_before_it_ends(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.load("run-before", minutes(MIDNIGHT, 10))
    # One ends while the first is analysed, and one while that is.
    later = {"run-meanwhile": MIDNIGHT + 24 * HOUR, "run-later": MIDNIGHT + 48 * HOUR}
    real, marked = insight.mark_analyzed, []

    def load_another(store: Any, loads: Sequence[Any], now: datetime) -> None:
        if later:
            run, begin = next(iter(later.items()))
            plant.load(run, minutes(begin, 10))
            del later[run]
        marked.append([load.run for load in loads])
        real(store, loads, now)

    monkeypatch.setattr(insight, "mark_analyzed", load_another)
    counts = plant.analyze()
    assert marked == [["run-before"], ["run-meanwhile"], ["run-later"]]
    assert counts["loads"] == 3
    # The watermark that a load moved meanwhile counts as well: its day is there.
    assert plant.day((MIDNIGHT + 48 * HOUR).date())["expected"] > 0
    with pytest.raises(NothingNew):
        plant.analyze()


def test_health_says_how_far_all_are_when_measured(plant: Plant) -> None:
    with kafka.connect(plant.kafka) as client, open_producer(plant.kafka) as producer:
        for topic in (plant.kafka.topic, plant.kafka.dead_letter_topic):
            producer.send(topic, b"key", b"value", [])
        producer.flush()
        spans = {topic: client.log_spans(topic) for topic in (plant.kafka.topic, plant.kafka.dead_letter_topic)}
    plant.load("run-health", [MIDNIGHT])
    plant.analyze()
    row = plant.rows("pipeline_health WHERE day = %s LIMIT 1", datetime.now(UTC).date())[0]
    assert row["lags"] == {str(partition): span.end for partition, span in spans[plant.kafka.topic].items()}
    assert row["dead_letters"] == sum(span.end for span in spans[plant.kafka.dead_letter_topic].values()) > 0
    marks = sorted(plant.rows("watermarks"), key=lambda mark: mark["timestamp"])
    ends = (row["equipment"], row["oldest"], row["newest"])
    assert ends == (len(marks), marks[0]["timestamp"], marks[-1]["timestamp"])


def test_nothing_is_analysed_when_the_topic_of_events_is_missing(plant: Plant) -> None:
    plant.load("run-no-topic", minutes(MIDNIGHT, 600))
    own, plant.kafka = plant.kafka, plant.kafka.model_copy(update={"events_topic": "insight-nowhere"})
    with pytest.raises(SettingsError, match="insight-nowhere"):
        plant.analyze()
    assert plant.rows("machine_days WHERE equipment_id = %s AND year = 2026", plant.equipment_id) == []
    plant.kafka = own
    counts = plant.analyze()
    assert (counts["loads"], counts["days"], counts["events"], counts["alerts"]) == (1, 1, 1, 1)


CRASHES = [
    (insight, "read_readings"),
    (machine, "detect"),
    (machine, "send"),
    (insight, "write_events"),
    (insight, "remove_events"),
    (machine, "by_day"),
    (insight, "replace_trends"),
    (insight, "mark_analyzed"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("module", "step"), CRASHES, ids=[name for _, name in CRASHES])
def test_analysis_ends_the_same_when_it_crashed_and_is_repeated(
    plant: Plant, module: Any, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.load(f"run-{plant.equipment_id}", without(minutes(MIDNIGHT, 600), MIDNIGHT + 2 * HOUR, MIDNIGHT + 6 * HOUR))
    real = getattr(module, step)

    def crash(*given: Any, **named: Any) -> Any:
        if after:
            real(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, step, crash)
        with pytest.raises(KeyboardInterrupt):
            plant.analyze()
    if not (step == "mark_analyzed" and after):
        plant.analyze()
    once = snapshot(plant)
    # 2 h to 6 h, and from 10 h on.
    assert [event["kind"] for event in once["machine_events"]] == ["dropout", "dropout"]
    sent = {(alert["event_id"], alert["state"]) for alert in plant.alerts()}
    assert sent == {(event["event_id"], "ended" if event["end"] else "open") for event in once["machine_events"]}
    plant.session.execute(
        "DELETE FROM analyzed_runs WHERE month = '2026-01' AND run = %s", (f"run-{plant.equipment_id}",)
    )
    plant.analyze()
    assert snapshot(plant) == once


@contextmanager
def webhook(*answers: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers in turn, the last one for ever, and keeps what it took."""
    taken: list[dict[str, Any]] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = left.pop(0) if len(left) > 1 else left[0]
            if answer < 300:
                taken.append({**body, "key": self.headers["Idempotency-Key"]})
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret-token", taken
    finally:
        server.shutdown()
        server.server_close()


def figures(plant: Plant) -> dict[str, Any]:
    """Hours, days and minutes of a machine, but for what names it."""
    key = (plant.equipment_id,)
    names = {"equipment_id", "worst_event", "minutes"}
    hours, days, minutes = (
        plant.rows(f"{table} WHERE equipment_id = %s ALLOW FILTERING", *key)
        for table in ("machine_hours", "machine_days", "machine_minutes")
    )
    figures = [{name: value for name, value in row.items() if name not in names} for row in [*hours, *days]]
    tables = {row["day"]: unpack(bytes.fromhex(row["minutes"][2:])).to_pylist() for row in minutes}
    return {"figures": figures, "minutes": tables}


def test_hours_are_the_same_when_their_readings_come_piece_by_piece(plant: Plant) -> None:
    chance = random.Random(5)
    # Later than what the others have sent, so that the plant comes as far as the readings do.
    begin = MIDNIGHT + timedelta(days=100)
    times = [time + timedelta(seconds=chance.uniform(0, 59)) for time in minutes(begin, 2 * FULL_DAY)]
    times = [time for time in times if chance.random() > 0.05 and not 14 <= time.hour < 16]
    late = {time for time in times if chance.random() < 0.002}
    cuts = [begin, *sorted(begin + chance.uniform(0, 48) * HOUR for _ in range(6)), begin + 48 * HOUR]
    in_pieces = plant.beside("pieces")
    for first, last in pairwise(cuts):
        in_pieces.load(f"run-{first}", [time for time in times if first <= time < last and time not in late])
        in_pieces.analyze()
    in_pieces.load("run-late-pieces", sorted(late))
    in_pieces.analyze()
    plant.load("run-at-once", times)
    plant.analyze()
    assert figures(plant) == figures(in_pieces)


def test_nothing_is_expected_before_the_first_reading_when_a_machine_is_new(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=105)
    expected = []
    for start, count in ((10 * HOUR, 120), (12 * HOUR, 120), (8.5 * HOUR, 10)):
        plant.load(f"run-{start}", minutes(begin + start, count))
        plant.analyze()
        expected.append(plant.day(begin.date())["expected"])
    assert expected == [120, 240, 330]


def test_only_hours_around_those_touched_are_read_when_a_day_is_known(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = MIDNIGHT + timedelta(days=110)
    plant.load("run-until-noon", minutes(begin - 24 * HOUR, 36 * 60))
    plant.analyze()
    read = []

    def spy(*given: Any) -> Any:
        read.append(given[-2:])
        return real(*given)

    real = insight.read_readings
    monkeypatch.setattr(insight, "read_readings", spy)
    plant.load("run-afternoon", minutes(begin + 12 * HOUR, 60))
    plant.analyze()
    assert read == [(begin + 11 * HOUR - 3 * MINUTE, begin + 24 * HOUR)]


def test_machine_is_a_dropout_when_it_says_nothing_while_others_do(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=120)
    others = plant.beside("sends-on")
    plant.load("run-both", minutes(begin - 24 * HOUR, 46 * 60))
    others.load("run-others-0", minutes(begin, 22 * 60 + 2))
    plant.analyze()
    assert plant.events() == []

    others.load("run-others-1", minutes(begin + 22 * HOUR, 40))
    plant.analyze()
    (event,) = plant.events()
    assert (event["kind"], event["severity"], event["end"]) == ("dropout", "moderate", None)

    others.load("run-others-2", minutes(begin + 23 * HOUR, 6 * 60))
    plant.analyze()
    (worse,) = plant.events()
    assert (worse["event_id"], worse["severity"], worse["end"]) == (event["event_id"], "severe", None)
    assert [alert["severity"] for alert in plant.alerts()] == ["moderate", "severe"]
    first, second = (plant.day(begin.date() + timedelta(days=number)) for number in (0, 1))
    assert (first["received"], first["expected"]) == (22 * 60, 24 * 60)
    assert (second["received"], second["expected"], second["availability"]) == (0, 5 * 60, 0)
    assert second["worst_event"] == event["event_id"]

    plant.load("run-back", minutes(begin + 29 * HOUR, 10))
    plant.analyze()
    (ended,) = plant.events()
    assert (ended["event_id"], ended["end"]) == (event["event_id"], f"{begin.date() + timedelta(days=1)} 05:00:00.000Z")


def test_machine_is_taken_for_gone_when_it_has_said_nothing_for_a_week(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=130)
    others = plant.beside("stays")
    plant.load("run-last", minutes(begin, 60))
    plant.analyze()
    others.load("run-week-later", minutes(begin + timedelta(days=7), 60))
    plant.analyze()
    days = plant.rows("machine_days WHERE equipment_id = %s AND year = 2026", plant.equipment_id)
    assert [row["day"] for row in days] == [str(begin.date())]


def test_recordings_have_ended_when_they_follow_each_other(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=140)
    rigs = [plant.beside(f"rig-{number}") for number in range(4)]
    for number, rig in enumerate(rigs):
        # Each begins a little before the one before ends.
        rig.load(f"run-record-{number}", minutes(begin + number * 40 * MINUTE, 45))
    plant.analyze()
    plant.load("run-much-later", minutes(begin + 20 * HOUR, 10))
    plant.analyze()
    for each in (*rigs, plant):
        assert each.events() == []
        assert each.day(begin.date())["expected"] == each.day(begin.date())["received"] > 0


def test_data_have_ended_when_they_do_so_for_all_machines_at_about_the_same_time(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=145)
    plants = [plant.beside(f"end-{number}") for number in range(3)]
    for number, each in enumerate(plants):
        each.load(f"run-end-{number}", minutes(begin, 8 * 60 - 12 * number))
    plant.analyze()
    assert [event for each in plants for event in each.events()] == []
    # One of them goes on.
    plants[2].load("run-goes-on", minutes(begin + 8 * HOUR, 90))
    plant.analyze()
    assert [[event["kind"] for event in each.events()] for each in plants] == [["dropout"], ["dropout"], ["dropout"]]
    assert [each.events()[0]["end"] is None for each in plants] == [True, True, False]


def test_gap_ends_when_a_machine_that_was_gone_for_more_than_a_week_comes_back(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=150)
    others = plant.beside("stayed")
    plant.load("run-before-gone", minutes(begin, 10 * 60 + 30))
    others.load("run-others-before", minutes(begin, 12 * 60))
    plant.analyze()
    (event,) = plant.events()
    others.load("run-others-after", minutes(begin + timedelta(days=9, hours=8), 60))
    plant.analyze()
    plant.load("run-back-again", minutes(begin + timedelta(days=9, hours=9, minutes=7), 20))
    plant.analyze()
    (ended,) = plant.events()
    assert (ended["event_id"], ended["start"]) == (event["event_id"], event["start"])
    assert ended["end"] == f"{begin.date() + timedelta(days=9)} 09:07:00.000Z"
    assert ended["evidence"].startswith("no reading for 214.6 h")


def test_dropout_lasts_when_a_late_reading_of_an_old_day_comes(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=180)
    others = plant.beside("goes-on")
    plant.load("run-before-old-day", minutes(begin, 10 * 60 + 30))
    others.load("run-others-before-old-day", minutes(begin, 12 * 60))
    plant.analyze()
    (event,) = plant.events()
    others.load("run-others-at-old-day", minutes(begin + timedelta(days=12), 60))
    plant.load("run-old-day", minutes(begin - timedelta(days=10) + 5 * HOUR, 5))
    plant.analyze()
    now = {found["event_id"]: found for found in plant.events()}[event["event_id"]]
    assert (now["start"], now["end"]) == (event["start"], event["end"]) == (event["start"], None)


def test_only_days_around_those_touched_are_read_when_one_is_of_long_ago(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = MIDNIGHT + timedelta(days=165)
    plant.load("run-stray", [datetime(1970, 1, 1, 0, 5, tzinfo=UTC), *minutes(begin + 10 * HOUR, 60)])
    asked = []
    real = Store.ask

    def count(store: Store, query: str, keys: Any) -> Any:
        keys = list(keys)
        asked.append(len(keys))
        return real(store, query, keys)

    monkeypatch.setattr(Store, "ask", count)
    plant.analyze()
    assert sum(asked) < 200
    (old,) = plant.rows("machine_days WHERE equipment_id = %s AND year = 1970", plant.equipment_id)
    assert old["received"] == 1
    # A clock that was wrong once does not make the machine one that had sent before.
    assert (plant.day(begin.date())["expected"], plant.day(begin.date())["received"]) == (60, 60)


def test_nothing_is_said_of_the_supply_when_a_machine_is_not_on_the_mains(plant: Plant) -> None:
    plant.without_mains()
    plant.load("run-rig", minutes(MIDNIGHT, FULL_DAY))
    plant.analyze()
    row = plant.day()
    unknown = ("voltage_outside_seconds", "overload_seconds", "running_seconds", "idle_energy_kwh", "efficiency")
    assert {name: row[name] for name in unknown} == dict.fromkeys(unknown)
    assert (row["state"], row["utilisation"], row["idle_share"], row["reasons"]) == (None, None, None, None)
    # Power needs no rated values.
    assert row["energy_kwh"] == pytest.approx(24 * math.sqrt(3) * 400 * 10 * 0.85 / 1000, rel=1e-3)


def jumped(after: datetime) -> Callable[[datetime], float]:
    return lambda time: 1.03 if time >= after else 1.0


def test_event_names_what_contributes_when_a_machine_of_own_measurements_is_unusual(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=130)
    plant.without_mains()
    plant.load("run-own", minutes(begin, FULL_DAY), frequency=jumped(begin + 20 * HOUR))
    plant.analyze()
    (event,) = plant.events()
    assert (event["kind"], event["measurement"], event["end"]) == ("unusual", "frequency", None)
    assert event["start"].startswith(f"{begin:%Y-%m-%d} 20:0")
    assert "contributions: frequency" in event["evidence"]
    (alert,) = plant.alerts()
    assert (alert["kind"], alert["state"], alert["evidence"]) == ("unusual", "open", event["evidence"])


def test_unusual_events_are_the_same_when_their_readings_come_piece_by_piece(plant: Plant) -> None:
    begin = MIDNIGHT + timedelta(days=140)
    times, jump = minutes(begin, 2 * FULL_DAY), jumped(begin + 33 * HOUR)
    late = times[31 * 60 : 31 * 60 + 20]
    plant.without_mains()
    in_pieces = plant.beside("pieces").without_mains()
    cuts = [0.0, 10.2, 10.7, 23.9, 24.1, 33.5, 34, 40, 48]
    for first, last in pairwise(begin + cut * HOUR for cut in cuts):
        part = [time for time in times if first <= time < last and time not in late]
        in_pieces.load(f"run-{first}", part, frequency=jump)
        in_pieces.analyze()
    in_pieces.load("run-late-unusual", late, frequency=jump)
    in_pieces.analyze()
    plant.load("run-unusual-at-once", times, frequency=jump)
    plant.analyze()
    pieces, at_once = (
        [{name: event[name] for name in ("kind", "start", "end", "severity", "evidence")} for event in each.events()]
        for each in (in_pieces, plant)
    )
    assert [event["kind"] for event in at_once] == ["unusual"]
    assert pieces == at_once
    query = "machine_watches WHERE equipment_id = %s"
    watches = [
        {row["day"]: (row["at"], row["watch"]) for row in plant.rows(query, each.equipment_id)}
        for each in (in_pieces, plant)
    ]
    assert len(watches[0]) == 2
    assert watches[0] == watches[1]


def test_only_the_hour_before_is_watched_again_when_an_hour_is_loaded(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = MIDNIGHT + timedelta(days=150)
    plant.without_mains()
    plant.load("run-until-ten", minutes(begin, 10 * 60))
    plant.analyze()
    watched = []

    def spy(known: Any, times: Any, *given: Any) -> Any:
        watched.append(len(times))
        return real(known, times, *given)

    real = watching.watch
    monkeypatch.setattr(watching, "watch", spy)
    plant.load("run-next", minutes(begin + 10 * HOUR, 60))
    plant.analyze()
    assert sum(watched) == 120


def test_webhook_gets_the_event_when_it_first_fails(plant: Plant) -> None:
    plant.load("run-webhook", minutes(MIDNIGHT, 600))
    with webhook(503, 200) as (url, taken):
        plant.analyze(webhook=SecretStr(url))
    (event,) = plant.events()
    own = [alert for alert in taken if alert["equipment_id"] == plant.equipment_id]
    assert [alert["event_id"] for alert in own] == [event["event_id"]]
    assert own[0]["key"] == f"{event['event_id']}/open"


@pytest.mark.parametrize(("answer", "error"), [(403, SettingsError), (503, Unreachable)])
def test_event_is_sent_again_when_the_webhook_did_not_take_it(
    plant: Plant, answer: int, error: type[Exception]
) -> None:
    plant.load(f"run-{plant.equipment_id}", minutes(MIDNIGHT, 600))
    plant.cassandra = plant.cassandra.model_copy(update={"timeout": 1})
    with webhook(answer) as (url, _), pytest.raises(error) as raised:
        plant.analyze(webhook=SecretStr(url))
    assert "secret-token" not in str(raised.value)
    assert plant.events() == []
    with webhook(200) as (url, taken):
        plant.analyze(webhook=SecretStr(url))
    assert plant.equipment_id in {alert["equipment_id"] for alert in taken}
    assert len(plant.events()) == 1


def test_machine_is_assumed_when_the_catalogue_lacks_it(plant: Plant) -> None:
    plant.session.execute("DELETE FROM equipment WHERE equipment_id = %s", (plant.equipment_id,))
    plant.load("run-unknown", [MIDNIGHT + 5 * number * MINUTE for number in range(288)])
    with capture_logs() as lines:
        plant.analyze()
    assert any(plant.equipment_id in line["event"] and "etl schema" in line["event"] for line in lines)
    assert (plant.day()["expected"], plant.day()["received"]) == (288, 288)


def command(plant: Plant, **settings: str) -> Command:
    """Return the command with the settings of a plant."""
    names = {
        "CASSANDRA_KEYSPACE": plant.cassandra.keyspace,
        "KAFKA_TOPIC": plant.kafka.topic,
        "KAFKA_DEAD_LETTER_TOPIC": plant.kafka.dead_letter_topic,
        "KAFKA_EVENTS_TOPIC": plant.kafka.events_topic,
        "KAFKA_GROUP": plant.kafka.group,
    }
    return Command({f"ETL_{name}": value for name, value in names.items()} | plant.addresses | settings)


@pytest.mark.parametrize(("measurement", "code"), [("temperature", 0), ("speed", 2)])
def test_command_finds_what_is_beyond_a_limit_of_its_file(
    plant: Plant, tmp_path: Path, measurement: str, code: int
) -> None:
    limits = tmp_path / "limits.yaml"
    alarm = f"[{{measurement: {measurement}, machines: ['{plant.equipment_id}'], high: 60, on_delay: 5, deadband: 2}}]"
    limits.write_text(LIMITS.read_text().replace("alarms: []", f"alarms: {alarm}"))
    begin, end = MIDNIGHT + 3 * HOUR, MIDNIGHT + 4 * HOUR
    plant.load("run-limit", minutes(MIDNIGHT, 600), temperature=lambda time: 1.5 if begin <= time < end else 1.0)
    done = command(plant, ETL_ANALYZE_LIMITS_FILE=str(limits)).etl("analyze")
    assert done.returncode == code, done.stderr
    if code:
        assert "alarms.0.measurement: 'speed' is none of voltage, current," in done.stderr
        assert plant.events() == []
        return
    (event,) = [event for event in plant.events() if event["kind"] == "limit"]
    assert (event["start"], event["end"]) == ("2026-01-05 03:00:00.000Z", "2026-01-05 04:00:00.000Z")
    assert (event["severity"], event["measurement"], event["expected"]) == ("moderate", "temperature", 60.0)
    assert event["evidence"].startswith("temperature above high limit 60 °C for 1.0 h: 67.")
    assert [alert["kind"] for alert in plant.alerts() if alert["kind"] == "limit"] == ["limit"]


def test_command_counts_what_it_did_when_loads_are_new(plant: Plant) -> None:
    plant.load("run-command", minutes(MIDNIGHT, 600))
    analyze_new = command(plant)
    done = analyze_new.etl("analyze")
    assert done.returncode == 0, done.stderr
    assert "days=1" in done.stderr
    assert "loads=1" in done.stderr
    again = analyze_new.etl("analyze")
    assert again.returncode == 3
    assert "no load since the last analysis" in again.stderr


def test_command_names_schema_when_a_table_is_missing(machine: Command) -> None:
    done = machine.etl("analyze")
    assert done.returncode == 2
    assert "has no table machine_hours: run `etl schema`" in done.stderr
