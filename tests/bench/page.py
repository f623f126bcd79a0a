"""Measure how soon a browser that was never there shows the page: `make bench-page`. Nothing asserts.

The tables hold a month of made-up rows (MACHINES machines, DAYS days). The page is a process of its own, as users have
it. Each view is opened TIMES times, each time in a new window without a cache; the time is from the request to when
the view is there with its charts, and drawn.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page

from etl.terminal import print_table
from images import local
from tests.bench import report
from tests.bench.place import CASSANDRA_HEAP
from tests.integration.browser import chromium
from tests.integration.fleet import Plant
from tests.integration.served import commanded, filled

MACHINES, DAYS, TIMES = 1_000, 30, 7


def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.page", description="Measure the views of the page.")
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--times", type=int, default=TIMES, help="how often each view is opened")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sensor-etl-bench-") as folder, chromium() as browser:
        node = local.start("cassandra", Path(folder), heap=CASSANDRA_HEAP, die_with_parent=True)
        try:
            with filled(node.environment, asked.machines, asked.days, detailed_days=1) as (_, plant):
                pass
            with commanded(node.environment) as (url, _):
                rows = [_row(browser, url, name, path, asked.times) for name, path in _views(plant).items()]
        finally:
            local.stop(node)
    title = f"{asked.machines:,} machines, {asked.days} days, opened {asked.times} times (seconds)"
    print_table(title, ["view", "first", "median", "slowest"], rows)
    print(report.machine())
    return 0


def _views(plant: Plant) -> dict[str, str]:
    machine = plant.detailed[0]
    return {
        "fleet": "/",
        "machine, a day": f"/machine/{machine}?from={plant.last}T00:00:00Z&to={plant.last}T23:59:59Z",
        "machine, a month": f"/machine/{machine}?from={plant.days[0]}T00:00:00Z&to={plant.last}T23:59:59Z",
        "energy, a month": f"/energy?from={plant.days[0]}&to={plant.last}",
        "events": "/events?days=31",
        "pipeline": "/pipeline",
    }


def _row(browser: Browser, url: str, name: str, path: str, times: int) -> list[object]:
    seconds = []
    for _ in range(times):
        context = browser.new_context(viewport={"width": 1360, "height": 900})
        seconds.append(_opened(context.new_page(), url + path))
        context.close()
    print(f"{name}: {median(seconds):.2f} s", file=sys.stderr, flush=True)
    return [name, *(round(value, 2) for value in (seconds[0], median(seconds), max(seconds)))]


def _opened(page: Page, url: str) -> float:
    begun = time.perf_counter()
    page.goto(url)
    page.locator("#view > .view").wait_for()
    for chart in page.locator(".dash-graph").all():
        chart.locator(".main-svg").first.wait_for(state="attached")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
