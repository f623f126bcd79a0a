"""Faults of synthetic machines, each with a label: machine, kind, severity, start and end.

Seed, equipment ID, kind and week alone determine whether a machine has a fault and which one, as in `signals`. Kinds,
durations and sizes are in `faults.yaml`. A fault begins and ends within its week, which begins on Monday at 00:00 UTC.
The analysis must not import this module, because its events are compared with these labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from etl.errors import SettingsError
from etl.model.events import SEVERITIES
from etl.model.schemas import TIMESTAMP
from etl.model.yaml_file import first_problem, read_document

# Shortest and longest duration in hours, and size, by severity, by kind.
Kinds = dict[str, dict[str, tuple[float, float, float]]]
_FILE = Path(__file__).with_name("faults.yaml")
LABELS = pa.schema(
    [
        pa.field("equipment_id", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("severity", pa.string()),
        pa.field("measurement", pa.string()),
        pa.field("start", TIMESTAMP),
        pa.field("end", TIMESTAMP),
    ]
)
# A sensor fault affects one of these; the electric meter measures the others.
SENSORS = ("temperature", "vibration", "pressure", "humidity")
SENSOR_KINDS = ("sensor_stuck", "sensor_drift")
SIGNED_KINDS = ("frequency_excursion", "sensor_drift")
HEATING = ("overheating", "phase_imbalance")
# A disturbance of the grid affects every machine of the plant.
PLANT_KINDS = ("frequency_excursion",)

HOUR = 3_600_000
WEEK = 168 * HOUR
_MONDAY = 4 * 24 * HOUR  # the first Monday after 1970-01-01
_SEVERITY_SHARES = np.array([0.4, 0.75])
# The time constant of heating and cooling, and the time after which no excess heat is left.
_INERTIA, _COOLED = HOUR // 2, 3 * HOUR

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Draws from [0, 1) for a name and a week; shape (machines,), or (1,) for the whole plant.
Draw = Callable[[str, int], Floats]


@dataclass(frozen=True)
class Fault:
    """A fault of the machine at `place` in its plant, from `start` up to before `end` (ms since 1970 in UTC).

    `size` is as in `faults.yaml`, with its sign; `measurement` is that of a sensor fault, else empty.
    """

    kind: str
    place: int
    severity: str
    start: int
    end: int
    size: float
    measurement: str = ""

    @property
    def felt_until(self) -> int:
        """The time from which on no effect is left, including cooling."""
        return self.end + (_COOLED if self.kind in HEATING else 0)


@cache
def kinds(path: Path = _FILE) -> Kinds:
    """Read the kinds of faults.

    Raises:
        SettingsError: the file cannot be read, or an entry is wrong; the message has one line.
    """
    try:
        found = TypeAdapter(Kinds).validate_python(read_document(path, "faults"))
    except ValidationError as error:
        place, message = first_problem(error)
        raise SettingsError(f"faults file {path}: {'.'.join(map(str, place))}: {message}") from error
    for kind, sizes in found.items():
        if missing := [severity for severity in SEVERITIES if severity not in sizes]:
            raise SettingsError(f"faults file {path}: {kind}.{missing[0]}: Field required")
    return found


def schedule(machines: int, draw: Draw, draw_plant: Draw, rate: float, start: int, end: int) -> list[Fault]:
    """Return the faults with an effect in [`start`, `end`), by kind, week and machine.

    Args:
        machines: number of machines.
        draw: random numbers of each machine.
        draw_plant: random numbers that all machines share.
        rate: faults expected per machine and week, all kinds together.
        start: milliseconds since 1970 in UTC.
        end: the same.
    """
    if not rate:
        return []
    weeks = range((start - _COOLED - _MONDAY) // WEEK, (end - 1 - _MONDAY) // WEEK + 1)
    found = [
        fault
        for kind in kinds()
        for week in weeks
        for fault in _of_week(kind, week, machines, draw_plant if kind in PLANT_KINDS else draw, rate)
    ]
    return [fault for fault in found if fault.start < end and fault.felt_until > start]


def _of_week(kind: str, week: int, machines: int, draw: Draw, rate: float) -> Iterator[Fault]:
    happens, severities, lengths, starts, sensors, signs = (
        np.broadcast_to(draw(f"fault/{kind}/{name}", week), machines)
        for name in ("happens", "severity", "length", "start", "sensor", "sign")
    )
    for place in np.flatnonzero(happens < rate / len(kinds())).tolist():
        severity = SEVERITIES[int(_SEVERITY_SHARES.searchsorted(severities[place], side="right"))]
        shortest, longest, size = kinds()[kind][severity]
        length = int((shortest + (longest - shortest) * lengths[place]) * HOUR)
        start = _MONDAY + week * WEEK + int((WEEK - length) * starts[place])
        sensor = SENSORS[int(sensors[place] * len(SENSORS))] if kind in SENSOR_KINDS else ""
        sign = -1 if kind in SIGNED_KINDS and signs[place] < 0.5 else 1
        yield Fault(kind, place, severity, start, start + length, sign * size, sensor)


def strength(fault: Fault, times: Integers) -> Floats:
    """Return the factor of the fault at each time (`frequency_excursion`: the summand in Hz); shape of `times`.

    Wear, decay and drift grow from nothing to their full size at the end, when they are repaired. Heat follows its
    cause with a lag. All others have their full size at once.
    """
    progress = (times - fault.start) / (fault.end - fault.start)
    if fault.kind == "bearing_wear":
        return 1.0 + (fault.size - 1.0) * progress * progress
    if fault.kind == "power_factor_decay":
        return 1.0 + (fault.size - 1.0) * progress
    if fault.kind == "sensor_drift":
        return 1.0 + fault.size * progress
    return np.full(np.shape(times), fault.size)


def heating(fault: Fault, times: Integers) -> Floats:
    """Return the factor of the machine's temperature rise at each time, also while it cools."""
    # Losses grow with the square of the current.
    full = fault.size * fault.size if fault.kind == "phase_imbalance" else fault.size
    warmed = (np.minimum(times, fault.end) - fault.start) / _INERTIA
    left = np.clip(1.0 - (times - fault.end) / _COOLED, 0.0, 1.0)
    return 1.0 + (full - 1.0) * warmed / (1.0 + warmed) * left * left


def labels(faults: Sequence[Fault], equipment_ids: Sequence[str]) -> pa.Table:
    """Return faults as a table of schema `LABELS`, in their order."""
    columns = [
        [equipment_ids[fault.place] for fault in faults],
        [fault.kind for fault in faults],
        [fault.severity for fault in faults],
        [fault.measurement or None for fault in faults],
        [fault.start for fault in faults],
        [fault.end for fault in faults],
    ]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, LABELS, strict=True)], schema=LABELS
    )
