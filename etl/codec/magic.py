"""The bytes with which a client of a schema registry begins a record."""

MAGIC = 0
_PREFIX_BYTES = 5


def registry_hint(value: bytes) -> str:
    """Return the end of a message if a record may have the prefix of a schema registry, else an empty text."""
    if len(value) > _PREFIX_BYTES and value[0] == MAGIC:
        number = int.from_bytes(value[1:_PREFIX_BYTES], "big")
        return (
            f"; it begins with the magic byte of a schema registry and ID {number}: set format registry in the mapping"
        )
    return ""
