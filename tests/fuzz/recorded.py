"""Recorded files. The first line of an input is the ending of its name, the rest is the file."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from etl.errors import EtlError
from etl.mapping.language import ColumnMapping
from etl.model.measurements import Measurement, Measurements
from etl.stages.generate.files import recorded_readings
from tests.fuzz.refusal import check_refusal

BATCH = 20
WORDS = (
    *(
        b"csv\n",
        b"jsonl\n",
        b"json\n",
        b"xlsx\n",
        b"tsv\n",
        b"sep=;\n",
        b"\xff\xfe",
        b"\xfe\xff",
        b"parquet\n",
        b"zip\n",
        b"csv.gz\n",
        b"csv.zst\n",
        b"jsonl.xz\n",
        b"csv.bz2\n",
        b"PAR1",
    ),
    *(b"\n", b"\r\n", b"\r", b",", b'"', b'""', b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xc2\xa0", b" ", b"\x0b"),
    *(b"time", b"machine", b"U", b"P", b"S", b"2026-01-05T08:00:00Z", b"2026-10-25 02:30:00", b"2026-03-29T02:30:00"),
    *(b"1767600000", b"1767600000.5", b"1e400", b"nan", b"-inf", b"9" * 400, b"9" * 5000, b"1,5", b"0x10", b"\xd9\xa1"),
    *(b"{", b"}", b"[", b'{"time":', b'"U":', b"null", b"true", b"\\ud800", b"[" * 2000, b'{"a":' * 999, b"PK\3\4"),
    *(b"PK\1\2", b"PK\5\6", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"0001-01-01", b"9999-12-31T23:59:59Z", b"now"),
)
MEASUREMENTS = Measurements(
    (Measurement("voltage", "double"), Measurement("power", "double"), Measurement("state", "text"))
)
MAPPING = ColumnMapping.model_validate(
    {
        "timestamp": {"column": "time", "zone": "Europe/Paris"},
        "equipment": "machine",
        "measurements": {"voltage": "U", "power": {"column": "P", "scale": 1000.0}, "state": "S"},
        "missing": ["", "?", -9999],
    }
)
_ENDING = re.compile(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,4})?")
_BOM = b"\xef\xbb\xbf"


def check(inputs: Sequence[bytes]) -> None:
    """Check that each line of a file is a reading or a dead letter, or that the whole file is refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        for each in inputs:
            _check(each, Path(folder))


def _check(value: bytes, folder: Path) -> None:
    first, _, data = value.partition(b"\n")
    ending = first.decode(errors="replace")
    file = folder / f"file.{ending if _ENDING.fullmatch(ending) else 'csv'}"
    file.write_bytes(data)
    rows = 0
    try:
        for block in recorded_readings(str(file), MAPPING, MEASUREMENTS):
            block.readings.validate(full=True)
            block.dead_letters.validate(full=True)
            rows += len(block.readings) + len(block.dead_letters)
    except EtlError as error:
        check_refusal(error)
    else:
        expected = _rows(data, file.suffix)
        assert expected is None or rows in expected, f"{rows} of {expected} rows"
    finally:
        file.unlink()


def _rows(data: bytes, ending: str) -> range | None:
    """Return the possible numbers of rows of a file; None if fields in quotes, other line ends or UTF-16 hide it."""
    lines = data.split(b"\n")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\n" not in data[:60_000]:
        return None
    if ending == ".jsonl":
        number = sum(bool(line.removeprefix(_BOM if at == 0 else b"").strip()) for at, line in enumerate(lines))
        return range(number, number + 1)
    if ending != ".csv" or b'"' in data:
        return None
    rows = [number for number, line in enumerate(lines) if line.strip(b", \t\r\x0b\x0c")]
    header = next((number for number in rows if _is_header(lines[number])), None)
    if header is None:
        return None
    below = [lines[number] for number in rows if number > header]
    wanted = sum(not _is_header(line) for line in below)
    # A row of units may stand below each line of names.
    return range(wanted - 1 - (len(below) - wanted), wanted + 1)


def _is_header(line: bytes) -> bool:
    names = [name.strip() for name in line.removeprefix(_BOM).split(b",")]
    return all(names.count(name) == 1 for name in (b"time", b"machine", b"U", b"P", b"S"))
