"""Sums over rows with unmeasured values, which are excluded and counted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOT_MEASURED = "not measured"


def known(rows: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    """Return the known values of a column."""
    return [row[name] for row in rows if row.get(name) is not None]


def total(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Return the sum of the known values of a column; None if there are none."""
    return total_of(row.get(name) for row in rows)


def total_of(values: Iterable[float | None]) -> float | None:
    """Return the sum of the known values; None if there are none."""
    there = [value for value in values if value is not None]
    return float(sum(there)) if there else None


def mean(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Return the mean of the known values; None if there are none."""
    values = known(rows, name)
    return sum(values) / len(values) if values else None


def quotient(part: float | None, whole: float | None) -> float | None:
    """Divide a part by a whole; None if either is unknown or the whole is 0."""
    return part / whole if part is not None and whole else None


def left_out(values: Sequence[object], what: str = "machine") -> str:
    """Return how many unmeasured values a sum excludes, as text; empty if none."""
    missing = sum(value is None for value in values)
    if not missing:
        return ""
    if missing == len(values):
        return NOT_MEASURED
    return f"{missing:,} of {len(values):,} {what}s {NOT_MEASURED}"


def lags_of(row: Mapping[str, Any]) -> dict[str, int]:
    """Return the lag of each partition by its name, of a further topic as TOPIC/PARTITION; those of the topic first."""
    more = row.get("more_lags") or {}
    own = {str(partition): lag for partition, lag in sorted((row["lags"] or {}).items())}
    return own | {name: more[name] for name in sorted(more)}


def lag_of(row: Mapping[str, Any]) -> int | None:
    """Return the sum of the lag of all partitions; None if none was measured."""
    lags = lags_of(row)
    return sum(lags.values()) if lags else None
