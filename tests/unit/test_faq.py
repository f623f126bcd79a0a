"""The limits that docs/faq.md names are those of the code."""

import re
from pathlib import Path

import pytest

from etl.codec.arrow_records import MEMORY_BYTES
from etl.codec.columns import MAX_TIMESTAMP
from etl.model.equipment import MAX_KEY_BYTES
from etl.model.measurements import MAX_TEXT_BYTES
from etl.model.schemas import CHUNK_ROWS
from etl.page.download import MOST_ROWS
from etl.report.report import MOST_DAYS
from etl.settings import MOST_TOPICS
from etl.stages.generate.lines import MAX_LINE_BYTES

PAGE = Path(__file__).parents[2] / "docs" / "faq.md"
LIMITS = dict(re.findall(r"^\| (.+?) \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("equipment ID", f"{MAX_KEY_BYTES} bytes"),
        ("timestamp", f"{MAX_TIMESTAMP} bytes of text"),
        ("text of a measurement", f"{MAX_TEXT_BYTES:,} bytes"),
        ("readings in a record", f"{CHUNK_ROWS:,}, and {MEMORY_BYTES >> 20} MiB"),
        ("line of a recorded file", f"{MAX_LINE_BYTES >> 10} KiB"),
        ("topics of a run", f"{MOST_TOPICS:,} and the first one"),
        ("days in a report, rows in a download", f"{MOST_DAYS}, {MOST_ROWS:,}"),
    ],
)
def test_faq_names_the_limit_of_the_code_when_one_changes(what: str, text: str) -> None:
    assert text in LIMITS[what]
