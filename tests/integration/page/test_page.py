"""The page in a real browser, on a real node."""

import csv
import io
import json
import re
import secrets
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from etl.model.measurements import read_measurements
from etl.results.reader import Reader
from etl.results.series import MOST_POINTS, reduced
from images import local
from tests.integration.browser import opened, quiet_window, shown
from tests.integration.conftest import end
from tests.integration.fleet import Plant
from tests.integration.served import answering, commanded, filled

SCREENSHOTS = Path(__file__).parents[3] / ".cache" / "screenshots"
MACHINES, DAYS = 40, 6
# A shared machine is slow at times.
expect.set_options(timeout=60_000)


@dataclass(frozen=True)
class Served:
    """A running page, and what is in its tables."""

    url: str
    plant: Plant
    reader: Reader
    environment: dict[str, str]


@pytest.fixture(scope="module")
def served(cassandra: local.Service) -> Iterator[Served]:
    environment = {**cassandra.environment, "ETL_CASSANDRA_KEYSPACE": f"sensors_{secrets.token_hex(4)}"}
    with filled(environment, MACHINES, DAYS) as (session, plant):
        reader = Reader(session, read_measurements())
        with answering(reader) as url:
            yield Served(url, plant, reader, environment)


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    with quiet_window(browser, served.url) as page:
        yield page


def machine_href(served: Served, hours: float = 24, **more: str) -> str:
    end = datetime.combine(served.plant.last, datetime.min.time(), UTC) + timedelta(hours=7)
    query = {"from": f"{end - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}", "to": f"{end:%Y-%m-%dT%H:%M:%SZ}", **more}
    return f"/machine/{served.plant.machines[0]}?" + "&".join(f"{name}={value}" for name, value in query.items())


def views(served: Served) -> dict[str, str]:
    a, b = served.plant.machines[:2]
    return {
        "fleet": "/",
        "machine": machine_href(served),
        "energy": "/energy",
        "events": "/events",
        "acknowledge": f"/events?ack={served.plant.events[0]['event_id']}&days=31",
        "pipeline": "/pipeline",
        "compare": f"/compare?machines={a},{b}&from={served.plant.last}&to={served.plant.last}T23:00Z",
        "absent": "/machine/none",
    }


VIEWS = ("fleet", "machine", "energy", "events", "acknowledge", "pipeline", "compare", "absent")


