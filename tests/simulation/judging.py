"""Compare the state of the services with what must follow from all records; the services may be twins or real."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from etl.stages.load.stage import CLASSES
from tests.simulation.partial import NAMES, Rows, Value
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
        _compare_rows(expected, found.table)
    _compare_letters({(each.key, each.voltage) for each in lost} - expected.unsure, found.letters)
    check_services(expected.bad, found)


def compare_parts(
    expected: Rows, found: Found, quality: Mapping[Key, str], *, rejects_late: bool, by_arrival: bool
) -> None:
    """Compare what is there with what must be there; without `by_arrival`, `quality` has a limit in docs/delivery.md.

    Raises:
        Violation: they differ; the message names the first difference.
    """
    table = {
        key: {name: value for name, value in row._asdict().items() if name != "key" and value is not None}
        for key, row in found.table.items()
    }
    held = {(key, name, value) for key, row in table.items() for name, value in row.items()}
    if extra := sorted(held - expected.given):
        raise Violation(f"{extra[0]} of the table was never produced")
    if not rejects_late:
        for key, row in expected.table.items():
            if table.get(key) != row:
                raise Violation(f"row {key} holds {table.get(key)}, not {row}")
            if by_arrival and quality[key] != expected.quality[key]:
                raise Violation(f"row {key} has quality {quality[key]!r}, not {expected.quality[key]!r}")
    lost = expected.given - held - expected.unsure
    if missing := sorted(lost - {value for letter in found.letters if letter.lost for value in _values_of(letter)}):
        raise Violation(f"the replaced value {missing[0]} is in no dead letter")
    check_services(expected.bad, found)


def _values_of(letter: Letter) -> set[Value]:
    document = document_of(letter)
    key = letter.key.decode(), milliseconds(document["timestamp"])
    return {(key, name, document[name]) for name in NAMES if isinstance(document.get(name), float)}


def check_services(bad: set[bytes], found: Found) -> None:
    """Check what does not depend on how readings become rows: bad records, watermarks, ledger and touched days.

    Raises:
        Violation: something is wrong there.
    """
    if gone := sorted(bad - {letter.value for letter in found.letters}):
        raise Violation(f"the bad record {gone[0]!r} is in no dead letter")
    newest: dict[str, int] = {}
    for machine, stamp in found.table:
        newest[machine] = max(stamp, newest.get(machine, stamp))
    if found.watermarks != newest:
        raise Violation(f"watermarks are {found.watermarks}, the newest rows {newest}")
    for load in found.loads:
        _check_load(load)
    if missing := sorted({(machine, stamp // HOUR_MS) for machine, stamp in found.table} - found.touched):
        raise Violation(f"no run told the analysis of hour {missing[0]}")


def _compare_rows(expected: Wanted, rows: Mapping[Key, Reading]) -> None:
    for key, reading in expected.table.items():
        if key not in rows:
            raise Violation(f"row {key} is missing, {reading}")
        if rows[key] != reading and rows[key] not in expected.others.get(key, ()):
            raise Violation(f"row {key} holds {rows[key]}, not {reading}")


def _compare_letters(lost: set[tuple[Key, float]], letters: Iterable[Letter]) -> None:
    readings: set[tuple[Key, float]] = set()
    for letter in letters:
        if letter.lost:
            document = document_of(letter)
            readings.add(((letter.key.decode(), milliseconds(document["timestamp"])), document["voltage"]))
    if missing := sorted(lost - readings):
        raise Violation(f"the losing reading {missing[0]} is in no dead letter")


def document_of(letter: Letter) -> dict[str, Any]:
    """Return the content of a reading's dead letter."""
    if b"arrow" in letter.headers.get("content-type", b""):
        (row,) = pa.ipc.open_stream(letter.value).read_all().to_pylist()
        return dict(row)
    return dict(orjson.loads(letter.value))


def milliseconds(stamp: Any) -> int:
    """Return a timestamp of a dead letter in milliseconds."""
    if isinstance(stamp, int):
        return stamp
    return round((datetime.fromisoformat(stamp) if isinstance(stamp, str) else stamp).timestamp() * 1000)


def _check_load(load: Load) -> None:
    if load.counts["consumed"] != sum(load.counts[name] for name in CLASSES):
        raise Violation(f"run {load.run} does not balance: {dict(load.counts)}")
    if any(part["begin"] > part["end"] for part in load.offsets):
        raise Violation(f"run {load.run} ends before it begins: {load.offsets}")
