"""Open a recorded file by path or fsspec URL: codec, members of a zip, and temporary or permanent errors."""

import bz2
import gzip
import io
import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, cast

import fsspec
import pyarrow as pa

from etl.errors import EtlError, SettingsError, Unreachable
from etl.urls import shown, without_secrets

BUFFER_BYTES = 1024 * 1024
CODECS = ("gz", "bz2", "xz", "zst", "zip")
# Status codes of temporary errors.
_PASSING = frozenset({408, 425, 429})
_SETTINGS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, ValueError)
_AWAY = (TimeoutError, ConnectionError)
# Exceptions of aiohttp, botocore and ftplib, by name, because these are not always installed.
_AWAY_NAMES = re.compile(
    r"Connect(or|ion)?(DNS)?Error|Timeout|Disconnected|Payload|Closed|HTTPClientError|gaierror|temp"
)

_WRONG_NAMES = re.compile(r"Certificate|SSL|InvalidURL|Credentials")
_JUNK = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)")


_FORMATS = {
    "csv": "csv",
    "tsv": "csv",
    "parquet": "parquet",
    "pq": "parquet",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "xlsx": "excel",
    "xlsm": "excel",
    "xlsb": "excel",
    "xls": "excel",
    "ods": "excel",
}


@dataclass(frozen=True)
class Found:
    """A recorded file: its URL, or a path in a filesystem of fsspec if the URL names several; `name` has no secret.

    Size and version (an ETag, or the time of the last change) are None if they are not known.
    """

    url: str
    name: str
    files: Any = None
    path: str = ""
    size: int | None = None
    version: str | None = None


def endings(path: str) -> list[str]:
    """Return the endings of a path or URL, in lower case and without points, the codec last."""
    found = (PurePosixPath(shown(part)).suffixes for part in re.split("::", path))
    return [ending.lstrip(".").lower() for ending in next(filter(None, found), [])]


def file_format(path: str) -> str | None:
    """Return the format that the ending names, or the ending before that of a codec; None if it names none."""
    found = endings(path)
    if found and found[-1] in CODECS:
        found.pop()
    return _FORMATS.get(found[-1]) if found else None


def opened(source: Found, *, seek: bool) -> Iterator[tuple[str, BinaryIO]]:
    """Yield a file, decompressed by its ending, or each member of a zip in order, with a printable name.

    Args:
        source: the file.
        seek: whether the reader seeks, as a reader of Parquet does.

    Raises:
        SettingsError: the file is missing, may not be read, or has another format than its ending says.
        Unreachable: the storage does not answer.
    """
    name = source.name
    raw = _Storage(source)
    codec = (endings(name) or [""])[-1]
    with raw, reading(name):
        if codec == "zip":
            yield from _members(_seekable(raw), name, seek=seek)
        else:
            yield name, _decoded(raw, codec, seek=seek)


def _decoded(raw: io.RawIOBase | IO[bytes], codec: str, *, seek: bool) -> BinaryIO:
    stream = cast(BinaryIO, io.BufferedReader(raw, BUFFER_BYTES) if isinstance(raw, io.RawIOBase) else raw)
    file: Any = stream
    if codec == "gz":
        file = gzip.GzipFile(fileobj=stream)
    elif codec == "bz2":
        file = bz2.BZ2File(stream)
    elif codec == "xz":
        file = lzma.LZMAFile(stream)  # noqa: SIM115 - the reader closes it
    elif codec == "zst":
        file = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
    return cast(BinaryIO, _seekable(file, codec in CODECS) if seek else file)


def _seekable(file: Any, slow: bool = False) -> IO[bytes]:
    """Copy a file that cannot seek, or can seek only by repeated decompression, to a temporary file."""
    if not slow and file.seekable():
        return cast(IO[bytes], file)
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - its last reader closes it
    shutil.copyfileobj(file, copy, BUFFER_BYTES)
    copy.seek(0)
    return copy


