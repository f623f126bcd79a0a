"""Classify each reading against all readings of its key and against the stored row.

For example, a key has the values 1, 1, 2 in this order. The second reading is a duplicate of the first, the third one
replaces it, and the first is conflicting. In general the readings of a key (equipment ID, timestamp) and its stored row
are in the order (record timestamp, partition, offset, index). A reading equal to the current one is a duplicate of it.
A different reading becomes the current one, and the previous one is conflicting, or superseded if it is the stored row.
The last current one is the row that the table must hold.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

LOADED: Final = 0
DUPLICATE: Final = 1
CONFLICTING: Final = 2
LATE_REJECTED: Final = 3
MERGED: Final = 4

# The watermark of a machine that has none yet: every reading is newer.
NO_WATERMARK: Final = np.iinfo(np.int64).min
# The year 5138: a producer may send any number, and microseconds must not overflow.
_LATEST_MS: Final = 10**14
ORDER: Final = ["record_time", "partition", "offset", "index"]

Flags = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Classes:
    """The outcome for n readings and m stored rows, in the order of the input.

    `code` (n) is one of the classes above. `write_time` (n, microseconds) and `replaces` (n) are valid only for loaded
    readings. `late` (n) marks the loaded ones at or below the watermark. `beaten_by` (m) is the reading that replaces a
    stored row, -1 if the row stays.
    """

    code: npt.NDArray[np.int8]
    write_time: npt.NDArray[np.int64]
    replaces: Flags
    late: Flags
    beaten_by: npt.NDArray[np.int64]


def classify(
    readings: pd.DataFrame, stored: pd.DataFrame, values: list[str], allowed_lateness: int | None = None
) -> Classes:
    """Return the class of each reading.

    Args:
        readings: n readings sorted by (equipment, timestamp), with columns `equipment` (a number), `timestamp` (ms),
            `watermark` (ms, `NO_WATERMARK` for none), the columns of ORDER, and the values.
        stored: the m stored rows of those keys that are at or below the watermark, unique, with columns `equipment`,
            `timestamp`, `write_time` (microseconds) and the values.
        values: names of the columns that two equal readings of a key have in common.
        allowed_lateness: ms that a reading which is not stored may be behind its watermark; None: any.
    """
    n = len(readings)
    code = np.full(n, LOADED, dtype=np.int8)
    write_time = known_time(readings["record_time"].to_numpy()) * 1000
    replaces = np.zeros(n, dtype=bool)
    beaten_by = np.full(len(stored), -1, dtype=np.int64)

    group = key_groups(readings)
    stored_of = stored_rows(readings, stored, group)
    contested = contested_keys(group, stored_of)
    if contested.any():
        where = np.flatnonzero(contested)
        rows = {name: stored[name].to_numpy() for name in ("write_time", *values)}
        line = line_up(taken(readings, [*ORDER, *values], where), rows, values, group[where], stored_of[where])
        found = contest(line, len(where))
        code[where] = found.code
        write_time[where] = found.write_time
        replaces[where] = found.replaces
        beaten_by[found.beaten] = where[found.beaten_by]

    late, too_late = lateness(readings, stored_of, allowed_lateness)
    late &= code == LOADED
    code[late & too_late] = LATE_REJECTED
    return Classes(code, write_time, replaces, late & ~too_late, beaten_by)


def taken(table: pd.DataFrame, names: list[str], where: Positions) -> Arrays:
    """Return columns of the rows at some positions, by name."""
    return {name: np.asarray(table[name].array.take(where)) for name in names}


def key_groups(sorted_readings: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Number the keys of readings sorted by (equipment, timestamp): 0, 0, 1, 2, 2, ..."""
    equipment, timestamp = sorted_readings["equipment"].to_numpy(), sorted_readings["timestamp"].to_numpy()
    return np.cumsum(first_of_keys(equipment, timestamp)) - 1


def first_of_keys(equipment: npt.NDArray[np.int64], timestamp: npt.NDArray[np.int64]) -> Flags:
    """Return which of sorted readings are the first one of their key."""
    first = np.ones(len(equipment), dtype=bool)
    first[1:] = (equipment[1:] != equipment[:-1]) | (timestamp[1:] != timestamp[:-1])
    return first


def contested_keys(group: Positions, stored_of: Positions) -> Flags:
    """Return whether each reading shares its key with another one or with a stored row."""
    contested = np.bincount(group)[group] > 1 if len(group) else np.zeros(0, dtype=bool)
    return np.asarray(contested | (stored_of >= 0))


def lateness(readings: pd.DataFrame, stored_of: Positions, allowed: int | None) -> tuple[Flags, Flags]:
    """Return which readings are late, and which of them are more than the allowed milliseconds behind."""
    timestamp, watermark = readings["timestamp"].to_numpy(), readings["watermark"].to_numpy()
    late = (timestamp <= watermark) & (stored_of < 0)
    if allowed is None:
        return late, np.zeros(len(late), dtype=bool)
    # A reading that is not late may have no watermark, and the difference would overflow.
    behind = np.where(late, watermark, timestamp) - timestamp
    return late, late & (behind > allowed)


