"""Guess a first mapping of a recorded file, or of the topic; write nothing."""

import codecs
import csv
import io
import json
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
from etl.model.measurements import Measurements
from etl.settings import KafkaSettings
from etl.stages.generate.opening import Found, endings, opened
from etl.urls import shown

_SAMPLE_BYTES = 256 * 1024
_DELIMITERS = ",;\t|"


def guess_file(url: str, measurements: Measurements) -> str:
    """Return the YAML text of a mapping of a file.

    Raises:
        SettingsError: the file is missing, or has no rows.
        Unreachable: the storage of the file does not answer.
    """
    parquet = bool({"parquet", "pq"} & set(endings(url)))
    for name, file in opened(Found(url, shown(url)), seek=parquet):
        with file:
            if parquet:
                table = next(pq.ParquetFile(file).iter_batches(batch_size=SAMPLE))
                return guess_mapping(table.to_pydict(), measurements, {}, keyed=False)
            return _guess_text(file, name, measurements)
    raise SettingsError(f"recorded file {shown(url)} holds no file")


def _guess_text(file: BinaryIO, name: str, measurements: Measurements) -> str:
    data = file.read(_SAMPLE_BYTES)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    lines = text.splitlines()[:SAMPLE]
    if len(data) == _SAMPLE_BYTES:
        lines = lines[:-1]  # the last one may be cut
    if not any(line.strip() for line in lines):
        raise SettingsError(f"recorded file {name} has no rows")
    if lines[0].lstrip().startswith("{"):
        return _guess_objects(parse_json([line.encode() for line in lines if line.strip()]), measurements, keyed=False)
    filled = [line for line in lines if line.strip()]
    delimiter = max(_DELIMITERS, key=lambda mark: median(line.count(mark) for line in filled))
    rows = list(csv.reader(io.StringIO("\n".join(filled)), delimiter=delimiter))
    # Titles above the names have fewer fields.
    width, _ = Counter(map(len, rows)).most_common(1)[0]
    header, *rows = rows[next(place for place, row in enumerate(rows) if len(row) == width) :]
    columns = {
        column.strip(): [row[place] for row in rows if len(row) == len(header)] for place, column in enumerate(header)
    }
    given: dict[str, object] = {} if delimiter == "," else {"delimiter": delimiter}
    if wide:
        given["encoding"] = "utf-16"
    elif "\ufffd" in text:
        given["encoding"] = "latin-1"
    return guess_mapping(columns, measurements, given, keyed=False)


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


def _guess_objects(items: Sequence[Any], measurements: Measurements, *, keyed: bool) -> str:
    objects = [each for item in items for each in (item if type(item) is list else [item]) if type(each) is dict]
    if not objects:
        raise SettingsError("the sample holds no JSON objects: name the format of records by `record` in a mapping")
    given: dict[str, object] = {}
    path = _elements(objects[0])
    if path:
        given["readings"] = path
        inner = [each for item in objects for each in item.get(path) or () if type(each) is dict]
        outer = [{f"$.{name}": value for name, value in item.items() if name != path} for item in objects]
        columns = _flattened(inner) | _flattened(outer)
    else:
        columns = _flattened(objects)
    return guess_mapping(columns, measurements, given, keyed=keyed)


def _elements(item: Mapping[str, Any]) -> str | None:
    """Return the name of a field that is an array of objects."""
    lists = (name for name, value in item.items() if type(value) is list and value and type(value[0]) is dict)
    return next(lists, None)


def _flattened(items: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the cells by path of nested objects."""
    columns: dict[str, list[Any]] = {}
    for item in items:
        stack = [("", item)]
        while stack:
            before, fields = stack.pop()
            for name, value in fields.items():
                path = f"{before}{name}"
                if type(value) is dict:
                    stack.append((f"{path}.", value))
                else:
                    columns.setdefault(path, []).append(json.dumps(value) if type(value) is list else value)
    return columns
