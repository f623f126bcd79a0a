"""The page and the report for machines as they are: any ID, few measurements, many events, years ago."""

import csv
import io
import secrets
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from etl.cassandra.store import Store
from etl.model.measurements import read_measurements
from etl.model.tables import (
    EQUIPMENT,
    EVENTS,
    FLEET_DAYS,
    MACHINE_DAYS,
    MACHINE_EVENTS,
    MACHINE_HOURS,
    PIPELINE_HEALTH,
    WATERMARKS,
    Table,
)
from etl.page.url import machine_path
from etl.page.views.fleet import judged
from etl.results.reader import Reader
from images import local
from tests.integration.browser import opened, quiet_window, shown
from tests.integration.machine import Machine
from tests.integration.served import answering, tables

SCREENSHOTS = Path(__file__).parents[3] / ".cache" / "screenshots"
# Far more than 1,000 days ago.
LAST = date(2006, 12, 20)
DAYS = [LAST - timedelta(days=back) for back in (2, 1, 0)]
NOON = datetime.combine(LAST, time(12), UTC)
RIG, WORN, SEEN = "rig", "worn", "seen"
# A catalogue that was written before a machine could be without mains.
RIG_ENTRY = {"equipment_id": RIG, "name": "Bearing rig", "nominal_voltage": 400.0, "phases": 3}
NAMES = (
    "a,b",
    "line/3 & 4",
    "//x",
    "50% #1?",
    "a%2Cb",
    'it\'s "q" <b>=1;2\\3',
    "+1 Prüfstand ⚙",
    " outer ",
    "..",
    "~x",
    "x" * 200,
)
expect.set_options(timeout=60_000)


@dataclass(frozen=True)
class Served:
    """A running page, and what reads its tables."""

    url: str
    reader: Reader
    environment: dict[str, str]


def put(store: Store, table: Table, rows: list[dict[str, Any]]) -> None:
    store.write(table, [dict.fromkeys(table.columns) | row for row in rows])


def put_days(store: Store, equipment_id: str, days: list[date], **values: Any) -> None:
    rows = [
        {"equipment_id": equipment_id, "day": day, "year": day.year, "expected": 1440, "received": 1440, **values}
        for day in days
    ]
    put(store, FLEET_DAYS, rows)
    put(store, MACHINE_DAYS, rows)
    hours = [
        {
            "equipment_id": equipment_id,
            "month": f"{day:%Y-%m}",
            "hour": datetime.combine(day, time(10), UTC),
            **{name: values.get(name) for name in ("means", "lows", "highs", "energy_kwh")},
        }
        for day in days
    ]
    put(store, MACHINE_HOURS, hours)
    put(store, WATERMARKS, [{"equipment_id": equipment_id, "timestamp": NOON + timedelta(hours=10)}])


def put_event(
    store: Store, equipment_id: str, severity: str, kind: str, start: datetime, end: datetime | None = None
) -> str:
    event_id = f"{start:%Y-%m-%dT%H:%M:%SZ}.{equipment_id}.{kind}.vibration"
    row = {"day": start.date(), "year": start.year, "event_id": event_id, "equipment_id": equipment_id, "kind": kind}
    row |= {"severity": severity, "start": start, "end": end, "found": start, "measurement": "vibration"}
    row |= {"observed": 6.4, "expected": 1.9, "evidence": "as an example"}
    put(store, EVENTS, [row])
    put(store, MACHINE_EVENTS, [row])
    return event_id


def worst(event_id: str, severity: str, events: int, kind: str = "bearing_wear") -> dict[str, Any]:
    return {"worst_event": event_id, "worst_severity": severity, "worst_kind": kind, "events": events}


def spreads(**means: float) -> dict[str, Any]:
    return dict.fromkeys(("means", "lows", "highs"), means)


