"""Events: kinds, severities, and the data of an event."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Severity = Literal["mild", "moderate", "severe"]
# In ascending order.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Kind = Literal[
    "voltage_sag",
    "voltage_swell",
    "frequency_excursion",
    "phase_imbalance",
    "overheating",
    "bearing_wear",
    "power_factor_decay",
    "idle_waste",
    "sensor_stuck",
    "sensor_drift",
    "dropout",
    "limit",
    "unusual",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Event:
    """A fault from `start` up to `end` (None: it continues), both in UTC; `observed` and `expected` in one unit."""

    kind: Kind
    severity: Severity
    measurement: str | None
    start: datetime
    end: datetime | None
    observed: float | None
    expected: float | None
    evidence: str


def is_within(start: datetime, end: datetime | None, begin: datetime, until: datetime) -> bool:
    """Return whether a part of an event lies in [begin, until); an event that ends at `begin` does not."""
    return start < until and (end is None or end > begin or start >= begin)
