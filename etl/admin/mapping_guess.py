"""Guess a first mapping of a recorded file, or of the topic; write nothing."""

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import median
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from etl.admin.mapping_trial import SAMPLE, newest_records
from etl.codec.columns import ARROW, CONTENT_TYPE, format_of
from etl.codec.json_records import parse_json
from etl.errors import SettingsError
from etl.mapping.guess import guess_mapping
from etl.mapping.language import ColumnMapping
from etl.mapping.rows import explode
from etl.model.measurements import Measurements
from etl.settings import KafkaSettings
from etl.stages.generate.listing import list_files
from etl.stages.generate.opening import endings, file_format, opened, reading
from etl.stages.generate.sheets import first_rows
from etl.urls import shown

_SAMPLE_BYTES = 256 * 1024
_MOST_BYTES = 64 * 1024 * 1024  # of one JSON object
_DELIMITERS = ";\t|"
_ANY = ColumnMapping.model_validate({"timestamp": "-", "measurements": {"-": "-"}})
_GAP = re.compile(r"[\s,\[\]]*")
_VALUE = re.compile(r"[+-]?\d[\d.,:eE+-]*|\d{4}-\d\d-\d\d[T ].*")


def guess_file(url: str, measurements: Measurements) -> str:
    """Return the YAML text of a mapping of a file, or of the first file with rows of a folder, a zip or a pattern.

    Raises:
        SettingsError: the file is missing, or has no rows.
        Unreachable: the storage of the file does not answer.
    """
    listing = list_files(url, _ANY)
    for found in listing.files:
        outer = file_format(found.name)
        for name, file in opened(found, seek=outer != "csv"):
            kind = file_format(name) or outer
            if kind is None and name != found.name:
                file.close()
                continue  # a member of a zip such as readme.txt
            with file, reading(name):
                text = _guess(file, name, kind, measurements)
            if text:
                return f"# of {name}\n{text}" if listing.many or name != found.name else text
    raise SettingsError(f"recorded file {shown(url)} has no rows in a known format")


def _guess(file: BinaryIO, name: str, kind: str | None, measurements: Measurements) -> str:
    """Return the YAML text of a mapping, empty if the file has no rows."""
    if kind == "parquet":
        table = next(pq.ParquetFile(file).iter_batches(batch_size=SAMPLE), None)
        return guess_mapping(table.to_pydict(), measurements, {}, keyed=False) if table else ""
    if kind == "excel":
        return _guess_rows(first_rows(file, name, SAMPLE), measurements, {})
    return _guess_text(file, name, kind, measurements)


def _guess_text(file: BinaryIO, name: str, kind: str | None, measurements: Measurements) -> str:
    data = file.read(_SAMPLE_BYTES)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    text = data.decode(encoding, errors="replace")
    if not text.strip():
        return ""
    given: dict[str, object] = {} if kind else {"format": "csv"}
    if text.lstrip()[0] in "{[" and kind != "csv":
        items = _objects(text) or _objects(text + file.read(_MOST_BYTES).decode(encoding, errors="replace"))
        given = {} if kind else {"format": "json"}
        return _guess_objects(items, measurements, keyed=False, given=given)
    if wide:
        given["encoding"] = "utf-16"
    elif "\ufffd" in text:
        given["encoding"] = "latin-1"
    lines = text.splitlines()[:SAMPLE]
    if len(data) == _SAMPLE_BYTES:
        lines = lines[:-1]  # the last one may be cut
    filled = [line for line in lines if line.strip() and not line.startswith("#")]
    comments = [line for line in lines if line.startswith("#")]
    if comments and filled:
        given["comment"] = "#"
    filled = filled or comments
    delimiter = _delimiter(filled)
    if delimiter != ("\t" if "tsv" in endings(name) else ","):
        given["delimiter"] = delimiter
    rows = list(csv.reader(filled, delimiter=delimiter))
    if comments and _are_values(rows[0]):
        # The last comment may have the names.
        names = next(csv.reader([comments[-1].lstrip("# ")], delimiter=delimiter), [])
        if len(names) == len(rows[0]):
            given["header"] = [name.strip() for name in names]
            rows = [names, *rows]
    return _guess_rows(rows, measurements, given)


def _are_values(row: Sequence[Any]) -> bool:
    return sum(bool(_VALUE.fullmatch(str(cell).strip())) for cell in row) * 2 > len(row)


def _objects(text: str) -> list[Any]:
    """Return the first JSON values of a text, one after the other or in an array."""
    decoder, items, at = json.JSONDecoder(), list[Any](), 0
    while len(items) < SAMPLE:
        gap = _GAP.match(text, at)
        try:
            item, at = decoder.raw_decode(text, gap.end() if gap else at)
        except (ValueError, RecursionError):
            break
        items.append(item)
    return items


