"""Classify each reading against all readings of its key and against the stored row.

For example, a key has the values 1, 1, 2 in this order. The second reading is a duplicate of the first, the third one
replaces it, and the first is conflicting. In general the readings of a key (equipment ID, timestamp) and its stored row
are in the order (record timestamp, partition, offset, index). A reading equal to the current one is a duplicate of it.
A different reading becomes the current one, and the previous one is conflicting, or superseded if it is the stored row.
The last current one is the row that the table must hold.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

LOADED: Final = 0
DUPLICATE: Final = 1
CONFLICTING: Final = 2
LATE_REJECTED: Final = 3

# The watermark of a machine that has none yet: every reading is newer.
NO_WATERMARK: Final = np.iinfo(np.int64).min
# The year 5138: a producer may send any number, and microseconds must not overflow.
_LATEST_MS: Final = 10**14
ORDER: Final = ["record_time", "partition", "offset", "index"]

Flags = npt.NDArray[np.bool_]


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
    write_time = _known_time(readings["record_time"]) * 1000
    replaces = np.zeros(n, dtype=bool)
    beaten_by = np.full(len(stored), -1, dtype=np.int64)

    group = key_groups(readings)
    stored_of = _stored_of(readings, stored, group)
    contested = np.bincount(group, minlength=n)[group] > 1 if n else np.zeros(0, dtype=bool)
    contested |= stored_of >= 0
    if contested.any():
        line = _line_up(readings, stored, values, group, stored_of, np.flatnonzero(contested))
        found = _contest(line, values)
        code[found.position] = found.code
        write_time[found.position] = found.write_time
        replaces[found.position] = found.replaces
        beaten_by[found.beaten] = found.beaten_by

    old = readings["timestamp"].to_numpy() <= readings["watermark"].to_numpy()
    late = old & (code == LOADED) & (stored_of < 0)
    if allowed_lateness is not None:
        # Never reached without a watermark, so the difference cannot overflow.
        behind = np.where(old, readings["watermark"].to_numpy() - readings["timestamp"].to_numpy(), 0)
        code[late & (behind > allowed_lateness)] = LATE_REJECTED
        late &= code == LOADED
    return Classes(code, write_time, replaces, late, beaten_by)


def key_groups(sorted_readings: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Number the keys of readings sorted by (equipment, timestamp): 0, 0, 1, 2, 2, ..."""
    equipment = sorted_readings["equipment"].to_numpy()
    timestamp = sorted_readings["timestamp"].to_numpy()
    first = np.ones(len(equipment), dtype=np.int64)
    first[1:] = (equipment[1:] != equipment[:-1]) | (timestamp[1:] != timestamp[:-1])
    return np.cumsum(first) - 1


