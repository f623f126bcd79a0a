"""Clean readings: convert timestamps to UTC milliseconds, round and check values, reject unusable readings."""

from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from etl.model.measurements import Measurement, Measurements
from etl.model.timestamps import MISSING, to_milliseconds

# One wrong clock must not move a watermark for years.
FUTURE_MS: Final = 3_600_000
# A larger double has no digits left to round, and rounding could overflow.
_UNROUNDABLE: Final = 1e15

Flags = npt.NDArray[np.bool_]
Values: TypeAlias = "npt.NDArray[np.float64] | pd.Series[str]"


class Times(NamedTuple):
    """Bounds of timestamps in UTC milliseconds: the oldest valid one, and the time at which records were read."""

    oldest: int
    read: int


def clean(
    readings: pa.Table, measurements: Measurements, machines: dict[str, int], times: Times
) -> tuple[pa.Table, pa.Table]:
    """Clean one file of consumed readings.

    Args:
        readings: n readings by `schemas.consumed`.
        measurements: the declared measurements.
        machines: a number for each equipment ID; the function adds new ones.
        times: the bounds of timestamps.

    Returns:
        The good readings: equipment (number), timestamp (ms), the measurements (rounded; NaN or null if missing),
        quality, the four columns of the order, and row, the position in `readings`. Then the rejected readings: row,
        reason and detail.
    """
    n = readings.num_rows
    timestamp = _timestamps(readings)
    reasons = _Reasons(n)
    _check_times(reasons, timestamp, readings["record_time"].to_numpy(), times)
    columns, bad = _measured(readings, measurements, reasons)

    good = reasons.code == 0
    table = pa.table(
        {
            "equipment": machine_numbers(readings["equipment_id"], machines),
            "timestamp": timestamp,
            **{name: pa.array(values) for name, values in columns.items()},
            "quality": _quality(n, bad, readings["bad"]),
            **{name: readings[name] for name in ("record_time", "partition", "offset", "index")},
            "row": np.arange(n, dtype=np.int32),
        }
    )
    return (table if good.all() else table.filter(pa.array(good))), reasons.table()


def _measured(
    readings: pa.Table, measurements: Measurements, reasons: "_Reasons"
) -> tuple[dict[str, Values], dict[str, Flags]]:
    """Return the values of each measurement, and flags of bad ones if any; reject readings without values."""
    columns: dict[str, Values] = {}
    bad, present = {}, np.zeros(readings.num_rows, dtype=bool)
    wrong_type = _named(readings["bad"], measurements)
    for measurement in measurements.declared:
        values, unusable = _values(readings[measurement.name], measurement)
        if measurement.name in wrong_type:
            unusable |= wrong_type[measurement.name]
        columns[measurement.name] = values
        given = ~pd.isna(values)
        present |= np.asarray(given)
        if unusable.any():
            bad[measurement.name] = unusable
        if measurement.required:
            reasons.add(unusable | ~np.asarray(given), "required", f"{measurement.name} is required: bad or missing")
    reasons.add(~present, "no-measurement", "no usable measurement")
    return columns, bad


def _check_times(
    reasons: "_Reasons", timestamp: npt.NDArray[np.int64], record_time: npt.NDArray[np.int64], times: Times
) -> None:
    reasons.add(timestamp == MISSING, "timestamp", "no timestamp, or neither ISO 8601 nor an epoch number")
    reasons.add(timestamp < 0, "before-1970", "timestamp before 1970")
    oldest = datetime.fromtimestamp(times.oldest / 1000, UTC).isoformat().removesuffix("T00:00:00+00:00")
    reasons.add(
        timestamp < times.oldest,
        "past",
        f"timestamp before {oldest} (ETL_TRANSFORM_OLDEST): a clock that was never set, or no epoch number",
    )
    # A record without a time has -1. If producers set the time, their clocks may be as wrong as those of gateways.
    believed = (record_time >= times.oldest) & (record_time <= times.read)
    reasons.add(
        timestamp > np.where(believed, record_time, times.read) + FUTURE_MS,
        "future",
        "timestamp more than an hour after the record's, or after the record was read",
    )


