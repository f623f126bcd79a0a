"""Plausible rows of the insight tables for some machines and days, the same each time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from cassandra.cluster import Session

from etl.cassandra.retry import gather
from etl.model.events import SEVERITIES
from etl.model.tables import (
    ACKNOWLEDGEMENTS,
    EQUIPMENT,
    EVENTS,
    FLEET_DAYS,
    MACHINE_DAYS,
    MACHINE_EVENTS,
    MACHINE_HOURS,
    MACHINE_MINUTES,
    PIPELINE_HEALTH,
    TRENDS,
    WATERMARKS,
)

KINDS = {
    "compressor": ("Screw compressor", 104.0),
    "pump": ("Circulation pump", 30.0),
    "extruder": ("Extruder", 178.0),
    "conveyor": ("Belt conveyor", 8.5),
    "fan": ("Exhaust fan", 22.0),
    "press": ("Hydraulic press", 84.0),
    "mill": ("Milling machine", 42.0),
}
NOMINAL = {
    "voltage": 398.0,
    "current": 40.0,
    "frequency": 50.0,
    "temperature": 48.0,
    "power_factor": 0.86,
    "vibration": 1.6,
    "pressure": 6.2,
    "humidity": 45.0,
}
SPREAD = {
    "voltage": 4.0,
    "current": 9.0,
    "frequency": 0.03,
    "temperature": 6.0,
    "power_factor": 0.04,
    "vibration": 0.3,
    "pressure": 0.4,
    "humidity": 5.0,
}
FAULTS = {
    "bearing_wear": ("vibration", 1.9, 6.4),
    "overheating": ("temperature", 52.0, 97.5),
    "voltage_sag": ("voltage", 399.0, 331.0),
    "power_factor_decay": ("power_factor", 0.87, 0.61),
    "idle_waste": ("current", 31.0, 4.2),
    "dropout": (None, None, None),
    "sensor_stuck": ("pressure", None, 6.13),
}


@dataclass(frozen=True)
class Plant:
    """What was written: machines in order, and the last of so many days; the first machines have their details."""

    machines: list[str]
    days: list[date]
    detailed: list[str]
    events: list[dict[str, Any]]

    @property
    def last(self) -> date:
        return self.days[-1]


def seed(session: Session, machines: int, days: int, last: date, detailed: int = 2, detailed_days: int = 3) -> Plant:
    """Write machines over some days; hours, minutes and readings of the first `detailed` of them."""
    span = [last - timedelta(days=back) for back in range(days - 1, -1, -1)]
    names = [f"{list(KINDS)[i % len(KINDS)]}-{i // len(KINDS) + 1:04d}" for i in range(machines)]
    plant = Plant(
        names, span, names[:detailed], [event for i, name in enumerate(names) for event in _events(i, name, span)]
    )
    _write(session, EQUIPMENT, (_equipment(name) for name in names))
    _write(
        session,
        WATERMARKS,
        ({"equipment_id": name, "timestamp": _midnight(last) + timedelta(hours=23)} for name in names),
    )
    for table in (EVENTS, MACHINE_EVENTS):
        _write(session, table, plant.events)
    performance = [row for i, name in enumerate(names) for row in _days(i, name, span, plant.events)]
    for table in (FLEET_DAYS, MACHINE_DAYS):
        _write(session, table, performance)
    _write(session, TRENDS, (row for i, name in enumerate(names) for row in _trends(i, name, last)))
    _write(session, ACKNOWLEDGEMENTS, _acknowledgements(plant.events))
    _write(session, PIPELINE_HEALTH, _health(last, machines))
    for i, name in enumerate(plant.detailed):
        _write(session, MACHINE_HOURS, _hours(i, name, span))
        _write(session, MACHINE_MINUTES, (_minutes(i, name, day) for day in span[-detailed_days:]))
        _write_readings(session, i, name, last)
    return plant


def _write(session: Session, table: Any, rows: Iterable[dict[str, Any]]) -> None:
    columns = list(table.columns)
    marks = ", ".join("?" * len(columns))
    statement = session.prepare(f"INSERT INTO {table.name} ({', '.join(map(_quoted, columns))}) VALUES ({marks})")
    for _ in gather(session, (statement.bind([row.get(name) for name in columns]) for row in rows), in_flight=128):
        pass


def _quoted(name: str) -> str:
    return f'"{name}"'


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _equipment(name: str) -> dict[str, Any]:
    kind, current = KINDS[name.split("-")[0]]
    return {
        "equipment_id": name,
        "name": f"{kind} {int(name[-4:])}",
        "nominal_voltage": 400.0,
        "rated_current": current,
        "phases": 3,
        "interval_seconds": 1.0,
    }


def _events(index: int, name: str, days: list[date]) -> Iterator[dict[str, Any]]:
    chance = np.random.default_rng([1, index])
    for day in days:
        if chance.random() > 0.04 and not (index < 3 and day == days[-1]):
            continue
        kind = list(FAULTS)[index % len(FAULTS) if index < 3 else int(chance.integers(len(FAULTS)))]
        measurement, expected, observed = FAULTS[kind]
        start = _midnight(day) + timedelta(minutes=int(chance.integers(30, 1200)))
        lasting = day == days[-1] and index % 2 == 0
        yield {
            "day": day,
            "year": day.year,
            "event_id": f"{start:%Y-%m-%dT%H:%M:%SZ}_{name}_{kind}",
            "equipment_id": name,
            "kind": kind,
            "severity": SEVERITIES[2 - index if index < 3 else int(chance.choice(3, p=[0.6, 0.3, 0.1]))],
            "measurement": measurement,
            "start": start,
            "end": None if lasting else start + timedelta(minutes=int(chance.integers(10, 200))),
            "observed": observed,
            "expected": expected,
            "evidence": f"{measurement or 'readings'} off what the hours before explain, for 12 of 14 minutes",
            "found": start + timedelta(hours=1),
        }


def _acknowledgements(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for event in events[5::6]:
        yield {
            "day": event["day"],
            "event_id": event["event_id"],
            "by": "R. Ortiz",
            "at": event["found"] + timedelta(hours=6),
            "note": "looked at it on the round",
        }


def _performance(chance: np.random.Generator, seconds: float, kw: float) -> dict[str, Any]:
    shares = chance.dirichlet([3, 2, 9, 0.3])
    off, idle, running, overload = (float(share * seconds) for share in shares)
    running += overload
    energy = kw * running / 3600 * 0.7
    wasted = kw * 0.1 * idle / 3600
    return {
        "expected": int(seconds),
        "received": int(seconds * (0.4 if chance.random() < 0.01 else chance.uniform(0.97, 1))),
        "bad": int(chance.integers(0, 20)),
        "off_seconds": off,
        "idle_seconds": idle,
        "running_seconds": running,
        "overload_seconds": overload,
        "energy_kwh": energy + wasted,
        "idle_energy_kwh": wasted,
        "peak_kw": kw * float(chance.uniform(0.8, 1.2)),
        "power_factor": float(chance.uniform(0.78, 0.93)),
        "voltage_outside_seconds": float(seconds * 0.01 * (chance.random() < 0.2)),
        "frequency_outside_seconds": 0.0,
        "temperature": float(chance.normal(48, 3)),
        "temperature_highest": float(chance.normal(62, 4)),
        "vibration": float(chance.normal(1.6, 0.2)),
        "vibration_highest": float(chance.normal(2.4, 0.3)),
        "vibration_zone": "AB"[int(chance.integers(2))],
    }


def _kw(name: str) -> float:
    return KINDS[name.split("-")[0]][1] * 0.69 * 0.86


def _spread(growth: float = 0.0) -> dict[str, dict[str, float]]:
    means = {name: value + growth * SPREAD[name] for name, value in NOMINAL.items()}
    return {
        "means": means,
        "lows": {name: value - 2 * SPREAD[name] for name, value in means.items()},
        "highs": {name: value + 2 * SPREAD[name] for name, value in means.items()},
    }


def _days(index: int, name: str, days: list[date], events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    own = [event for event in events if event["equipment_id"] == name] if index < 200 else []
    for i, day in enumerate(days):
        chance = np.random.default_rng([2, index, i])
        row = _performance(chance, 86_400.0, _kw(name))
        today = [event for event in own if event["day"] == day]
        worst = max(today, key=lambda event: SEVERITIES.index(event["severity"]), default=None)
        on = row["idle_seconds"] + row["running_seconds"]
        yield (
            row
            | _spread(i / 10)
            | {
                "equipment_id": name,
                "name": _equipment(name)["name"],
                "day": day,
                "year": day.year,
                "availability": on / 86_400,
                "utilisation": row["running_seconds"] / 86_400,
                "load_factor": float(chance.uniform(0.4, 0.8)),
                "idle_share": row["idle_seconds"] / on,
                "efficiency": 100 - 40 * row["idle_seconds"] / on - float(chance.uniform(0, 15)),
                "reasons": ["idle running", "low power factor"][: int(chance.integers(3))],
                "state": ("running", "running", "running", "idle", "off")[int(chance.integers(5))],
                "newest": _midnight(day) + timedelta(hours=23, minutes=59, seconds=int(chance.integers(60))),
                "events": len(today),
                "worst_event": worst and worst["event_id"],
                "worst_kind": worst and worst["kind"],
                "worst_severity": worst and worst["severity"],
            }
        )


def _hours(index: int, name: str, days: list[date]) -> Iterator[dict[str, Any]]:
    for i, day in enumerate(days):
        for hour in range(24):
            chance = np.random.default_rng([3, index, i, hour])
            busy = 1.0 if 6 <= hour < 22 and day.weekday() < 5 else 0.25
            row = _performance(chance, 3600.0, _kw(name) * busy)
            growth = float(np.sin(hour / 24 * 2 * np.pi) * 0.6 + chance.normal(0, 0.2) + i / 20)
            yield (
                row
                | _spread(growth)
                | {
                    "equipment_id": name,
                    "month": f"{day:%Y-%m}",
                    "hour": _midnight(day) + timedelta(hours=hour),
                }
            )


def _minutes(index: int, name: str, day: date) -> dict[str, Any]:
    chance = np.random.default_rng([4, index, day.toordinal()])
    minutes = np.arange(24 * 60)
    kept = (minutes < 700) | (minutes >= 735)
    columns: dict[str, Any] = {
        "minute": pa.array(
            [_midnight(day) + timedelta(minutes=int(m)) for m in minutes[kept]], pa.timestamp("ms", "UTC")
        ),
        "count": pa.array(np.full(kept.sum(), 60)),
    }
    for measurement, value in NOMINAL.items():
        mean = value + SPREAD[measurement] * (np.sin(minutes / 60) * 0.4 + chance.normal(0, 0.3, len(minutes)))
        for part, shift in (("low", -1.0), ("mean", 0.0), ("high", 1.0)):
            columns[f"{measurement}_{part}"] = pa.array((mean + shift * SPREAD[measurement] * 0.5)[kept])
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {"equipment_id": name, "day": day, "minutes": sink.getvalue().to_pybytes()}


def _write_readings(session: Session, index: int, name: str, day: date, seconds: int = 1800) -> None:
    """Readings each second of half an hour from 06:00 on."""
    chance = np.random.default_rng([5, index])
    columns = ["equipment_id", "day", "timestamp", *NOMINAL, "quality"]
    marks = ", ".join("?" * len(columns))
    statement = session.prepare(f"INSERT INTO sensor_data ({', '.join(map(_quoted, columns))}) VALUES ({marks})")
    start = _midnight(day) + timedelta(hours=6)
    rows = (
        [
            name,
            day,
            start + timedelta(seconds=second),
            *(value + SPREAD[m] * float(chance.normal()) * 0.3 for m, value in NOMINAL.items()),
            "",
        ]
        for second in range(seconds)
    )
    for _ in gather(session, map(statement.bind, rows), in_flight=128):
        pass


def _trends(index: int, name: str, last: date) -> Iterator[dict[str, Any]]:
    if index % 20 not in (0, 7):
        return
    reached = _midnight(last) + timedelta(days=5 + index % 40)
    yield {
        "measurement": "vibration",
        "equipment_id": name,
        "as_of": _midnight(last) + timedelta(hours=23),
        "value": 3.1,
        "per_day": 0.22,
        "threshold": 4.5,
        "reached": reached,
        "earliest": reached - timedelta(days=2),
        "latest": reached + timedelta(days=4),
        "evidence": "Theil-Sen slope of 28 daily means",
    }


def _health(last: date, machines: int) -> Iterator[dict[str, Any]]:
    for quarter in range(96):
        at = _midnight(last) + timedelta(minutes=15 * quarter)
        lag = int(4000 * abs(np.sin(quarter / 6)))
        yield {
            "day": last,
            "at": at,
            "lags": {0: lag, 1: lag // 2, 2: lag // 3, 3: 0},
            "dead_letters": 17 + quarter // 12,
            "equipment": machines,
            "oldest": at - timedelta(hours=3),
            "newest": at - timedelta(minutes=1),
        }
