"""Mapping files. A mapping that is accepted reads a file."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from etl.errors import EtlError
from etl.mapping.language import read_mapping
from etl.stages.generate.files import recorded_readings
from tests.fuzz.recorded import MEASUREMENTS
from tests.fuzz.refusal import check_refusal

BATCH = 20
WORDS = (
    *(b"format: ", b"csv", b"parquet", b"jsonl", b"timestamp: ", b"column: ", b"zone: ", b"ambiguous: ", b"first"),
    *(b"columns: ", b"[time, machine]", b"shift: ", b"-PT15M", b"skip: ", b"header: ", b"comment: ", b"sheet: "),
    *(b"equipment: ", b"constant: ", b"measurements: ", b"voltage: ", b"power: ", b"state: ", b"scale: ", b"offset: "),
    *(b"delimiter: ", b"encoding: ", b"decimal: ", b"thousands: ", b"missing: ", b"latin-1", b"utf-16", b"idna"),
    *(b"punycode", b"undefined", b"unicode_escape", b"utf-7", b"cp037", b"rot13", b"Europe/Paris", b"../etc", b"UTC"),
    *(b"%Y-%m-%d", b"%d/%m/%Y %H:%M:%S", b"%j", b"%Z", b"%z", b"%p", b"%f", b"%%", b"%G-W%V-%u", b"excel", b"%"),
    *(
        b"\n",
        b"  ",
        b": ",
        b"- ",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b'"',
        b"'",
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!python/name:os",
    ),
    *(b"!!binary ", b"!!timestamp ", b"!!float ", b"!!int ", b"null", b"~", b"true", b".nan", b".inf", b"1e400"),
    *(
        b"2026-13-45",
        b"0x",
        b"0o9",
        b"1_",
        b"1:99:99",
        b"[" * 2000,
        b"? ",
        b"| ",
        b"> ",
        b"#",
        b"%YAML 9.9\n",
        b"---\n",
    ),
)
_ROWS = b"""time,machine,U,P,S
2026-01-05T08:00:00,pump,230.5,1.5,on
05/01/2026 08:00:00,pump,"1.230,5",?,\xe9t\xe9
1767600000,,nan,9e999,
46027.5,pump,1 000,-9999,"a
b"
"""


def check(inputs: Sequence[bytes]) -> None:
    """Check that each mapping reads a file, or is refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file.csv")
        file.write_bytes(_ROWS)
        for each in inputs:
            path = Path(folder, "mapping.yaml")
            path.write_bytes(each)
            try:
                list(recorded_readings(str(file), read_mapping(path, MEASUREMENTS), MEASUREMENTS))
            except EtlError as error:
                check_refusal(error)
