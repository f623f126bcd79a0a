"""Paths into a parsed record: `values.voltage`, `fields['U.1']`, `[0].v`; and the names that begin with `$`.

A name that begins with `$` is not part of the element: `$key` (the record's key), `$key.PATH` (a path into a JSON key),
`$topic`, `$time` (the record's timestamp), `$header.NAME`, `$name` (the name of the member of an object that `*`
iterates over), `$value` (the element itself, where elements are values and no objects), `$.PATH` (a path from the root
of the record), and `$parent.PATH` (a path from the object around the elements, such as the device of an array of
devices with an array of readings each).

A path also goes into a text that holds a JSON object or array.
"""

import json
import re
from contextlib import suppress
from typing import Any

Path = tuple[str | int, ...]
ALL = "*"

_STEP = re.compile(r"""(?:^(?!\$)|\.)([^.\[\]'"][^.\[\]]*)|\[(\d+)\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_HEADER = "$header."
_ROOT = "$."
PARENT = "$parent."
_KEY = "$key."
_RECORD = ("$key", "$topic", "$time", "$name", "$value")


def parse_path(text: str) -> Path:
    """Return the steps of a path.

    Raises:
        ValueError: the text is no path.
    """
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if not found:
            raise ValueError(f"{text!r} is no path, such as values.voltage, [0].value or fields['U.1']")
        name, number, *quoted = found.groups()
        steps.append(int(number) if number else next(part for part in (name, *quoted) if part is not None))
        at = found.end()
    return tuple(steps)


def check_column(text: str) -> str:
    """Check the name of a column, a path, or a name that begins with `$`.

    Raises:
        ValueError: it is none of them.
    """
    if not text.startswith("$"):
        return text
    if text in _RECORD or (text.startswith(_HEADER) and len(text) > len(_HEADER)):
        return text
    for prefix in (_ROOT, PARENT, _KEY):
        if text.startswith(prefix) and len(text) > len(prefix):
            parse_path(text.removeprefix(prefix))
            return text
    raise ValueError(
        f"{text!r}: after $ comes one of key, key.PATH, topic, time, name, value, header.NAME, parent.PATH, or .PATH"
        " (of the record)"
    )


def of_value(column: str) -> bool:
    """Return whether a column is in the value of a record, or in a file, which has no key, no headers and no topic."""
    return not column.startswith("$") or column in ("$name", "$value") or column.startswith((_ROOT, PARENT))


def header_of(column: str | None) -> str | None:
    """Return the name of the header that a column names, in lower case; None if it names something else."""
    return column.removeprefix(_HEADER).lower() if column and column.startswith(_HEADER) else None


def root_path(column: str) -> Path | None:
    """Return the path from the root of the record that a column names; None if it names something else."""
    return _path_after(_ROOT, column)


def parent_path(column: str) -> Path | None:
    """Return the path from the object around the elements that a column names; None if it names something else."""
    return _path_after(PARENT, column)


def key_path(column: str) -> Path | None:
    """Return the path into a JSON key that a column names; None if it names something else."""
    return _path_after(_KEY, column)


def _path_after(prefix: str, column: str) -> Path | None:
    return parse_path(column.removeprefix(prefix)) if column.startswith(prefix) else None


def value_at(item: Any, path: Path) -> Any:
    """Return the value at a path, None if there is none."""
    for step in path:
        item = opened(item)
        if isinstance(step, int):
            item = item[step] if type(item) is list and step < len(item) else None
        else:
            item = item.get(step) if type(item) is dict else None
    return item


def opened(item: Any) -> Any:
    """Return the content of a text that holds a JSON object or array; anything else as it is."""
    if type(item) is str and item.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return json.loads(item)
    return item
