"""A twin of an object store: whole files or nothing, no rename, a listing that may lag, a quota that may be full."""

import errno
import re
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
from fsspec.spec import AbstractFileSystem

from tests.simulation.world import World

# A new file is missing in listings for up to this time (seconds).
LAG_SECONDS = 2.0


class TwinFiles(AbstractFileSystem):
    """The files of the world that is simulated."""

    protocol = "twin"
    world: ClassVar[World]
    stored: ClassVar[dict[str, bytes]] = {}
    written: ClassVar[dict[str, float]] = {}
    lags: ClassVar[bool] = False

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: folders are parts of names."""

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        """Store a whole file."""

        def store() -> None:
            self.stored[path] = bytes(value)
            self.written.setdefault(path, self.world.now)

        self.world.call(f"write {_short(path)}", store, (lambda: OSError(errno.ENOSPC, "no space left"),))

    def cat_file(self, path: str, start: Any = None, end: Any = None, **_: Any) -> bytes:
        """Read a whole file."""

        def read() -> bytes:
            if path not in self.stored:
                raise FileNotFoundError(path)
            return self.stored[path]

        return self.world.call(f"read {_short(path)}", read, (lambda: OSError(errno.EIO, "no answer"),))

    def glob(self, path: str, **_: Any) -> list[str]:
        """List the files that match a pattern, except some of the newest if listings lag."""
        pattern = re.compile(re.escape(path).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*"))
        return self.world.call("list files", lambda: self._listed(path.partition("*")[0], pattern))

    def find(self, path: str, **_: Any) -> list[str]:
        """List all files below a folder."""
        return self.world.call("find files", lambda: self._listed(f"{path}/"))

    def rm(self, path: str, recursive: bool = False, **_: Any) -> None:
        """Remove a folder."""

        def remove() -> None:
            for name in [name for name in self.stored if name.startswith(f"{path}/")]:
                del self.stored[name], self.written[name]

        self.world.call(f"remove {_short(path)}", remove)

    def _listed(self, begin: str, pattern: re.Pattern[str] | None = None) -> list[str]:
        names = [name for name in self.stored if name.startswith(begin)]
        return sorted(name for name in names if (not pattern or pattern.fullmatch(name)) and self._known(name))

    def _known(self, name: str) -> bool:
        age = self.world.now - self.written[name]
        return not self.lags or age > LAG_SECONDS or self.world.random.random() < age / LAG_SECONDS


class ArrowFile:
    """Stands in for `pyarrow.parquet.ParquetFile`."""

    def __init__(self, source: Any, **_: Any) -> None:
        """Read a file of `write_table`."""
        self._source = source

    def read(self, **_: Any) -> pa.Table:
        """Return the whole table."""
        return pa.ipc.open_stream(self._source).read_all()


def write_table(table: pa.Table, sink: Any, **_: Any) -> None:
    """Write a table as an Arrow stream: of a few rows, Parquet took an eighth of the time of a schedule."""
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


# Stands in for `pyarrow.parquet`.
ARROW_FILES = SimpleNamespace(ParquetFile=ArrowFile, write_table=write_table)


def _short(path: str) -> str:
    return "/".join(path.split("/")[1:3] + path.split("/")[-1:])


def empty_store(world: World, *, lags: bool) -> None:
    """Begin with an empty store."""
    TwinFiles.world, TwinFiles.stored, TwinFiles.written, TwinFiles.lags = world, {}, {}, lags


def url_to_fs(url: str) -> tuple[TwinFiles, str]:
    """Stand in for `fsspec.core.url_to_fs`."""
    return TwinFiles(), url.partition("://")[2]
