"""Airflow's web interface in a real browser: a run, its five tasks and the log of a pod."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from images import install

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


def browser() -> str:
    """The program of a browser."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"none of {', '.join(BROWSERS)} is installed"
    return found


@pytest.fixture
def page(cluster: str, secret: Callable[[str, str], str]) -> Iterator[Page]:
    """A page of somebody who has logged in."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=QUIET)
        page = chromium.new_page(viewport={"width": 1500, "height": 1000})
        page.goto(install.address(cluster))
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", secret("sensor-etl-airflow-admin", "password"))
        page.click("button[type=submit]")
        page.wait_for_url("**/")
        yield page
        chromium.close()


def test_log_of_a_pod_is_on_the_page_of_its_task(page: Page, cluster: str, finished: str, artefacts: Path) -> None:
    page.goto(f"{install.address(cluster)}/dags/sensor_etl/runs/{finished}/tasks/load")
    expect(page.get_by_text("stage=load").last).to_be_visible(timeout=60_000)
    page.screenshot(path=artefacts / "log.png")
    page.goto(f"{install.address(cluster)}/dags/sensor_etl/runs/{finished}")
    for name in ("Data Generation", "Kafka Producer", "Kafka Consumer", "Data Transformation", "Data Loading"):
        expect(page.get_by_text(name).first).to_be_visible(timeout=60_000)
    page.screenshot(path=artefacts / "run.png")
