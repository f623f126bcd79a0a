"""The report of a real node, read as a browser shows it and printed by a real Chromium."""

import re
import secrets
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from etl.admin.schema import create_tables
from etl.cassandra.connection import connect
from etl.model.measurements import read_measurements
from etl.model.tables import INSIGHT, pipeline_tables
from etl.settings import CassandraSettings, SchemaSettings
from images import local
from tests.integration.browser import require_chromium
from tests.integration.fleet import seed
from tests.integration.machine import Machine, part

LAST = date(2026, 1, 31)
VOID = {"meta", "rect", "line", "polyline"}


@pytest.fixture(scope="module")
def plant(cassandra: local.Service) -> Machine:
    environment = {**cassandra.environment, "ETL_CASSANDRA_KEYSPACE": f"sensors_{secrets.token_hex(4)}"}
    settings = CassandraSettings(**part(environment, "ETL_CASSANDRA_"))
    with connect(settings, keyspace=False) as session:
        list(create_tables(session, [*pipeline_tables(read_measurements()), *INSIGHT], SchemaSettings(), settings))
        session.set_keyspace(settings.keyspace)
        seed(session, 20, 7, LAST, detailed=0)
    return Machine(environment)


class Nested(HTMLParser):
    """Checks that elements end in the order in which they began."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_report_is_one_file_for_strangers_when_written(plant: Machine, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    first = LAST - timedelta(days=6)
    done = plant.etl("report", "--from", str(first), "--to", str(LAST), "--output", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    text = output.read_text(encoding="utf-8")
    read = Nested()
    read.feed(text)
    assert read.open == []
    assert "script" not in read.seen
    assert re.findall(r'(?:src|href)="|url\(|@import', text) == []
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "What needs attention first",
        "In figures",
        "Machines, ranked",
        "Energy and idle waste",
        "Events",
        "Trends",
        "Data quality",
        "Glossary",
    ]
    first_reason = text.split('<ol class="first">')[1].split("</li>")[0]
    assert "severe" in first_reason
    assert all(svg.count("aria-label") == 1 for svg in re.findall(r"<svg[^>]*>", text))


def test_report_is_printed_when_pdf_is_asked_for(plant: Machine, tmp_path: Path) -> None:
    require_chromium()
    output = tmp_path / "report.pdf"
    done = plant.etl("report", "--from", str(LAST), "--to", str(LAST), "--output", str(output), "--pdf")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["--from", "2026-01-31", "--to", "2026-01-30"], {}, "choose from 1 to 92 days"),
        (["--from", "yesterday", "--to", "2026-01-30"], {}, "--from: yesterday is no day"),
        (["--from", "2020-01-01", "--to", "2020-01-02"], {}, "no analysed data from 2020-01-01 to 2020-01-02"),
        (
            ["--from", "2026-01-31", "--to", "2026-01-31", "--pdf"],
            {"ETL_REPORT_CHROMIUM": "/absent/chromium"},
            "there is no /absent/chromium",
        ),
        (["--from", "2026-01-31", "--to", "2026-01-31", "--output", "/absent/report.html"], {}, "cannot be written"),
    ],
)
def test_one_line_says_what_to_do_when_no_report_can_be_made(
    plant: Machine, tmp_path: Path, arguments: list[str], variables: dict[str, str], says: str
) -> None:
    given = arguments if "--output" in arguments else [*arguments, "--output", str(tmp_path / "report.html")]
    done = plant.etl("report", *given, **variables)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert says in line
