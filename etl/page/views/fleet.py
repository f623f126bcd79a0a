"""`/`: all machines of a day, ranked by attention."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from dash import html
from dash.development.base_component import Component

from etl.page.elements import (
    View,
    badge,
    bar,
    card,
    choices,
    downloads,
    empty,
    field,
    link,
    machine_link,
    nothing_yet,
    pages,
    stats,
    table,
)
from etl.page.url import PageUrl, machine_path
from etl.page.window import day_of, day_picker, nothing_on_this_day
from etl.results import formats
from etl.results.ranking import ACKNOWLEDGING, FINE, ICONS, LEVELS, WORST_FIRST, Judged, judge, summary
from etl.results.reader import Reader
from etl.results.sums import left_out, mean, quotient, total

FIRST = 5
TILES = 24
RUNNING = ("running", "overload")
ROWS = 50


def fleet(reader: Reader, url: PageUrl, today: date) -> View:
    """Show all machines of a day."""
    day = day_of(reader, url, today)
    if day is None:
        return nothing_yet("Fleet")
    machines = judged(reader, day)
    shown = matching(machines, url)
    says = summary(machines) if machines else f"No data on {formats.calendar_day(day)}."
    newest = None if machines else reader.newest_day(today)
    children: list[Component] = [
        html.Header([html.H1(f"Fleet on {formats.calendar_day(day)}"), html.P(says, className="lead")]),
        _filters(url, day, machines),
    ]
    if not machines:
        return View("Fleet", says, [*children, nothing_on_this_day(url, newest)])
    filtered = len(shown) != len(machines)
    if not filtered:
        children += [_first(machines, url), _figures(machines)]
    if not shown:
        return View("Fleet", "No machine matches.", [*children, empty("No machine matches: loosen the filters.")])
    children += _machines(shown, url)
    return View("Fleet", f"{len(shown):,} machines match. {says}" if filtered else says, children)


def judged(reader: Reader, day: date) -> list[Judged]:
    """Read a day and rank its machines."""
    rows = reader.fleet(day)
    return judge(rows, reader.ranking_events(rows, day), reader.trends(), day, reader.units)


def matching(machines: Iterable[Judged], url: PageUrl) -> list[Judged]:
    """Return the machines that match the filters."""
    text, level = url.text("text").lower(), url.choice("severity", LEVELS)
    return [
        machine
        for machine in machines
        if (not level or machine.level == level)
        and (not text or text in f"{machine.equipment_id} {machine.name} {machine.why}".lower())
    ]


def _filters(url: PageUrl, day: date, machines: list[Judged]) -> Component:
    level = url.choice("severity", LEVELS)
    counts = {name: sum(machine.level == name for machine in machines) for name in LEVELS}
    options = [("all", url.replaced(severity=None), not level)]
    options += [
        (f"{ICONS[name]} {name} {count}", url.replaced(severity=name), level == name) for name, count in counts.items()
    ]
    return html.Div(
        [
            day_picker(url, day),
            field("text", "Filter", url.text("text"), placeholder="name, ID or reason"),
            choices("Severity", options),
            downloads("fleet", url),
        ],
        className="filters",
        role="search",
    )


def _first(machines: list[Judged], url: PageUrl) -> Component:
    urgent = [machine for machine in machines if machine.level != FINE]
    if not urgent:
        return card(
            "Needs attention first", html.P("None. All events are acknowledged, and all readings have arrived.")
        )
    lines = [
        html.Li(
            [
                badge(machine.level),
                html.Div([machine_link(machine.equipment_id, machine.name, url), html.Span(_reasons(machine))]),
            ]
        )
        for machine in urgent[:FIRST]
    ]
    more = len(urgent) - len(lines)
    rest = [html.P(f"and {more:,} more below", className="more")] if more > 0 else []
    if any(concern.seen for machine in machines for concern in machine.concerns):
        rest.append(html.P(ACKNOWLEDGING, className="note"))
    return card("Needs attention first", html.Ol(lines, className="first"), *rest, class_name="attention")


def _reasons(machine: Judged) -> str:
    others = len(machine.concerns) - 1
    return machine.why + (f" (+{formats.count(others, 'more reason')})" if others else "")


def _figures(machines: list[Judged]) -> Component:
    rows = [machine.row for machine in machines]
    energy, idle = total(rows, "energy_kwh"), total(rows, "idle_energy_kwh")
    received = quotient(total(rows, "received"), total(rows, "expected"))
    states = [row["state"] for row in rows if row.get("state")]
    running = f"{sum(state in RUNNING for state in states):,}" if states else formats.NONE

    def note(text: str, name: str) -> str:
        """Return the note of a figure: no text if nothing is measured, and the number of machines without a value."""
        values = [row.get(name) or None if name == "state" else row.get(name) for row in rows]
        there = any(value is not None for value in values)
        return ", ".join(filter(None, [text if there else "", left_out(values)]))

    return stats(
        [
            ("Running at the end of the day", running, note(f"of {len(states):,} machines", "state")),
            ("Utilisation", formats.share(mean(rows, "utilisation")), note("mean of all machines", "utilisation")),
            (
                "Energy",
                formats.energy(energy),
                note(f"{formats.share(quotient(idle, energy))} of it idle", "energy_kwh"),
            ),
            ("Readings received", formats.share(received), "of those expected"),
            ("Events", f"{int(total(rows, 'events') or 0):,}", "lasting into this day"),
        ]
    )


def _machines(shown: list[Judged], url: PageUrl) -> list[Component]:
    number = url.number("page", 1, -(-len(shown) // ROWS))
    urgent = [machine for machine in shown if machine.level != FINE][:TILES] if number == 1 else []
    rest = [machine for machine in shown[(number - 1) * ROWS : number * ROWS] if machine not in urgent]
    parts: list[Component] = []
    if urgent:
        tiles = html.Ul([html.Li(_tile(machine, url)) for machine in urgent], className="tiles")
        parts.append(card("Machines that need attention", tiles, class_name="bare"))
    if rest:
        rows = [_row(machine, url) for machine in rest]
        heading = "Other machines" if urgent else "Machines"
        parts.append(card(heading, table("Machines by what needs attention first", HEADINGS, rows, NUMERIC)))
    return [*parts, *pages(url, number, len(shown), ROWS)]


def _tile(machine: Judged, url: PageUrl) -> Component:
    row = machine.row
    return html.Article(
        [
            html.Div([badge(machine.level), html.Span(row.get("state") or "unknown", className="state")]),
            html.H3(link(machine.name, url.at(machine_path(machine.equipment_id)))),
            html.P(machine.why),
            html.Dl(
                [
                    html.Div([html.Dt(label), html.Dd(value)])
                    for label, value in (
                        ("Utilisation", formats.share(row.get("utilisation"))),
                        ("Energy", formats.energy(row.get("energy_kwh"))),
                        ("Efficiency", formats.number(row.get("efficiency"), digits=2)),
                    )
                ]
            ),
        ],
        className=f"tile {machine.level if machine.level in WORST_FIRST else 'mild'}",
    )


HEADINGS = ("Machine", "Attention", "State", "Utilisation", "Energy", "Idle energy", "Efficiency", "Why")
NUMERIC = (4, 5, 6)


def _row(machine: Judged, url: PageUrl) -> list[Any]:
    row = machine.row
    return [
        machine_link(machine.equipment_id, machine.name, url),
        badge(machine.attention, machine.attention),
        row.get("state") or "unknown",
        bar(row.get("utilisation"), formats.share(row.get("utilisation"))),
        formats.energy(row.get("energy_kwh")),
        formats.energy(row.get("idle_energy_kwh")),
        formats.number(row.get("efficiency"), digits=2),
        machine.why if machine.concerns else formats.NONE,
    ]
