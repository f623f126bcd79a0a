"""A headless Chromium of the system, and what it must never do: ask anybody but the page's own server."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import programs

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


# A chart is drawn before anybody hears what is done to it.
LISTENING = """[...document.querySelectorAll('.dash-graph')].every(
    graph => graph.querySelector('.js-plotly-plot')?._ev?._events?.plotly_relayout)"""


# What Dash's own input says, and nothing comes of: each time that the URL gives a date input its value; and where its
# timer ends after a view has replaced it.
DASHS_OWN = ("The input element's type ('date') does not support selection", "of null (reading 'value')")


def require_chromium() -> str:
    """Find Chromium; see `tests.programs.require`."""
    return programs.require(*BROWSERS, variable="CHROMIUM_REQUIRED")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start it."""
    found = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


def opened(page: Page, href: str) -> Page:
    """Go to a view, and wait until it is there."""
    page.goto(href)
    shown(page)
    return page


def shown(page: Page) -> None:
    """Wait until a view is there and its charts hear what is done to them."""
    expect(page.locator("#view > .view")).to_be_visible()
    page.wait_for_load_state("networkidle")
    give_up = time.monotonic() + 20
    while not page.evaluate(LISTENING):
        assert time.monotonic() < give_up, "charts are not ready"
        page.wait_for_timeout(50)


@contextmanager
def quiet_window(browser: Browser, url: str, zone: str | None = None) -> Iterator[Page]:
    """A browser's window in a time zone, that must neither ask anybody else, nor complain."""
    context = browser.new_context(
        viewport={"width": 1360, "height": 900}, base_url=url, reduced_motion="reduce", timezone_id=zone
    )
    asked: list[str] = []
    complaints: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()
    elsewhere = [found for found in asked if not found.startswith((url, "data:", "blob:"))]
    assert not elsewhere, elsewhere
    serious = [text for text in complaints if not any(own in text for own in DASHS_OWN)]
    assert not serious, serious
