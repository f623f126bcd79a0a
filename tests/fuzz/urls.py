"""URLs of the page. An input is a path and a query, with a newline between them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, cast

from etl.errors import Unreachable
from etl.page.app import steered, view_of
from etl.page.server import make_server
from etl.page.url import MAX_TEXT, MOST_WORDS, PageUrl, machine_of, machine_path
from etl.page.views.machine import window
from etl.page.window import days_of
from etl.results.reader import MOST_DAYS, Reader
from etl.settings import PageSettings

BATCH = 100
WORDS = (
    *(b"/", b"/machine/", b"/events", b"/energy", b"/compare", b"/pipeline", b"/download/fleet.csv", b"..", b"~", b"."),
    *(
        b"\n?",
        b"&",
        b"=",
        b",",
        b"%2C",
        b"%",
        b"%00",
        b"%FF",
        b"%ED%A0%80",
        b"\xed\xa0\x80",
        b"+",
        b"%1F",
        b"\x1f",
        b";",
    ),
    *(b"day=", b"days=", b"from=", b"to=", b"page=", b"machines=", b"show=", b"search=", b"path=", b"kind=", b"sort="),
    *(b"2026-01-05", b"0001-01-01", b"9999-12-31", b"2026-W01-1", b"20260105T080000Z", b"2026-01-05T08:00:00+23:59"),
    *(
        b"-1",
        b"0",
        b"9" * 700,
        b"\xd9\xa1",
        b"\xc2\xb2",
        b"javascript:",
        b"<script>",
        b'"',
        b"'",
        b"//evil.example",
        b"#",
    ),
)
TODAY = date(2026, 1, 5)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
_NAMES = ("day", "days", "from", "to", "page", "machines", "show", "search", "level", "kind", "sort", "event")
_REQUESTS = 2  # a whole request takes a hundred times as long as the parts


class _Silent:
    """A node that does not answer, so that a view ends after the URL."""

    doubles = ("voltage",)

    def __getattr__(self, name: str) -> Any:
        def ask(*_: object) -> None:
            raise Unreachable("Cassandra cannot be reached")

        return ask


_READER = cast(Reader, _Silent())
_PAGE = make_server(_READER, PageSettings()).test_client()


def check(inputs: Sequence[bytes]) -> None:
    """Check that each URL has a view, and that its parts survive another URL."""
    for each in inputs:
        path, _, search = each.partition(b"\n")
        _check(_text(path), _text(search))
    for each in inputs[:_REQUESTS]:
        path, _, search = each.partition(b"\n")
        query = {"QUERY_STRING": search.removeprefix(b"?").decode("latin-1")}
        answer = _PAGE.get("/download/fleet.csv", environ_overrides=query)
        assert answer.status_code < 500 or answer.status_code == 503, answer.status_code


def _text(raw: bytes) -> str:
    """Return a part of a URL; JSON, in which browsers send it, can hold half a surrogate pair."""
    try:
        return raw.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return raw.decode(errors="replace")


def _check(path: str, search: str) -> None:
    url = PageUrl.of(path, search)
    assert PageUrl.of(url.path, url.search) == url, "the URL changes"
    for name in set(_NAMES) & set(url.given):
        assert 1 <= url.number(name, 7, MOST_DAYS) <= MOST_DAYS
        assert len(url.words(name)) <= max(MOST_WORDS, len(url.text(name)))
        url.choice(name, ("a", "b"))
        for moment in filter(None, (url.day(name), url.time(name))):
            moved = url.replaced(**{name: moment})
            assert PageUrl.of(moved.path, moved.search) == moved
    assert all(len(value) <= MAX_TEXT * MOST_WORDS for value in url.given.values())
    assert 1 <= len(days_of(url, url.day("day") or TODAY)) <= MOST_DAYS
    seen = window(url, NOON)
    assert seen.start < seen.end
    machine = machine_of(url.path)
    if machine:
        assert machine_of(machine_path(machine)) == machine
    assert view_of(_READER, url, TODAY).children
    steered(url, {"filter": "search"}, search)
