"""Equipment IDs, whatever the serializer of a gateway adds around them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.model.equipment import equipment_id, key_to_id


def wire(schema: int, text: bytes) -> bytes:
    """What a schema registry's serializer puts before it."""
    return struct.pack(">bI", 0, schema) + text


@pytest.mark.parametrize(
    "key",
    [
        b"lathe-7",
        b'"lathe-7"',
        b'"lathe\\u002d7"',
        b'"\\"lathe-7\\""',
        b' " lathe-7 " ',
        b"  lathe-7 ",
        b"\tlathe-7\r\n",
        "\u00a0lathe-7\u2003".encode(),
        "\ufefflathe-7".encode(),
        b"lathe-7" + b"\0" * 9,
        b'"lathe-7"\0\0 \0',
        b"lathe-7" + b"\0" * 600,
        wire(1, b"lathe-7"),
        wire(42, b"lathe-7"),
        wire(100_001, b" lathe-7\n"),
        wire(42, b'"lathe-7"'),
        wire(12_345, b'"lathe-7"'),
        wire(12_345, b"\x0elathe-7"),
        b'{"schema":{"type":"string","optional":false},"payload":"lathe-7"}',
        b'{"schema": null, "payload": " lathe-7"}',
        b'{"schema": null, "payload": "lathe-7", "schema": {"doc": "' + b"x" * 600 + b'"}}',
    ],
)
def test_key_is_the_same_equipment_when_a_serializer_adds_to_it(key: bytes) -> None:
    assert key_to_id(key) == "lathe-7"


@pytest.mark.parametrize("length", [1, 5, 16, 17, 24, 48, 63, 64, 200, 255])
def test_key_is_the_text_when_avro_puts_its_length_before_it(length: int) -> None:
    text = b"x" * length
    prefix = bytes([2 * length]) if length < 64 else bytes([2 * length & 0x7F | 0x80, 2 * length >> 7])
    assert key_to_id(wire(7, prefix + text)) == text.decode()


@pytest.mark.parametrize("key", [b'17" saw', b'"', b"'a'", b"a  b", b"{a}", b"{", "Größe 3/Ω".encode(), b"x" * 255])
def test_key_stays_as_it_is_when_nothing_is_around_it(key: bytes) -> None:
    assert key_to_id(key) == key.decode()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "is missing"),
        (b"", "is missing"),
        (b"null", "is missing"),
        (b'{"schema":null,"payload":null}', "is missing"),
        (b'{"schema":null,"payload":{"id":"a"}}', "is a JSON object"),
        (b'{"id":"a"}', "is a JSON object"),
        (b" \t\n", "must have 1 to 255 bytes"),
        (b"\0\0\0", "must have 1 to 255 bytes"),
        (b'""', "must have 1 to 255 bytes"),
        (b'" "', "must have 1 to 255 bytes"),
        (wire(1, b""), "must have 1 to 255 bytes"),
        (b"x" * 256, "must have 1 to 255 bytes"),
        (b"x" * 1_000_000, "must have 1 to 255 bytes"),
        (b"\xff", "must be UTF-8"),
        (wire(1, b"\xff"), "must be UTF-8"),
        (b'"a"b"', "must be JSON text where it is in quotes"),
        (b"lathe\x007", "must hold no control characters"),
        (b"lathe\t7", "must hold no control characters"),
        (b"lathe\x1b[0m7", "must hold no control characters"),
        (b"lathe\x7f7", "must hold no control characters"),
        ("lathe\u00857".encode(), "must hold no control characters"),
        ("lathe\u20287".encode(), "must hold no control characters"),
        (b'"\\ud800"', "must hold no control characters"),
        ("lathe-7".encode("utf-16-le"), "must hold no control characters"),
        # Padded in front: what is cut off as a schema ID would be part of the text.
        (b"\0lathe-7", "must hold no control characters"),
        (b"\0\0\0lathe-7", "must hold no control characters"),
        # Protobuf: an index, then a field with its length.
        (wire(5, b"\0\n\x07lathe-7"), "must hold no control characters"),
    ],
)
def test_key_is_refused_when_it_holds_no_text_for_sure(key: bytes | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        key_to_id(key)


@given(st.one_of(st.text(max_size=12), st.text(alphabet='" \0\\a\t', max_size=8)))
def test_equipment_id_has_nothing_around_it_when_read_once(text: str) -> None:
    try:
        found = equipment_id(text)
    except ValueError:
        return
    assert equipment_id(found) == found
    assert found.strip() == found
    assert "\0" not in found
