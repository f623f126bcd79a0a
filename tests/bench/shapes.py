"""The same readings in the shapes that gateways send, and the mapping of each."""

import io
import json
from collections.abc import Sequence
from typing import Any

import fastavro
import orjson

SHAPES = {"nested": "nested JSON", "array": "JSON arrays", "avro": "Avro"}
# Readings in one record of the shape `array`.
ARRAY = 10
Records = list[tuple[bytes, bytes]]


def mapping(shape: str, names: Sequence[str]) -> str:
    """Return the mapping file of a shape; Avro also needs `schema`."""
    if shape == "nested":
        columns = ", ".join(f"{name}: values.{name}" for name in names)
        return f"timestamp: ts\nmeasurements: {{{columns}}}\n"
    columns = ", ".join(f"{name}: {name}" for name in names)
    record = "record: {format: avro, schema_file: reading.avsc}\n" if shape == "avro" else ""
    return f"{record}timestamp: timestamp\nequipment: id\nmeasurements: {{{columns}}}\n"


def schema(names: Sequence[str]) -> str:
    """Return the Avro schema of a reading; each measurement may be missing."""
    fields: list[dict[str, Any]] = [{"name": name, "type": "string"} for name in ("id", "timestamp")]
    fields += [{"name": name, "type": ["null", "double"]} for name in names]
    return json.dumps({"type": "record", "name": "Reading", "fields": fields})


def encode(shape: str, records: Records, names: Sequence[str]) -> Records:
    """Return records of a shape with the readings of records of flat JSON."""
    if shape == "nested":
        return [(key, orjson.dumps(_nested(orjson.loads(value)))) for key, value in records]
    readings = [{"id": key.decode()} | orjson.loads(value) for key, value in records]
    if shape == "avro":
        parsed = fastavro.parse_schema(json.loads(schema(names)))
        return [(key, _avro(parsed, reading)) for (key, _), reading in zip(records, readings, strict=True)]
    pieces = [readings[begin : begin + ARRAY] for begin in range(0, len(readings), ARRAY)]
    return [(piece[0]["id"].encode(), orjson.dumps(piece)) for piece in pieces]


def _nested(reading: dict[str, Any]) -> dict[str, Any]:
    return {"ts": reading.pop("timestamp"), "values": reading}


def _avro(parsed: Any, reading: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed, reading)
    return stream.getvalue()