@pytest.mark.parametrize("view", VIEWS)
def test_view_is_accessible_and_fits_when_light_dark_and_on_a_phone(view: str, page: Page, served: Served) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    opened(page, views(served)[view])
    expect(page.locator("h1")).to_have_count(1)
    for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
        assert [(v["id"], v["impact"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found] == []
        page.screenshot(path=SCREENSHOTS / f"{view}-{scheme}.png", full_page=True)
    page.set_viewport_size({"width": 375, "height": 800})
    page.wait_for_timeout(300)
    page.screenshot(path=SCREENSHOTS / f"{view}-phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_first_view_says_what_needs_attention_when_it_opens(page: Page, served: Served) -> None:
    opened(page, "/")
    first = page.locator(".first li").first
    expect(first).to_contain_text("Screw compressor 1")
    expect(first).to_contain_text("bearing wear, severe: vibration 6.4")
    assert page.evaluate("document.querySelectorAll('*').length") < 2_500


def test_filters_are_in_the_url_when_used_and_back_undoes_them(page: Page, served: Served) -> None:
    opened(page, "/")
    page.get_by_label("Filter").fill("pump")
    page.wait_for_url(re.compile("text=pump"))
    expect(page.locator("#says")).to_contain_text("machines match")
    expect(page.get_by_label("Filter")).to_be_focused()
    page.get_by_role("link", name="fine", exact=False).first.click()
    page.wait_for_url(re.compile("severity=fine"))
    expect(page.locator(".choice[aria-current]")).to_contain_text("fine")
    names = page.locator("tbody th").all_inner_texts()
    assert names
    assert all("pump" in name for name in names)
    page.reload()
    shown(page)
    assert page.locator("tbody th").all_inner_texts() == names
    expect(page.get_by_label("Filter")).to_have_value("pump")
    page.go_back()
    page.wait_for_url(lambda url: "severity" not in url)
    expect(page.locator(".choice[aria-current]")).to_contain_text("all")
    page.go_back()
    page.wait_for_url(lambda url: "text" not in url)
    expect(page.get_by_label("Filter")).to_have_value("")


def test_link_leads_to_the_machine_when_followed_and_back_returns(page: Page, served: Served) -> None:
    opened(page, "/")
    page.locator(".first a").first.click()
    expect(page.locator("h1")).to_have_text("Screw compressor 1")
    expect(page).to_have_title("Screw compressor 1 · Sensor ETL")
    # Its event is of the vibration, the last of the charts otherwise.
    expect(page.locator(".ytitle").first).to_have_text("vibration (mm/s)")
    page.go_back()
    expect(page.locator("h1")).to_contain_text("Fleet on")


def test_readings_get_finer_when_zoomed_in(page: Page, served: Served) -> None:
    opened(page, machine_href(served, hours=24))
    expect(page.locator("figcaption").first).to_contain_text("by minute")
    plot = page.locator(".nsewdrag").first.bounding_box()
    assert plot
    middle = plot["y"] + plot["height"] / 2
    page.mouse.move(plot["x"] + plot["width"] * 0.96, middle)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * 0.99, middle, steps=4)
    page.mouse.up()
    expect(page.locator("figcaption").first).to_contain_text("by reading")
    assert "from=" in page.url
    text = page.locator("figcaption").first.inner_text()
    page.reload()
    shown(page)
    assert page.locator("figcaption").first.inner_text() == text
    page.get_by_role("link", name="4 weeks").click()
    expect(page.locator("figcaption").first).to_contain_text("by hour")


def test_page_is_usable_when_there_is_only_a_keyboard(page: Page, served: Served) -> None:
    opened(page, "/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Day before")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("day="))
    expect(page.get_by_role("link", name="Day before")).to_be_focused()
    expect(page.locator("h1")).to_contain_text(f"{served.plant.days[-2]:%-d %b}")


def test_event_is_found_by_machine_name_and_leads_to_its_own_time(page: Page, served: Served) -> None:
    opened(page, "/events?days=31&text=screw+compressor+1&severity=severe")
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("Screw compressor 1")
    expect(row.locator("td[data-label=Lasted]")).to_have_text("still lasting")
    row.locator("th a").click()
    expect(page.locator("h1")).to_have_text("Screw compressor 1")
    own = [event for event in served.plant.events if event["equipment_id"] == served.plant.machines[0]]
    start = max(event["start"] for event in own if event["severity"] == "severe") - timedelta(hours=1)
    page.wait_for_url(re.compile(f"from={start:%Y-%m-%dT%H:%M:%SZ}"))
    body = fetched(served, "/download/events.csv?path=/events&days=31&text=screw+compressor+1")
    assert f",{served.plant.machines[0]}," in body.decode()
    page.go_back()
    expect(page.locator("h1")).to_have_text("Events")


def test_event_is_acknowledged_when_somebody_says_who_they_are(page: Page, served: Served) -> None:
    opened(page, "/events?severity=severe&status=open")
    page.get_by_role("link", name="Acknowledge", exact=True).first.click()
    expect(page.get_by_label("Your name")).to_be_focused()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Enter your name")).to_be_visible()
    page.get_by_label("Your name").fill("=Eva Lang")
    page.get_by_label("Note").fill("bearing ordered")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved:")).to_be_visible()
    expect(page.locator("#says")).to_contain_text("Saved.")
    rows = served.reader.events(served.plant.days)
    (mine,) = [row for row in rows if row["by"] == "=Eva Lang"]
    assert mine["note"] == "bearing ordered"
    assert mine["severity"] == "severe"
    # A spreadsheet must not take the name for a formula.
    assert b"'=Eva Lang" in fetched(served, "/download/events.csv?path=/events&days=31")


def fetched(served: Served, href: str) -> bytes:
    with urllib.request.urlopen(served.url + href) as response:
        return bytes(response.read())


def test_download_holds_what_is_seen_when_a_link_is_followed(page: Page, served: Served) -> None:
    opened(page, machine_href(served, hours=2, show="voltage"))
    with page.expect_download() as started:
        page.get_by_role("link", name="Download CSV").click()
    rows = list(csv.DictReader(started.value.path().open()))
    assert list(rows[0]) == ["equipment_id", "time", "voltage"]
    assert len(rows) == 1800
    href = page.get_by_role("link", name="Parquet").get_attribute("href")
    assert href
    table = pq.read_table(io.BytesIO(fetched(served, href)))
    assert table.num_rows == 1800
    assert pq.read_table(io.BytesIO(fetched(served, "/download/fleet.parquet"))).num_rows == MACHINES
    for what in ("fleet", "energy", "events", "pipeline", "compare"):
        body = fetched(served, f"/download/{what}.csv?machines={served.plant.machines[0]}&day={served.plant.last}")
        assert len(body.splitlines()) > 1, what


def test_theme_and_link_are_kept_when_their_buttons_are_pressed(page: Page, served: Served) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, "/energy?days=1")
    page.get_by_role("button", name="Theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#notice")).to_contain_text("Link copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_lines_stay_short_when_the_time_is_long(served: Served) -> None:
    end = datetime.combine(served.plant.last, datetime.min.time(), UTC) + timedelta(days=1)
    machine = served.plant.machines[0]
    hours = served.reader.series(machine, ["voltage"], end - timedelta(days=365), end, "hours")["voltage"]
    minutes = served.reader.series(machine, ["voltage"], end - timedelta(days=2), end, "minutes")["voltage"]
    readings = served.reader.series(machine, ["voltage"], end - timedelta(days=1), end, "readings")["voltage"]
    assert (len(hours), len(minutes), len(readings)) == (24 * DAYS, 2 * (24 * 60 - 35), 1800)
    assert len(reduced(minutes)) <= MOST_POINTS
    assert reduced(minutes).high.max() == minutes.high.max()


def test_command_serves_until_it_is_told_to_end(served: Served) -> None:
    with commanded(served.environment) as (url, process):
        assert patient(f"{url}/readyz") == (200, "ok\n")
        layout: Any = json.loads(patient(f"{url}/_dash-layout")[1])
        assert layout["type"] == "Div"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143


def patient(url: str, wanted: int = 200, seconds: float = 30) -> tuple[int, str]:
    """The answer, once it has this status, else the last one."""
    give_up = time.monotonic() + seconds
    while True:
        answer = (0, "none")
        try:
            with urllib.request.urlopen(url) as response:
                answer = response.status, response.read().decode()
        except HTTPError as error:
            answer = error.code, error.read().decode()
        except OSError:
            pass
        if answer[0] == wanted or time.monotonic() > give_up:
            return answer
        time.sleep(0.1)


@dataclass
class Fragile:
    """A page as the command serves it, on a node of its own that fails."""

    url: str
    node: local.Service

    def restart(self) -> None:
        self.node = start_node(self.node.directory)


def start_node(folder: Path) -> local.Service:
    return local.start("cassandra", folder, heap="1g", java_options=local.QUICK_START, die_with_parent=True)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fragile]:
    node = start_node(tmp_path_factory.mktemp("fragile"))
    environment = {**node.environment, "ETL_CASSANDRA_KEYSPACE": "fragile"}
    with filled(environment, machines=3, days=2):
        pass
    with commanded(environment) as (url, _):
        fragile = Fragile(url, node)
        yield fragile
    end(fragile.node)