def fill(store: Store) -> None:
    for name in NAMES:
        event = put_event(
            store, name, "mild", "dropout", NOON - timedelta(days=2), NOON.replace(hour=21, microsecond=1000)
        )
        measured = {"energy_kwh": 10.0, "idle_energy_kwh": 1.0, "running_seconds": 3600.0, "idle_seconds": 60.0}
        measured |= {"utilisation": 0.5, "efficiency": 90.0}
        put_days(
            store,
            name,
            DAYS,
            state="running",
            **measured,
            **spreads(current=5.0),
            **worst(event, "mild", 1, "dropout"),
        )
    put_days(store, RIG, DAYS, vibration=1.5, temperature=40.0, events=0, **spreads(vibration=1.5, temperature=40.0))
    put(store, EQUIPMENT, [RIG_ENTRY])
    # Two events begin on the last day; one that lasts since long before is the worst of all.
    bad = put_event(store, WORN, "severe", "bearing_wear", NOON - timedelta(days=40))
    put_event(store, WORN, "moderate", "overheating", NOON)
    put_event(store, WORN, "mild", "dropout", NOON, NOON + timedelta(hours=1))
    put_days(store, WORN, DAYS, efficiency=90.0, **spreads(vibration=2.0), **worst(bad, "severe", 3))
    only = put_event(store, SEEN, "severe", "bearing_wear", NOON)
    put_days(store, SEEN, DAYS, efficiency=90.0, **spreads(vibration=2.0), **worst(only, "severe", 1))
    put(store, PIPELINE_HEALTH, [{"day": LAST, "at": NOON, "lags": {0: 3}, "dead_letters": 0, "equipment": 3}])


@pytest.fixture(scope="module")
def served(cassandra: local.Service) -> Iterator[Served]:
    environment = {**cassandra.environment, "ETL_CASSANDRA_KEYSPACE": f"sensors_{secrets.token_hex(4)}"}
    with tables(environment) as session:
        fill(Store(session))
        reader = Reader(session, read_measurements())
        with answering(reader) as url:
            yield Served(url, reader, environment)


@pytest.fixture(scope="module")
def page(browser: Browser, served: Served) -> Iterator[Page]:
    with quiet_window(browser, served.url, "America/St_Johns") as page:
        yield page


def fetched(served: Served, href: str) -> list[dict[str, str]]:
    with urllib.request.urlopen(served.url + href) as response:
        return list(csv.DictReader(io.StringIO(response.read().decode())))


def plain(text: str) -> str:
    return text.replace("\u202f", " ")


def figure(page: Page, label: str) -> str:
    """The value and the note of a figure."""
    dt = page.locator(".stat dt").get_by_text(label, exact=True)
    return plain(dt.locator("xpath=following-sibling::dd").inner_text())


def in_cell(served_id: str) -> str:
    """An ID as a cell of CSV holds it, where a spreadsheet must not take it for a formula."""
    return f"'{served_id}" if served_id.startswith("+") else served_id


def test_newest_analysed_day_is_shown_when_it_is_many_years_ago(page: Page, served: Served) -> None:
    assert served.reader.newest_day(date(2026, 1, 5)) == LAST
    opened(page, "/")
    expect(page.locator("h1")).to_have_text("Fleet on Wed 20 Dec 2006")
    expect(page.get_by_label("Day (UTC)")).to_have_value("2006-12-20")
    page.get_by_label("Day (UTC)").fill("2006-12-18")
    expect(page.locator("h1")).to_have_text("Fleet on Mon 18 Dec 2006")
    opened(page, "/?day=2015-01-01")
    page.get_by_role("link", name="the newest analysed day, Wed 20 Dec 2006").click()
    expect(page.locator("h1")).to_have_text("Fleet on Wed 20 Dec 2006")
    for view in ("energy", "events", "compare", "pipeline"):
        opened(page, f"/{view}")
        expect(page.locator("#view")).not_to_contain_text("No analysed data")
    expect(page.locator("#view")).to_contain_text("3 offsets wait on the topic")


def test_nothing_is_newest_when_there_is_no_day_at_all(cassandra: local.Service, keyspace: str) -> None:
    with tables({**cassandra.environment, "ETL_CASSANDRA_KEYSPACE": keyspace}) as session:
        assert Reader(session, read_measurements()).newest_day(LAST) is None


