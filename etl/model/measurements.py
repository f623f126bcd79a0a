"""The measurements of a reading, declared in one YAML file."""

import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pyarrow as pa

from etl.errors import SettingsError
from etl.model.yaml_file import read_document

DEFAULT_FILE = Path(__file__).with_name("measurements.yaml")
MAX_TEXT_BYTES = 4096
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_TAKEN = frozenset(
    {"equipment_id", "day", "timestamp", "quality", "write_time", "replaces", "json", "bad", "replays"}
    | {"partition", "offset", "index", "record_time", "timestamp_ms", "equipment", "row", "file", "watermark"}
)
_KEYS = frozenset({"type", "unit", "decimals", "range", "required"})


@dataclass(frozen=True)
class Measurement:
    """One declared measurement; `minimum` and `maximum` are in `unit`, None if there is no bound."""

    name: str
    type: Literal["double", "text"]
    unit: str = ""
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    required: bool = False

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of its column, from the topic to the table."""
        return pa.float64() if self.type == "double" else pa.string()


@dataclass(frozen=True)
class Measurements:
    """All declared measurements in the order of the file."""

    declared: tuple[Measurement, ...]

    @property
    def names(self) -> list[str]:
        """The names in declared order."""
        return [measurement.name for measurement in self.declared]

    @property
    def fields(self) -> list[pa.Field]:
        """One nullable Arrow field per measurement, in declared order."""
        return [pa.field(measurement.name, measurement.arrow) for measurement in self.declared]

    @cached_property
    def sha256(self) -> str:
        """The hash of the declarations, which does not depend on the layout of their file."""
        return hashlib.sha256(json.dumps([asdict(m) for m in self.declared]).encode()).hexdigest()


def read_measurements(path: Path | None = None) -> Measurements:
    """Read the declarations from a YAML file; without a path, the default ones.

    Raises:
        SettingsError: the file cannot be read, or a declaration is wrong; the message names both.
    """
    path = path or DEFAULT_FILE
    document = read_document(path, "measurement")
    declared = document.get("measurements") if isinstance(document, dict) else None
    if not isinstance(declared, dict) or not declared:
        raise SettingsError(f"measurement file {path}: expected a mapping `measurements:` with at least one entry")
    try:
        return Measurements(tuple(_measurement(name, entry) for name, entry in declared.items()))
    except ValueError as error:
        raise SettingsError(f"measurement file {path}: {error}") from error


def _measurement(name: object, entry: object) -> Measurement:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{_shown(name)} is no name: use lower-case letters, digits and _, at most 48")
    if name in _TAKEN:
        raise ValueError(f"{name!r} is a column of the pipeline itself: choose another name")
    if not isinstance(entry, Mapping):
        raise ValueError(f"{name}: expected a mapping such as {{type: double, unit: V}}")
    if unknown := set(entry) - _KEYS:
        raise ValueError(f"{name}: unknown key {_shown(min(map(str, unknown)))}; known are {', '.join(sorted(_KEYS))}")
    kind, unit, required = entry.get("type", "double"), entry.get("unit", ""), entry.get("required", False)
    if kind not in ("double", "text"):
        raise ValueError(f"{name}: type must be double or text, not {_shown(kind)}")
    if not isinstance(unit, str):
        raise ValueError(f"{name}: unit must be text, not {_shown(unit)} (put it in quotes)")
    if not isinstance(required, bool):
        raise ValueError(f"{name}: required must be true or false, not {_shown(required)}")
    decimals, bounds = entry.get("decimals"), entry.get("range")
    if kind == "text" and (decimals is not None or bounds is not None):
        raise ValueError(f"{name}: decimals and range are for type double only")
    if decimals is not None and not (type(decimals) is int and 0 <= decimals <= 15):
        raise ValueError(f"{name}: decimals must be a whole number from 0 to 15, not {_shown(decimals)}")
    low, high = _bounds(name, bounds)
    return Measurement(name, "double" if kind == "double" else "text", unit, decimals, low, high, required)


def _shown(value: object) -> str:
    """Return a value of the file as short text: aliases of YAML can make it as large as one likes."""
    return _SHORT.repr(value)


def _bounds(name: str, bounds: object) -> tuple[float | None, float | None]:
    if bounds is None:
        return None, None
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise ValueError(f"{name}: range must be [lowest, highest], not {_shown(bounds)}")
    if not all(b is None or (isinstance(b, int | float) and not isinstance(b, bool) and b == b) for b in bounds):
        raise ValueError(f"{name}: the bounds of range must be numbers or null, not {_shown(bounds)}")
    try:
        low, high = (None if b is None else float(b) for b in bounds)
    except OverflowError:
        raise ValueError(f"{name}: a bound of range is larger than a double: {_shown(bounds)}") from None
    if low is not None and high is not None and low > high:
        raise ValueError(f"{name}: range begins above its end: {_shown(bounds)}")
    return low, high
