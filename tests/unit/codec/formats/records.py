"""Records for the parsers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message_factory import GetMessageClass
from pydantic import TypeAdapter

from etl.codec.formats import open_parser
from etl.codec.formats.sparkplug_types import payload
from etl.kafka.records import Headers, Records
from etl.mapping.record_format import RecordFormat, RecordFormatEntry
from etl.settings import RegistrySettings

_PAYLOAD = GetMessageClass(payload())
_ENTRY: TypeAdapter[RecordFormat] = TypeAdapter(RecordFormatEntry)
TIME = 1_767_600_000_000


def records(*values: bytes, keys: Sequence[bytes | None] = (), headers: Sequence[Headers] = ()) -> Records:
    """Records of partition 0, from offset 0 on, one second apart."""
    number = len(values)
    return Records(
        [0] * number,
        list(range(number)),
        [TIME + 1000 * at for at in range(number)],
        list(keys) or [None] * number,
        list(values),
        list(headers) or [()] * number,
    )


def parsed(entry: object, *values: bytes, folder: Path = Path()) -> list[Any]:
    """Parse records with a format as it stands in a mapping; errors become their text in angle brackets."""
    parse = open_parser(_ENTRY.validate_python(entry), folder, RegistrySettings())
    return shown(parse.parse(records(*values)))


def shown(items: list[Any]) -> list[Any]:
    return [f"<{item}>" if isinstance(item, ValueError) else item for item in items]


def message(*metrics: dict[str, Any], **given: Any) -> bytes:
    """A Sparkplug B payload with these metrics."""
    return bytes(_PAYLOAD(timestamp=TIME, seq=given.pop("seq", 0), metrics=metrics, **given).SerializeToString())
