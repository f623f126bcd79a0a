"""The first tutorial: its commands, the output beside them, and the event on the page."""

from playwright.sync_api import Browser, expect

from images import local
from tests.integration.browser import opened, quiet_window
from tests.integration.commands import read_blocks, run
from tests.integration.served import commanded
from tests.integration.test_docs import TUTORIAL

# A shared machine is slow at times.
expect.set_options(timeout=60_000)


def test_page_shows_the_event_of_the_tutorial_when_its_commands_have_run(
    kafka: local.Service, cassandra: local.Service, browser: Browser
) -> None:
    services = {**kafka.environment, **cassandra.environment}
    blocks = [block for block in read_blocks(TUTORIAL) if "not run here:" not in block.mark]
    assert sum(block.output is not None for block in blocks) > 4
    run(blocks, services)
    with commanded({**services, "ETL_CASSANDRA_KEYSPACE": "tutorial"}) as (url, _), quiet_window(browser, url) as page:
        opened(page, "/")
        first = page.locator(".first li").first
        expect(first).to_contain_text("Hydraulic press")
        expect(first).to_contain_text("no readings, severe, from 06:01 UTC to 10:00 UTC (3 h 59 min)")
