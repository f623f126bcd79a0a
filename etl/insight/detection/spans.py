"""Stretches of rows: where something is off for long enough, when it began and whether it is ongoing."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# First and last row of a stretch.
Span = tuple[int, int]
# Start and end of an event in ms since 1970; None: it lasts.
Times = tuple[float, float | None]


def find_spans(
    time: Floats | Integers, flagged: Flags, step: float, *, join: float | None, shortest: float = 0.0
) -> Iterator[Span]:
    """Yield the stretches of flagged rows.

    Args:
        time: begin of each row in ms, ascending; shape (n,).
        flagged: the rows in question; shape (n,).
        step: ms that a row stands for.
        join: ms; stretches with shorter gaps between them are one; None: a row that is not flagged parts two
            stretches, a gap of rows does not.
        shortest: ms; shorter stretches are left out.
    """
    rows = np.flatnonzero(flagged)
    if not len(rows):
        return
    cuts = np.flatnonzero(np.diff(rows) > 1 if join is None else np.diff(time[rows]) > join + step)
    for begin, end in zip(rows[np.append(0, cuts + 1)], rows[np.append(cuts, len(rows) - 1)], strict=True):
        if time[end] + step - time[begin] >= shortest:
            yield int(begin), int(end)


def is_ongoing(time: Floats | Integers, end: int, until: int, within: float, rows: int = 1) -> bool:
    """Return whether a stretch up to row `end` is ongoing: it ends in the last `rows` rows, up to `within` ms ago."""
    return bool(end >= len(time) - rows and until - time[end] <= within)


def peak_row(values: Floats, span: Span) -> int:
    """Return the row of the largest value in a stretch."""
    return span[0] + int(np.nanargmax(values[span[0] : span[1] + 1]))


def last_below(values: Floats, begin: int, bound: float) -> int:
    """Return the last row before `begin` with a value below a bound; 0 if there is none."""
    rows = np.flatnonzero(values[:begin] < bound)
    return int(rows[-1]) if len(rows) else 0
