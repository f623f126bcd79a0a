"""`/events`: events and their acknowledgements."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

from dash import html
from dash.development.base_component import Component

from etl.errors import EtlError
from etl.page.elements import (
    View,
    alert,
    badge,
    card,
    choices,
    downloads,
    empty,
    entry,
    field,
    link,
    machine_link,
    nothing_yet,
    pages,
    table,
)
from etl.page.url import PageUrl, machine_path
from etl.page.views.machine import around
from etl.page.window import day_of, day_picker, days_of, length_picker, span_text
from etl.results import formats
from etl.results.ranking import ACKNOWLEDGING, ICONS, WORST_FIRST, describe
from etl.results.reader import Reader
from etl.results.rows import EventRow

ROWS = 50
MOST_NAME = 80
MOST_NOTE = 500
STATUS = {"open": "not acknowledged", "seen": "acknowledged", "lasting": "still lasting"}


def events(reader: Reader, url: PageUrl, today: date) -> View:
    """Show the events that began on some days."""
    last = day_of(reader, url, today)
    if last is None:
        return nothing_yet("Events")
    days = days_of(url, last)
    found = reader.events(days)
    shown = matching(found, url, names_to_match(reader, found, url))
    unseen = sum(event["by"] is None for event in found)
    says = f"{len(found):,} events began in {span_text(days)}; {unseen:,} of them are not acknowledged."
    children: list[Component] = [
        html.Header([html.H1("Events"), html.P(says, className="lead")]),
        *_saved(reader, url),
        *_form(reader, url),
        _filters(url, last, found),
    ]
    if not found:
        children.append(empty("No event began in this time."))
    elif not shown:
        children.append(empty("No event matches: loosen the filters."))
    else:
        children += _listed(reader, shown, url, last)
    saved = "Saved. " if url.text("saved") else ""
    return View("Events", f"{saved}{formats.count(len(shown), 'event')} shown. {says}", children)


def names_to_match(reader: Reader, found: Iterable[EventRow], url: PageUrl) -> dict[str, str]:
    """Return the names of the machines by ID if the URL has a text to find, since only then they are needed."""
    return reader.names({event["equipment_id"] for event in found}) if url.text("text") else {}


def matching(found: Iterable[EventRow], url: PageUrl, names: Mapping[str, str]) -> list[EventRow]:
    """Return the events that match the filters, newest first."""
    severity, kind, status = url.text("severity"), url.text("kind"), url.choice("status", STATUS)
    text = url.text("text").lower()
    kept = [
        event
        for event in found
        if (not severity or event["severity"] == severity)
        and (not kind or event["kind"] == kind)
        and (not status or _has(event, status))
        and (not text or text in _words(event, names))
    ]
    return sorted(kept, key=lambda event: event["start"], reverse=True)


def _words(event: EventRow, names: Mapping[str, str]) -> str:
    machine = f"{event['equipment_id']} {names.get(event['equipment_id'], '')}"
    return f"{machine} {formats.kind(event['kind'])} {event['evidence']}".lower()


def _has(event: EventRow, status: str) -> bool:
    if status == "lasting":
        return event["end"] is None
    return (event["by"] is None) == (status == "open")


def _filters(url: PageUrl, last: date, found: list[EventRow]) -> Component:
    severity, kind, status = url.text("severity"), url.text("kind"), url.text("status")
    kinds = sorted({event["kind"] for event in found} | ({kind} if kind else set()))
    counts = {name: sum(event["severity"] == name for event in found) for name in WORST_FIRST}
    return html.Div(
        [
            day_picker(url, last),
            length_picker(url),
            field("text", "Filter", url.text("text"), placeholder="machine, kind or evidence"),
            choices(
                "Severity",
                [("all", url.replaced(severity=None), not severity)]
                + [(f"{ICONS[n]} {n} {count}", url.replaced(severity=n), severity == n) for n, count in counts.items()],
            ),
            choices(
                "Status",
                [("all", url.replaced(status=None), not status)]
                + [(text, url.replaced(status=name), status == name) for name, text in STATUS.items()],
            ),
            choices(
                "Kind",
                [("all", url.replaced(kind=None), not kind)]
                + [(formats.kind(name), url.replaced(kind=name), kind == name) for name in kinds],
            ),
            downloads("events", url),
        ],
        className="filters",
        role="search",
    )


def _listed(reader: Reader, shown: list[EventRow], url: PageUrl, last: date) -> list[Component]:
    number = url.number("page", 1, -(-len(shown) // ROWS))
    listed = shown[(number - 1) * ROWS : number * ROWS]
    names = reader.names({event["equipment_id"] for event in listed})
    rows = [
        [
            link(formats.moment(event["start"]), around(event).applied_to(url.at(machine_path(event["equipment_id"])))),
            badge(event["severity"]),
            machine_link(event["equipment_id"], names.get(event["equipment_id"], event["equipment_id"]), url),
            formats.lasted(event["start"], event["end"]),
            describe(event, last, reader.units),
            event["evidence"] or formats.NONE,
            _seen(event, url),
        ]
        for event in listed
    ]
    headings = ("Began", "Severity", "Machine", "Lasted", "What", "Evidence", "Acknowledged")
    return [card("Found", table("Events, newest first", headings, rows)), *pages(url, number, len(shown), ROWS)]


def _seen(event: EventRow, url: PageUrl) -> Component:
    if event["by"]:
        return html.Span([html.Strong(event["by"]), f": {event['note']}" if event["note"] else ""])
    return link("Acknowledge", url.replaced(ack=event["event_id"], page=url.text("page"), saved=None), "button")


def _name(reader: Reader, event: EventRow) -> str:
    return reader.names([event["equipment_id"]]).get(event["equipment_id"], event["equipment_id"])


def _saved(reader: Reader, url: PageUrl) -> list[Component]:
    event = reader.event(url.text("saved")) if url.text("saved") else None
    if event is None:
        return []
    text = f"Saved: {formats.kind(event['kind'])} on {_name(reader, event)} is acknowledged."
    return [html.P(text, className="saved")]


def _form(reader: Reader, url: PageUrl) -> list[Component]:
    if not url.text("ack"):
        return []
    event = reader.event(url.text("ack"))
    if event is None:
        return [alert("This event no longer exists: choose one from the list.")]
    day = event["start"].date()
    return [
        card(
            f"Acknowledge {formats.kind(event['kind'])} on {_name(reader, event)}",
            html.P([badge(event["severity"]), " ", describe(event, day, reader.units)]),
            html.P(ACKNOWLEDGING, className="note"),
            html.Div(
                [
                    entry("by", "Your name", MOST_NAME),
                    entry("note", "Note (may be empty)", MOST_NOTE),
                    html.Button("Save", id={"act": "acknowledge"}, type="button", className="button main"),
                    link("Cancel", url.replaced(ack=None), "button"),
                ],
                className="form",
            ),
            html.Div(id={"answer": "acknowledge"}, role="alert"),
        )
    ]


def acknowledge(reader: Reader, url: PageUrl, by: str, note: str) -> tuple[PageUrl, str]:
    """Store the acknowledgement of the event in a URL; return the next URL, and the error if any."""
    event_id = url.text("ack")
    if not by.strip():
        return url, "Enter your name, so that others know whom to ask."
    try:
        if reader.event(event_id) is None:
            return url, "This event no longer exists: choose one from the list."
        reader.acknowledge(event_id, by.strip()[:MOST_NAME], note.strip()[:MOST_NOTE], datetime.now(UTC))
    except EtlError as error:
        return url, f"Not saved: {error}"
    return url.replaced(ack=None, saved=event_id, page=url.text("page")), ""
