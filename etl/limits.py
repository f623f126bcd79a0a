"""The limits of `limits.yaml`: what counts as normal, and from where on something is reported."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etl.catalogue import Machine
from etl.document import first_problem, read_document
from etl.errors import SettingsError

_FILE = Path(__file__).with_name("limits.yaml")
Zones = tuple[float, float, float]
KilovoltAmperes = Annotated[float, Field(gt=0)]


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
    frequency_lowest: float
    frequency_highest: float
    nominal_frequencies: tuple[float, ...]


class VibrationClass(_Part):
    """Upper bounds of zones A, B and C in mm/s for machines of up to so many kVA."""

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
    """From where on an event is mild, moderate, severe."""

    mild: float
    moderate: float
    severe: float

    def severity(self, size: float) -> str:
        """Name the severity of an event that is at least mild."""
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
    dropout: Steps
    dropout_intervals: float


class Trends(_Part):
    """What counts as a trend, and how far ahead it is followed."""

    windows_days: tuple[float, ...]
    significance: float
    horizon_days: float


class Limits(_Part):
    """All of the file."""

    states: States
    supply: Supply
    vibration: tuple[VibrationClass, ...]
    temperature: float
    power_factor: float
    efficiency: Efficiency
    detection: Detection
    trends: Trends


def read_limits(path: Path = _FILE) -> Limits:
    """Read a file of limits.

    Raises:
        SettingsError: the file cannot be read, or an entry is wrong or missing; in one line.
    """
    try:
        return Limits.model_validate(read_document(path, "limits"))
    except ValidationError as error:
        place, message = first_problem(error)
        raise SettingsError(f"limits file {path}: {'.'.join(map(str, place))}: {message}") from error


LIMITS = read_limits()


def rated_kva(machine: Machine) -> float:
    """Give the rated apparent power in kVA: sqrt(3) * U * I with three phases (U between them), U * I with one."""
    return power_scale(machine) * machine.nominal_voltage * machine.rated_current


def power_scale(machine: Machine) -> float:
    """Give what V * A is multiplied by to get the kVA of all phases."""
    return (3.0**0.5 if machine.phases == 3 else 1.0) / 1000.0


def vibration_zones(machine: Machine, limits: Limits = LIMITS) -> Zones:
    """Give the upper bounds of zones A, B and C in mm/s for a machine of this size."""
    return next((kind.zones for kind in limits.vibration if rated_kva(machine) <= kind.up_to_kva), (0.0, 0.0, 0.0))
