"""Equipment IDs from one column or several, and the parts of texts that a pattern matches."""

import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from etl.mapping.language import EquipmentColumn, TextColumn
from etl.model.equipment import equipment_id

_WHOLE = 2.0**53
Column: TypeAlias = pa.Array | list[Any]


def texts_of(column: Column) -> pa.Array:
    """Convert a column of keys or timestamps to texts without white space around them; null if there is none."""
    if isinstance(column, list):
        plain = set(map(type, column)) <= {str, type(None)}
        column = pa.array(column if plain else [_text_of(cell) for cell in column], pa.string())
    elif pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _text_of(cell: Any) -> str | None:
    # bool is an int in Python, but is neither a key nor a timestamp. 7.0 is machine 7, as in columns of numbers.
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _WHOLE:
        return str(int(cell))
    return str(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else None


def matched(texts: pa.Array, pattern: str | None) -> pa.Array:
    """Return the group of the pattern in each text, null without a match; the texts if there is no pattern."""
    if pattern is None:
        return texts
    search = re.compile(pattern).search
    encoded = texts.dictionary_encode()
    found = [None if text is None else search(text) for text in encoded.dictionary.to_pylist()]
    parts = [match and match[1] for match in found]
    return pa.array(parts, pa.string()).take(encoded.indices)


def tags_of(columns: Mapping[str, Column], entry: TextColumn) -> pa.Array:
    """Return the tags of n elements in the long form."""
    return matched(texts_of(columns[entry.column]), entry.pattern)


def equipment_ids(columns: Mapping[str, Column], entry: EquipmentColumn, number: int) -> pa.Array:
    """Return the equipment IDs of n elements, null if there is no valid one."""
    if entry.constant is not None:
        return pa.repeat(pa.scalar(entry.constant, pa.string()), number)
    if entry.template is not None:
        texts = _filled({name: texts_of(columns[name]) for name in entry.columns}, entry.template)
    else:
        texts = matched(texts_of(columns[entry.column or ""]), entry.pattern)
    encoded = texts.dictionary_encode()
    return pa.array([_id(text) for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def _filled(columns: Mapping[str, pa.Array], template: str) -> pa.Array:
    """Return the template with the texts of each row; null if one is missing."""
    parts: list[pa.Array | str] = []
    for literal, name, _, _ in Formatter().parse(template):
        parts.append(literal)
        if name:
            # An empty part would make two machines one.
            parts.append(pc.if_else(pc.equal(columns[name], ""), None, columns[name]))
    return pc.binary_join_element_wise(*parts, "")


def _id(text: str | None) -> str | None:
    try:
        return None if text is None else equipment_id(text)
    except ValueError:
        return None


def shown_cells(columns: Mapping[str, Column], names: Sequence[str], row: int) -> str:
    """Return the cells of a row as a short text for a message."""
    cells = (columns[name][row] for name in names)
    return ", ".join(
        f"{name} is {str(cell.as_py() if isinstance(cell, pa.Scalar) else cell)[:80]!r}"
        for name, cell in zip(names, cells, strict=True)
    )
