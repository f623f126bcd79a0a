"""Resolve the hour that occurs twice when clocks go back: determine the pass of each reading from all of its readings.

Rows wait in the order of the file, from the first row of such an hour until the hour of each machine is over: in memory
if they are few, else in a temporary file. For readings near the hour, memory holds only time and position.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import structlog

from etl.mapping.language import TimestampColumn
from etl.mapping.wallclock import Repeat, repeats
from etl.model.schemas import DAY_MS, TIMESTAMP
from etl.model.timestamps import MISSING
from etl.stages.generate.cells import Block, BrokenLine, Integers

NEAR_MS = 3_600_000  # readings this far around the hour show direction and interval
HELD_BYTES = 64 * 1024 * 1024
ELSEWHERE, FIRST, SECOND, UNKNOWN = 0, 1, 2, 3
_WAITING = ("_local", "_line", "_raw")

Codes = npt.NDArray[np.int8]
Shorts = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

log = structlog.get_logger("etl.recorded")


@dataclass
class _Held:
    """Waiting rows, and the readings near an hour: machine, hour, ms in it, and position among these rows."""

    rows: Any = None
    writer: Any = None
    count: int = 0
    machines: dict[str, int] = field(default_factory=dict)
    hours: dict[Repeat, int] = field(default_factory=dict)
    near: list[list[Shorts]] = field(default_factory=list)
    open: set[tuple[int, Repeat]] = field(default_factory=set)


@dataclass
class _Told:
    """The number of resolved and of ambiguous readings of such hours."""

    apart: int = 0
    not_apart: int = 0


def told_apart(blocks: Iterable[Block], entry: TimestampColumn, name: str) -> Iterator[Block]:
    """Yield the same blocks with the right one of two UTC times; the warning contains `name`, the file's."""
    held, told = _Held(), _Told()
    first = last = MISSING
    for block in blocks:
        known = block.local[block.local != MISSING] if entry.zone != "UTC" else block.local[:0]
        if len(known):
            first, last = int(known[0]) if first == MISSING else first, int(known[-1])
        inside = _look(held, block, known, entry.zone)
        if held.writer is None and not inside.any():
            yield block
            continue
        _hold(held, block, inside)
        yield Block(block.readings.slice(0, 0), block.local[:0], block.lines[:0], block.raw, block.letters)
        if not held.open:
            yield from _release(held, entry, told, ascending=last >= first)
            held = _Held()
    if held.writer:
        yield from _release(held, entry, told, ascending=last >= first)
    if told.apart or told.not_apart:
        rest = "refused" if entry.ambiguous == "refuse" else f"taken as of the {entry.ambiguous} hour"
        log.warning(
            f"clocks went back in {entry.zone}: readings of the repeated hour were resolved by their"
            f" order; ambiguous ones are {rest} (`ambiguous` of the mapping)",
            file=name,
            told_apart=told.apart,
            not_told_apart=told.not_apart,
        )


def _look(held: _Held, block: Block, known: Integers, zone: str) -> Flags:
    """Store the readings near an hour, and the hours that began and ended; return which readings are in one."""
    inside = np.zeros(len(block.local), dtype=bool)
    hours = repeats(zone, int(known.min()) - NEAR_MS, int(known.max()) + NEAR_MS) if len(known) else []
    if not (hours or held.open):
        held.near.clear()
        return inside
    machine = _machines(held, block.readings["equipment_id"])
    if hours:
        starts, ends = (np.array([getattr(hour, edge) for hour in hours], dtype=np.int64) for edge in ("start", "end"))
        which = np.searchsorted(starts - NEAR_MS, block.local, side="right") - 1
        near = np.flatnonzero((which >= 0) & (block.local <= ends[which] + NEAR_MS) & (block.local != MISSING))
        which, local = which[near], block.local[near]
        begun = (local >= starts[which]) & (local < ends[which])
        held.open |= {(code, hours[at]) for code, at in zip(machine[near][begun], which[begun], strict=True)}
        waits = held.writer is not None or bool(begun.any())
        numbers = np.array([held.hours.setdefault(hour, len(held.hours)) for hour in hours])
        # Rows that do not wait have no position among the waiting ones.
        place = held.count + near if waits else np.full(len(near), -1)
        held.near.append(
            [each.astype(np.int32) for each in (machine[near], numbers[which], local - starts[which], place)]
        )
        inside[near] = waits & (local >= starts[which]) & (local <= ends[which])
    _close(held, machine[block.local != MISSING], known)
    return inside


