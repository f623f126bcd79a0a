"""A recorded file without any usable reading: one line with the probable cause."""

import re
from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from etl.model.measurements import Measurements

_CAUSES = {
    "timestamp": "`timestamp` of the mapping may need another `format`",
    "missing-key": "`equipment` of the mapping may name the wrong column",
    "no-measurement": "`measurements` of the mapping may name the wrong columns, or `missing` too much",
    "undecodable": "`encoding` of a file, or `record` of a topic, may be another",
    "schema": "`readings` of the mapping may name another path",
}


def any_usable(readings: pa.Table, measurements: Measurements) -> bool:
    """Return whether any of these readings (schema `generated`) has a value."""
    return any(readings[name].null_count < len(readings) for name in measurements.names)


def all_rejected(readings: int, letters: Iterable[pa.Table]) -> str:
    """Return a line that states why nothing in a file is usable.

    Args:
        readings: number of readings, all without a usable value.
        letters: the lines that are not readings, by `DEAD_LETTERS`.
    """
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for table in letters:
        reasons.update(table["reason"].to_pylist())
        for reason in set(reasons) - set(examples):
            row = table["reason"].to_pylist().index(reason)
            examples[reason] = f"{table['file'][row]}:{table['line'][row]}: {table['detail'][row]}"
    if readings >= sum(reasons.values()):
        return (
            f"no cell of the recorded file's {readings:,} readings holds a value, and transform will keep them as dead"
            " letters: `decimal`, `thousands` or `missing` of the mapping may be others"
        )
    reason, _ = reasons.most_common(1)[0]
    cause = likely_cause(reason, examples[reason])
    return (
        f"all {sum(reasons.values()) + readings:,} lines of the recorded file were rejected, kept as dead letters:"
        f" {examples[reason]}; {cause}"
    )


def likely_cause(reason: str, detail: str) -> str:
    """Return the entry of the mapping that is probably wrong if everything is rejected for this reason."""
    return _CAUSES.get(reason) or _wrong_form(detail)


def _wrong_form(detail: str) -> str:
    if fields := re.search(r"(\d+) fields instead of (\d+)", detail):
        got, expected = int(fields[1]), int(fields[2])
        if got == expected + 1:
            return (
                "the line of column names may lack a name, such as that of row numbers: add all by `header` and `skip`"
            )
        return "the first line may not be that of the column names, or `delimiter` of the mapping may be another"
    return "`format` of the mapping may be another"
