"""Compare the state of the services with what must follow from all records; the services may be twins or real."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from etl.stages.load.stage import CLASSES
from tests.simulation.plant import Key, Reading, Wanted

HOUR_MS = 3_600_000


class Violation(AssertionError):  # noqa: N818 - says what it is
    """A guarantee of docs/delivery.md does not hold."""


class Letter(NamedTuple):
    """A record on the topic of dead letters."""

    key: bytes
    value: bytes
    headers: Mapping[str, bytes]

    @property
    def lost(self) -> bool:
        """Whether it is a reading, or a row, that lost to another one, or was too late."""
        return self.headers["etl-reason"] in (b"conflicting", b"superseded", b"late")


class Load(NamedTuple):
    """The row of the ledger for a load."""

    run: str
    counts: Mapping[str, int]
    offsets: list[dict[str, Any]]


class Found(NamedTuple):
    """All that the services hold: rows by key, milliseconds by machine, touched (machine, hour)."""

    table: Mapping[Key, Reading]
    letters: list[Letter]
    watermarks: Mapping[str, int]
    loads: list[Load]
    touched: set[tuple[str, int]]


def compare(expected: Wanted, found: Found, *, rejects_late: bool = False) -> None:
    """Compare table, dead letters, watermarks, ledger and touched days with what must be there.

    Args:
        expected: what must be there.
        found: what is there.
        rejects_late: readings may be too late. Which ones are depends on the schedule, but each is a row or a letter.

    Raises:
        Violation: they differ; the message names the first difference.
    """
    if extra := sorted(set(found.table.values()) - expected.readings, key=str):
        raise Violation(f"{extra[0]} of the table was never produced")
    lost = {each for each in expected.readings if found.table.get(each.key) != each}
    if not rejects_late:
        _compare_rows(expected.table, found.table)
    _compare_letters({(each.key, each.voltage) for each in lost} - expected.unsure, expected.bad, found.letters)
    newest: dict[str, int] = {}
    for machine, stamp in found.table:
        newest[machine] = max(stamp, newest.get(machine, stamp))
    if found.watermarks != newest:
        raise Violation(f"watermarks are {found.watermarks}, the newest rows {newest}")
    for load in found.loads:
        _check_load(load)
    if missing := sorted({(machine, stamp // HOUR_MS) for machine, stamp in found.table} - found.touched):
        raise Violation(f"no run told the analysis of hour {missing[0]}")


def _compare_rows(expected: Mapping[Key, Reading], rows: Mapping[Key, Reading]) -> None:
    for key, reading in expected.items():
        if key not in rows:
            raise Violation(f"row {key} is missing, {reading}")
        if rows[key] != reading:
            raise Violation(f"row {key} holds {rows[key]}, not {reading}")


def _compare_letters(lost: set[tuple[Key, float]], bad: set[bytes], letters: Iterable[Letter]) -> None:
    readings: set[tuple[Key, float]] = set()
    raw: set[bytes] = set()
    for letter in letters:
        raw.add(letter.value)
        if letter.lost:
            document = _document(letter)
            readings.add(((letter.key.decode(), _milliseconds(document["timestamp"])), document["voltage"]))
    if missing := sorted(lost - readings):
        raise Violation(f"the losing reading {missing[0]} is in no dead letter")
    if gone := sorted(bad - raw):
        raise Violation(f"the bad record {gone[0]!r} is in no dead letter")


def _document(letter: Letter) -> dict[str, Any]:
    if b"arrow" in letter.headers.get("content-type", b""):
        (row,) = pa.ipc.open_stream(letter.value).read_all().to_pylist()
        return dict(row)
    return dict(orjson.loads(letter.value))


def _milliseconds(stamp: Any) -> int:
    if isinstance(stamp, int):
        return stamp
    return round((datetime.fromisoformat(stamp) if isinstance(stamp, str) else stamp).timestamp() * 1000)


def _check_load(load: Load) -> None:
    if load.counts["consumed"] != sum(load.counts[name] for name in CLASSES):
        raise Violation(f"run {load.run} does not balance: {dict(load.counts)}")
    if any(part["begin"] > part["end"] for part in load.offsets):
        raise Violation(f"run {load.run} ends before it begins: {load.offsets}")
