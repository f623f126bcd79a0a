"""Records of gateways in any shape, read by a mapping."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from etl.codec.columns import CUT, DeadRecord, Mask, Part
from etl.codec.elements import one_element
from etl.codec.foreign import Foreign, ForeignPart
from etl.codec.formats import Parser
from etl.codec.json_records import json_timestamps
from etl.codec.mapped_columns import column_elements, double_columns, joined, listed
from etl.codec.mapped_lines import Elements, Paths, paths_of, read_elements
from etl.kafka.records import Headers, Records
from etl.mapping.ids import Column, shown_cells
from etl.mapping.language import ColumnMapping, TimestampColumn
from etl.mapping.long_form import join
from etl.mapping.paths import header_of, key_path, of_value, opened, value_at
from etl.mapping.readings import Mapped, mapped, times_of
from etl.mapping.rows import cells_of, explode, unknown_fields
from etl.mapping.wallclock import settled
from etl.model.measurements import Measurements
from etl.model.schemas import CHUNK_ROWS
from etl.model.timestamps import MISSING

_NO_OBJECT = "no object and no array; `record: {format: csv, names: [value]}` reads values without a name"


def foreign(mapping: ColumnMapping, parse: Parser) -> Foreign:
    """Return the reader of a topic with a mapping."""
    # Readings that several elements make up, and other formats than JSON, cannot be cut out of their record.
    whole = mapping.tag is not None or mapping.record.format != "json"
    elements = None if whole else mapping.readings or ""
    headers = frozenset(filter(None, map(header_of, mapping.columns)))
    by_column = mapping.record.format == "json" or (parse.columns is not None and mapping.readings is None)
    paths = paths_of(mapping.columns, mapping.readings) if by_column else None
    return Foreign(headers, elements, partial(_read, _Topic(mapping, parse, elements, paths)))


class _Topic(NamedTuple):
    columns: ColumnMapping
    parse: Parser
    elements: str | None
    paths: Paths | None


def _read(
    mapping: _Topic,
    values: Mapping[int, bytes],
    records: Records,
    context: Mapping[str, Sequence[Any]],
    measurements: Measurements,
    dead: list[DeadRecord],
) -> ForeignPart:
    found = _elements(mapping, values, records, dead)
    if not found.positions:
        return ForeignPart(None, Counter())
    doubles = double_columns(mapping.columns, measurements)
    columns = {name: cells if name in doubles else listed(cells) for name, cells in found.columns.items()}
    for name in mapping.columns.columns:
        if name not in columns:
            columns[name] = _of_records(found.positions, records, context, name)
    positions, indexes = np.array(found.positions, np.int64), np.array(found.indexes, np.int64)
    unknown = found.unknown
    if mapping.columns.tag:
        joined = join(columns, mapping.columns, len(positions), positions)
        columns, unknown = joined.columns, unknown + joined.unknown
        first = [elements[0] for elements in joined.elements]
        positions, indexes = positions[first], indexes[first]
    entry = mapping.columns.timestamp
    times = settled(times_of(columns, mapping.columns), entry) if _timed(entry) else None
    converted = mapped(columns, len(positions), mapping.columns, measurements, times)
    return ForeignPart(_part(converted, columns, positions, indexes, (values, mapping, dead)), unknown)


def _elements(mapping: _Topic, values: Mapping[int, bytes], records: Records, dead: list[DeadRecord]) -> Elements:
    """Return the elements of the values; add the values and the elements that are no readings to `dead`."""
    if mapping.paths is None:
        return _parsed_elements(mapping, list(values), values, records, dead)
    rest: dict[int, bytes] = {}
    if mapping.parse.columns is None:
        found = read_elements(values, mapping.paths, rest)
    else:
        found = column_elements(mapping.parse.columns, values, _at(records, list(values)), mapping.paths, rest)
    return joined(found, _parsed_elements(mapping, list(rest), values, records, dead)) if rest else found


def _at(records: Records, positions: Sequence[int]) -> Records:
    return records if len(positions) == len(records.offsets) else records.at(positions)


def _parsed_elements(
    mapping: _Topic, positions: list[int], values: Mapping[int, bytes], records: Records, dead: list[DeadRecord]
) -> Elements:
    """Return the elements of the values at these positions one by one, whatever their shape is."""
    items = _parsed(records, positions, mapping.parse, dead)
    troubles: dict[int, str] = {}
    broken: dict[tuple[int, int], str] = {}
    alone = "$value" in mapping.columns.columns
    rows = explode(items, mapping.columns.readings, CHUNK_ROWS, troubles, broken, values=alone)
    dead += [DeadRecord(position, "schema", text) for position, text in troubles.items()]
    dead += [_element(values, mapping, at, "schema", text) for at, text in broken.items()]
    columns = mapping.columns.columns
    cells = {name: cells_of(rows, name) for name in columns if of_value(name)}
    return Elements(rows.positions, rows.indexes, cells, Counter(unknown_fields(rows.elements, columns)))


def _parsed(records: Records, positions: Sequence[int], parse: Parser, dead: list[DeadRecord]) -> dict[int, Any]:
    found = parse.parse(_at(records, positions))
    if set(map(type, found)) <= {dict, list}:
        return dict(zip(positions, found, strict=True))
    items = {}
    for position, item in zip(positions, found, strict=True):
        if isinstance(item, ValueError):
            dead.append(DeadRecord(position, "undecodable", str(item)[:200]))
            continue
        # Some programs encode an object twice.
        inner = opened(item)
        if type(inner) is dict:
            items[position] = inner
        elif type(item) in (dict, list):
            items[position] = item
        else:
            dead.append(DeadRecord(position, "schema", _NO_OBJECT))
    return items


def _of_records(
    positions: Sequence[int], records: Records, context: Mapping[str, Sequence[Any]], name: str
) -> list[Any]:
    """Return the cells of a column that is no part of the values, such as `$key`."""
    if name == "$time":
        return [None if records.times[at] < 0 else records.times[at] for at in positions]
    if name in context:
        return [context[name][at] for at in positions]
    inner = key_path(name)
    if inner is not None:
        return [value_at(_text(records.keys[at]), inner) for at in positions]
    header = header_of(name)
    return [None if header is None else _header(records.headers[at], header) for at in positions]


def _header(headers: Headers, wanted: str) -> str | None:
    return next((_text(value) for name, value in headers if name.lower() == wanted and value is not None), None)


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _timed(entry: TimestampColumn) -> bool:
    """Return whether timestamps need the mapping; others stay texts, which transform reads."""
    changed = entry.format or entry.pattern or entry.columns or entry.shift
    return bool(changed) or entry.zone != "UTC" or entry.start is not None


def _part(
    found: Mapped,
    columns: Mapping[str, Column],
    positions: Any,
    indexes: Any,
    origin: tuple[Mapping[int, bytes], _Topic, list[DeadRecord]],
) -> Part:
    """Return the readings that have an equipment ID; add the others to the dead records."""
    values, mapping, dead = origin
    texts, milliseconds = _timestamps(found, columns[mapping.columns.timestamp.column])
    flags: list[Mask | None] = []
    for name in found.values:
        wrong = found.wrong.get(name)
        mask = np.zeros(len(positions), dtype=bool)
        mask[list(wrong or ())] = True
        flags.append(mask if wrong else None)
    notes: list[str | None] | None = None
    if found.notes:
        notes = [",".join(found.notes[row]) if row in found.notes else None for row in range(len(positions))]
    part = Part(positions, indexes, [texts, milliseconds, *found.values.values()], flags, False, found.equipment, notes)
    usable = found.equipment.is_valid().to_numpy(zero_copy_only=False)
    if usable.all():
        return part
    names = mapping.columns.equipment.columns
    for row in np.flatnonzero(~usable).tolist():
        text = f"no equipment ID: {shown_cells(columns, names, row)}"
        if "$key" in names and columns["$key"][row] is None:
            text += (
                "; the key is missing, or no text of 1 to 255 bytes (`equipment` of the mapping names another place)"
            )
        dead.append(_element(values, mapping, (int(positions[row]), int(indexes[row])), "missing-key", text))
    return part.only(np.flatnonzero(usable))


def _timestamps(found: Mapped, column: Column) -> tuple[pa.Array, pa.Array]:
    """Return timestamps as text and in milliseconds; one of them is null.

    A text without a time in the format of the mapping gets a mark, so that nobody reads it in another format.
    """
    cells = column if isinstance(column, list) else column.to_pylist()
    texts = json_timestamps(cells)
    if found.times is None:
        return texts, pa.nulls(len(cells), pa.int64())
    unknown = found.times.utc == MISSING
    marked = pa.compute.binary_join_element_wise(texts, pa.scalar(CUT), "")
    return (
        pa.compute.if_else(pa.array(unknown), marked, pa.scalar(None, pa.string())),
        pa.array(found.times.utc, pa.int64(), mask=unknown),
    )


def _element(values: Mapping[int, bytes], mapping: _Topic, at: tuple[int, int], reason: str, detail: str) -> DeadRecord:
    """Return an element that is no reading, with its own bytes if it can be cut out."""
    position, index = at
    value = None if mapping.elements is None else one_element(values[position], mapping.elements, index)
    return DeadRecord(position, reason, detail, index, value)