def _stored_of(readings: pd.DataFrame, stored: pd.DataFrame, group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the position of the stored row of each reading, -1 if there is none."""
    if stored.empty:
        return np.full(len(readings), -1, dtype=np.int64)
    keys = readings.loc[np.r_[True, group[1:] != group[:-1]], ["equipment", "timestamp"]]
    positions = pd.Series(np.arange(len(stored)), index=pd.MultiIndex.from_frame(stored[["equipment", "timestamp"]]))
    found = positions.reindex(pd.MultiIndex.from_frame(keys)).fillna(-1).to_numpy(dtype=np.int64)
    return np.asarray(found[group])


def _line_up(
    readings: pd.DataFrame,
    stored: pd.DataFrame,
    values: list[str],
    group: npt.NDArray[np.int64],
    stored_of: npt.NDArray[np.int64],
    where: npt.NDArray[np.intp],
) -> pd.DataFrame:
    """Return the readings at some positions and their stored rows in order of key, then of arrival.

    `position` is that of a reading, -1 for a stored row; `stored` is that of the stored row of the key, -1 for none.
    """
    ours = readings.iloc[where][[*ORDER, *values]].assign(group=group[where], position=where, stored=stored_of[where])
    ours = ours.sort_values(["group", *ORDER], kind="stable", ignore_index=True)
    ours["place"] = np.arange(len(ours), dtype=np.float64)
    theirs = _place_stored(ours, stored, values)
    return pd.concat([ours, theirs], ignore_index=True).sort_values(
        ["group", "place"], kind="stable", ignore_index=True
    )


class _Contest(NamedTuple):
    """The outcome for readings at `position`, and for stored rows at `beaten`."""

    position: npt.NDArray[np.int64]
    code: npt.NDArray[np.int8]
    write_time: npt.NDArray[np.int64]
    replaces: Flags
    beaten: npt.NDArray[np.int64]
    beaten_by: npt.NDArray[np.int64]


def _contest(line: pd.DataFrame, values: list[str]) -> _Contest:
    """Classify readings that share their key with another reading or a stored row."""
    is_stored = line["position"].to_numpy() < 0
    groups = line["group"].to_numpy()
    new_group = np.r_[True, groups[1:] != groups[:-1]]
    new_holder = new_group.copy()
    new_holder[1:] |= ~_equal(line.iloc[1:], line.iloc[:-1], values)
    holder = np.cumsum(new_holder) - 1
    last = np.r_[new_group[1:], True]
    wins = np.zeros(holder[-1] + 1, dtype=bool)
    wins[holder[last]] = True
    # A stored row represents all readings that are equal to it, so reading them again writes nothing.
    has_stored = np.zeros(len(wins), dtype=bool)
    has_stored[holder[is_stored]] = True

    keeps = is_stored | (new_holder & ~has_stored[holder])
    outcome = np.where(keeps, np.where(wins[holder], LOADED, CONFLICTING), DUPLICATE).astype(np.int8)
    mine, position = ~is_stored, line["position"].to_numpy()
    lost = is_stored & ~wins[holder]
    first_holder = np.r_[holder[new_group]][np.cumsum(new_group) - 1]
    return _Contest(
        position=position[mine],
        code=outcome[mine],
        write_time=_write_times(line, keeps, groups)[mine],
        replaces=(outcome == LOADED)[mine] & (holder > first_holder)[mine],
        beaten=line["stored"].to_numpy()[lost],
        beaten_by=position[np.flatnonzero(new_holder)[holder[lost] + 1]],
    )


def _place_stored(ours: pd.DataFrame, stored: pd.DataFrame, values: list[str]) -> pd.DataFrame:
    """Insert each stored row at its position among the readings of its key.

    Its write time gives the record timestamp of its reading, but not the offset. Among readings of this millisecond the
    row comes after the last one that equals it (that is its reading), or before all of them (its reading came before).
    """
    held = ours[ours["stored"] >= 0]
    its = stored.iloc[held["stored"]].reset_index(drop=True)
    came = its["write_time"].to_numpy(dtype=np.int64) // 1000
    time = _known_time(held["record_time"])
    own = (time == came) & _equal(held, its, values)
    before = (time < came) | own
    place = held["place"].to_numpy()
    places = pd.DataFrame(
        {
            "stored": held["stored"].to_numpy(),
            "group": held["group"].to_numpy(),
            "behind": np.where(before, place + 0.5, -np.inf),
            "first": place - 0.5,
        }
    )
    rows = places.groupby("stored", as_index=False).agg(
        group=("group", "first"), behind=("behind", "max"), first=("first", "min")
    )
    theirs = stored.iloc[rows["stored"]].reset_index(drop=True)
    return theirs[values].assign(
        group=rows["group"],
        position=-1,
        stored=rows["stored"],
        place=np.where(np.isinf(rows["behind"]), rows["first"], rows["behind"]),
        write_time=theirs["write_time"],
    )


def _known_time(record_time: "pd.Series[int]") -> npt.NDArray[np.int64]:
    """Return record timestamps (ms), 0 if a producer sent none, and small enough to be counted in microseconds."""
    return np.clip(record_time.to_numpy(), 0, _LATEST_MS).astype(np.int64)


def _equal(left: pd.DataFrame, right: pd.DataFrame, values: list[str]) -> Flags:
    """Compare row by row; a missing value equals a missing value."""
    same = np.ones(len(left), dtype=bool)
    for name in values:
        a, b = left[name], right[name]
        both = (a.to_numpy() == b.to_numpy()) | (a.isna().to_numpy() & b.isna().to_numpy())
        same &= both.astype(bool)
    return same


def _write_times(line: pd.DataFrame, keeps: Flags, groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each holder the larger of its record timestamp in µs and the previous holder's write time plus 1.

    For a holder with k previous holders of its key, this is the running maximum of (own time - k), plus k.
    """
    own = _known_time(line["record_time"].fillna(0)) * 1000
    if "write_time" in line:
        own = np.where(line["position"].to_numpy() < 0, line["write_time"].fillna(0).to_numpy(dtype=np.int64), own)
    rank = pd.Series(keeps.astype(np.int64)).groupby(groups).cumsum().to_numpy()
    lifted = pd.Series(np.where(keeps, own - rank, np.iinfo(np.int64).min))
    return np.asarray(lifted.groupby(groups).cummax().to_numpy() + rank)
