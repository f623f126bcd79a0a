"""`/energy`: energy by day and machine, and the share of idle energy."""

from collections.abc import Sequence
from datetime import date

from dash import html
from dash.development.base_component import Component

from etl.page import charts
from etl.page.elements import (
    View,
    bar,
    card,
    chart,
    downloads,
    empty,
    field,
    legend,
    machine_link,
    nothing_yet,
    pages,
    stacked,
    stats,
    table,
)
from etl.page.url import Place
from etl.page.window import day_of, day_picker, days_of, length_picker, nothing_on_this_day, said
from etl.results import format as written
from etl.results.energy import EnergyUse, by_day, uses
from etl.results.ranking import Row
from etl.results.reader import Reader
from etl.results.sums import NOT_MEASURED, left_out, quotient, total_of

ROWS = 50


def used(found: Sequence[EnergyUse], span: str) -> str:
    """Return a sentence about the energy of machines, their idle energy, and how many machines it excludes."""
    kwh, idle = total_of(use.kwh for use in found), total_of(use.idle_kwh for use in found)
    if kwh is None:
        return f"No machine measures energy in {span}." if found else f"Nothing was analysed for {span}."
    text = f"{written.energy(kwh)} in {span}"
    text += f", {written.energy(idle)} of it idle energy." if idle is not None else "."
    missing = sum(use.kwh is None for use in found)
    return f"{text} {missing:,} of {len(found):,} machines do not measure it and are left out." if missing else text


def matching(found: list[EnergyUse], place: Place) -> list[EnergyUse]:
    """Return the machines that match the filter."""
    text = place.text("text").lower()
    return [use for use in found if text in f"{use.equipment_id} {use.name}".lower()]


def energy(reader: Reader, place: Place, today: date) -> View:
    """Show the energy of some days."""
    last = day_of(reader, place, today)
    if last is None:
        return nothing_yet("Energy")
    days = days_of(place, last)
    rows = reader.fleet_energy(days)
    found = uses(rows)
    says = used(found, said(days))
    children: list[Component] = [
        html.Header([html.H1("Energy and idle waste"), html.P(says, className="lead")]),
        html.Div(
            [
                day_picker(place, last),
                length_picker(place),
                field("text", "Filter", place.text("text"), placeholder="name or ID"),
                downloads("energy", place),
            ],
            className="filters",
            role="search",
        ),
    ]
    if not found:
        return View("Energy", says, [*children, nothing_on_this_day(place, reader.newest_day(today))])
    shown = matching(found, place)
    children += [_figures(found, len(days)), _by_day(rows, days)]
    children += _machines(shown, place) if shown else [empty("No machine matches: loosen the filter.")]
    return View("Energy", f"{len(shown):,} machines. {says}", children)


def _figures(found: list[EnergyUse], days: int) -> Component:
    kwh, idle = total_of(use.kwh for use in found), total_of(use.idle_kwh for use in found)
    empty_seconds = total_of(use.idle_seconds for use in found)
    worst = next((use for use in found if use.idle_kwh), None)
    missing = left_out([use.kwh for use in found])
    a_day = f"{written.energy(kwh / days)} a day" if kwh is not None else ""
    idle_missing = left_out([use.idle_kwh for use in found])
    of_all = f"{written.share(quotient(idle, kwh))} of all" if idle is not None else ""
    together = "of all machines together" if empty_seconds is not None else ""
    states_missing = left_out([use.idle_seconds for use in found])
    none = "no machine was idle" if idle is not None else NOT_MEASURED
    return stats(
        [
            ("Energy", written.energy(kwh), _listed(a_day, missing)),
            ("Idle energy", written.energy(idle), _listed(of_all, idle_missing)),
            ("Idle time", written.length(empty_seconds), _listed(together, states_missing)),
            (
                "Wastes most",
                worst.name if worst else written.NONE,
                f"{written.energy(worst.idle_kwh)} idle" if worst else none,
            ),
        ]
    )


def _listed(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _by_day(rows: list[Row], days: list[date]) -> Component:
    sums = by_day(rows, days)
    whole = {day: total_of(parts) for day, parts in sums.items()}
    there = [value for value in whole.values() if value is not None]
    if not there:
        return card("By day", empty("No machine measures energy."))
    text = f"From {written.energy(min(there))} to {written.energy(max(there))} a day."
    names = [f"{day:%a %-d %b}" for day in days]
    useful, idle = zip(*sums.values(), strict=True)
    parts = {"useful": (charts.USEFUL, useful), "idle": (charts.IDLE, idle)}
    lines = [[written.calendar_day(day), written.energy(whole[day]), written.energy(sums[day][1])] for day in days]
    listed = table("Energy by day", ("Day (UTC)", "Energy", "Idle energy"), lines, (1, 2))
    details = html.Details([html.Summary("As a table"), listed])
    return card("By day", chart("energy", charts.bars(names, parts, "kWh"), text, details))


def _parts(use: EnergyUse) -> Component:
    if use.kwh is None:
        return html.Span(NOT_MEASURED)
    idle = use.idle_kwh or 0.0
    return stacked([("useful", use.kwh - idle), ("idle", idle)], f"{written.share(use.idle_share)} idle")


def _machines(shown: list[EnergyUse], place: Place) -> list[Component]:
    number = place.number("page", 1, -(-len(shown) // ROWS))
    rows = [
        [
            machine_link(use.equipment_id, use.name, place),
            _parts(use),
            written.energy(use.kwh),
            written.energy(use.idle_kwh),
            bar(use.idle_share, written.share(use.idle_share)),
            written.length(use.idle_seconds),
            written.length(use.running_seconds),
        ]
        for use in shown[(number - 1) * ROWS : number * ROWS]
    ]
    headings = ("Machine", "Useful and idle", "Energy", "Idle energy", "Idle share", "Idle time", "Running")
    listed = table("Machines by idle energy, most first", headings, rows, (2, 3, 5, 6))
    return [
        card("Where energy is wasted", legend(("useful", "idle")), listed),
        *pages(place, number, len(shown), ROWS),
    ]
