"""The bytes with which records of other formats begin."""

MAGIC = 0
_PREFIX_BYTES = 5
# https://avro.apache.org/docs/1.12.0/specification/ and RFC 1952
_OTHERS = {
    b"Obj\x01": "a file of Avro: write `record: avro` into the mapping",
    b"\xc3\x01": "Avro with a fingerprint: write `record: {format: avro, schema_file: FILE}` into the mapping",
    b"\x1f\x8b": "gzip: let the producer set `compression.type` instead",
}


def registry_hint(value: bytes) -> str:
    """Return the end of a message if a record may have the prefix of a schema registry, else an empty text."""
    if len(value) > _PREFIX_BYTES and value[0] == MAGIC:
        number = int.from_bytes(value[1:_PREFIX_BYTES], "big")
        return (
            f"; it begins with the magic byte of a schema registry and ID {number}: write `record: registry` into the"
            " mapping"
        )
    return ""


def format_hint(value: bytes) -> str:
    """Return the end of a message if a record that is no JSON begins as in another format, else an empty text."""
    found = next((text for begin, text in _OTHERS.items() if value.startswith(begin)), None)
    return f"; it begins like {found}" if found else registry_hint(value)