@pytest.fixture
def window(browser: Browser) -> Iterator[Page]:
    """A browser's window that may complain."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


def test_page_says_that_cassandra_is_away_when_it_ends_and_works_when_it_is_back(
    window: Page, fragile: Fragile
) -> None:
    opened(window, fragile.url)
    local.stop(fragile.node)
    try:
        window.get_by_role("link", name="Energy").click()
        expect(window.locator(".alert")).to_contain_text("Cassandra cannot be reached: no node answers: try again")
        expect(window.locator("h1")).to_have_text("This cannot be shown now")
        assert patient(f"{fragile.url}/healthz") == (200, "ok\n")
        gone = "Cassandra cannot be reached: no node answers\n"
        assert patient(f"{fragile.url}/readyz", 503) == (503, gone)
        assert patient(f"{fragile.url}/download/fleet.csv", 503) == (503, gone)
        # A window that is opened only now says the same.
        opened(window, f"{fragile.url}/events")
        expect(window.locator(".alert")).to_contain_text("Cassandra cannot be reached")
    finally:
        fragile.restart()
    assert patient(f"{fragile.url}/readyz") == (200, "ok\n")
    window.get_by_role("link", name="Try again").click()
    expect(window.locator("h1")).to_have_text("Events")


def test_page_says_that_it_waits_when_cassandra_hangs(window: Page, fragile: Fragile) -> None:
    opened(window, fragile.url)
    fragile.node.process.suspend()
    try:
        window.get_by_role("link", name="Energy").click()
        expect(window.locator("#notice")).to_have_text("Waiting for an answer: what you see is from before.")
        assert patient(f"{fragile.url}/healthz") == (200, "ok\n")
        expect(window.locator(".alert")).to_contain_text("Cassandra cannot be reached: no answer in time: try again")
        expect(window.locator("#notice")).to_be_empty()
        assert patient(f"{fragile.url}/readyz", 503)[0] == 503
    finally:
        fragile.node.process.resume()
    assert patient(f"{fragile.url}/readyz") == (200, "ok\n")
    window.get_by_role("link", name="Try again").click()
    expect(window.locator("h1")).to_contain_text("Energy")


def test_page_says_that_its_server_is_away_when_it_cannot_be_reached(window: Page, served: Served) -> None:
    opened(window, served.url)
    window.context.set_offline(True)
    window.get_by_role("link", name="Energy").click()
    notice = window.locator("#notice")
    expect(notice).to_contain_text("The server of this page cannot be reached, reload to try again")
    window.context.set_offline(False)
    window.get_by_role("link", name="Events").click()
    expect(window.locator("h1")).to_have_text("Events")
    expect(notice).to_be_empty()


def test_page_says_so_when_a_view_has_a_fault(window: Page, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a fault")

    opened(window, served.url)
    monkeypatch.setattr(served.reader, "fleet_energy", fail)
    window.get_by_role("link", name="Energy").click()
    notice = window.locator("#notice")
    expect(notice).to_have_text("This cannot be shown, reload to try again: what you see is from before.")
    monkeypatch.undo()
    # The link leads to where one is already, and is followed nevertheless.
    window.get_by_role("link", name="Energy").click()
    expect(window.locator("h1")).to_contain_text("Energy")
    expect(notice).to_be_empty()
