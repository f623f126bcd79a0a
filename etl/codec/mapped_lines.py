"""Elements of a block of JSON records, column by column, in a third of the time of `etl.mapping.rows`.

msgspec reads objects of a type that is made from the paths of a mapping, and from the other fields of a few records of
the block. A record with another field, or with an array or an object instead of a cell, does not fit.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import NODEFAULT, UNSET, Raw, UnsetType
from msgspec.structs import astuple

from etl.codec.json_lines import Decode, pieces
from etl.codec.json_records import parse_json
from etl.mapping.ids import Column
from etl.mapping.paths import ALL, PARENT, Path, parse_path, root_path
from etl.mapping.rows import explode, path_of, unknown_paths
from etl.model.schemas import CHUNK_ROWS

_SAMPLE_VALUES = 16
_MOST_EXTRAS = 200
# orjson reads a larger whole number as a double.
_Cell = str | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | float | bool | None
Names = tuple[str, ...]


class Paths(NamedTuple):
    """The columns of a mapping, their paths from the element or from the root of a record, and that to the elements."""

    columns: Sequence[str]
    elements: dict[str, Names]
    roots: dict[str, Names]
    path: str | None
    readings: Names


class Elements(NamedTuple):
    """n elements: the position of the record of each, its position in the record, its cells, and unmapped fields."""

    positions: list[int]
    indexes: list[int]
    columns: dict[str, Column]
    unknown: Counter[str]


class _Object(NamedTuple):
    """A type of msgspec, and its fields in order: an object or, if None, a cell."""

    type: Any
    fields: list[tuple[str, "_Object | None"]]


def paths_of(columns: Sequence[str], readings: str | None) -> Paths | None:
    """Return the paths of a mapping; None if objects of a fixed type cannot hold their cells."""
    elements = {name: _names(path_of(name)) for name in columns if not name.startswith("$")}
    roots = {name: _names(path) for name in columns if (path := root_path(name)) is not None}
    steps = _names(parse_path(readings)) if readings else ()
    around = any(name in ("$name", "$value") or name.startswith(PARENT) for name in columns)
    if around or (readings and not steps) or not elements or ALL in steps or (roots and not steps):
        return None
    if _overlap(elements.values()) or _overlap([*roots.values(), steps] if steps else []):
        return None
    # A field with the name of a longer path has precedence over the path; an object without such a field refuses it.
    if any(len(path) > 1 and (name,) in elements.values() for name, path in elements.items()):
        return None
    return Paths(columns, elements, roots, readings, steps)


def _names(path: Path) -> Names:
    """Return a path through objects alone; an empty one if it leads through an array."""
    return tuple(step for step in path if isinstance(step, str)) if all(isinstance(s, str) for s in path) else ()


def _overlap(paths: Iterable[Names]) -> bool:
    """Return whether one of the paths leads through another, or is empty."""
    found = set(paths)
    return () in found or any(path[:size] in found for path in found for size in range(1, len(path)))


def read_elements(values: Mapping[int, bytes], paths: Paths, rest: dict[int, bytes]) -> Elements:
    """Return the elements of JSON values by position; add the values that do not fit to `rest`."""
    given = list(values.values())
    extras = _extras(given[:: -(-len(given) // _SAMPLE_VALUES)], paths)
    array = not paths.readings and given[0].lstrip()[:1] == b"["
    inner, around = tuple(dict.fromkeys(paths.elements.values())), tuple(dict.fromkeys(paths.roots.values()))
    decode, root, element = _types(inner, around, paths.readings, extras, array)
    positions: list[int] = []
    indexes: list[int] = []
    cells: defaultdict[Names, list[Any]] = defaultdict(list)
    outer: defaultdict[Names, list[Any]] = defaultdict(list)
    for some, found in pieces(list(values), given, decode, rest, b"[]" if array else b"{}"):
        if root is not None:
            held: defaultdict[Names, list[Any]] = defaultdict(list)
            _spread(found, root, (), held)
            found = held.pop(paths.readings)
            for path, column in held.items():
                outer[path] += _repeated(column, found)
        if array or root is not None:
            positions += _repeated(some, found)
            indexes += chain.from_iterable(map(range, map(len, found)))
            found = list(chain.from_iterable(found))
        else:
            positions += some
            indexes += [0] * len(some)
        _spread(found, element, (), cells)
    columns: dict[str, Column] = {name: cells[path] for name, path in paths.elements.items()}
    columns |= {name: outer[path] for name, path in paths.roots.items()}
    numbers = {".".join(path): sum(cell is not UNSET for cell in cells[path]) for path in extras}
    return Elements(positions, indexes, columns, +Counter(numbers))


def _extras(sample: list[bytes], paths: Paths) -> tuple[Names, ...]:
    """Return the fields of a few values that no column names."""
    items = {at: item for at, item in enumerate(parse_json(sample)) if type(item) in (dict, list)}
    rows = explode(items, paths.path, CHUNK_ROWS, {}, {})
    return tuple(sorted(unknown_paths(rows.elements, paths.columns)))[:_MOST_EXTRAS]


@lru_cache(maxsize=32)
def _types(
    elements: tuple[Names, ...],
    roots: tuple[Names, ...],
    readings: Names,
    extras: tuple[Names, ...],
    array: bool,
) -> tuple[Decode, _Object | None, _Object]:
    """Return the decoder of records, the type of a record that holds its elements, and that of an element."""
    leaves: dict[Names, tuple[Any, Any]] = dict.fromkeys(elements, (_Cell, None))
    leaves |= dict.fromkeys(extras, (Raw | UnsetType, UNSET))
    element = _object(leaves, closed=True)
    several = Annotated[list[element.type], msgspec.Meta(max_length=CHUNK_ROWS)]  # type: ignore[name-defined]
    if not readings:
        return msgspec.json.Decoder(several if array else element.type).decode_lines, None, element
    root = _object(dict.fromkeys(roots, (_Cell, None)) | {readings: (several, NODEFAULT)}, closed=False)
    return msgspec.json.Decoder(root.type).decode_lines, root, element


def _object(leaves: Mapping[Names, tuple[Any, Any]], closed: bool) -> _Object:
    """Return the type of objects with these leaves: type and default by path; a closed one has no other fields."""
    fields: list[tuple[str, _Object | None]] = []
    defined: list[tuple[str, Any, Any]] = []
    for place, name in enumerate(dict.fromkeys(path[0] for path in leaves)):
        inner = {path[1:]: leaf for path, leaf in leaves.items() if path[0] == name}
        held = None if () in inner else _object(inner, closed)
        fields.append((name, held))
        if held is None:
            defined.append((f"field{place}", *inner[()]))
        else:
            needed = any(default is NODEFAULT for _, default in inner.values())
            default = NODEFAULT if needed else msgspec.field(default_factory=held.type)
            defined.append((f"field{place}", held.type, default))
    rename = {attribute: name for (attribute, *_), (name, _) in zip(defined, fields, strict=True)}
    kind = msgspec.defstruct("Object", defined, rename=rename, gc=False, kw_only=True, forbid_unknown_fields=closed)
    return _Object(kind, fields)


def _spread(items: Sequence[Any], kind: _Object, before: Names, found: defaultdict[Names, list[Any]]) -> None:
    """Add the cells of n objects to the columns by path."""
    number = len(kind.fields)
    rows = np.fromiter(chain.from_iterable(map(astuple, items)), object, len(items) * number)
    for (name, held), column in zip(kind.fields, rows.reshape(-1, number).T.tolist(), strict=True):
        if held is None:
            found[*before, name] += column
        else:
            _spread(column, held, (*before, name), found)


def _repeated(cells: Sequence[Any], groups: Sequence[Sequence[Any]]) -> list[Any]:
    """Return each cell as often as its group has members."""
    return [cell for cell, group in zip(cells, groups, strict=True) for _ in group]
