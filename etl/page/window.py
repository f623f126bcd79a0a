"""The days of a view: a last day and a number of days."""

from datetime import date, timedelta

from dash import html
from dash.development.base_component import Component

from etl.model.tables import days_between
from etl.page.elements import choices, empty, field, link
from etl.page.url import PageUrl
from etl.results import formats
from etl.results.reader import MOST_DAYS, Reader

LENGTHS = {"1": "1 day", "7": "7 days", "31": "31 days"}
USUAL = 7


def day_of(reader: Reader, url: PageUrl, today: date) -> date | None:
    """Return the day in a URL, else the newest one with data."""
    return url.day("day") or reader.newest_day(today)


def days_of(url: PageUrl, last: date) -> list[date]:
    """Return the days in a URL up to the last one."""
    count = url.number("days", USUAL, MOST_DAYS)
    return days_between(last - timedelta(days=count - 1), last)


def span_text(days: list[date]) -> str:
    """Name the days."""
    last = formats.calendar_day(days[-1])
    return last if len(days) == 1 else f"{len(days)} days up to {last}"


def day_picker(url: PageUrl, day: date) -> Component:
    """Return a picker of the day, with links to the previous and the next day."""
    return html.Div(
        [
            link("←", url.replaced(day=day - timedelta(days=1)), "button", label="Day before"),
            field("day", "Day (UTC)", day.isoformat(), kind="date"),
            link("→", url.replaced(day=day + timedelta(days=1)), "button", label="Day after"),
        ],
        className="days",
    )


def nothing_on_this_day(url: PageUrl, newest: date | None) -> Component:
    """Return the content of a view on a day without data, with a link to the newest day with data."""
    parts: list[Component | str] = ["Nothing was analysed here: choose another day"]
    if newest:
        parts += [", or ", link(f"the newest analysed day, {formats.calendar_day(newest)}", url.replaced(day=newest))]
    return empty([*parts, "."])


def length_picker(url: PageUrl) -> Component:
    """Return links for the number of days."""
    count = str(url.number("days", USUAL, MOST_DAYS))
    return choices("Period", [(text, url.replaced(days=days), days == count) for days, text in LENGTHS.items()])
