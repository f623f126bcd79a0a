"""Rows of a file of JSON objects: one a line, or the elements of arrays; a bad one costs only itself."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etl.mapping.ids import Column
from etl.mapping.language import ColumnMapping
from etl.mapping.rows import Rows, cells_of, explode
from etl.model.measurements import Measurements
from etl.stages.generate.cells import BrokenLine, Cells, Parsed
from etl.stages.generate.lines import BLOCK_BYTES, BLOCK_ROWS, MAX_LINE_BYTES, Text, blocks_of_lines

MAX_ELEMENTS = 1_000_000  # of one object
_GAP = re.compile(r"[\s,]*")
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
_NEXT = re.compile(r"\}\s*(?:,\s*)?(?=\{)")  # where the next object begins, if the brackets of one do not match
_SCALAR = re.compile(r"[^,\]\n]+")
_DECODER = json.JSONDecoder()


@dataclass
class _Rows:
    """Rows that wait for their block: objects or arrays with line number and bytes, and the broken ones."""

    objects: list[Any] = field(default_factory=list)
    good: list[tuple[int, bytes]] = field(default_factory=list)
    letters: list[BrokenLine] = field(default_factory=list)

    def add(self, number: int, raw: bytes, value: object) -> None:
        checked = _checked(raw, value)
        several = isinstance(checked, list) and any(isinstance(each, dict) for each in checked)
        for each in checked if isinstance(checked, list) and several else [checked]:
            own = json.dumps(each, ensure_ascii=False).encode() if several else raw
            if several and not isinstance(each, dict):
                self.refuse(number, own, ValueError("no JSON object"))
            else:
                self.objects.append(each)
                self.good.append((number, own))

    def refuse(self, number: int, raw: bytes, error: Exception) -> None:
        reason = "undecodable" if isinstance(error, UnicodeError) else "recorded"
        self.letters.append(BrokenLine(number, raw[: MAX_LINE_BYTES + 1], reason, str(error)))

    def block(self, mapping: ColumnMapping) -> Parsed:
        if mapping.readings:
            return self._elements(mapping)
        if not any(column.startswith("[") for column in mapping.columns):
            self._refuse_arrays()
        number = len(self.objects)
        rows = Rows(list(range(number)), [0] * number, self.objects, self.objects, [None] * number, self.objects)
        lines = np.array([at for at, _ in self.good], dtype=np.int64)
        return Cells(_columns(rows, mapping), lines, lambda row: self.good[row][1]), self.letters

    def _refuse_arrays(self) -> None:
        """Refuse rows that are arrays, whose cells have numbers and no names."""
        arrays = [at for at, item in enumerate(self.objects) if isinstance(item, list)]
        for at in reversed(arrays):
            del self.objects[at]
            self.refuse(*self.good.pop(at), ValueError("no JSON object"))
        if arrays:
            self.letters.sort(key=lambda letter: letter.line)

    def _elements(self, mapping: ColumnMapping) -> Parsed:
        """Return the elements at the path `readings` of each object; the bytes of an element are its own."""
        troubles: dict[int, str] = {}
        broken: dict[tuple[int, int], str] = {}
        items, values = dict(enumerate(self.objects)), "$value" in mapping.columns
        rows = explode(items, mapping.readings, MAX_ELEMENTS, troubles, broken, values=values)
        for at, reason in [*troubles.items(), *((at, reason) for (at, _), reason in broken.items())]:
            self.letters.append(BrokenLine(*self.good[at], "recorded", reason))
        self.letters.sort(key=lambda letter: letter.line)
        lines = np.array([self.good[at][0] for at in rows.positions], dtype=np.int64)
        return Cells(_columns(rows, mapping), lines, lambda row: json.dumps(rows.elements[row]).encode()), self.letters


def _columns(rows: Rows, mapping: ColumnMapping) -> dict[str, Column]:
    return {column: cells_of(rows, column) for column in mapping.columns}


def json_lines(text: Text, mapping: ColumnMapping, _measurements: Measurements, _name: str) -> Iterator[Parsed]:
    """Yield the rows of a file with one JSON object a line, in blocks."""
    for first, lines in blocks_of_lines(text):
        rows = _Rows()
        for number, line in enumerate(lines, first):
            line = line.removesuffix(b"\r")
            if not line.strip():
                continue
            try:
                if len(line) > MAX_LINE_BYTES:
                    raise ValueError(_TOO_LONG)
                rows.add(number, line, json.loads(line.decode()))
            except (ValueError, RecursionError) as error:
                rows.refuse(number, line, error)
        yield rows.block(mapping)


_TOO_LONG = f"longer than {MAX_LINE_BYTES} bytes; no more of it is kept"


def is_array(head: bytes) -> bool:
    """Return whether a file begins with an array that does not end on its first line."""
    line = head.lstrip().partition(b"\n")[0].strip()
    if not line.startswith(b"["):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


def _checked(raw: bytes, value: object) -> object:
    if not isinstance(value, dict | list):
        raise ValueError("no JSON object")
    if b"\\ud" in raw.lower():
        # Half a surrogate pair is valid JSON, but not text.
        json.dumps(value, ensure_ascii=False).encode()
    return value


class _Window:
    """A part of a file as text, from the next element on; `line` is the number of its first line."""

    def __init__(self, text: Text) -> None:
        self._chunks = filter(None, _chunks(text))
        self.text, self.at, self.line, self.over = "", 0, 1, False
        self.gap = ""

    def skip(self) -> None:
        """Go to the next element; remember the gap, which shows the indentation."""
        found = _GAP.match(self.text, self.at)
        self.gap += self.take(found.end() if found else self.at).decode()

    def more(self) -> bool:
        """Read on, and forget what is done; return whether there was more."""
        self.text, self.at = self.text[self.at :], 0
        added = next(self._chunks, "")
        self.text += added
        self.over = not added
        return bool(added)

    def take(self, end: int) -> bytes:
        """Return the bytes up to a place, and go there."""
        part = self.text[self.at : end]
        self.line += part.count("\n")
        self.at = end
        return part.encode("utf-8", "surrogateescape")


def _chunks(text: Text) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    yield decoder.decode(text.head)
    while data := text.file.read(BLOCK_BYTES):
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def json_values(text: Text, mapping: ColumnMapping, _measurements: Measurements, _name: str) -> Iterator[Parsed]:
    """Yield the elements of the arrays in a file, and objects beside them, in blocks; memory holds one block.

    The line of an element is that of its first byte. If its brackets do not match, it ends before the next object.
    """
    window, rows, inside, lost = _Window(text), _Rows(), False, False
    while True:
        if lost and (found := _NEXT.search(window.text, window.at)):
            window.take(found.end())
            lost = False
        if lost:
            window.take(max(window.at, len(window.text) - 1))
        else:
            window.skip()
        if lost or window.at == len(window.text):
            if not window.more():
                break
            continue
        bracket = window.text[window.at]
        if bracket == ("]" if inside else "["):
            window.take(window.at + 1)
            inside, window.gap = not inside, ""
            continue
        lost = _element(window, rows)
        window.gap = ""
        if len(rows.good) + len(rows.letters) >= BLOCK_ROWS:
            yield rows.block(mapping)
            rows = _Rows()
    yield rows.block(mapping)


def _element(window: _Window, rows: _Rows) -> bool:
    """Add the next element, or a broken one; return whether its end is not found, so that the next object is sought."""
    number = window.line
    while True:
        try:
            value, end = _DECODER.raw_decode(window.text, window.at)
            if window.over or end < len(window.text):
                break
        except (ValueError, RecursionError) as error:
            problem = error
            found = _end(window)
            if found is not None and (window.over or found < len(window.text)):
                rows.refuse(number, window.take(found), _plain(problem))
                return False
            if window.over or len(window.text) - window.at > MAX_LINE_BYTES:
                return _cut(window, rows, number, _plain(problem))
        if not window.more():
            continue
    raw = window.take(end)
    try:
        raw.decode()
        if len(raw) > MAX_LINE_BYTES:
            raise ValueError(_TOO_LONG)
        rows.add(number, raw, value)
    except ValueError as error:
        rows.refuse(number, raw, error)
    return False


def _plain(error: Exception) -> Exception:
    # The place in the message is that in the window.
    return ValueError(error.msg) if isinstance(error, json.JSONDecodeError) else error


def _cut(window: _Window, rows: _Rows, number: int, problem: Exception) -> bool:
    """Refuse what has no end up to the next object, or else all of the window."""
    found = _NEXT.search(window.text, window.at)
    end = found.start() + 1 if found else len(window.text)
    rows.refuse(number, window.take(end), problem)
    return found is None


def _end(window: _Window) -> int | None:
    """Return where a broken element ends by its brackets, or before the next object with the same indentation."""
    text, at = window.text, window.at
    if text[at] not in "[{":
        scalar = _SCALAR.match(text, at)
        return scalar.end() if scalar else at + 1
    _, line_end, indent = window.gap.rpartition("\n")
    following = text.find(f"\n{indent}{{", at) if line_end else -1
    end = _balanced(text, at)
    if following >= 0 and (end is None or end > following):
        return at + len(text[at:following].rstrip(" \t\r\n,"))
    return end


def _balanced(text: str, at: int) -> int | None:
    depth = 0
    for token in _TOKEN.finditer(text, at):
        mark = token[0]
        if mark == '"':
            return None
        depth += (mark in "[{") - (mark in "]}") if len(mark) == 1 else 0
        if depth == 0:
            gap = _GAP.match(text, token.end())
            return token.end() if gap and text[gap.end() : gap.end() + 1] in ("", "]", "{") else None
    return None
