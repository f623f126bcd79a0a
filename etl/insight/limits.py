"""The thresholds of `limits.yaml`: what is normal, and when an event is reported."""

import math
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from etl.errors import SettingsError
from etl.model.catalogue import Machine
from etl.model.events import Severity
from etl.model.measurements import Measurements
from etl.model.yaml_file import first_problem, read_document

_FILE = Path(__file__).with_name("limits.yaml")
# The limits of an alarm, and the severity of an event beyond them.
LEVELS: dict[str, Severity] = {
    "low_low": "severe",
    "low": "moderate",
    "high": "moderate",
    "high_high": "severe",
    "rate": "moderate",
}
Zones = tuple[float, float, float]
# Entries of older files.
_UNUSED = frozenset({"frequency_lowest", "frequency_highest"})
KilovoltAmperes = Annotated[float, Field(gt=0)]

log = structlog.get_logger("etl.limits")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class States(_Part):
    """Bounds of the states, shares of the rated apparent power; `overload_above` is a share of the rated current."""

    off_below: float
    idle_below: float
    overload_above: float
    hold_intervals: float


class Supply(_Part):
    """Shares by which voltage and frequency may be off their nominal value."""

    voltage: float
    frequency: float
    nominal_frequencies: tuple[float, ...]


class VibrationClass(_Part):
    """Upper bounds of zones A, B and C in mm/s for machines up to a rated apparent power."""

    up_to_kva: KilovoltAmperes
    zones: Zones


class Efficiency(_Part):
    """Points of the efficiency index that each loss costs at most."""

    idle: float
    missing: float
    power_factor: float
    overload: float
    supply: float
    zone_c: float
    zone_d: float
    heat: float


class Steps(_Part):
    """Thresholds from which an event is mild, moderate, severe."""

    mild: float
    moderate: float
    severe: float

    def severity(self, size: float) -> Severity:
        """Return the severity of an event that is at least mild."""
        return "severe" if size >= self.severe else "moderate" if size >= self.moderate else "mild"


class Detection(_Part):
    """Steps of each kind of event; the units are in the file."""

    voltage_sag: Steps
    voltage_swell: Steps
    frequency_excursion: Steps
    phase_imbalance: Steps
    overheating: Steps
    bearing_wear: Steps
    power_factor_decay: Steps
    idle_waste: Steps
    sensor_stuck: Steps
    sensor_drift: Steps
    sensor_drift_kelvin: Steps = Steps(mild=1.8, moderate=5.0, severe=10.0)
    dropout: Steps
    dropout_intervals: float
    unusual: Steps


class Unusual(_Part):
    """What counts as unusual for a machine, all measurements together; the units are in the file."""

    fewest: Annotated[int, Field(ge=50)]
    most: Annotated[int, Field(ge=100)]
    refit: Annotated[int, Field(ge=1)]
    ridge: Annotated[float, Field(gt=0)]
    smooth: Annotated[int, Field(ge=1)]
    slow: Annotated[int, Field(ge=1)]
    limit: Annotated[float, Field(gt=0)]
    energy: Annotated[float, Field(gt=0)]
    loudest: Annotated[int, Field(ge=1)]
    days: Annotated[float, Field(gt=0)]
    learn_after: Annotated[float, Field(gt=0)]
    learn_days: Annotated[float, Field(gt=0)]
    regimes: Annotated[int, Field(ge=1)]
    recurring: Annotated[int, Field(ge=1)]


class Trends(_Part):
    """What counts as a trend, and how far ahead it is followed."""

    windows_days: tuple[float, ...]
    significance: float
    horizon_days: float


