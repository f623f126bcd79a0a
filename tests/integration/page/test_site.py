"""The site of the docs in a real browser: diagrams are drawn, and nobody else is asked for anything."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from playwright.sync_api import Browser, expect

from tests.integration.browser import quiet_window
from tests.integration.commands import ROOT

# A shared machine is slow at times.
expect.set_options(timeout=60_000)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Site(NamedTuple):
    """The folder of the site, and its URL."""

    folder: Path
    url: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    with served(folder) as url:
        yield Site(folder, url)


@pytest.mark.parametrize(("name", "diagrams"), [("index", 1), ("architecture", 2)])
def test_site_draws_its_diagrams_and_asks_nobody_else_when_it_is_opened(
    browser: Browser, site: Site, name: str, diagrams: int
) -> None:
    with quiet_window(browser, site.url) as page:
        page.goto(f"/{name}.html")
        # The theme replaces the text of a diagram by a drawing.
        expect(page.locator("div.mermaid")).to_have_count(diagrams)
        expect(page.locator("pre.mermaid")).to_have_count(0)


def test_site_has_files_outside_of_the_docs_when_pages_link_to_them(browser: Browser, site: Site) -> None:
    with quiet_window(browser, site.url) as page:
        page.goto("/kubernetes.html")
        page.get_by_role("link", name="The chart's README").click()
        expect(page.get_by_role("heading", name="sensor-etl", exact=False).first).to_be_visible()
        page.get_by_role("link", name="On Kubernetes", exact=True).first.click()
        expect(page.locator("h1")).to_contain_text("On Kubernetes")


def test_site_has_tables_where_pages_have_some(site: Site) -> None:
    pages = list(site.folder.glob("*.html"))
    assert len(pages) > 20
    # A table whose columns do not match stays text.
    assert [page.name for page in pages if "<p>|" in page.read_text() or "|---" in page.read_text()] == []


def test_site_finds_a_page_when_its_words_are_typed(browser: Browser, site: Site) -> None:
    with quiet_window(browser, site.url) as page:
        page.goto("/index.html")
        page.get_by_role("textbox", name="Search").click()
        # Before, it does not hear what is typed.
        expect(page.locator(".md-search-result__meta")).to_have_text("Type to start searching")
        page.keyboard.type("tombstone")
        expect(page.locator(".md-search-result__link[href*='load.html']").first).to_be_visible()
