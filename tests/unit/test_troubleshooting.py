"""Each message with which `etl` ends has an entry in docs/troubleshooting.md, and each alert has a section."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from docs.messages import GAP, Message, messages

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = list(messages())
_SECTION = re.compile(r"^## Exit code (\d)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+) ?(.+?) ?\1(?!`)")


class Entry(NamedTuple):
    exit_code: int
    text: str

    def covers(self, text: str) -> bool:
        return bool(re.fullmatch(re.escape(self.text).replace(GAP, ".*"), text))


def entries() -> Iterator[Entry]:
    for code, section in _SECTION.findall(PAGE):
        for row in re.findall(r"^\| (`.*?) \| ", section, re.MULTILINE):
            yield from (Entry(int(code), text) for _, text in _CODE.findall(row))


ENTRIES = list(entries())


def covered(code: int, text: str) -> bool:
    return any(entry.exit_code == code and entry.covers(text) for entry in ENTRIES)


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z_]{3,}", text)


def test_messages_are_found_when_the_code_is_read() -> None:
    found = {(message.exit_code, message.text) for message in MESSAGES}
    assert (2, "… does not exist: create it with `etl schema`") in found
    assert (4, "schema registry …: …") in found, "the class depends on a condition"
    assert (2, "ETL_PAGE_USERNAME and ETL_PAGE_PASSWORD go together") in found, "a validator's"
    assert (5, "… rows written of …") in found
    assert len(found) > 240


def test_each_message_has_an_entry_when_etl_ends_with_it() -> None:
    # A message without words of its own is a setting's or a file's name, and a message that is an entry, too.
    missing = [message for message in MESSAGES if words(message.text) and not covered(message.exit_code, message.text)]
    assert missing == [], "add a row to docs/troubleshooting.md"


PLACES_WITHOUT_WORDS = {
    "etl/settings.py",  # a variable, then a validator's message or that of pydantic
    "etl/mapping/language.py",  # the file and the entry, then a validator's message or that of pydantic
    "etl/cli/dead_letters.py",  # an option, then the message of `datetime`
}


def test_messages_say_something_when_their_text_is_in_the_code() -> None:
    places = {message.place.split(":")[0] for message in MESSAGES if not words(message.text)}
    assert places == PLACES_WITHOUT_WORDS


NO_SERVICES = {
    "ETL_KAFKA_BOOTSTRAP_SERVERS": "localhost:1",
    "ETL_KAFKA_TIMEOUT": "1",
    "ETL_CASSANDRA_PORT": "1",
    "ETL_CASSANDRA_TIMEOUT": "1",
}


@pytest.mark.parametrize(
    ("command", "code", "given"),
    [
        ("load", 2, {}),
        ("load", 2, {"ETL_RUN_ID": "a/b"}),
        ("load", 2, {"ETL_RUN_ID": "a", "ETL_LOAD_BATCH_ROWS": "many"}),
        ("load", 2, {"ETL_RUN_ID": "a", "ETL_KAFKA_CLIENT": "java"}),
        ("schema", 2, {"ETL_CASSANDRA_USERNAME": "etl"}),
        ("schema", 2, {"ETL_MEASUREMENTS_FILE": "none.yaml"}),
        ("status", 4, NO_SERVICES),
        ("analyze", 4, NO_SERVICES),
    ],
    ids=str,
)
def test_printed_message_has_an_entry_when_a_command_ends(command: str, code: int, given: dict[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
    environment = {**kept, **given, "ETL_LOG_FORMAT": "json"}
    ended = subprocess.run([sys.executable, "-m", "etl", command], env=environment, capture_output=True, text=True)
    last = json.loads(ended.stderr.splitlines()[-1])["event"]
    assert ended.returncode == code
    assert covered(code, last), last


def test_entries_belong_to_a_message_when_they_are_on_the_page() -> None:
    pydantic = [Message(f"{GAP}: {text}", 2, "") for text in (f"Input should be {GAP}", "Field required")]
    known = [*MESSAGES, *pydantic]
    stale = [
        entry
        for entry in ENTRIES
        if not any(entry.exit_code == message.exit_code and entry.covers(message.text) for message in known)
    ]
    assert stale == []


def test_entries_name_their_message_when_it_is_searched_for() -> None:
    assert [entry.text for entry in ENTRIES if not words(entry.text)] == []


def test_entries_are_on_the_page_once_when_a_message_is_searched_for() -> None:
    assert len(ENTRIES) == len(set(ENTRIES))


def test_each_alert_has_a_section_when_its_runbook_is_opened() -> None:
    rules = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("charts/*/templates/**/prometheusrule.yaml"))
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert alerts
    anchors = re.findall(r'<a id="([a-z-]+)"></a>\n## ', PAGE)
    kebab = [re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower() for alert in alerts]
    assert [anchor for anchor in kebab if anchor not in anchors] == []


def test_links_within_the_page_lead_to_a_heading_when_they_are_followed() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
