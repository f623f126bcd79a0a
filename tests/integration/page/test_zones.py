"""The page in browsers of other time zones: all that it shows, and every zoom, is UTC."""

import csv
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from etl.model.measurements import read_measurements
from etl.results.reader import Reader
from images import local
from tests.integration.browser import opened, quiet_window, shown
from tests.integration.fleet import Plant
from tests.integration.served import answering, filled

# One behind UTC and with summer time, one ahead by half an hour, one ahead by more than half a day.
ZONES = ("America/Los_Angeles", "Asia/Kolkata", "Pacific/Auckland")
MINUTE = timedelta(minutes=1)
expect.set_options(timeout=60_000)

# Where a chart draws its axis, its points, and its bands: as it shows these times.
DRAWN = """name => {
    const graph = [...document.querySelectorAll('.dash-graph')].find(each => each.id.includes(name));
    const plot = graph.querySelector('.js-plotly-plot');
    const axis = plot._fullLayout.xaxis;
    const text = value => new Date(axis.r2l(value)).toISOString();
    return {
        range: axis.range.map(text),
        points: plot.calcdata.map(line => line.filter(point => point.x).map(point => new Date(point.x).toISOString())),
        names: plot._fullData.map(line => line.name),
        bands: (plot._fullLayout.shapes || []).filter(shape => shape.type === 'rect').map(
            shape => [text(shape.x0), text(shape.x1)]),
    };
}"""


@dataclass(frozen=True)
class Served:
    """A running page, and what is in its tables."""

    url: str
    plant: Plant
    reader: Reader


@pytest.fixture(scope="module")
def served(cassandra: local.Service) -> Iterator[Served]:
    environment = {**cassandra.environment, "ETL_CASSANDRA_KEYSPACE": f"sensors_{secrets.token_hex(4)}"}
    with filled(environment, machines=3, days=3) as (session, plant):
        reader = Reader(session, read_measurements())
        with answering(reader) as url:
            yield Served(url, plant, reader)


@pytest.fixture(params=ZONES)
def page(request: pytest.FixtureRequest, browser: Browser, served: Served) -> Iterator[Page]:
    with quiet_window(browser, served.url, request.param) as page:
        yield page


def last_day(served: Served) -> tuple[datetime, datetime]:
    start = datetime.combine(served.plant.last, time(), UTC)
    return start, start + timedelta(days=1)


def machine_href(served: Served, start: datetime, end: datetime) -> str:
    return f"/machine/{served.plant.machines[0]}?from={start:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%SZ}"


def window_of(page: Page) -> tuple[datetime, datetime]:
    given = parse_qs(urlsplit(page.url).query)
    return datetime.fromisoformat(given["from"][0]), datetime.fromisoformat(given["to"][0])


def drawn(page: Page, name: str) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(DRAWN, name)
    return found


def times(texts: list[str]) -> list[datetime]:
    return [datetime.fromisoformat(text) for text in texts]


def plot_of(page: Page) -> tuple[float, float, float]:
    """Left edge, width and middle of the first chart's area."""
    box = page.locator(".nsewdrag").first.bounding_box()
    assert box
    return box["x"], box["width"], box["y"] + 40


def test_chart_is_drawn_in_utc_when_the_browser_is_in_another_zone(page: Page, served: Served) -> None:
    start, end = last_day(served)
    opened(page, machine_href(served, start, end))
    assert page.evaluate("new Date(2026, 0, 1).getTimezoneOffset()") != 0
    chart = drawn(page, "readings")
    assert times(chart["range"]) == [start, end]
    (event,) = served.reader.machine_events(served.plant.machines[0], start, end)
    assert times(chart["bands"][0]) == [event["start"], event["end"] or end]
    marks = chart["points"][chart["names"].index("event")]
    assert times(marks) == [event["start"]]
    line = times(chart["points"][chart["names"].index("current")])
    assert (line[0], line[-1]) == pytest.approx((start, end - MINUTE), abs=3 * MINUTE)


def test_time_beside_the_pointer_is_utc_when_the_browser_is_in_another_zone(page: Page, served: Served) -> None:
    start, end = last_day(served)
    opened(page, machine_href(served, start, end))
    left, width, middle = plot_of(page)
    page.mouse.move(left + width * 0.3, middle)
    page.mouse.move(left + width * 0.25, middle)
    title = page.locator(".hoverlayer .legendtitletext").first
    # A quarter of the day, within five minutes; for a moment it tells the time of the first place.
    expect(title).to_have_text(re.compile(rf"^{start:%d %b %Y} (05:5[5-9]|06:0[0-5]):\d\d UTC$"))
    assert page.locator(".xtitle").first.text_content() == "time (UTC)"