@pytest.mark.parametrize("name", NAMES)
def test_machine_is_reached_everywhere_when_its_id_has_any_characters(page: Page, served: Served, name: str) -> None:
    opened(page, f"/events?text={quote(name.strip(), safe='')}&days=31")
    page.locator("tbody td a").filter(has_text=name).first.click()
    heading = page.locator("h1")
    expect(heading).not_to_have_text("Events")
    shown(page)
    assert heading.text_content() == name
    expect(page.locator(".card", has_text="Readings").first).not_to_contain_text("No readings")
    href = page.get_by_role("link", name="Download CSV").get_attribute("href")
    assert href
    assert {row["equipment_id"] for row in fetched(served, href)} == {in_cell(name)}
    page.get_by_role("link", name="Compare with others").click()
    shown(page)
    # Another one of the unusual IDs is added, and both stay when the page is loaded anew.
    other = next(each for each in NAMES if each not in (name, "a%2Cb"))
    page.get_by_label("Find a machine").fill(other.strip())
    # The text takes effect a little later, and draws the choices anew, which now carry it.
    page.locator(".choice[href*='text=']", has_text=f"+ {other}").first.click()
    chosen = page.locator(".choice[aria-current]").filter(has_text="\u00d7")
    expect(chosen).to_have_count(2)
    shown(page)
    page.reload()
    shown(page)
    assert chosen.all_text_contents() == [f"{name} \u00d7", f"{other} \u00d7"]
    href = page.get_by_role("link", name="Download CSV").get_attribute("href")
    assert href
    assert {row["equipment_id"] for row in fetched(served, href)} == {in_cell(name), in_cell(other)}
    chosen.first.click()
    expect(chosen).to_have_count(1)
    assert chosen.all_text_contents() == [f"{other} \u00d7"]
    assert served.reader.event(f"2006-12-18T12:00:00Z.{name}.dropout.vibration")
    opened(page, machine_path(name))
    page.get_by_role("link", name="Acknowledge", exact=True).first.click()
    expect(page.locator("h2", has_text="Acknowledge no readings on")).to_be_visible()
    shown(page)


@pytest.mark.parametrize("written", ["a,b", "a%2Cb", "a%2Cb,rig", "a,b,rig", "a%2Cb%2Crig"])
def test_machines_are_found_when_a_comma_is_or_is_not_escaped(served: Served, page: Page, written: str) -> None:
    opened(page, f"/compare?machines={written}")
    chosen = page.locator(".choice[aria-current]").filter(has_text="\u00d7").all_text_contents()
    if written == "a%2Cb%2Crig":
        # No machine of that name: its parts.
        assert chosen == ["a \u00d7", "b \u00d7", "Bearing rig \u00d7"]
    else:
        assert chosen == ["a,b \u00d7", *(["Bearing rig \u00d7"] if "rig" in written else [])]


def test_event_of_several_days_counts_once_when_compared(page: Page, served: Served) -> None:
    opened(page, f"/compare?machines=a%2Cb,{WORN}&from={DAYS[0]}&to={LAST + timedelta(days=1)}")
    rows = page.locator(".card", has_text="Days").last.locator("tbody tr").all()
    assert [(row.locator("th").inner_text(), row.locator("td").last.inner_text()) for row in rows] == [
        ("a,b", "1"),
        (WORN, "3"),
    ]


def test_event_ends_with_its_last_reading_when_shown(page: Page, served: Served) -> None:
    (row,) = [
        row for row in fetched(served, "/download/events.csv?path=/events&days=31") if row["equipment_id"] == "a,b"
    ]
    assert row["end"] == "2006-12-20T21:00:00+00:00"
    opened(page, "/events?days=31&text=a%2Cb")
    expect(page.locator("tbody tr").first).to_contain_text("to 20 Dec 21:00 UTC")