class _Reasons:
    """The first reason to reject each reading."""

    def __init__(self, n: int) -> None:
        self.code = np.zeros(n, dtype=np.uint8)
        self.texts = [("", "")]

    def add(self, against: Flags, reason: str, detail: str) -> None:
        if against.any():
            self.code[against & (self.code == 0)] = len(self.texts)
            self.texts.append((reason, detail))

    def table(self) -> pa.Table:
        row = np.flatnonzero(self.code)
        of = [self.texts[code] for code in self.code[row]]
        return pa.table(
            {
                "row": pa.array(row, pa.int64()),
                "reason": pa.array([reason for reason, _ in of], pa.string()),
                "detail": pa.array([detail for _, detail in of], pa.string()),
            }
        )


def _timestamps(readings: pa.Table) -> npt.NDArray[np.int64]:
    typed = readings["timestamp_ms"]
    timestamp: npt.NDArray[np.int64] = typed.fill_null(MISSING).to_numpy().copy()
    if typed.null_count and readings["timestamp"].null_count < len(timestamp):
        text = timestamp == MISSING
        timestamp[text] = to_milliseconds(readings["timestamp"].to_pandas()[text])
    return timestamp


def _values(column: pa.ChunkedArray, measurement: Measurement) -> tuple[Values, Flags]:
    """Return the rounded values of a measurement, missing if absent or bad, and flags of bad ones."""
    if measurement.type == "text":
        return column.to_pandas(), np.zeros(len(column), dtype=bool)
    values: npt.NDArray[np.float64] = column.to_numpy()
    bad = ~np.isfinite(values)
    if column.null_count:
        bad &= column.is_valid().to_numpy()
    if measurement.minimum is not None:
        bad |= values < measurement.minimum
    if measurement.maximum is not None:
        bad |= values > measurement.maximum
    if measurement.decimals is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.round(values, measurement.decimals)
        values = np.where(np.abs(values) < _UNROUNDABLE, rounded, values)
    # Adding zero turns -0.0 into 0.0, bit for bit.
    return np.where(bad, np.nan, values + 0.0), bad


def _named(column: pa.ChunkedArray, measurements: Measurements) -> dict[str, Flags]:
    """Convert the comma-joined names of a column to flags by name."""
    if column.null_count == len(column):
        return {}
    names = column.to_pandas().str.split(",")
    return {
        name: names.map(lambda of, name=name: name in of, na_action="ignore").eq(True).to_numpy(dtype=bool)
        for name in measurements.names
    }


def _quality(n: int, bad: dict[str, Flags], entries: pa.ChunkedArray) -> pa.Array:
    """Join the names of the bad measurements of each reading, then its notes; empty means good."""
    quality = np.full(n, "", dtype=object)
    for name, flags in bad.items():
        quality[flags] = [f"{text},{name}" if text else name for text in quality[flags]]
    if entries.null_count < n:
        for row, given in enumerate(entries.to_pylist()):
            notes = [entry for entry in (given or "").split(",") if "=" in entry]
            if notes:
                # A note replaces the bare name of its measurement.
                noted = {note.partition("=")[0] for note in notes}
                names = [name for name in quality[row].split(",") if name and name not in noted]
                quality[row] = ",".join([*names, *notes])
    return pa.array(quality, pa.string())


def machine_numbers(column: pa.ChunkedArray, machines: dict[str, int]) -> pa.Array:
    """Return the number of the machine of each equipment ID; add new ones to `machines`."""
    encoded = column.combine_chunks().dictionary_encode()
    numbers = [machines.setdefault(name, len(machines)) for name in encoded.dictionary.to_pylist()]
    return pa.array(numbers, pa.int64()).take(encoded.indices)