def test_zoom_leads_to_what_was_dragged_over_when_the_browser_is_in_another_zone(page: Page, served: Served) -> None:
    start, end = last_day(served)
    opened(page, machine_href(served, start, end))
    # Twice, since the second zoom begins from where the first one led.
    for _ in range(2):
        begin, width = window_of(page)[0], window_of(page)[1] - window_of(page)[0]
        left, wide, middle = plot_of(page)
        # What the charts of a new view report at first counts as its own, and what comes together with it.
        page.wait_for_timeout(2_000)
        before = page.url
        page.mouse.move(left + wide * 0.25, middle)
        page.mouse.down()
        page.mouse.move(left + wide * 0.5, middle, steps=5)
        page.mouse.up()
        page.wait_for_url(lambda url, before=before: url != before)
        zoomed = window_of(page)
        caption = page.locator("figcaption").first
        expect(caption).to_contain_text(f"{zoomed[0]:%-d %b %Y %H:%M} UTC to {zoomed[1]:%-d %b %Y %H:%M} UTC")
        shown(page)
        assert abs(zoomed[0] - (begin + width / 4)) < width / 200
        assert abs(zoomed[1] - (begin + width / 2)) < width / 200
        # The URL holds whole seconds.
        for axis, place in zip(times(drawn(page, "readings")["range"]), zoomed, strict=True):
            assert abs(axis - place) <= timedelta(seconds=1)


def test_other_charts_are_drawn_in_utc_when_the_browser_is_in_another_zone(page: Page, served: Served) -> None:
    opened(page, f"/pipeline?day={served.plant.last}")
    health = served.reader.health(served.plant.last)[::-1]
    assert times(drawn(page, "lag")["points"][0]) == [row["at"] for row in health]
    start, end = last_day(served)
    opened(page, machine_href(served, start, end))
    (trend,) = served.reader.trends(served.plant.machines[0])
    chart = drawn(page, "trend-vibration")
    assert times(chart["points"][1]) == [trend["as_of"], trend["reached"]]
    assert times(chart["bands"][0]) == [trend["earliest"], trend["latest"]]
    noon = [datetime.combine(day, time(12), UTC) for day in served.plant.days]
    assert times(chart["points"][0]) == noon
    opened(
        page,
        f"/compare?machines={served.plant.machines[0]}&from={start:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%SZ}",
    )
    assert times(drawn(page, "compare")["range"]) == [start, end]


def test_days_are_those_of_utc_when_chosen_in_a_browser_in_another_zone(page: Page, served: Served) -> None:
    opened(page, "/")
    expect(page.locator("h1")).to_contain_text(f"{served.plant.last:%-d %b %Y}")
    before = served.plant.days[0]
    page.get_by_label("Day (UTC)").fill(before.isoformat())
    page.wait_for_url(re.compile(f"day={before}"))
    expect(page.locator("h1")).to_contain_text(f"{before:%-d %b %Y}")
    expect(page.get_by_label("Day (UTC)")).to_have_value(before.isoformat())
    start, end = last_day(served)
    opened(page, machine_href(served, start - timedelta(days=3), end))
    page.get_by_role("link", name="1 day", exact=True).click()
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query)["from"][0] == f"{start:%Y-%m-%dT%H:%M:%SZ}")
    assert window_of(page) == (start, end)
    shown(page)
    opened(page, machine_href(served, start - timedelta(days=3), end))
    # A link in the table of days leads to the whole day.
    page.get_by_role("link", name=f"{before:%a %-d %b %Y}", exact=True).click()
    begin = datetime.combine(before, time(), UTC)
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query)["from"][0] == f"{begin:%Y-%m-%dT%H:%M:%SZ}")
    assert window_of(page) == (begin, begin + timedelta(days=1))
    shown(page)


def test_download_holds_the_times_of_the_chart_when_the_browser_is_in_another_zone(page: Page, served: Served) -> None:
    start, _ = last_day(served)
    begin, end = start + timedelta(hours=6), start + timedelta(hours=6, minutes=10)
    opened(page, machine_href(served, begin, end))
    with page.expect_download() as started:
        page.get_by_role("link", name="Download CSV").click()
    rows = list(csv.DictReader(started.value.path().open()))
    assert (rows[0]["time"], len(rows)) == (begin.isoformat(), 600)
    chart = drawn(page, "readings")
    shown_times = times(chart["points"][chart["names"].index("current")])
    assert datetime.fromisoformat(rows[0]["time"]) == shown_times[0]
    assert datetime.fromisoformat(rows[-1]["time"]) == shown_times[-1]