def test_what_is_not_measured_is_no_number_when_shown(page: Page, served: Served) -> None:
    opened(page, f"/?text={RIG}")
    cells = page.locator("tbody tr").first.locator("td").all_text_contents()
    assert cells[1:6] == ["unknown", *["\u2013"] * 4]
    opened(page, "/")
    assert figure(page, "Energy") == "110 kWh\n10 % of it idle, 3 of 14 machines not measured"
    assert figure(page, "Running at the end of the day") == "11\nof 11 machines, 3 of 14 machines not measured"
    opened(page, f"/machine/{RIG}")
    for label in ("Utilisation", "Energy", "Power factor", "Voltage outside EN 50160"):
        assert figure(page, label) == "\u2013\nnot measured"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "rig.png", full_page=True)
    lead = page.locator(".lead").first.inner_text()
    assert "nominal" not in lead
    assert "phase" not in lead
    expect(page.locator("#view")).to_contain_text("The energy of this machine is not measured.")
    assert page.locator("tbody th", has_text="current").count() == 0
    assert [page.locator(".choice[aria-current]", has_text=name).count() for name in ("temperature", "vibration")] == [
        1,
        1,
    ]
    expect(page.locator("td", has_text="not measured").first).to_be_visible()
    opened(page, "/energy?days=1")
    expect(page.locator(".lead")).to_contain_text("3 of 14 machines do not measure it and are left out.")
    opened(page, f"/compare?machines={RIG}&from={DAYS[0]}&to={LAST + timedelta(days=1)}")
    expect(page.locator("h2", has_text="Temperature")).to_be_visible()
    (row,) = [row for row in fetched(served, "/download/energy.csv") if row["equipment_id"] == RIG]
    assert (row["energy_kwh"], row["idle_energy_kwh"], row["running_seconds"]) == ("", "", "")


def test_machine_keeps_its_rank_when_only_its_worst_event_is_acknowledged(
    page: Page, served: Served, tmp_path: Path
) -> None:
    def level(name: str) -> str:
        return next(machine for machine in judged(served.reader, LAST) if machine.equipment_id == name).level

    assert (level(WORN), level(SEEN)) == ("severe", "severe")
    for name in (SEEN, WORN):
        opened(page, f"/machine/{name}?from={DAYS[0]}&to={LAST + timedelta(days=1)}")
        page.locator("tbody tr", has_text="bearing wear").get_by_role("link", name="Acknowledge", exact=True).click()
        expect(page.locator(".note", has_text="Other events of the machine still count.")).to_be_visible()
        page.get_by_label("Your name").fill("Eva")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved:")).to_be_visible()
    assert (level(WORN), level(SEEN)) == ("moderate", "fine")
    opened(page, "/")
    first = page.locator(".first li").first
    expect(first).to_contain_text("moderate")
    expect(first).to_contain_text("overheating, moderate: vibration 6.4")
    expect(page.locator(".attention .note")).to_contain_text("Other events of the machine still count.")
    expect(page.locator("tbody tr", has_text=SEEN)).to_contain_text("acknowledged by Eva")
    expect(page.locator(".lead")).to_contain_text("Of 1 other machine all events are acknowledged.")
    opened(page, f"/machine/{WORN}?from={DAYS[0]}&to={LAST + timedelta(days=1)}")
    expect(page.locator("#says")).to_contain_text("3 events, 2 of them not acknowledged")
    rows = {row["equipment_id"]: row for row in fetched(served, "/download/fleet.csv")}
    assert (rows[WORN]["attention"], rows[SEEN]["attention"]) == ("moderate", "acknowledged")
    output = tmp_path / "report.html"
    done = Machine(served.environment).etl("report", "--from", str(DAYS[0]), "--to", str(LAST), "--output", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    text = plain(output.read_text(encoding="utf-8"))
    ranked = text.split("<h2>Machines, ranked</h2>")[1].split("</table>")[0]
    row = next(part for part in ranked.split("<tr>") if f">{WORN}<" in part)
    assert "◆ moderate" in row
    assert "overheating, moderate" in row
    assert "acknowledged by Eva" in next(part for part in text.split("<tr>") if "bearing wear, severe" in part)
    assert "3 of 14 machines do not measure it and are left out." in text
    assert "Acknowledged" in text.split("Glossary")[1]


def test_report_names_the_newest_day_when_there_is_none_in_its_time(served: Served, tmp_path: Path) -> None:
    output = str(tmp_path / "report.html")
    done = Machine(served.environment).etl("report", "--from", "2020-01-01", "--to", "2020-01-02", "--output", output)
    assert done.returncode == 2
    assert "choose other days, the newest analysed one is 2006-12-20" in done.stderr
