"""The text `quality` of rows of several parts: the measurements that had a bad value, and still have no good one.

All values of `sensor_data` are written with their own write times, but `quality` is one text for the whole row. So its
write time grows with each change, and is never below that of a value: the text that knows more of the parts wins, and
it is the newest cell of its row.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Flags = npt.NDArray[np.bool_]
Times = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]


class Quality(NamedTuple):
    """k parts by key and arrival, g keys with their stored rows, and n measurements.

    `first` (g) is the first part of each key. `given` (k) is the text of each part, `has` (n, k) tells which values it
    has, and `adds` (k) whether the table lacks one of them. `record_time` (k) and `written` (k, -1: none) are its own
    time and the newest write time of its values that are no duplicates, in microseconds. `stored` (g, None: never
    written), `held` (n, g) and `newest` (g, -1: no row) are the text of the stored row, the values that it has, and its
    newest write time.
    """

    names: list[str]
    first: Positions
    given: npt.NDArray[Any]
    has: Flags
    adds: Flags
    record_time: Times
    written: Times
    stored: npt.NDArray[Any]
    held: Flags
    newest: Times


def joined_quality(row: Quality) -> tuple[Times, npt.NDArray[Any]]:
    """Return write time (-1: the stored text stays) and text of each key."""
    code, unique = pd.factorize(np.concatenate([row.given, row.stored]))
    sets = [set(text.split(",")) if text else set() for text in unique]
    # A name that is no longer declared has no values, and stays.
    names = [*row.names, *sorted(set().union(*sets) - set(row.names))]
    k, g = len(row.given), len(row.first)
    last = np.r_[row.first[1:], k] - 1
    key = np.repeat(np.arange(g), np.diff(np.r_[row.first, k]))

    # A text that was never written changes with the first part.
    changes = np.zeros(k, dtype=bool)
    changes[row.first] = code[k:] < 0
    bad_ones: list[tuple[str, Flags]] = []
    for number, name in enumerate(names):
        bad = np.array([*(name in each for each in sets), False])[code]
        if not bad.any():
            continue
        still = _so_far(bad[:k], bad[k:], row.first, key)
        if number < len(row.names):
            still &= ~_so_far(row.has[number], row.held[number], row.first, key)
        before = np.r_[False, still[:-1]]
        before[row.first] = bad[k:]
        changes |= still != before
        bad_ones.append((name, still[last]))
    return _write_times(row, changes, key), _texts(bad_ones, g)


def _so_far(part: Flags, stored: Flags, first: Positions, key: Positions) -> Flags:
    """Return for each part whether the stored row, this part or an earlier one of its key is marked."""
    total = np.cumsum(part)
    return np.asarray(stored[key] | (total > (total - part)[first][key]))


def _write_times(row: Quality, changes: Flags, key: Positions) -> Times:
    """Return the write time of each key's text, -1 if the stored one stays.

    After each part it is the newest one of its values, or the one before plus 1 if the text changes, whichever is
    larger. For r changes so far, this is the running maximum of (own time - r), plus r.
    """
    total = np.cumsum(changes)
    rank: Times = total - (total - changes)[row.first][key]
    own = np.where(changes, np.maximum(row.record_time, row.written), row.written)
    last = np.r_[row.first[1:], len(rank)] - 1
    newest = np.maximum(np.maximum.reduceat(own - rank, row.first), row.newest) + rank[last]
    # Values that lost to the stored ones, each time that they are read, are no reason to write.
    wanted = np.logical_or.reduceat(changes | row.adds, row.first) & (newest > row.newest)
    return np.where(wanted, newest, -1)


def _texts(bad_ones: list[tuple[str, Flags]], number: int) -> npt.NDArray[Any]:
    """Join the names that are bad of each key."""
    texts = np.full(number, "", dtype=object)
    for name, flags in bad_ones:
        texts[flags] = [f"{text},{name}" if text else name for text in texts[flags]]
    return texts
