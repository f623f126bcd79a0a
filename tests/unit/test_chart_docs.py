"""The schema and the tables that are made from the comments of a values file."""

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator

from docs import chart

VALUES = """\
# Any words.
# @schema properties: {global: {type: object}}

# -- A name. It goes
# on here.
# @schema pattern: "^[a-z]*$"
# @schema maxLength: 9
name: one
# -- Servers, a | b.
server:
  # @schema $def: port
  # @schema minimum: 1
  port: 80
  # @schema enum: [a, b]
  mode: a
  labels: {}
  podLabels: {}
  resources:
    limits: {memory: 1Gi}
# No description.
other:
  # -- Where.
  # @schema $ref: port
  port: 81
  # @schema type: [string, "null"]
  # @schema not: {pattern:
  # @schema   "^x"}
  url: null
  ratio: 0.5
  enabled: false
  list: []
  # @schema $def: labels
  # @schema propertyNames: {pattern: "^[a-z]+$"}
  ours: {}
"""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(chart.schema(VALUES))
    return found


def test_schema_has_types_of_defaults_and_keywords_of_comments(schema: dict[str, Any]) -> None:
    assert schema["properties"] == {
        "name": {"description": "A name. It goes on here.", "type": "string", "pattern": "^[a-z]*$", "maxLength": 9},
        "server": {
            "description": "Servers, a | b.",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "port": {"$ref": "#/$defs/port"},
                "mode": {"enum": ["a", "b"]},
                "labels": {"type": "object"},
                "podLabels": {"$ref": "#/$defs/labels"},
                "resources": {"type": "object"},
            },
        },
        "other": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "port": {"description": "Where.", "$ref": "#/$defs/port"},
                "url": {"type": ["string", "null"], "not": {"pattern": "^x"}},
                "ratio": {"type": "number"},
                "enabled": {"type": "boolean"},
                "list": {"type": "array"},
                "ours": {"$ref": "#/$defs/labels"},
            },
        },
        "global": {"type": "object"},
    }
    assert schema["$defs"] == {
        "port": {"type": "integer", "minimum": 1},
        "labels": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}},
    }


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ({}, True),
        ({"global": {}, "server": {"port": 1, "resources": {"any": 1}}}, True),
        ({"serve": {}}, False),
        ({"server": {"prot": 1}}, False),
        ({"other": {"port": 0}}, False),
        ({"server": {"podLabels": {"A": ""}}}, False),
    ],
)
def test_schema_refuses_what_a_comment_or_a_default_rules_out(
    schema: dict[str, Any], values: object, fits: bool
) -> None:
    assert Draft7Validator(schema).is_valid(values) == fits


def test_default_without_a_type_needs_a_comment() -> None:
    with pytest.raises(ValueError, match=r"a\.b: the default has no type"):
        chart.schema("# x\n\na:\n  b: null\n")


def test_tables_list_values_by_section() -> None:
    text = "# x\n\na: 1\n# -- Section.\nb:\n  # -- Part.\n  c:\n    # -- x | y\n    d: [1]\n  e: {}\n"
    assert chart.tables(text) == (
        "| key | default | description |\n|---|---|---|\n| `a` | `1` |  |\n\n"
        "### `b`\n\nSection.\n\n"
        "| key | default | description |\n|---|---|---|\n"
        "| `b.c` |  | Part. |\n| `b.c.d` | `[1]` | x \\| y |\n| `b.e` | `{}` |  |\n"
    )


def test_every_section_of_the_chart_is_described() -> None:
    values = chart.read_values(chart.VALUES.read_text(encoding="utf-8"))
    assert [child.path for child in values.children if not child.text] == []
