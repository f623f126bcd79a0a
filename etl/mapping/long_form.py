"""Join elements of the long form, which have one tag and one value each, to readings.

For example, (10:00, pump-1, U, 230) and (10:00, pump-1, I, 12) are one reading with the columns U and I.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.mapping.ids import Column, equipment_ids, tags_of
from etl.mapping.language import ColumnMapping

Positions = npt.NDArray[np.int64]


class Joined(NamedTuple):
    """Readings of n elements: their columns, the elements of each, and the number of elements by unknown tag.

    `columns` has the columns of equipment ID and timestamp, one column per mapped tag, with `quality` the status of
    each tag under `status_of(tag)`, and with `unit` its unit under `unit_of(tag)`.
    """

    columns: dict[str, Column]
    elements: list[list[int]]
    unknown: Counter[str]


def status_of(tag: str) -> str:
    """Return the name of the column with the status of a tag."""
    return f"{tag}\0status"


def unit_of(tag: str) -> str:
    """Return the name of the column with the unit of a tag."""
    return f"{tag}\0unit"


def join(columns: Mapping[str, Column], mapping: ColumnMapping, number: int, groups: Positions) -> Joined:
    """Join the elements of one group, equipment ID and timestamp.

    An element that repeats a tag of its reading begins another reading, so that no value is lost.

    Args:
        columns: the cells of n elements by column.
        mapping: a mapping with `tag` and `value`.
        number: n.
        groups: n numbers; elements of two groups, such as records, are never joined.
    """
    if mapping.tag is None or mapping.value is None:
        raise ValueError("a mapping without tag and value has no long form")
    tags = tags_of(columns, mapping.tag).to_pylist()
    wanted = {entry.column for entry in mapping.measurements.values()}
    times = zip(*(_cells(columns[name]) for name in mapping.timestamp.names), strict=True)
    keys = zip(
        groups.tolist(), equipment_ids(columns, mapping.equipment, number).to_pylist(), map(repr, times), strict=True
    )
    elements: list[list[int]] = []
    reading_of: list[tuple[int, str, int]] = []
    open_readings: dict[tuple[int, str | None, str], int] = {}
    held: set[tuple[int, str]] = set()
    unknown: Counter[str] = Counter()
    for element, (key, tag) in enumerate(zip(keys, tags, strict=True)):
        if tag not in wanted:
            unknown[str(tag)] += 1
            continue
        at = open_readings.get(key)
        if at is None or (at, tag) in held:
            at = open_readings[key] = len(elements)
            elements.append([])
        held.add((at, tag))
        elements[at].append(element)
        reading_of.append((at, tag, element))
    return Joined(_pivoted(columns, mapping, elements, reading_of), elements, unknown)


def _pivoted(
    columns: Mapping[str, Column],
    mapping: ColumnMapping,
    elements: list[list[int]],
    reading_of: list[tuple[int, str, int]],
) -> dict[str, Column]:
    first = np.array([rows[0] for rows in elements], dtype=np.int64)
    kept = [*mapping.timestamp.names, *mapping.equipment.columns]
    found: dict[str, Column] = {name: _taken(columns[name], first) for name in kept}
    given = [columns[name] for name in mapping.value or ()]
    values = _first(given)
    status = mapping.quality.column if mapping.quality else None
    pivoted: dict[str, list[Any]] = {entry.column: [None] * len(elements) for entry in mapping.measurements.values()}
    for at, tag, element in reading_of:
        pivoted[tag][at] = values[element]
    beside: dict[str, list[Any]] = {}
    for name, of in ((status, status_of), (mapping.unit, unit_of)):
        cells = _cells(columns[name]) if name else []
        beside |= {of(tag): [None] * len(elements) for tag in pivoted} if name else {}
        for at, tag, element in reading_of if name else ():
            beside[of(tag)][at] = cells[element]
    texts = all(isinstance(column, pa.Array) and pa.types.is_string(column.type) for column in given)
    found |= {name: pa.array(cells, pa.string()) if texts else cells for name, cells in pivoted.items()}
    return found | beside


def _first(columns: Sequence[Column]) -> list[Any]:
    """Return the first cell of each row that is not empty."""
    if len(columns) == 1:
        return _cells(columns[0])
    return [next((c for c in cells if c not in (None, "")), None) for cells in zip(*map(_cells, columns), strict=True)]


def _cells(column: Column) -> list[Any]:
    cells: list[Any] = column if isinstance(column, list) else column.to_pylist()
    return cells


def _taken(column: Column, rows: Positions) -> Column:
    return [column[row] for row in rows.tolist()] if isinstance(column, list) else column.take(pa.array(rows))
