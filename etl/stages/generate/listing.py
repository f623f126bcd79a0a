"""The recorded files that a path or URL names: one file, a folder, or those that match a pattern."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec
import structlog
from fsspec.implementations.local import LocalFileSystem

from etl.errors import SettingsError
from etl.mapping.language import ColumnMapping
from etl.stages.generate.opening import Found, endings, file_format, http_options, is_http, trouble
from etl.urls import shown

_HIDDEN = re.compile(r"(^|/)[._][^/]*(/|$)")  # _SUCCESS of Spark, .crc, ._ of macOS
_CHAIN = re.compile(r"::(?=[A-Za-z][\w+.-]*://|[/.])")  # zip://*.csv::/folder/all.zip
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified")

log = structlog.get_logger("etl.recorded")


@dataclass(frozen=True)
class Listing:
    """Files in the order of their names; `many` if a folder or a pattern names them."""

    files: list[Found]
    many: bool


def list_files(url: str, mapping: ColumnMapping) -> Listing:
    """List the files that a path or fsspec URL names: a file, a folder (with those below it), or a pattern (`*`, `**`).

    Raises:
        SettingsError: no file matches, or the URL cannot be used.
        Unreachable: the storage does not answer.
    """
    name = shown(url)
    magic = is_pattern(url)
    if is_http(url) and not magic:
        return Listing([Found(url, name)], many=False)
    try:
        files, path = fsspec.core.url_to_fs(url, **http_options(url))
        local = isinstance(files, LocalFileSystem)
        if local and magic and files.exists(path):
            magic = False
        if magic:
            entries = dict(_matches(files, path))
        elif (local or url.endswith("/") or not endings(url)) and files.isdir(path):
            entries = _below(files, path)
        else:
            entry = files.info(path) if local and files.exists(path) else {}
            return Listing([Found(url, name, size=entry.get("size"), version=_version(entry))], many=False)
    except Exception as error:
        # Storages raise errors of their libraries, which may contain secrets.
        raise trouble(error, url, f"files {name} cannot be opened") from None
    found = [_found(url, files, each, entries[each]) for each in sorted(entries)]
    found = found if magic else _readable(found, mapping)
    if not found:
        raise SettingsError(f"recorded files {name}: there is no file (ETL_GENERATE_RECORDED_URL)")
    return Listing(found, many=True)


def is_pattern(url: str) -> bool:
    """Return whether a path or URL has wildcards: `*`, `[abc]` (not by HTTP), and `?` in a path without a scheme."""
    return bool(re.search(r"\*" if is_http(url) else r"[*?\[]", shown(url)))


def changed(found: Found) -> Found | None:
    """Return the file as it is now if its size or version differs from that of the listing, None if not or unknown."""
    if found.size is None:
        return None
    try:
        files, path = (found.files, found.path) if found.files else fsspec.core.url_to_fs(found.url)
        files.invalidate_cache()
        now = _found(found.url, files, path, files.info(path))
    except Exception:
        # It has been read, so nothing is lost if it is gone.
        return None
    return now if (now.size, now.version) != (found.size, found.version) else None


def _matches(files: Any, pattern: str) -> Iterator[tuple[str, dict[str, Any]]]:
    hidden = pattern.rsplit("/", 1)[-1].startswith((".", "_"))
    for path, entry in files.glob(pattern, detail=True).items():
        if entry.get("type") == "directory":
            # A folder such as x.parquet is one data set of Spark.
            if file_format(path):
                yield from _below(files, path).items()
        elif hidden or not path.rsplit("/", 1)[-1].startswith((".", "_")):
            yield path, entry


def _below(files: Any, folder: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = files.find(folder, detail=True)
    return {path: entry for path, entry in found.items() if not _HIDDEN.search(path.removeprefix(folder))}


def _readable(found: list[Found], mapping: ColumnMapping) -> list[Found]:
    """Keep the files whose ending names a format, unless the mapping names it."""
    if mapping.format:
        return found
    others = [each.name for each in found if not (file_format(each.name) or endings(each.name)[-1:] == ["zip"])]
    if others:
        log.warning("files are not read whose ending names no format", number=len(others), first=others[0])
    return [each for each in found if each.name not in others]


def _found(url: str, files: Any, path: str, entry: dict[str, Any]) -> Found:
    outer = _CHAIN.split(url)[1:]
    if outer:
        name = f"{shown('::'.join(outer))}/{path}"
    else:
        name = path if isinstance(files, LocalFileSystem) else shown(files.unstrip_protocol(path))
    return Found(url, name, files, path, entry.get("size"), _version(entry))


def _version(entry: dict[str, Any]) -> str | None:
    return next((str(entry[key]) for key in _VERSIONS if entry.get(key) is not None), None)
