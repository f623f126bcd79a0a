"""Records with the ID of a schema in a schema registry: Avro, Protobuf or JSON.

The wire format (https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/): byte 0 and
the ID in four bytes, or byte 1 and the GUID in 16 bytes; then for Protobuf the position of the message type in the
schema. They stand before the value, or in a header. The schema with which a record was written decodes it, so fields
that other versions of the schema add or remove are no errors.
"""

import ssl
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import httpx2
from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError

from etl.codec.formats import LeafColumns, Names, Parser
from etl.codec.json_records import parse_json
from etl.errors import CredentialsError, SettingsError, Unreachable
from etl.kafka.records import Headers, Records
from etl.patience import patiently
from etl.settings import RegistrySettings
from etl.urls import without_secrets

if TYPE_CHECKING:
    from etl.codec.formats.avro_columns import ReadData

_HEADER = "__value_schema_id"
_ID, _GUID = 0, 1
_ID_END, _GUID_END = 5, 17
_MOST_REFERENCES = 200
_DEEPEST_MESSAGE = 100
_REQUEST_SECONDS = 10.0
Decode = Callable[["_Framed"], Any]


class _Framed(NamedTuple):
    """A value with its schema: `rest` is what follows the ID; `body` is the value if the ID is in a header."""

    schema: int | str
    rest: bytes
    body: bytes | None


class _Decoder(NamedTuple):
    decode: Decode
    columns: "ReadData | None" = None


def open_parser(settings: RegistrySettings) -> Parser:
    """Return the parser of records whose schemas are in a registry; it asks the registry once for each schema.

    The parser itself raises `Unreachable` or `SettingsError` if the registry does not answer, or refuses the user.

    Raises:
        SettingsError: the settings cannot be used.
    """
    return parser(_client(settings), settings)


def parser(client: SchemaRegistryClient, settings: RegistrySettings) -> Parser:
    """Return the parser with a client of the registry."""
    known: dict[int | str, _Decoder | ValueError] = {}

    def decoder(key: int | str) -> _Decoder | ValueError:
        if key not in known:
            known[key] = _decoder(client, settings, key)
        return known[key]

    def parse(value: bytes, headers: Headers) -> Any:
        try:
            framed = _framed(value, headers)
            found = decoder(framed.schema)
            return found if isinstance(found, ValueError) else found.decode(framed)
        except ValueError as error:
            return error

    def read_columns(records: Records, wanted: Collection[Names]) -> list[LeafColumns]:
        columns = []
        for key, data in _by_schema(records).items():
            found = decoder(key)
            if not isinstance(found, ValueError) and found.columns is not None:
                columns.append(found.columns(data, wanted))
        return columns

    return Parser(
        lambda records: [parse(v or b"", h) for v, h in zip(records.values, records.headers, strict=True)],
        read_columns,
    )


def _by_schema(records: Records) -> dict[int, dict[int, bytes]]:
    """Return the data of the records with the ID of a schema before their value, by this ID and their position."""
    groups: defaultdict[bytes, dict[int, bytes]] = defaultdict(dict)
    for at, (value, headers) in enumerate(zip(records.values, records.headers, strict=True)):
        if value and not any(name == _HEADER for name, _ in headers):
            groups[value[:_ID_END]][at] = value[_ID_END:]
    return {
        int.from_bytes(head[1:], "big"): data
        for head, data in groups.items()
        if len(head) == _ID_END and head[0] == _ID
    }


def _client(settings: RegistrySettings) -> SchemaRegistryClient:
    if not settings.url:
        raise SettingsError("ETL_REGISTRY_URL: format registry needs the URL of the schema registry")
    given: dict[str, Any] = {"url": settings.url, "max.retries": 0, "timeout": min(_REQUEST_SECONDS, settings.timeout)}
    if settings.username and settings.password:
        given["basic.auth.user.info"] = f"{settings.username}:{settings.password.get_secret_value()}"
    if settings.ca_file:
        given["ssl.ca.location"] = str(settings.ca_file)
    try:
        return SchemaRegistryClient(given)
    except OSError as error:  # ssl.SSLError is one, too
        raise SettingsError(f"ETL_REGISTRY_CA_FILE: {settings.ca_file} cannot be used: {error.strerror}") from error
    except (ValueError, httpx2.InvalidURL) as error:
        raise SettingsError(f"ETL_REGISTRY_URL: {without_secrets(str(error), [settings.url])}") from error


def _framed(value: bytes, headers: Headers) -> _Framed:
    for name, given in headers:
        if name == _HEADER and given:
            found = _with_id(given)
            if found is None:
                raise ValueError(f"the header {_HEADER} holds no ID of a schema")
            return found._replace(body=value)
    found = _with_id(value)
    if found is None:
        raise ValueError("the record does not begin with the ID of a schema in a schema registry")
    return found


def _with_id(data: bytes) -> _Framed | None:
    if len(data) >= _ID_END and data[0] == _ID:
        return _Framed(int.from_bytes(data[1:_ID_END], "big"), data[_ID_END:], None)
    if len(data) >= _GUID_END and data[0] == _GUID:
        return _Framed(str(UUID(bytes=data[1:_GUID_END])), data[_GUID_END:], None)
    return None


