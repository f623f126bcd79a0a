"""Join the parts of each key to one row: `classify` for every measurement by itself, and the row's `quality`.

For example, one part of a key has the voltage, a second one the current, and a third one another voltage. The row has
the third part's voltage and the second part's current, each with a write time of its own; the first part is
conflicting. In general the values of one measurement of a key, the stored one among them, are in the same order as
whole readings are otherwise, and the last one is the row's. So parts of several runs give the row that they would give
in one run.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.stages.transform.classify import (
    CONFLICTING,
    DUPLICATE,
    LATE_REJECTED,
    LOADED,
    MERGED,
    ORDER,
    Arrays,
    Flags,
    Positions,
    contest,
    contested_keys,
    key_groups,
    known_time,
    lateness,
    line_up,
    stored_rows,
    taken,
)
from etl.stages.transform.lookup import time_of
from etl.stages.transform.quality import Quality, joined_quality

Times = npt.NDArray[np.int64]
_NO_CELL: Final = -1
_NOWHERE: Final = np.zeros(0, dtype=np.int64)
_NONE_BEATEN: Final = pd.DataFrame({"stored": [], "by": [], "measurement": []})


@dataclass(frozen=True)
class Merged:
    """The outcome for n parts.

    `code` (n) is the class of each part, and `late` (n) marks the loaded and merged ones at or below the watermark.
    `writes` has a line for each key and write time, sorted by both: `position` (of a part of the key), `write_time`
    (microseconds), the measurements and `quality`; what is missing stays as it is in the table. `beaten` has a line for
    each stored value that a part replaces: `stored` and `by` (positions of row and part) and `measurement`.
    """

    code: npt.NDArray[np.int8]
    late: Flags
    writes: pd.DataFrame
    beaten: pd.DataFrame


def merge(readings: pd.DataFrame, stored: pd.DataFrame, names: list[str], allowed_lateness: int | None) -> Merged:
    """Return the class of each part, and the values to write.

    Args:
        readings: n parts sorted by (equipment, timestamp), with the columns that `classify` takes, the measurements
            and `quality`.
        stored: the m stored rows of those keys that are at or below the watermark, unique, with columns `equipment`,
            `timestamp`, the measurements, the write time of each (`time_of`), `quality` (null if never written) and
            `write_time`, that of quality. A write time is -1 if there is no value.
        names: names of the measurements.
        allowed_lateness: ms that a part of a key which is not stored may be behind its watermark; None: any.
    """
    code = np.full(len(readings), LOADED, dtype=np.int8)
    group = key_groups(readings)
    stored_of = stored_rows(readings, stored, group)
    contested = contested_keys(group, stored_of)
    late, too_late = lateness(readings, stored_of, allowed_lateness)
    whole = np.flatnonzero(~contested & ~too_late)
    beaten = _NONE_BEATEN

    if not contested.any():
        writes = _whole(readings, names, whole)
    else:
        where = np.flatnonzero(contested)
        by_arrival = np.lexsort((*(readings[name].to_numpy()[where] for name in reversed(ORDER)), group[where]))
        where = where[by_arrival]
        table = taken(readings, [*ORDER, "quality", *names], where)
        parts = _Parts(table, where, group[where], stored_of[where])
        columns = ["write_time", "quality", *names, *map(time_of, names)]
        rows = {name: stored[name].to_numpy() for name in columns} if len(stored) else None
        cells = [_contest_cells(parts, rows, name) for name in names]
        code[where] = _classes(parts, cells)
        joined = _lines(parts, cells, joined_quality(_for_quality(parts, cells, rows)), too_late)
        writes = _in_order(_whole(readings, names, whole), joined, group) if len(whole) else joined
        beaten = _beaten(cells, where)

    late &= (code == LOADED) | (code == MERGED)
    code[late & too_late] = LATE_REJECTED
    return Merged(code, late & ~too_late, writes, beaten)


class _Parts(NamedTuple):
    """k parts that share their key with each other or with a stored row, by key and arrival."""

    table: Arrays
    position: Positions
    group: Positions
    stored_of: Positions


class _Cells(NamedTuple):
    """The values of one measurement in k parts: class (`_NO_CELL`: no value), and write time of values not duplicate.

    `beaten` are positions of stored rows whose value is replaced, `beaten_by` those of the parts that do so.
    """

    name: str
    code: npt.NDArray[np.int8]
    time: Times
    beaten: Positions
    beaten_by: Positions


def _contest_cells(parts: _Parts, stored: Arrays | None, name: str) -> _Cells:
    """Classify the values of one measurement, as if there were no other."""
    there = np.flatnonzero(pd.notna(parts.table[name]))
    group, stored_of = parts.group[there], parts.stored_of[there]
    if stored:
        # A row without this value counts as none.
        stored_of = np.where(stored[time_of(name)][stored_of] >= 0, stored_of, -1)
    code = np.full(len(parts.group), _NO_CELL, dtype=np.int8)
    code[there] = LOADED
    time = known_time(parts.table["record_time"]) * 1000
    alone = stored_of < 0
    alone[1:] &= group[1:] != group[:-1]
    alone[:-1] &= group[1:] != group[:-1]
    if alone.all():
        return _Cells(name, code, time, _NOWHERE, _NOWHERE)
    some = there[~alone]
    table = {column: parts.table[column][some] for column in (*ORDER, name)}
    held = {name: table[name][:0], "write_time": time[:0]}
    if stored:
        held = {name: stored[name], "write_time": stored[time_of(name)]}
    found = contest(line_up(table, held, [name], group[~alone], stored_of[~alone]), len(some))
    code[some], time[some] = found.code, found.write_time
    return _Cells(name, code, time, found.beaten, some[found.beaten_by])


def _classes(parts: _Parts, cells: list[_Cells]) -> npt.NDArray[np.int8]:
    """Return the class of each part; of those of a key that add values and lose none, the first one is loaded."""
    conflicting, adds = np.zeros((2, len(parts.group)), dtype=bool)
    for each in cells:
        conflicting |= each.code == CONFLICTING
        adds |= each.code == LOADED
    adds &= ~conflicting
    leading = np.flatnonzero(adds)
    code = np.where(conflicting, CONFLICTING, np.where(adds, MERGED, DUPLICATE)).astype(np.int8)
    code[leading[np.unique(parts.group[leading], return_index=True)[1]]] = LOADED
    return code


def _for_quality(parts: _Parts, cells: list[_Cells], stored: Arrays | None) -> Quality:
    """Return the parts, and their stored rows, as `joined_quality` takes them."""
    first = np.flatnonzero(np.r_[True, parts.group[1:] != parts.group[:-1]])
    written = np.full(len(parts.group), -1, dtype=np.int64)
    for each in cells:
        kept = (each.code == LOADED) | (each.code == CONFLICTING)
        written = np.where(kept, np.maximum(written, each.time), written)
    newest = np.full(len(first), -1, dtype=np.int64)
    text = np.full(len(first), None, dtype=object)
    held = np.zeros((len(cells), len(first)), dtype=bool)
    if stored:
        there = np.flatnonzero(parts.stored_of[first] >= 0)
        row = parts.stored_of[first[there]]
        text[there] = stored["quality"][row]
        newest[there] = stored["write_time"][row]
        for number, each in enumerate(cells):
            times = stored[time_of(each.name)][row]
            held[number, there] = times >= 0
            newest[there] = np.maximum(newest[there], times)
    return Quality(
        names=[each.name for each in cells],
        first=first,
        given=parts.table["quality"],
        has=np.array([each.code != _NO_CELL for each in cells]),
        adds=np.any([each.code == LOADED for each in cells], axis=0),
        record_time=known_time(parts.table["record_time"]) * 1000,
        written=written,
        stored=text,
        held=held,
        newest=newest,
    )


def _whole(readings: pd.DataFrame, names: list[str], position: Positions) -> pd.DataFrame:
    """Return the lines of readings that are alone with their key."""
    own = readings[[*names, "quality"]].iloc[position].reset_index(drop=True)
    own["position"] = position
    own["write_time"] = known_time(readings["record_time"].to_numpy()[position]) * 1000
    return own


def _lines(parts: _Parts, cells: list[_Cells], quality: tuple[Times, Any], too_late: Flags) -> pd.DataFrame:
    """Return a line for each key and write time of values that the table must hold."""
    begin = np.r_[True, parts.group[1:] != parts.group[:-1]]
    number, first = np.cumsum(begin) - 1, np.flatnonzero(begin)
    wanted = ~too_late[parts.position]
    times, texts = quality
    chosen = [np.flatnonzero((each.code == LOADED) & wanted) for each in cells]
    own = np.flatnonzero((times >= 0) & wanted[first])
    key = np.concatenate([*(number[some] for some in chosen), own])
    time = np.concatenate([*(each.time[some] for each, some in zip(cells, chosen, strict=True)), times[own]])
    order = np.lexsort((time, key))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (key[order][1:] != key[order][:-1]) | (time[order][1:] != time[order][:-1])
    line = np.empty(len(order), dtype=np.int64)
    line[order] = np.cumsum(new) - 1
    lead = order[new]
    columns: dict[str, Any] = {"position": parts.position[first][key[lead]], "write_time": time[lead]}
    at = 0
    for each, some in zip(cells, chosen, strict=True):
        values = parts.table[each.name]
        missing = np.nan if values.dtype.kind == "f" else None
        columns[each.name] = np.full(len(lead), missing, dtype=values.dtype)
        columns[each.name][line[at : at + len(some)]] = values[some]
        at += len(some)
    columns["quality"] = np.full(len(lead), None, dtype=object)
    columns["quality"][line[at:]] = texts[own]
    return pd.DataFrame(columns)


def _in_order(whole: pd.DataFrame, joined: pd.DataFrame, group: Positions) -> pd.DataFrame:
    """Put all lines in order of key and write time."""
    every = pd.concat([whole, joined], ignore_index=True)
    order = np.lexsort((every["write_time"].to_numpy(), group[every["position"].to_numpy()]))
    return every.iloc[order].reset_index(drop=True)


def _beaten(cells: list[_Cells], position: Positions) -> pd.DataFrame:
    """Return the stored values that are replaced, by row."""
    some = [each for each in cells if len(each.beaten)]
    if not some:
        return _NONE_BEATEN
    found = pd.DataFrame(
        {
            "stored": np.concatenate([each.beaten for each in some]),
            "by": position[np.concatenate([each.beaten_by for each in some])],
            "measurement": np.repeat([each.name for each in some], [len(each.beaten) for each in some]),
        }
    )
    return found.sort_values(["stored", "by"], kind="stable", ignore_index=True)


def replaced(stored: pd.DataFrame, beaten: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, Positions]:
    """Return the replaced values of stored rows with their newest write time, and the parts that replace them.

    Args:
        stored: rows as `merge` takes them.
        beaten: `Merged.beaten`.
        names: names of the measurements.

    Returns:
        A row for each pair of a stored row and a part: `equipment`, `timestamp`, the measurements (missing if the
        part does not replace them) and `write_time`. Then the positions of the parts.
    """
    pairs, number = np.unique(beaten[["stored", "by"]].to_numpy(), axis=0, return_inverse=True)
    rows = stored.iloc[pairs[:, 0]]
    lost = {name: np.isin(np.arange(len(pairs)), number[(beaten["measurement"] == name).to_numpy()]) for name in names}
    found = rows[["equipment", "timestamp", *names]].copy()
    times = np.full(len(pairs), -1, dtype=np.int64)
    for name in names:
        found[name] = rows[name].where(lost[name])
        times = np.maximum(times, np.where(lost[name], rows[time_of(name)].to_numpy(), -1))
    return found.assign(write_time=times), pairs[:, 1]
