"""Lines of a text file: its encoding, byte-order mark and line ends, and the original bytes of a line."""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import structlog

from etl.errors import SettingsError
from etl.mapping.language import UTF_16, ColumnMapping

BLOCK_BYTES = 4 * 1024 * 1024
BLOCK_ROWS = 50_000
HEAD_BYTES = 64 * 1024
MAX_LINE_BYTES = 512 * 1024  # a longer line is not a reading, and would not fit into a dead letter
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip or a workbook",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PAR1": "Parquet",
    b"\xd0\xcf\x11\xe0": "a workbook (xls)",
}
_QUOTED = re.compile(rb'"[^"]*"')

log = structlog.get_logger("etl.recorded")


@dataclass(frozen=True)
class Text:
    """A file of lines in an encoding in which a newline is one byte, without a byte-order mark.

    `head` are its first bytes, which `file` yields no more. `restore` returns the original bytes of a line.
    """

    file: BinaryIO
    head: bytes
    encoding: str
    end: bytes
    restore: Callable[[bytes], bytes]

    @property
    def whole(self) -> bool:
        """Whether the head is the whole file."""
        return len(self.head) < HEAD_BYTES


def open_text(file: BinaryIO, mapping: ColumnMapping, name: str) -> Text:
    """Determine the encoding of a file by its byte-order mark or the mapping, and its line ends by its first lines.

    Raises:
        SettingsError: the file is no text, or is UTF-16 without a mark, and the mapping does not say so.
    """
    head = _fill(file, HEAD_BYTES)
    if what := next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None):
        raise SettingsError(f"recorded file {name} begins like {what}, not like text: give it the ending of its format")
    mark, encoding = next(((mark, of) for mark, of in _MARKS if head.startswith(mark)), (b"", ""))
    if mark:
        head = head[len(mark) :]
        _tell_mark(mapping, encoding, name)
    else:
        encoding = _encoding(head, mapping, name)
    restore = _same
    if encoding in UTF_16:
        wide = _Wide(file, encoding, head)
        file, restore = cast(BinaryIO, wide), wide.restore
        head = _fill(file, HEAD_BYTES)
        encoding = "utf-8"
    unquoted = _QUOTED.sub(b"", head)
    end = b"\r" if b"\r" in unquoted and b"\n" not in unquoted else b"\n"
    if end == b"\r" and b"\r" in unquoted.strip():
        log.info("lines end with CR", file=name)
    return Text(file, head, encoding, end, restore)


def _fill(file: BinaryIO, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := file.read(size - len(found))):
        found += data
    return found


def _same(line: bytes) -> bytes:
    return line


def _tell_mark(mapping: ColumnMapping, encoding: str, name: str) -> None:
    if "encoding" in mapping.model_fields_set and not mapping.encoding.startswith(encoding[:6].removesuffix("-")):
        log.warning(
            f"the byte-order mark says {encoding}, which is used instead of the mapping's {mapping.encoding}", file=name
        )
    elif encoding in UTF_16:
        log.info("the byte-order mark determines the encoding", file=name, encoding=encoding)


def _encoding(head: bytes, mapping: ColumnMapping, name: str) -> str:
    looks = _looks_wide(head)
    if mapping.encoding == "utf-16":
        if looks is None and head:
            raise SettingsError(
                f"recorded file {name} has no byte-order mark, and its order of bytes is not clear: write `encoding:"
                " utf-16-le` or `encoding: utf-16-be` into the mapping"
            )
        return looks or "utf-8"
    if mapping.encoding not in UTF_16 and looks:
        raise SettingsError(f"recorded file {name} looks like UTF-16: add `encoding: {looks}` to the mapping")
    return "utf-8" if mapping.encoding == "utf-8-sig" else mapping.encoding


def _looks_wide(head: bytes) -> str | None:
    """Return the encoding of a file that begins with four letters or digits in UTF-16, None for another beginning."""
    first, second = head[0:8:2], head[1:8:2]
    if len(second) < 4:
        return None
    if first.isascii() and all(first) and not any(second):
        return "utf-16-le"
    return "utf-16-be" if second.isascii() and all(second) and not any(first) else None


class _Wide:
    """UTF-16 as UTF-8; what is no UTF-16 becomes bytes that are no UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str, head: bytes) -> None:
        self._file, self._encoding, self._rest, self._cut = file, encoding, head, b""
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")

    def read(self, size: int) -> bytes:
        while data := self._rest or self._file.read(size):
            self._rest = b""
            if text := self._decoder.decode(data):
                return text.encode("utf-8", "surrogatepass")
        if self._cut:
            return b""
        self._cut = self._decoder.getstate()[0]
        return b"\xff" if self._cut else b""

    def restore(self, line: bytes) -> bytes:
        end = self._cut if line.endswith(b"\xff") else b""
        try:
            text = line.removesuffix(b"\xff").decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            text = line.decode("utf-8", "ignore")  # a line that is cut, because it is too long
        return text.encode(self._encoding, "surrogatepass") + end


def blocks_of_lines(text: Text) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the lines without line ends, with the number of the first, in lists of at most BLOCK_ROWS.

    A line that is too long is cut to a little more than MAX_LINE_BYTES.
    """
    number, rest = 1, b""
    for data in _data(text):
        lines = (rest + data).split(text.end)
        rest = lines.pop()[: MAX_LINE_BYTES + 1]
        for first in range(0, len(lines), BLOCK_ROWS):
            yield number + first, lines[first : first + BLOCK_ROWS]
        number += len(lines)
    if rest:
        yield number, [rest]


def _data(text: Text) -> Iterator[bytes]:
    for first in range(0, len(text.head), BLOCK_BYTES):
        yield text.head[first : first + BLOCK_BYTES]
    while data := text.file.read(BLOCK_BYTES):
        yield data
