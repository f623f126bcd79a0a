"""Rows of the tables of the analysis, as the reader returns them; None is an unknown value."""

from datetime import date, datetime
from typing import Any, TypedDict

# A row with other columns, such as that of a file to download.
Row = dict[str, Any]


class Performance(TypedDict):
    """Indicators of a machine; columns and units as in `etl.model.tables`."""

    expected: int | None
    received: int | None
    bad: int | None
    off_seconds: float | None
    idle_seconds: float | None
    running_seconds: float | None
    overload_seconds: float | None
    energy_kwh: float | None
    idle_energy_kwh: float | None
    peak_kw: float | None
    power_factor: float | None
    voltage_outside_seconds: float | None
    frequency_outside_seconds: float | None
    temperature: float | None
    temperature_highest: float | None
    vibration: float | None
    vibration_highest: float | None
    vibration_zone: str | None


class Day(Performance):
    """A day of a machine."""

    day: date
    equipment_id: str
    availability: float | None
    utilisation: float | None
    load_factor: float | None
    idle_share: float | None
    efficiency: float | None
    reasons: list[str] | None
    state: str | None
    newest: datetime | None
    events: int | None
    worst_event: str | None
    worst_kind: str | None
    worst_severity: str | None


class FleetDay(Day):
    """A row of `fleet_days`."""

    name: str | None


class MachineDay(Day):
    """A row of `machine_days`."""

    year: int
    means: dict[str, float] | None
    lows: dict[str, float] | None
    highs: dict[str, float] | None


class EventRow(TypedDict):
    """An event with its acknowledgement, if there is one."""

    event_id: str
    equipment_id: str
    kind: str
    severity: str
    measurement: str | None
    start: datetime
    end: datetime | None
    observed: float | None
    expected: float | None
    evidence: str
    found: datetime
    by: str | None
    at: datetime | None
    note: str | None


class TrendRow(TypedDict):
    """A row of `trends`."""

    measurement: str
    equipment_id: str
    as_of: datetime
    value: float
    per_day: float
    threshold: float
    reached: datetime | None
    earliest: datetime | None
    latest: datetime | None
    evidence: str


class MachineRow(TypedDict):
    """A row of `equipment`: V, A and seconds."""

    equipment_id: str
    name: str | None
    nominal_voltage: float | None
    rated_current: float | None
    phases: int | None
    interval_seconds: float | None


class HealthRow(TypedDict):
    """A row of `pipeline_health`."""

    day: date
    at: datetime
    lags: dict[int, int] | None
    more_lags: dict[str, int] | None
    dead_letters: int | None
    equipment: int | None
    oldest: datetime | None
    newest: datetime | None
