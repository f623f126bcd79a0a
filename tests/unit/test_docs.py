"""The docs are true: generated parts are up to date, named tests and linked files exist."""

import re
from pathlib import Path

import pytest

from docs import chart
from docs.update import ACLS, acls, updated

ROOT = Path(__file__).parents[2]
_PAGES_OF_GITHUB = [*ROOT.glob("*.md"), *ROOT.glob(".github/*.md")]
PAGES = sorted([*_PAGES_OF_GITHUB, chart.README, *ROOT.glob("docs/**/*.md")], key=str)

TESTS = {
    name
    for file in ROOT.glob("tests/**/test_*.py")
    for name in re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_docs_have_generated_parts_up_to_date_when_the_code_changes(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == updated(text), "run `make docs`"


def test_acls_of_the_chart_are_up_to_date_when_the_code_changes() -> None:
    assert ACLS.read_text(encoding="utf-8") == acls(), "run `make docs`"


def test_schema_and_readme_of_the_chart_are_up_to_date_when_its_values_change() -> None:
    assert chart.SCHEMA.read_text(encoding="utf-8") == chart.schema(), "run `make docs`"
    assert chart.README.read_text(encoding="utf-8") == chart.readme(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_docs_name_tests_that_exist_when_they_name_one(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`", text)
    for mark in re.findall(r"^```bash not run here:(.*)$", text, re.MULTILINE):
        named += re.findall(r"(?<![/\w])test_\w+(?!\w|\.py)", mark)
    assert set(named) <= TESTS


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_docs_link_to_files_that_exist_when_they_link(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_docs_have_a_page_for_each_stage_when_a_newcomer_looks() -> None:
    from etl.run.runner import STAGES

    assert [stage for stage in STAGES if not (ROOT / "docs" / f"{stage}.md").exists()] == []


def test_docs_give_each_sentence_a_test_when_they_state_the_delivery() -> None:
    page = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
    tables = page.split("| | test |\n|---|---|\n")[1:]
    rows = [row for table in tables for row in table.split("\n\n")[0].splitlines()]
    assert len(tables) > 1
    assert [row for row in rows if "`test_" not in row] == []
