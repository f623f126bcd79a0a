"""A headless Chromium of the system, and what it must never do: ask anybody but the page's own server."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


# A chart is drawn before anybody hears what is done to it.
LISTENING = """[...document.querySelectorAll('.dash-graph')].every(
    graph => graph.querySelector('.js-plotly-plot')?._ev?._events?.plotly_relayout)"""


def require_chromium() -> str:
    """Find Chromium; without it the test is skipped, or fails where it must be there."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = f"none of {', '.join(BROWSERS)} is installed (with CHROMIUM_REQUIRED=1 this fails)"
        if os.environ.get("CHROMIUM_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start it."""
    found = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()
