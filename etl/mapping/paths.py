"""Paths into a parsed record: `values.voltage`, `fields['U.1']`, `[0].v`; and the names that begin with `$`.

A name that begins with `$` is not part of the element: `$key` (the record's key), `$topic`, `$time` (the record's
timestamp), `$header.NAME`, `$name` (the name of the member of an object that `*` iterates over), and `$.PATH` (a path
from the root of the record).
"""

import re
from typing import Any

Path = tuple[str | int, ...]
ALL = "*"

_STEP = re.compile(r"""(?:^|\.)([^.\[\]'"$][^.\[\]]*)|\[(\d+)\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_HEADER = "$header."
_ROOT = "$."
_RECORD = ("$key", "$topic", "$time", "$name")


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
    if text.startswith(_ROOT):
        parse_path(text.removeprefix(_ROOT))
        return text
    raise ValueError(f"{text!r}: after $ comes one of key, topic, time, name, header.NAME or .PATH (of the record)")


def header_of(column: str | None) -> str | None:
    """Return the name of the header that a column names, in lower case; None if it names something else."""
    return column.removeprefix(_HEADER).lower() if column and column.startswith(_HEADER) else None


def root_path(column: str) -> Path | None:
    """Return the path from the root of the record that a column names; None if it names something else."""
    return parse_path(column.removeprefix(_ROOT)) if column.startswith(_ROOT) else None


def value_at(item: Any, path: Path) -> Any:
    """Return the value at a path, None if there is none."""
    for step in path:
        if isinstance(step, int):
            item = item[step] if type(item) is list and step < len(item) else None
        else:
            item = item.get(step) if type(item) is dict else None
    return item
