"""Take the picture of the README, while `make demo` serves its page: `python -m docs.picture http://127.0.0.1:8050`."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from etl.report.pdf import find_browser
from etl.settings import ReportSettings

PICTURE = Path(__file__).parent / "pictures" / "page.png"
# The last whole day of the demo.
DAY = "2026-01-10"


def take(url: str) -> None:
    """Write the start page of a day as PNG."""
    program = find_browser(ReportSettings())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 780})
        page.goto(f"{url}/?day={DAY}")
        page.locator("#view > .view").wait_for()
        page.wait_for_load_state("networkidle")
        PICTURE.parent.mkdir(exist_ok=True)
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    take(sys.argv[1])
