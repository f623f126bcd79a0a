"""Generate the values schema and the table of values of the chart from the comments of its `values.yaml`.

The comment above a key has lines of two kinds, named as in helm-docs and helm-schema:

- `# -- text` describes the key. Lines that follow without a mark continue the text.
- `# @schema minimum: 1` holds keywords of JSON Schema; all such lines of a comment are one YAML map. `$def: name` makes
  this schema the definition `name`, `$ref: name` uses it.

The rest follows from the default: its type, and that a map with keys allows no others.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent / "charts" / "sensor-etl"
VALUES = CHART / "values.yaml"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"

Schema = dict[str, Any]

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
# Fields of Kubernetes, which mean the same everywhere.
_BY_NAME: dict[str, Schema] = {"resources": {"type": "object"}, "podLabels": {"$ref": "labels"}}
_TABLES = re.compile(r"<!-- values -->\n.*?<!-- end -->", re.DOTALL)


@dataclass
class Value:
    """A key of `values.yaml` with its default, and with description and keywords of its comment."""

    path: str
    default: Any
    text: str = ""
    keywords: Schema = field(default_factory=dict)
    children: list["Value"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition(".")[2]


def read_values(text: str) -> Value:
    """Return the values of a file as one root; the comment at the very top is its own.

    Raises:
        yaml.YAMLError: the file, or a comment with `@schema`, is not YAML.
    """
    lines = text.splitlines()
    header = _comment(lines, next(i for i, line in enumerate(lines) if not line.startswith("#")))
    loader = yaml.SafeLoader(text)
    node = loader.get_single_node()
    assert isinstance(node, yaml.MappingNode)  # noqa: S101 - values are a map
    return _value("", node, header, lines, loader)


def _value(path: str, node: yaml.Node, comment: list[str], lines: list[str], loader: yaml.SafeLoader) -> Value:
    default = loader.construct_object(node, deep=True)  # type: ignore[no-untyped-call]
    value = Value(path, default, *_parsed(comment))
    if isinstance(node, yaml.MappingNode) and value.name not in _BY_NAME:
        value.children = [
            _value(f"{path}.{key.value}".lstrip("."), inner, _comment(lines, key.start_mark.line), lines, loader)
            for key, inner in node.value
        ]
    return value


def _comment(lines: list[str], end: int) -> list[str]:
    """Return the comment lines that end above a line, without their `#`."""
    start = end
    while start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return [line.strip().removeprefix("#").strip() for line in lines[start:end]]


def _parsed(comment: list[str]) -> tuple[str, Schema]:
    """Return the description and the keywords of a comment."""
    text: list[str] = []
    keywords: list[str] = []
    for line in comment:
        if line.startswith("@schema "):
            keywords.append(line.removeprefix("@schema "))
        elif line.startswith("-- "):
            text = [line.removeprefix("-- ")]
        elif text:
            text.append(line)
    return " ".join(text), yaml.safe_load("\n".join(keywords)) or {}


def schema(values: str | None = None) -> str:
    """Return the JSON schema of a values file (the chart's by default), as text."""
    definitions: Schema = {}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of sensor-etl"}
    root = head | _schema(_read(values), definitions) | {"$defs": definitions}
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


def readme() -> str:
    """Return the README of the chart with its tables as `values.yaml` has them now."""
    page = README.read_text(encoding="utf-8")
    return _TABLES.sub(lambda _: f"<!-- values -->\n{tables()}<!-- end -->", page)


def tables(values: str | None = None) -> str:
    """Return the tables of a values file: one for the keys at the top, then one for each section."""
    return "\n".join(_tables(_read(values)))


def _read(values: str | None) -> Value:
    return read_values(VALUES.read_text(encoding="utf-8") if values is None else values)


def _schema(value: Value, definitions: Schema) -> Schema:
    keywords = dict(_BY_NAME.get(value.name, {})) | value.keywords
    name = keywords.pop("$def", None)
    described = {"description": value.text} if value.text else {}
    if "$ref" in keywords:
        return described | {"$ref": f"#/$defs/{keywords['$ref']}"}
    made = _typed(value, keywords)
    if value.children:
        properties = {child.name: _schema(child, definitions) for child in value.children}
        made |= {"additionalProperties": False, "properties": properties | keywords.pop("properties", {})}
    made |= keywords
    if name is None:
        return described | made
    definitions[name] = made
    return described | {"$ref": f"#/$defs/{name}"}


def _typed(value: Value, keywords: Schema) -> Schema:
    """Return the type of the default, unless the keywords say which values are allowed."""
    if {"type", "enum"} & set(keywords):
        return {}
    if type(value.default) not in _TYPES:
        raise ValueError(f"{value.path}: the default has no type, add one by @schema")
    return {"type": _TYPES[type(value.default)]}


def _tables(root: Value) -> Iterator[str]:
    yield from _table([child for child in root.children if not child.children])
    for section in root.children:
        if section.children:
            yield f"### `{section.name}`\n"
            if section.text:
                yield f"{section.text}\n"
            yield from _table(list(_rows(section)))


def _rows(value: Value) -> Iterator[Value]:
    for child in value.children:
        if child.text or not child.children:
            yield child
        yield from _rows(child)


def _table(values: list[Value]) -> Iterator[str]:
    yield "| key | default | description |"
    yield "|---|---|---|"
    for value in values:
        default = "" if value.children else f"`{json.dumps(value.default, ensure_ascii=False)}`"
        yield f"| `{value.path}` | {default} | {value.text.replace('|', chr(92) + '|')} |"
    yield ""