def _delimiter(lines: Sequence[str]) -> str:
    """Return the mark that most lines have equally often; commas may also be those of decimals."""
    for mark in _DELIMITERS:
        (number, times), *_ = Counter(line.count(mark) for line in lines).most_common(1)
        if number and times * 5 > len(lines) * 4:
            return mark
    marks = f",{_DELIMITERS}"
    return max(marks, key=lambda mark: median(line.count(mark) for line in lines))


def _guess_rows(rows: Sequence[Sequence[Any]], measurements: Measurements, given: dict[str, object]) -> str:
    """Guess the mapping of a table with the names of columns in one of its first rows, or without names."""
    rows = [row for row in rows if _filled(row)]
    if not rows:
        return ""
    width, _ = Counter(map(len, rows)).most_common(1)[0]
    rows = [row for row in rows if len(row) == width]
    usual, _ = Counter(map(_filled, rows)).most_common(1)[0]
    # Titles above the names fill fewer cells.
    place = next(place for place, row in enumerate(rows) if _filled(row) >= usual)
    names, rest = [str(cell).strip() for cell in rows[place]], rows[place + 1 :]
    if _are_values(names):
        names, rest = [f"column {number}" for number in range(1, width + 1)], rows[place:]
        given["header"] = names
    units: dict[str, str] = {}
    if len(rest) > 1 and not any(re.search(r"\d", str(cell)) for cell in rest[0]):
        units = {name: str(cell).strip(" []()") for name, cell in zip(names, rest[0], strict=True) if str(cell).strip()}
        rest = rest[1:]
    columns = {name: [row[at] for row in rest] for at, name in enumerate(names) if name}
    return guess_mapping(columns, measurements, given, keyed=False, units=units)


def _filled(row: Sequence[Any]) -> int:
    return sum(bool(str(cell).strip()) for cell in row)


def guess_topic(kafka: KafkaSettings, measurements: Measurements) -> str:
    """Return the YAML text of a mapping of the topic.

    Raises:
        SettingsError: the topic is empty, holds no JSON, or may not be read.
        Unreachable: Kafka does not answer.
    """
    values: list[bytes] = []
    keyed = True
    # Each topic needs a mapping of its own.
    for _, records in newest_records(kafka.model_copy(update={"more_topics": ""})):
        for key, value, headers in zip(records.keys, records.values, records.headers, strict=True):
            kind = dict(headers).get(CONTENT_TYPE)
            if value and format_of(None if kind is None else kind.decode(errors="replace")) != ARROW:
                values.append(value)
                keyed = keyed and bool(key)
    if not values:
        raise SettingsError(f"topic {kafka.topic} holds no records in a format that needs a mapping")
    return _guess_objects(parse_json(list(islice(values, SAMPLE))), measurements, keyed=keyed)


def _guess_objects(
    items: Sequence[Any], measurements: Measurements, *, keyed: bool, given: Mapping[str, object] | None = None
) -> str:
    objects = [each for item in items for each in (item if type(item) is list else [item]) if type(each) is dict]
    if not objects:
        raise SettingsError("the sample holds no JSON objects: name the format of records by `record` in a mapping")
    path = _elements(objects[0])
    if not path:
        return guess_mapping(_flattened(objects), measurements, given or {}, keyed=keyed)
    rows = explode(dict(enumerate(objects)), path, SAMPLE, {}, {})
    columns = _flattened([each for each in rows.elements if type(each) is dict])
    columns |= _flattened(objects, "$.")
    if any(parent is not root for parent, root in zip(rows.parents, rows.roots, strict=True)):
        columns |= _flattened(rows.parents, "$parent.")
    return guess_mapping(columns, measurements, {**(given or {}), "readings": path}, keyed=keyed)


def _elements(item: Mapping[str, Any]) -> str | None:
    """Return the path to the innermost array of objects."""
    for name, value in item.items():
        inner = value[0] if type(value) is list and value else value
        if type(inner) is dict:
            below = _elements(inner)
            step = name if re.fullmatch(r"[\w-]+", name) else f"['{name}']"
            if below:
                return f"{step}{'' if below.startswith('[') else '.'}{below}"
            if type(value) is list:
                return step
    return None


def _flattened(items: Sequence[Mapping[str, Any]], prefix: str = "") -> dict[str, list[Any]]:
    """Return the cells by path of nested objects; with a prefix only those that are no arrays."""
    columns: dict[str, list[Any]] = {}
    for item in items:
        stack = [(prefix, item)]
        while stack:
            before, fields = stack.pop()
            for name, value in fields.items():
                path = f"{before}{name}"
                if type(value) is dict:
                    stack.append((f"{path}.", value))
                elif type(value) is not list or not prefix:
                    columns.setdefault(path, []).append(json.dumps(value) if type(value) is list else value)
    return columns
