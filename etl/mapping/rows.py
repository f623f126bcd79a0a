"""The elements of parsed records: each is a reading, or in the long form a value."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from etl.mapping.paths import ALL, Path, opened, parent_path, parse_path, root_path, value_at


class Rows(NamedTuple):
    """n elements of several records, as parallel lists.

    `positions` is the record of each element, `indexes` its position in the record, `roots` the whole record (of an
    array the item), `names` the name of the member that `*` in the path found last, and `parents` the innermost element
    of an array, or member, that the path went through before it; without one the root.
    """

    positions: list[int]
    indexes: list[int]
    elements: list[Any]
    roots: list[Any]
    names: list[str | None]
    parents: list[Any]


# An element with its root, the name of the last member, and its parent.
_Found: TypeAlias = tuple[Any, Any, str | None, Any]


def explode(
    items: Mapping[int, Any],
    path: str | None,
    most: int,
    troubles: dict[int, str],
    broken: dict[tuple[int, int], str],
    *,
    values: bool = False,
) -> Rows:
    """Return the elements of parsed records.

    Args:
        items: objects or arrays by position.
        path: the path to the elements; None: the record itself. An array at its end, or on its way, has one element or
            more each.
        most: the most elements of a record.
        troubles: receives by position the reason why a record has no elements.
        broken: receives by position and index the reason why an element is no object and no array.
        values: whether elements are values, which need be neither.
    """
    steps = parse_path(path) if path else ()
    if not steps and set(map(type, items.values())) <= {dict}:
        roots = list(items.values())
        return Rows(list(items), [0] * len(roots), roots, roots, [None] * len(roots), roots)
    rows = Rows([], [], [], [], [], [])
    add = tuple(column.append for column in rows)
    for position, item in items.items():
        if type(item) is dict and not steps:
            _append(add, position, 0, (item, item, None, item))
            continue
        found = list(islice(_elements(item, steps), most + 1))
        if len(found) > most:
            troubles[position] = f"more than {most} readings in one record"
        elif not found and not _is_empty(item, steps):
            troubles[position] = f"there is nothing at {path!r} (`readings` of the mapping)" if path else "no object"
        else:
            for index, each in enumerate(found):
                if values or type(each[0]) in (dict, list):
                    _append(add, position, index, each)
                elif type(inner := opened(each[0])) is dict:
                    _append(add, position, index, (inner, inner if each[1] is each[0] else each[1], *each[2:]))
                else:
                    broken[position, index] = f"the element {str(each[0])[:80]!r} is no object"
    return rows


def _append(add: tuple[Callable[[Any], None], ...], position: int, index: int, found: _Found) -> None:
    """Add an element to each of the lists of rows, by their methods, which saves half the time."""
    add_position, add_index, add_element, add_root, add_name, add_parent = add
    add_position(position)
    add_index(index)
    add_element(found[0])
    add_root(found[1])
    add_name(found[2])
    add_parent(found[3])


def _elements(item: Any, steps: Path) -> Iterator[_Found]:
    roots = item if type(item) is list and not (steps and isinstance(steps[0], int)) else [item]
    for root in roots:
        if steps and type(root) in (dict, list):
            for element, name, parent in _walk(root, steps, None, (root, root)):
                yield element, root, name, parent
        else:
            yield root, root, None, root


def _walk(item: Any, steps: Path, name: str | None, around: tuple[Any, Any]) -> Iterator[tuple[Any, str | None, Any]]:
    """Yield the elements, the name of each, and its parent; `around` are the last two elements on the way."""
    if not steps:
        inner = opened(item)
        parent = around[0] if around[1] is item else around[1]
        if type(inner) is list:
            yield from ((element, name, parent) for element in inner)
        elif item is not None:
            yield inner, name, parent
        return
    item = opened(item)
    step, rest = steps[0], steps[1:]
    if step == ALL and type(item) is dict:
        for key, member in item.items():
            yield from _walk(member, rest, key, (around[1], member))
    elif type(item) is list and not isinstance(step, int):
        for member in item:
            yield from _walk(member, steps, name, (around[1], member))
    else:
        yield from _walk(value_at(item, (step,)), rest, name, around)


def _is_empty(item: Any, steps: Path) -> bool:
    """Return whether a record has an array or object without elements where they belong."""
    item = opened(item)
    if item == [] or (item == {} and steps[:1] == (ALL,)):
        return True
    if not steps:
        return False
    if steps[0] == ALL and type(item) is dict:
        return any(_is_empty(member, steps[1:]) for member in item.values())
    if type(item) is list and not isinstance(steps[0], int):
        return any(_is_empty(member, steps) for member in item)
    return _is_empty(value_at(item, (steps[0],)), steps[1:])


def cells_of(rows: Rows, column: str) -> list[Any]:
    """Return the cells of a column: a field of each element, the value at a path, or a name that begins with `$`."""
    if column == "$name":
        return list(rows.names)
    if column == "$value":
        return list(rows.elements)
    whole = root_path(column)
    if whole is not None:
        return _walked(rows.roots, whole)
    outer = parent_path(column)
    if outer is not None:
        return _walked(rows.parents, outer)
    path = path_of(column)
    cells = _walked(rows.elements, path)
    if len(path) > 1 and any(type(element) is dict and column in element for element in rows.elements):
        exact = [type(element) is dict and column in element for element in rows.elements]
        cells = [
            element[column] if own else cell for element, own, cell in zip(rows.elements, exact, cells, strict=True)
        ]
    return cells


def _walked(items: list[Any], path: Path) -> list[Any]:
    """Return the values at a path of many items, one step after the other: half the time of one item at a time."""
    for step in path:
        if isinstance(step, str):
            with suppress(KeyError, TypeError):  # not each of them is an object with this field
                items = list(map(itemgetter(step), items))
                continue
        # All elements of a record have the same root, which may be a text that is to be parsed once.
        found = {key: value_at(item, (step,)) for key, item in {id(item): item for item in items}.items()}
        items = [found[id(item)] for item in items]
    return items


def path_of(column: str) -> Path:
    """Return the path to a column of an element."""
    try:
        return parse_path(column)
    except ValueError:
        # Any text can be the name of a field.
        return (column,)


def unknown_fields(elements: Sequence[Any], columns: Sequence[str]) -> dict[str, int]:
    """Return the number of elements by field that no column names; a field of an object has its path."""
    return {".".join(path): number for path, number in unknown_paths(elements, columns).items()}


def unknown_paths(elements: Sequence[Any], columns: Sequence[str]) -> dict[tuple[str, ...], int]:
    """Return the number of elements by the path of a field that no column names."""
    paths = {path_of(column) for column in columns if not column.startswith("$")} | {(column,) for column in columns}
    prefixes = {path[:size] for path in paths for size in range(1, len(path))}
    counts: dict[tuple[str, ...], int] = {}
    _count(elements, (), paths, prefixes, counts)
    return counts


def _count(
    elements: Sequence[Any],
    before: tuple[str, ...],
    paths: set[Path],
    prefixes: set[Path],
    counts: dict[tuple[str, ...], int],
) -> None:
    shapes = Counter(tuple(element) for element in elements if type(element) is dict)
    for shape, number in shapes.items():
        for name in shape:
            path = (*before, name)
            if path not in paths and path not in prefixes:
                counts[path] = counts.get(path, 0) + number
    for step in {path[-1] for path in prefixes if path[:-1] == before}:
        if isinstance(step, str):
            inner = [element.get(step) for element in elements if type(element) is dict]
            _count(inner, (*before, step), paths, prefixes, counts)
