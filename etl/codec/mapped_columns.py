"""Elements of a block of records that their parser reads column by column."""

from collections import Counter
from collections.abc import Mapping
from functools import reduce
from typing import Any

from etl.codec.formats import Names, ReadColumns
from etl.codec.mapped_lines import Elements, Paths
from etl.kafka.records import Records
from etl.mapping.ids import Column
from etl.mapping.language import ColumnMapping
from etl.mapping.rows import unknown_fields
from etl.model.measurements import Measurements


def column_elements(
    read: ReadColumns, values: Mapping[int, bytes], records: Records, paths: Paths, rest: dict[int, bytes]
) -> Elements:
    """Return the records that a parser reads column by column; add the other values to `rest`.

    Args:
        read: the function of the parser.
        values: n values by position.
        records: the records of these values.
        paths: the paths of a mapping.
        rest: receives the values by position that are to be parsed in another way.
    """
    given = list(values)
    found: list[Elements] = []
    for part in read(records, set(paths.elements.values())):
        if not all(_is_leaf(path, part.shape) for path in paths.elements.values()):
            continue
        number = len(part.positions)
        columns = {name: part.cells.get(path, [None] * number) for name, path in paths.elements.items()}
        unknown = Counter(dict.fromkeys(unknown_fields([part.shape], paths.columns), number))
        found.append(Elements([given[at] for at in part.positions], [0] * number, columns, +unknown))
    every = reduce(joined, found, Elements([], [], {name: [] for name in paths.elements}, Counter()))
    read_ones = set(every.positions)
    rest |= {at: value for at, value in values.items() if at not in read_ones}
    return every


def joined(one: Elements, other: Elements) -> Elements:
    """Return the elements of both."""
    if not one.positions or not other.positions:
        return one if one.positions else other
    columns: dict[str, Column] = {
        name: [*listed(cells), *listed(other.columns[name])] for name, cells in one.columns.items()
    }
    positions, indexes = one.positions + other.positions, one.indexes + other.indexes
    return Elements(positions, indexes, columns, one.unknown + other.unknown)


def listed(column: Column) -> list[Any]:
    """Return the cells of a column as objects."""
    return column if isinstance(column, list) else column.to_pylist()


def double_columns(mapping: ColumnMapping, measurements: Measurements) -> set[str]:
    """Return the columns that hold values of doubles, and nothing else."""
    if mapping.tag:
        return set()
    doubles = {measurement.name for measurement in measurements.declared if measurement.type == "double"}
    entries = mapping.measurements.items()
    others = {entry.column for name, entry in entries if name not in doubles}
    others |= {entry.quality for _, entry in entries if entry.quality}
    others |= {*mapping.timestamp.names, *mapping.equipment.columns}
    others |= {mapping.quality.column} if mapping.quality and mapping.quality.column else set()
    return {entry.column for _, entry in entries} - others


def _is_leaf(path: Names, shape: Mapping[str, Any]) -> bool:
    """Return whether a path ends at a cell of an object of this shape, or at no field of it."""
    inner = shape.get(path[0])
    return _is_leaf(path[1:], inner) if inner and path[1:] else not inner and (not path[1:] or path[0] not in shape)
