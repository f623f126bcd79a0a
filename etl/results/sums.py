"""Sums over rows in which a machine may not measure something: what is not measured is left out, and said."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOT_MEASURED = "not measured"


def known(rows: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    """Return the values of a column that are there."""
    return [row[name] for row in rows if row.get(name) is not None]


def total(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Add up what is there; None if nothing is."""
    return total_of(row.get(name) for row in rows)


def total_of(values: Iterable[float | None]) -> float | None:
    """Add up those that are there; None if none is."""
    there = [value for value in values if value is not None]
    return float(sum(there)) if there else None


def mean(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Return the mean of what is there; None if nothing is."""
    values = known(rows, name)
    return sum(values) / len(values) if values else None


def quotient(part: float | None, whole: float | None) -> float | None:
    """Divide a part by a whole; None where either is unknown or the whole is nothing."""
    return part / whole if part is not None and whole else None


def left_out(values: Sequence[object], what: str = "machine") -> str:
    """Say how many of some values a sum leaves out, as they are not measured; empty if none."""
    missing = sum(value is None for value in values)
    if not missing:
        return ""
    if missing == len(values):
        return NOT_MEASURED
    return f"{missing:,} of {len(values):,} {what}s {NOT_MEASURED}"


def lag_of(row: Mapping[str, Any]) -> int | None:
    """Add up the lag of all partitions; None if none was measured."""
    return sum(row["lags"].values()) if row["lags"] else None