class Alarm(_Part):
    """Limits of one measurement of some machines, in its unit; `rate` is a change per minute, delays are in minutes.

    An alarm is raised when readings were beyond a limit for `on_delay`. It is cleared when they were inside by
    `deadband` for `off_delay`.
    """

    measurement: str
    machines: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    low_low: float | None = None
    low: float | None = None
    high: float | None = None
    high_high: float | None = None
    rate: Annotated[float, Field(gt=0)] | None = None
    deadband: Annotated[float, Field(ge=0)] = 0.0
    on_delay: Annotated[float, Field(ge=0)] = 0.0
    off_delay: Annotated[float, Field(ge=0)] = 0.0

    @property
    def levels(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {name: limit for name in LEVELS if (limit := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        levels = self.levels
        if not levels:
            raise ValueError(f"it needs one of {', '.join(LEVELS)}")
        values = [limit for name, limit in levels.items() if name != "rate"]
        if values != sorted(values):
            raise ValueError("its limits are not in order: low_low <= low <= high <= high_high")
        return self


class Limits(_Part):
    """All of the file."""

    states: States
    supply: Supply
    vibration: Annotated[tuple[VibrationClass, ...], Field(min_length=1)]
    temperature: float
    power_factor: float
    efficiency: Efficiency
    detection: Detection
    unusual: Unusual
    trends: Trends
    alarms: tuple[Alarm, ...] = ()


def read_limits(path: Path = _FILE) -> Limits:
    """Read a file of limits.

    Raises:
        SettingsError: the file cannot be read, or an entry is wrong or missing; in one line.
    """
    document = read_document(path, "limits")
    _complete(document)
    supply = document.get("supply") if isinstance(document, dict) else None
    if isinstance(supply, dict):
        for name in _UNUSED & supply.keys():
            log.warning(f"limits file {path}: supply.{name} is not used any more: remove it")
            del supply[name]
    try:
        return Limits.model_validate(document)
    except ValidationError as error:
        place, message = first_problem(error)
        raise SettingsError(f"limits file {path}: {'.'.join(map(str, place))}: {message}") from error


def _complete(document: Any) -> None:
    """Add the entries that files of earlier versions lack, as in the default file."""
    default = read_document(_FILE, "limits")
    _add_missing(document, default)
    if isinstance(document, dict) and isinstance(default, dict):
        _add_missing(document.get("detection"), default.get("detection"))


def _add_missing(entries: Any, default: Any) -> None:
    if isinstance(entries, dict) and isinstance(default, dict) and "unusual" in default:
        entries.setdefault("unusual", default["unusual"])


@cache
def default_limits() -> Limits:
    """Return the limits that come with the project."""
    return read_limits()


def alarms_of(machine: Machine, limits: Limits) -> list[Alarm]:
    """Return the alarms of a machine: for each measurement the first one whose patterns fit its equipment ID."""
    found: dict[str, Alarm] = {}
    for alarm in limits.alarms:
        # An ID may contain brackets, which are no pattern then.
        named = machine.equipment_id in alarm.machines
        if named or any(fnmatchcase(machine.equipment_id, pattern) for pattern in alarm.machines):
            found.setdefault(alarm.measurement, alarm)
    return list(found.values())


def check_alarms(limits: Limits, measurements: Measurements) -> None:
    """Check that each alarm is of a declared measurement that is a number.

    Raises:
        SettingsError: it is not; in one line.
    """
    numbers = [measurement.name for measurement in measurements.declared if measurement.type == "double"]
    for place, alarm in enumerate(limits.alarms):
        if alarm.measurement not in numbers:
            raise SettingsError(
                f"limits file: alarms.{place}.measurement: {alarm.measurement!r} is none of {', '.join(numbers)}"
            )


def rated_kva(machine: Machine) -> float:
    """Return the rated apparent power in kVA: sqrt(3) * U * I with three phases (U between them), U * I with one.

    NaN: the machine has no rated values.
    """
    if machine.nominal_voltage is None or machine.rated_current is None:
        return math.nan
    return power_scale(machine) * machine.nominal_voltage * machine.rated_current


def power_scale(machine: Machine) -> float:
    """Return the factor from V * A to the kVA of all phases."""
    return (3.0**0.5 if machine.phases == 3 else 1.0) / 1000.0


def vibration_zones(machine: Machine, limits: Limits | None = None) -> Zones:
    """Return the upper bounds of zones A, B and C in mm/s for this rated power; unknown: those of the first class."""
    kinds = (limits or default_limits()).vibration
    kva = rated_kva(machine)
    if math.isnan(kva):
        return kinds[0].zones
    return next((kind.zones for kind in kinds if kva <= kind.up_to_kva), kinds[-1].zones)