def _decoder(client: SchemaRegistryClient, settings: RegistrySettings, key: int | str) -> _Decoder | ValueError:
    """Return how to decode records of a schema, or why they cannot be decoded."""
    try:
        kind, text, references = _asked(settings, lambda: _schema(client, key))
        if kind == "AVRO":
            from etl.codec.formats import avro, avro_columns, avro_schema

            schema = avro_schema.read_schema(text.encode(), [given.encode() for given in references.values()])
            read = avro.reader(schema)
            return _Decoder(
                lambda framed: read(framed.rest if framed.body is None else framed.body),
                avro_columns.column_reader(schema),
            )
        if kind == "PROTOBUF":
            return _Decoder(_messages(text, references))
        if kind == "JSON":
            return _Decoder(_json)
        raise ValueError(f"its type is {kind[:40]!r}")
    except (ValueError, _UnusableError) as error:
        return ValueError(f"schema {key} of the schema registry cannot be used: {error}")


def _json(framed: _Framed) -> Any:
    (found,) = parse_json([framed.rest if framed.body is None else framed.body])
    return ValueError(f"no JSON: {found}") if isinstance(found, ValueError) else found


def _messages(text: str, references: dict[str, str]) -> Decode:
    from etl.codec.formats import protobuf, protobuf_text

    messages = protobuf_text.Messages(text, references)
    known: dict[tuple[int, ...], Callable[[bytes], Any]] = {}

    def decode(framed: _Framed) -> Any:
        indexes, end = _indexes(framed.rest)
        if indexes not in known:
            known[indexes] = protobuf.reader(messages.at(indexes))
        return known[indexes](framed.rest[end:] if framed.body is None else framed.body)

    return decode


def _indexes(data: bytes) -> tuple[tuple[int, ...], int]:
    """Return the position of the message type, and the place of the first byte after it."""
    number, at = _varint(data, 0)
    if number == 0:
        return (0,), at
    if not 0 < number <= _DEEPEST_MESSAGE:
        raise ValueError("the record does not name the type of its Protobuf message")
    found = []
    for _ in range(number):
        index, at = _varint(data, at)
        found.append(index)
    return tuple(found), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return (value >> 1) ^ -(value & 1), at
    raise ValueError("the record does not name the type of its Protobuf message")


class _UnusableError(Exception):
    """The registry answers, but not with a schema that can be used."""


def _schema(client: SchemaRegistryClient, key: int | str) -> tuple[str, str, dict[str, str]]:
    """Return type and text of a schema, and the texts of its references by name, each after those that it uses."""
    schema = client.get_schema(key) if isinstance(key, int) else client.get_schema_by_guid(key)
    found: dict[str, str] = {}
    _collect(client, schema, found, set())
    return schema.schema_type or "AVRO", schema.schema_str or "", found


def _collect(client: SchemaRegistryClient, schema: Any, found: dict[str, str], begun: set[str]) -> None:
    for reference in schema.references or ():
        if reference.name in begun:
            continue
        begun.add(reference.name)
        if len(begun) > _MOST_REFERENCES:
            raise _UnusableError(f"it has more than {_MOST_REFERENCES} references")
        referred = client.get_version(reference.subject, reference.version, deleted=True).schema
        _collect(client, referred, found, begun)
        found[reference.name] = referred.schema_str or ""


def _asked(settings: RegistrySettings, ask: Callable[[], Any]) -> Any:
    """Ask the registry; wait while it does not answer."""
    urls = [str(settings.url)]

    def once() -> Any:
        try:
            return ask()
        except SchemaRegistryError as error:
            raise _refusal(error, urls) from error
        except httpx2.HTTPError as error:
            reason = without_secrets(" ".join(str(error).split()) or type(error).__name__, urls)
            wrong = _certificate(error)
            raise (SettingsError if wrong else Unreachable)(f"schema registry {_shown(urls)}: {reason}") from error
        except (ValueError, AttributeError, KeyError, TypeError) as error:  # an answer of another program
            raise SettingsError(f"ETL_REGISTRY_URL: {_shown(urls)} answers, but is no schema registry") from error

    return patiently(settings.timeout, once, doing="waiting for the schema registry")


def _refusal(error: SchemaRegistryError, urls: list[str]) -> Exception:
    status = error.http_status_code
    if status == 404 and 40400 <= (error.error_code or 0) < 40500:
        return _UnusableError("the registry does not have it, or not all of its references")
    text = without_secrets(" ".join(str(error.error_message).split())[:200], urls)
    if status in (401, 403):
        return CredentialsError(
            f"schema registry {_shown(urls)} refuses the user (HTTP {status}): ETL_REGISTRY_USERNAME"
        )
    if status in (408, 429) or status >= 500:
        return Unreachable(f"schema registry {_shown(urls)} answers HTTP {status}: {text}")
    return SettingsError(f"ETL_REGISTRY_URL: {_shown(urls)} answers HTTP {status}, is it a schema registry? {text}")


def _certificate(error: BaseException | None) -> bool:
    """Return whether the certificate of the registry is the reason, which time does not change."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _shown(urls: list[str]) -> str:
    return without_secrets(urls[0], urls)
