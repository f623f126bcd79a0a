"""Files of measurements. Declarations that are accepted decode a record."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from etl.codec.envelope import decode
from etl.errors import EtlError
from etl.kafka.records import Records
from etl.model.measurements import read_measurements
from etl.stages.transform.clean import Times, clean
from tests.fuzz.refusal import check_refusal

BATCH = 20
WORDS = (
    *(
        b"measurements:\n",
        b"voltage: ",
        b"state: ",
        b"type: ",
        b"double",
        b"text",
        b"unit: ",
        b"decimals: ",
        b"range: ",
    ),
    *(b"required: ", b"true", b"[0, 100]", b"[null, 1]", b"[1, 0]", b".nan", b".inf", b"-.inf", b"1e400", b"9" * 400),
    *(b"\n", b"  ", b": ", b"- ", b"{", b"}", b"[", b"]", b",", b'"', b"'", b"&a ", b"*a", b"<<: *a", b"!!binary "),
    *(b"!!timestamp ", b"!!float ", b"!!int ", b"!!set ", b"null", b"2026-13-45", b"0x", b"1_", b"1:99:99"),
    *(b"[" * 2000, b"? ", b"| ", b"> ", b"#", b"%YAML 9.9\n", b"---\n", b"\0", b"\xff", b"\xc2\x85", b"timestamp: "),
)


def check(inputs: Sequence[bytes]) -> None:
    """Check that declarations decode and clean a record, or are refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "measurements.yaml")
        for each in inputs:
            path.write_bytes(each)
            try:
                declared = read_measurements(path)
            except EtlError as error:
                check_refusal(error)
                continue
            value = b'{"timestamp":1767600000,"voltage":230.567,"state":"on"}'
            records = Records([0], [0], [1_767_600_000_000], [b"m1"], [value], [[]])
            readings = decode(records, "topic", declared).readings
            good, bad = clean(readings, declared, {}, Times(0, 1_767_600_000_000))
            assert len(good) + len(bad) == len(readings) == 1
            assert len(declared.sha256) == 64