def _machines(held: _Held, names: pa.ChunkedArray) -> Integers:
    encoded = names.combine_chunks().dictionary_encode()
    codes = [held.machines.setdefault(name, len(held.machines)) for name in encoded.dictionary.to_pylist()]
    found: Integers = np.array(codes, dtype=np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return found


def _close(held: _Held, machine: Integers, known: Integers) -> None:
    """Close an hour if its machine has readings elsewhere, or if the file is a day away from it."""
    if not (held.open and len(known)):
        return
    newest = dict(zip(machine.tolist(), known.tolist(), strict=True))
    last = int(known[-1])
    for code, hour in list(held.open):
        own = newest.get(code, hour.start)
        if max(hour.start - last, last - hour.end) > DAY_MS or max(hour.start - own, own - hour.end) > NEAR_MS:
            held.open.remove((code, hour))


def _hold(held: _Held, block: Block, inside: Flags) -> None:
    raw = [block.raw(row) if known else None for row, known in enumerate(inside.tolist())]
    columns = (pa.array(block.local), pa.array(block.lines), pa.array(raw, pa.binary()))
    table = block.readings
    for name, column in zip(_WAITING, columns, strict=True):
        table = table.append_column(name, column)
    if held.rows is None:
        held.rows = tempfile.SpooledTemporaryFile(max_size=HELD_BYTES)  # noqa: SIM115 - it closes with the release
        held.writer = pa.ipc.new_stream(held.rows, table.schema)
    held.writer.write_table(table.combine_chunks())
    held.count += len(table)


def _release(held: _Held, entry: TimestampColumn, told: _Told, *, ascending: bool) -> Iterator[Block]:
    codes, shift = _decide(held, entry, ascending=ascending)
    unknown = codes == UNKNOWN
    told.apart += int(((codes == FIRST) | (codes == SECOND)).sum())
    told.not_apart += int(unknown.sum())
    held.writer.close()
    held.rows.seek(0)
    place = 0
    with held.rows, pa.ipc.open_stream(held.rows) as stream:
        for batch in stream:
            own = slice(place, place + len(batch))
            place += len(batch)
            yield _settled(pa.Table.from_batches([batch]), codes[own], shift[own], entry)


def _decide(held: _Held, entry: TimestampColumn, *, ascending: bool) -> tuple[Codes, Shorts]:
    """Return the pass of each waiting row, and the ms by which its UTC time changes."""
    codes, shift = np.zeros(held.count, dtype=np.int8), np.zeros(held.count, dtype=np.int32)
    # One after the other, because there may be many.
    place, within, which, group = (np.concatenate([each.pop() for each in held.near]) for _ in range(4))
    held.near.clear()
    group *= len(held.hours)
    group += which
    order = np.argsort(group, kind="stable")
    edges = np.flatnonzero(np.r_[True, np.diff(group[order]) != 0, True])
    hours = list(held.hours)
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        rows = order[begin:end]
        hour = hours[which[rows[0]]]
        local = within[rows].astype(np.int64)
        found = passes(local, hour.end - hour.start, ascending=ascending)
        own = (found != ELSEWHERE) & (place[rows] >= 0)
        later = (found == SECOND) | ((found == UNKNOWN) & (entry.ambiguous == "second"))
        known = np.where(local < hour.end - hour.start, hour.first, hour.second)
        codes[place[rows][own]] = found[own]
        shift[place[rows][own]] = (known - np.where(later, hour.second, hour.first))[own]
    return codes, shift


def passes(local: Integers, length: int, *, ascending: bool) -> Codes:
    """Determine the pass of the readings of one machine near the hour [0, length).

    Args:
        local: ms from the start of the hour, in the order of the file.
        length: length of the hour, ms. A reading exactly at its end belongs to it if times mark ends of intervals.
        ascending: direction of the file, used if these few readings do not show it.

    Returns:
        FIRST, SECOND or UNKNOWN for readings in the hour, ELSEWHERE for the others.
    """
    codes = np.full(len(local), ELSEWHERE, dtype=np.int8)
    order = np.arange(len(local))
    if not _ascending(local, length, ascending):
        order = order[::-1]
    local = local[order]
    outside = local[(local < 0) | (local > length)]
    times = int(np.median(np.unique(outside, return_counts=True)[1])) if len(outside) else 1
    at_end = local == length
    inside = (local >= 0) & (local < length) | at_end & (at_end.sum() > times)
    hour, around = local[inside], local[~inside]
    if len(hour):
        told = _in_a_row(hour, around, length, times)
        if told is None:
            told = _in_pairs(hour, length, times)
        if told is None:
            told = np.full(len(hour), _alone(hour, around, length, times), dtype=np.int8)
        codes[order[inside]] = told
    return codes


def _ascending(local: Integers, length: int, otherwise: bool) -> bool:
    outside = local[(local < 0) | (local > length)]
    if len(outside) and outside[0] != outside[-1]:
        return bool(outside[0] < outside[-1])
    steps = int(np.sign(np.diff(local)).sum())
    return steps > 0 if abs(steps) > 1 else otherwise


def _in_a_row(hour: Integers, around: Integers, length: int, times: int) -> Codes | None:
    """Resolve one pass, a large step back, the other pass; return None if the readings have another form."""
    back = -np.diff(hour)
    if not len(back):
        return None
    cut = int(np.argmax(back))
    disorder = max([*(-np.diff(around)).tolist(), 0])
    others = max([*np.delete(back, cut).tolist(), 0])
    if back[cut] < length / 4 or back[cut] <= 2 * max(disorder, others):
        return None
    for part in (hour[: cut + 1], hour[cut + 1 :]):
        counts = np.unique(part, return_counts=True)[1]
        if 2 * (counts > times).sum() >= len(counts):
            return None
    return np.where(np.arange(len(hour)) <= cut, FIRST, SECOND).astype(np.int8)


def _in_pairs(hour: Integers, length: int, times: int) -> Codes | None:
    """Resolve pairs of readings with the same local time, in any order; None if most times occur only once."""
    walls, which, counts = np.unique(hour, return_inverse=True, return_counts=True)
    twice = counts == 2 * times
    if 2 * twice.sum() < len(walls):
        return None
    order = np.argsort(which, kind="stable")
    rank = np.empty(len(hour), dtype=np.int64)
    rank[order] = np.arange(len(hour)) - np.repeat(np.cumsum(counts) - counts, counts)
    told = np.where(twice[which], np.where(rank < times, FIRST, SECOND), UNKNOWN).astype(np.int8)
    if hour.max() == length:
        # Times mark ends: an interval that ends as the hour begins was measured before it.
        told[(hour == 0) & (told == UNKNOWN)] = FIRST
    return told


def _alone(hour: Integers, around: Integers, length: int, times: int) -> int:
    """Resolve a single pass: the one that continues without a gap on one side, if the other side has a gap."""
    if np.unique(hour, return_counts=True)[1].max() > times:
        return UNKNOWN  # some times occur twice, so the other pass is not missing
    steps = np.diff(np.unique(np.r_[hour, around]))
    if not len(steps):
        return UNKNOWN
    reach = 1.5 * float(np.median(steps))
    gap = max(float(length), reach)
    before, after = around[around < hour.min()], around[around > hour.max()]
    since = int(hour.min() - before.max()) if len(before) else None
    until = int(after.min() - hour.max()) if len(after) else None
    if since is not None and since <= reach and (until is None or until > gap):
        return FIRST
    if until is not None and until <= reach and (since is None or since > gap):
        return SECOND
    return UNKNOWN


def _settled(table: pa.Table, codes: Codes, shift: Shorts, entry: TimestampColumn) -> Block:
    local, lines = (table[name].to_numpy() for name in _WAITING[:2])
    raw = table[_WAITING[2]]
    table = table.drop_columns(list(_WAITING))
    refused = np.flatnonzero((codes == UNKNOWN) & (entry.ambiguous == "refuse"))
    letters = [
        BrokenLine(int(lines[row]), raw[row].as_py(), "timestamp", _twice(int(local[row]), entry.zone))
        for row in refused
    ]
    ms = table["timestamp"].cast(pa.int64()).to_numpy()
    if (changed := np.flatnonzero(shift)).size:
        wanted = ms + shift
        place = table.schema.get_field_index("timestamp")
        table = table.set_column(place, table.schema.field(place), pa.array(wanted).cast(TIMESTAMP))
        table = _with_json(table, changed, wanted)
    keep = np.ones(len(table), dtype=bool)
    keep[refused] = False
    return Block(table.filter(pa.array(keep)), local[keep], lines[keep], lambda _: b"", letters)


def _twice(local: int, zone: str) -> str:
    return (
        f"{np.datetime64(local, 'ms')} occurs twice in {zone}, where clocks go back, and the readings around it do"
        " not determine the pass (`ambiguous` of the mapping)"
    )


def _with_json(table: pa.Table, changed: Integers, ms: Integers) -> pa.Table:
    """Correct the time in readings with JSON."""
    place = table.schema.get_field_index("json")
    if table["json"].null_count == len(table):
        return table
    values = table["json"].to_pylist()
    for row in changed.tolist():
        if values[row] is not None:
            reading = json.loads(values[row])
            values[row] = json.dumps(reading | {"timestamp": f"{np.datetime64(int(ms[row]), 'ms')}Z"}).encode()
    return table.set_column(place, table.schema.field(place), pa.array(values, pa.binary()))
