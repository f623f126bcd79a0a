"""Readings as arrays, and their spread over groups such as minutes and hours."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from etl.insight.indicators.times import times_of
from etl.insight.limits import power_scale
from etl.model.catalogue import Machine

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_NO_MEASUREMENTS = frozenset({"equipment_id", "day", "timestamp", "quality"})


class Readings(NamedTuple):
    """Readings as arrays of shape (n,): times in ms since 1970, values by measurement (NaN: missing), 1 where bad."""

    times: Integers
    values: dict[str, Floats]
    bad: Floats


class Spread(NamedTuple):
    """Lowest, mean and highest value by group, shape (groups,) each; NaN where a group has no value."""

    lowest: Floats
    mean: Floats
    highest: Floats

    def at(self, places: Integers, size: int) -> "Spread":
        """Put the groups at their places among `size`; NaN elsewhere."""
        placed = Spread(*(np.full(size, np.nan) for _ in self))
        for target, source in zip(placed, self, strict=True):
            target[places] = source
        return placed


def readings_within(table: pa.Table, start: int, end: int) -> Readings:
    """Read the readings from `start` up to before `end`, in ms; measurements are the columns of numbers."""
    times = times_of(table)
    inside = slice(*np.searchsorted(times, (start, end)).tolist())
    values = {
        field.name: table[field.name].to_numpy().astype(np.float64, copy=False)[inside]
        for field in table.schema
        if field.name not in _NO_MEASUREMENTS and pa.types.is_floating(field.type)
    }
    return Readings(times[inside], values, _bad(table)[inside])


def _bad(table: pa.Table) -> Floats:
    if "quality" not in table.column_names:
        return np.zeros(len(table))
    return np.asarray(pa.compute.fill_null(pa.compute.not_equal(table["quality"], ""), False).to_numpy(), float)


def powers(values: Mapping[str, Floats], machine: Machine) -> tuple[Floats, Floats] | None:
    """Return active power in kW and reactive power in kvar, shape (n,) each; None where a measurement is missing.

    P = sqrt(3) * U * I * cos phi with three phases (U between them), U * I * cos phi with one; Q = sqrt(S**2 - P**2)
    (IEEE 1459, sinusoidal and balanced).
    """
    if not {"voltage", "current", "power_factor"} <= values.keys():
        return None
    factor = values["power_factor"]
    apparent = power_scale(machine) * values["voltage"] * values["current"]
    return apparent * np.abs(factor), apparent * np.sqrt(np.maximum(0.0, 1.0 - factor * factor))


def group_sums(values: Floats, starts: Integers) -> Floats:
    """Return the sum of each group that begins at `starts`; shape (groups,)."""
    return np.asarray(np.add.reduceat(values, starts)) if len(starts) else np.zeros(0)


def group_means(values: Floats, starts: Integers) -> Floats:
    """Return the mean of the values that are there in each group; shape (groups,), NaN where there are none."""
    there = np.isfinite(values)
    count = group_sums(there.astype(np.float64), starts)
    total = group_sums(np.where(there, values, 0.0), starts)
    return np.asarray(np.divide(total, count, np.full(len(starts), np.nan), where=count > 0))


def group_spread(values: Floats, starts: Integers) -> Spread:
    """Return lowest, mean and highest value of each group that begins at `starts`."""
    if not len(starts):
        return Spread(np.zeros(0), np.zeros(0), np.zeros(0))
    return Spread(np.fmin.reduceat(values, starts), group_means(values, starts), np.fmax.reduceat(values, starts))
