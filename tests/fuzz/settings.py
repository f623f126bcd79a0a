"""Settings. An input is lines NAME=VALUE: environment variables, or mounted files if the name has an @ before it."""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from etl.errors import SettingsError
from etl.settings import PARTS, describe, read_settings, unknown_variables
from etl.urls import URLS, shown, without_secrets
from tests.fuzz.refusal import check_refusal

BATCH = 20
_NAMES = {name: part for part in PARTS for name in describe(part)}
WORDS = (
    *(f"\n{name}=".encode() for name in _NAMES),
    *(f"\n@{name}=".encode() for name in _NAMES),
    *(b"localhost:9092", b"[::1]:9092", b"::", b",", b"=", b"\n", b"0", b"-1", b"1e400", b"nan", b"inf", b"9" * 5000),
    *(b"P1D", b"PT1H", b"P9999999999D", b"2026-01-05", b"2026-01-05T00:00:00Z", b"0001-01-01T00:00:00+14:00", b"true"),
    *(b"arrow", b"librdkafka", b"SASL_SSL", b"ALL", b"0:5,1:7", b"s3://key:secret@bucket/a?sig=secret", b"https://"),
    *(b"zip::s3://", b"recorded", b"xn--", b"\xc3\xa9", b"\xff", b"\xe2\x80\xae", b"%41", b"@", b"::", b"\xd9\xa1"),
)
_LINE = re.compile(rb"(@?)(ETL_[A-Z_]{1,60})=([^\0]*)")
_SECRET = "hunter2-hunter2"
_WITH_PASSWORD = re.compile(rf"[a-z0-9]+://[a-z]*:{_SECRET}@[^@:?#]+")


def check(inputs: Sequence[bytes]) -> None:
    """Check that each part is read, or refused in one line that has no secret."""
    with tempfile.TemporaryDirectory() as folder:
        for each in inputs:
            _check(each, Path(folder))
    unknown_variables()


def _check(value: bytes, folder: Path) -> None:
    given = [found.groups() for line in value.split(b"\n") if (found := _LINE.fullmatch(line))]
    names = {name.decode() for _, name, _ in given}
    with _environment(given, folder):
        for part in {_NAMES[name] for name in names if name in _NAMES}:
            try:
                read_settings(part)
            except SettingsError as error:
                check_refusal(error, *([] if _misplaced(given) else [_SECRET]))
        for name in names & set(URLS):
            url = os.environ.get(name)
            if url:
                assert shown(shown(url)) == shown(url)
                text = without_secrets(f"cannot open {url} now")
                assert not _WITH_PASSWORD.fullmatch(url) or _SECRET not in text, "a secret is shown"


def _misplaced(given: Sequence[tuple[bytes, bytes, bytes]]) -> bool:
    """Return whether a mutation put the secret into a setting that is none."""
    names = {name.decode() for _, name, value in given if _SECRET.encode() in value}
    return any(not name.endswith("PASSWORD") and name not in URLS for name in names)


@contextmanager
def _environment(given: Sequence[tuple[bytes, bytes, bytes]], folder: Path) -> Iterator[None]:
    """Set variables and mount files; take both away at the end."""
    before = dict(os.environb)
    files = []
    try:
        for mounted, name, value in given:
            if mounted:
                file = folder / name.decode()
                file.write_bytes(value)
                files.append(file)
            else:
                os.environb[name] = value
        os.environb.setdefault(b"ETL_SECRETS_DIR", str(folder).encode())
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)
        for name in set(os.environb) - set(before):
            del os.environb[name]
        os.environb.update(before)