def stored_rows(readings: pd.DataFrame, stored: pd.DataFrame, group: Positions) -> Positions:
    """Return the position of the stored row of each reading, -1 if there is none."""
    keys = np.flatnonzero(np.diff(group, prepend=-1))
    equipment, timestamp = (
        np.concatenate([stored[name].to_numpy(dtype=np.int64), readings[name].to_numpy(dtype=np.int64)[keys]])
        for name in ("equipment", "timestamp")
    )
    # The sort is stable, so a stored row comes directly before its key.
    order = np.lexsort((timestamp, equipment))
    row, key = order[:-1], order[1:]
    pairs = (equipment[row] == equipment[key]) & (timestamp[row] == timestamp[key])
    found = np.full(len(keys), -1, dtype=np.int64)
    found[key[pairs] - len(stored)] = row[pairs]
    return found[group]


class Line(NamedTuple):
    """k readings and their stored rows in order of key, then of arrival.

    `item` is the position of a reading, or k plus that of a stored row. `same` tells that an item has the values of
    the previous one. `time` (microseconds) is the record timestamp of a reading, or the write time of a stored row.
    """

    item: Positions
    group: Positions
    same: Flags
    time: npt.NDArray[np.int64]


def line_up(readings: Arrays, stored: Arrays, values: list[str], group: Positions, stored_of: Positions) -> Line:
    """Return the line of k readings that share their key with each other or with a stored row."""
    k, m = len(group), len(stored["write_time"])
    columns = [np.concatenate([readings[name], stored[name]]) for name in values]
    time = np.concatenate([known_time(readings["record_time"]) * 1000, stored["write_time"].astype(np.int64)])
    arrival = np.lexsort((*(readings[name] for name in reversed(ORDER)), group))

    place = np.empty(k + m)
    place[arrival] = np.arange(k)
    place[k:] = np.inf
    held = np.flatnonzero(stored_of >= 0)
    row = k + stored_of[held]
    # The write time of a stored row gives the record timestamp of its reading, but not the offset. Among readings of
    # this millisecond the row comes after the last one that equals it (that is its reading), or before all of them (its
    # reading came before).
    came = time[row] // 1000
    own = (time[held] // 1000 == came) & _equal(columns, held, row)
    before = (time[held] // 1000 < came) | own
    np.minimum.at(place, row, place[held] - 0.5)
    np.maximum.at(place, row[before], place[held[before]] + 0.5)

    rows = np.unique(row)
    group = np.r_[group, np.zeros(m, dtype=np.int64)]
    group[row] = group[held]
    items = np.r_[np.arange(k), rows]
    items = items[np.lexsort((place[items], group[items]))]
    same = np.zeros(len(items), dtype=bool)
    same[1:] = _equal(columns, items[1:], items[:-1])
    return Line(items, group[items], same, time[items])


class Contest(NamedTuple):
    """The outcome for k readings, and for the stored rows at `beaten`."""

    code: npt.NDArray[np.int8]
    write_time: npt.NDArray[np.int64]
    replaces: Flags
    beaten: Positions
    beaten_by: Positions


def contest(line: Line, k: int) -> Contest:
    """Classify k readings that share their key with another reading or a stored row."""
    is_stored = line.item >= k
    new_group = np.r_[True, line.group[1:] != line.group[:-1]]
    new_holder = new_group | ~line.same
    holder = np.cumsum(new_holder) - 1
    last = np.r_[new_group[1:], True]
    wins = np.zeros(holder[-1] + 1, dtype=bool)
    wins[holder[last]] = True
    # A stored row represents all readings that are equal to it, so reading them again writes nothing.
    has_stored = np.zeros(len(wins), dtype=bool)
    has_stored[holder[is_stored]] = True

    keeps = is_stored | (new_holder & ~has_stored[holder])
    outcome = np.where(keeps, np.where(wins[holder], LOADED, CONFLICTING), DUPLICATE).astype(np.int8)
    lost = is_stored & ~wins[holder]
    first_holder = holder[new_group][np.cumsum(new_group) - 1]
    mine = np.argsort(line.item)[:k]
    return Contest(
        code=outcome[mine],
        write_time=_write_times(line, keeps)[mine],
        replaces=((outcome == LOADED) & (holder > first_holder))[mine],
        beaten=line.item[lost] - k,
        beaten_by=line.item[np.flatnonzero(new_holder)[holder[lost] + 1]],
    )


def known_time(record_time: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return record timestamps (ms), 0 if a producer sent none, and small enough to be counted in microseconds."""
    return np.clip(record_time, 0, _LATEST_MS).astype(np.int64)


def _equal(columns: list[npt.NDArray[Any]], left: Positions, right: Positions) -> Flags:
    """Compare items at n pairs of positions; a missing value equals a missing value."""
    same = np.ones(len(left), dtype=bool)
    for column in columns:
        a, b = column[left], column[right]
        same &= np.asarray(a == b, dtype=bool) | (pd.isna(a) & pd.isna(b))
    return same


def _write_times(line: Line, keeps: Flags) -> npt.NDArray[np.int64]:
    """Return for each holder the larger of its own time and the previous holder's write time plus 1 (microseconds).

    For the holder number r of its key, this is the running maximum of (own time - r), plus r.
    """
    starts = np.flatnonzero(np.diff(line.group, prepend=-1))
    lengths = np.diff(starts, append=len(line.group))
    kept = np.cumsum(keeps)
    rank: npt.NDArray[np.int64] = kept - np.repeat(kept[starts] - keeps[starts], lengths)
    highest = np.where(keeps, line.time - rank, np.iinfo(np.int64).min)
    # After each step an item holds the maximum of twice as many items up to it.
    step = 1
    while step < lengths.max():
        same = line.group[step:] == line.group[:-step]
        highest[step:] = np.where(same, np.maximum(highest[step:], highest[:-step]), highest[step:])
        step *= 2
    return highest + rank