def _members(file: IO[bytes], name: str, *, seek: bool) -> Iterator[tuple[str, BinaryIO]]:
    with _as_bad_zip():
        archive = zipfile.ZipFile(file)
        members = [member for member in archive.infolist() if not member.is_dir() and not _JUNK.search(member.filename)]
    if not members:
        raise SettingsError(f"recorded file {name} holds no file")
    for member in members:
        within = f"{name}/{' '.join(member.filename.split())}"
        codec = (endings(member.filename) or [""])[-1]
        if codec == "zip":
            raise SettingsError(f"recorded file {within} is an archive within an archive: unpack it")
        with reading(within):
            with _as_bad_zip():
                stream = archive.open(member)
            yield within, _decoded(stream, codec or "-", seek=seek)


@contextmanager
def _as_bad_zip() -> Iterator[None]:
    """Convert the errors of Python that `zipfile` raises for damaged archives, such as IndexError."""
    try:
        yield
    except (EtlError, OSError, NotImplementedError, RuntimeError):
        raise
    except Exception as error:
        raise zipfile.BadZipFile(str(error)) from error


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Convert an error in the bytes of a file to one line; errors of its storage are already converted."""
    try:
        yield
    except (EtlError, GeneratorExit):
        raise
    except (
        OSError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        reason = without_secrets(" ".join(str(error).split()))
        if isinstance(error, OSError) and error.errno:
            raise Unreachable(f"recorded file {name} cannot be read: {reason}") from error
        raise SettingsError(
            f"recorded file {name} is damaged, or not what its ending says, and nothing of it is used: {reason}"
        ) from error


def is_http(url: str) -> bool:
    """Return whether a URL is read by HTTP."""
    return url.startswith(("http://", "https://"))


def http_options(url: str) -> dict[str, Any]:
    """Read HTTP without ranges, because not every server supports them, and wait as long as data arrive."""
    if not is_http(url):
        return {}
    from aiohttp import ClientTimeout

    return {"block_size": 0, "client_kwargs": {"timeout": ClientTimeout(None, sock_connect=30, sock_read=60)}}


class _Storage(io.RawIOBase):
    """A file of any storage. Its errors state whether a retry may help, and contain no secret."""

    def __init__(self, source: Found) -> None:
        url = source.url
        self._url, self._name, self._in_one_go = url, source.name, is_http(url)
        with self._telling("opened"):
            self._file: Any = (
                source.files.open(source.path, "rb")
                if source.files
                else fsspec.open(url, "rb", **http_options(url)).open()
            )

    @contextmanager
    def _telling(self, done: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Storages raise errors of their libraries, which may contain secrets.
            raise trouble(error, self._url, f"file {self._name} cannot be {done}") from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return not self._in_one_go and bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with self._telling("read"):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


def trouble(error: Exception, url: str, what: str) -> EtlError:
    """Return the error of a storage as temporary (Unreachable) or permanent (SettingsError), without secrets."""
    chain = [error]
    while (
        (cause := chain[-1].__cause__ or chain[-1].__context__) and isinstance(cause, Exception) and cause not in chain
    ):
        chain.append(cause)
    statuses = [status for status in map(_status, chain) if status]
    names = " ".join(type(each).__name__ for each in chain)
    if statuses:
        away = statuses[0] in _PASSING or statuses[0] >= 500
    elif _WRONG_NAMES.search(names):
        away = False
    elif any(isinstance(each, _AWAY) for each in chain) or _AWAY_NAMES.search(names):
        away = True
    else:
        away = isinstance(error, OSError) and not isinstance(error, _SETTINGS)
    if statuses:
        reason = f"HTTP {statuses[0]}"
    elif any(isinstance(each, ValueError) for each in chain) and url != shown(url):
        # The message quotes an invalid URL in pieces, and each may be a secret.
        reason = "this is no URL that can be used"
    else:
        reason = without_secrets(" ".join(str(chain[-1]).split()), [url]) or type(chain[-1]).__name__
    if away:
        return Unreachable(f"recorded {what}: {reason}")
    return SettingsError(f"recorded {what}: {reason} (ETL_GENERATE_RECORDED_URL)")


def _status(error: Exception) -> int | None:
    """Return the HTTP status in an exception of aiohttp or botocore."""
    status = getattr(error, "status", None)
    response = getattr(error, "response", None)
    if status is None and isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) and status >= 400 else None
