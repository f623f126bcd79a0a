"""One element of a JSON record that has several, for its dead letter."""

import json
from contextlib import suppress
from functools import lru_cache
from typing import Any

from etl.codec.json_records import parse_json
from etl.mapping.paths import ALL, Path, opened, parse_path, value_at


def one_element(value: bytes, path: str, index: int) -> bytes:
    """Return one element of a JSON record: its own bytes in an array, or with a path the record without the others.

    The whole record is returned if the standard library cannot cut it: it has a number such as `nan`, which only the
    lenient parser takes, a number of thousands of digits, or it is nested too deeply.

    Raises:
        IndexError: the record has fewer elements.
    """
    try:
        return _cut(value, path, index)
    except (ValueError, RecursionError):
        return value


def _cut(value: bytes, path: str, index: int) -> bytes:
    if not path:
        text, spans = _spans(value)
        if spans is None:
            return text.encode()
        if index >= len(spans):
            raise ValueError("the standard library cannot cut this element")
        return text[slice(*spans[index])].encode()
    item = _parsed(value)
    steps = parse_path(path)
    if type(item) is list and not isinstance(steps[0], int):
        pruned, number = _one_root(item, steps, index)
    else:
        pruned, number = _pruned(item, steps, index)
    if pruned is None:
        raise IndexError(f"the record has only {number} elements")
    return json.dumps(pruned, ensure_ascii=False, separators=(",", ":")).encode()


# A wrong mapping makes a dead letter of each element: the last record is kept, or the time would be quadratic.
@lru_cache(maxsize=1)
def _spans(value: bytes) -> tuple[str, list[tuple[int, int]] | None]:
    """Return the text of an array and the spans of its elements up to a broken one; None if it is no array."""
    text = value.decode("utf-8-sig").rstrip("\0")
    at = _blank_end(text, 0)
    if text[at : at + 1] != "[":
        return text, None
    decoder = json.JSONDecoder()
    spans: list[tuple[int, int]] = []
    with suppress(ValueError, RecursionError):
        while text[at : at + 1] in ("[", ","):
            start = _blank_end(text, at + 1)
            _, end = decoder.raw_decode(text, start)
            spans.append((start, end))
            at = _blank_end(text, end)
    return text, spans


@lru_cache(maxsize=1)
def _parsed(value: bytes) -> Any:
    item = parse_json([value])[0]
    if isinstance(item, ValueError):
        raise item
    return item


@lru_cache(maxsize=1)
def _opened(text: str) -> Any:
    return opened(text)


def _blank_end(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _one_root(roots: list[Any], steps: Path, index: int) -> tuple[Any, int]:
    """Return an array of records with only one of their elements; what is no record counts as an element."""
    total = 0
    for root in roots:
        is_record = type(root) in (dict, list)
        pruned, number = _pruned(root, steps, index - total) if is_record else (root, 1)
        if total <= index < total + number:
            return [pruned], total + number
        total += number
    return None, total


def _pruned(item: Any, steps: Path, index: int) -> tuple[Any, int]:
    """Return an item with only one of its elements (None if it has fewer), and their number."""
    item = _opened(item) if type(item) is str else item
    if not steps:
        if type(item) is list:
            return ([item[index]] if index < len(item) else None), len(item)
        return (item if index == 0 else None), int(item is not None)
    step, rest = steps[0], steps[1:]
    if step == ALL and type(item) is dict:
        members = [(key, member, rest) for key, member in item.items()]
    elif type(item) is list and not isinstance(step, int):
        members = [(None, member, steps) for member in item]
    else:
        pruned, number = _pruned(value_at(item, (step,)), rest, index)
        return (None if pruned is None else _with(item, step, pruned)), number
    total = 0
    for key, member, inner in members:
        pruned, number = _pruned(member, inner, index - total)
        if pruned is not None:
            return ([pruned] if key is None else {key: pruned}), total + number
        total += number
    return None, total


def _with(item: Any, step: str | int, pruned: Any) -> Any:
    """Return a copy of an item with another value at a step."""
    if isinstance(step, int):
        return [*item[:step], pruned, *item[step + 1 :]]
    return {**item, step: pruned}
