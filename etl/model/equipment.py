"""Equipment IDs: one spelling per machine, without what the serializer of a gateway adds."""

import json
import re

MAX_KEY_BYTES = 255
# The characters of padding. The limit keeps a hostile key cheap.
_MAX_PADDED_BYTES = 4096

# Most keys: nothing to remove.
_PLAIN = re.compile(rb"[!#-~](?:[ -~]*[!#-~])?")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
_MAGIC, _SCHEMA_ID_END = b"\0", 5
_PRINTABLE = re.compile(rb"[ -~]+")


def equipment_id(text: str) -> str:
    """Return an ID without the white space, NUL padding and JSON quotes around it.

    Raises:
        ValueError: the ID is empty, has more than MAX_KEY_BYTES bytes in UTF-8, or contains control characters.
    """
    before = None
    while text != before:
        before, text = text, _bare(text)
    if not 0 < len(text.encode(errors="replace")) <= MAX_KEY_BYTES:
        raise ValueError(f"must have 1 to {MAX_KEY_BYTES} bytes in UTF-8")
    if _CONTROL.search(text):
        raise ValueError("must hold no control characters")
    return text


def _bare(text: str) -> str:
    text = text.rstrip("\0").strip().strip("\ufeff")
    if len(text) < 2 or not text[0] == text[-1] == '"':
        return text
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        raise ValueError("must be JSON text where it is in quotes") from None


def key_to_id(key: bytes | None) -> str:
    """Return the equipment ID in the key of a record.

    Raises:
        ValueError: the key has no valid ID; the message continues "the key".
    """
    if not key or key == b"null":
        raise ValueError("is missing")
    if len(key) > _MAX_PADDED_BYTES:
        raise ValueError(f"must have 1 to {MAX_KEY_BYTES} bytes in UTF-8")
    if len(key) <= MAX_KEY_BYTES and _PLAIN.fullmatch(key) and not key.startswith(b"{"):
        return key.decode()
    try:
        text = _without_schema_id(key).decode()
    except UnicodeDecodeError:
        raise ValueError("must be UTF-8") from None
    return equipment_id(_payload(text))


def _payload(text: str) -> str:
    """Remove the envelope of Kafka Connect's JsonConverter. Another JSON object is no ID."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        item = json.loads(text)
    except (ValueError, RecursionError):
        return text
    payload = item["payload"] if set(item) == {"schema", "payload"} else item
    if payload is None:
        raise ValueError("is missing")
    if isinstance(payload, bool) or not isinstance(payload, str | int):
        raise ValueError("is a JSON object: a mapping finds the ID in it, such as `equipment: $key.id`")
    return str(payload)


def _without_schema_id(key: bytes) -> bytes:
    """Remove the prefix of a schema registry's serializer: a zero byte, the schema's ID, Avro's length."""
    if not key.startswith(_MAGIC) or len(key) < _SCHEMA_ID_END:
        return key
    rest = key[_SCHEMA_ID_END:]
    for size in (1, 2):
        if rest[:size] == _avro_length(len(rest) - size):
            return rest[size:]
    number = key[:_SCHEMA_ID_END].lstrip(b"\0")
    # Text with padding in front would lose its first letters. It stays unchanged, and is refused.
    padded = len(number) > 1 and _PRINTABLE.fullmatch(number) and not rest.startswith(b'"')
    return key if padded else rest


def _avro_length(number: int) -> bytes:
    """Encode a length as Avro's long: zigzag, seven bits a byte, here at most two bytes."""
    doubled = 2 * max(number, 0)
    return bytes([doubled]) if doubled < 0x80 else bytes([doubled & 0x7F | 0x80, doubled >> 7])
