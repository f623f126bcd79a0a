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
from etl.page.url import PageUrl
from etl.page.window import day_of, day_picker, days_of, length_picker, nothing_on_this_day, span_text
from etl.results import formats
from etl.results.energy import EnergyUse, by_day, uses
from etl.results.reader import Reader
from etl.results.rows import FleetDay
from etl.results.sums import NOT_MEASURED, left_out, quotient, total_of

ROWS = 50


def used(found: Sequence[EnergyUse], span: str) -> str:
    """Return a sentence about the energy of machines, their idle energy, and how many machines it excludes."""
    kwh, idle = total_of(use.kwh for use in found), total_of(use.idle_kwh for use in found)
    if kwh is None:
        return f"No machine measures energy in {span}." if found else f"Nothing was analysed for {span}."
    text = f"{formats.energy(kwh)} in {span}"
    text += f", {formats.energy(idle)} of it idle energy." if idle is not None else "."
    missing = sum(use.kwh is None for use in found)
    return f"{text} {missing:,} of {len(found):,} machines do not measure it and are left out." if missing else text


def matching(found: list[EnergyUse], url: PageUrl) -> list[EnergyUse]:
    """Return the machines that match the filter."""
    text = url.text("text").lower()
    return [use for use in found if text in f"{use.equipment_id} {use.name}".lower()]


def energy(reader: Reader, url: PageUrl, today: date) -> View:
    """Show the energy of some days."""
    last = day_of(reader, url, today)
    if last is None:
        return nothing_yet("Energy")
    days = days_of(url, last)
    rows = reader.fleet_energy(days)
    found = uses(rows)
    says = used(found, span_text(days))
    children: list[Component] = [
        html.Header([html.H1("Energy and idle waste"), html.P(says, className="lead")]),
        html.Div(
            [
                day_picker(url, last),
                length_picker(url),
                field("text", "Filter", url.text("text"), placeholder="name or ID"),
                downloads("energy", url),
            ],
            className="filters",
            role="search",
        ),
    ]
    if not found:
        return View("Energy", says, [*children, nothing_on_this_day(url, reader.newest_day(today))])
    shown = matching(found, url)
    children += [_figures(found, len(days)), _by_day(rows, days)]
    children += _machines(shown, url) if shown else [empty("No machine matches: loosen the filter.")]
    return View("Energy", f"{len(shown):,} machines. {says}", children)


def _figures(found: list[EnergyUse], days: int) -> Component:
    kwh, idle = total_of(use.kwh for use in found), total_of(use.idle_kwh for use in found)
    empty_seconds = total_of(use.idle_seconds for use in found)
    worst = next((use for use in found if use.idle_kwh), None)
    missing = left_out([use.kwh for use in found])
    a_day = f"{formats.energy(kwh / days)} a day" if kwh is not None else ""
    idle_missing = left_out([use.idle_kwh for use in found])
    of_all = f"{formats.share(quotient(idle, kwh))} of all" if idle is not None else ""
    together = "of all machines together" if empty_seconds is not None else ""
    states_missing = left_out([use.idle_seconds for use in found])
    none = "no machine was idle" if idle is not None else NOT_MEASURED
    return stats(
        [
            ("Energy", formats.energy(kwh), _listed(a_day, missing)),
            ("Idle energy", formats.energy(idle), _listed(of_all, idle_missing)),
            ("Idle time", formats.length(empty_seconds), _listed(together, states_missing)),
            (
                "Wastes most",
                worst.name if worst else formats.NONE,
                f"{formats.energy(worst.idle_kwh)} idle" if worst else none,
            ),
        ]
    )


def _listed(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _by_day(rows: list[FleetDay], days: list[date]) -> Component:
    sums = by_day(rows, days)
    whole = {day: total_of(parts) for day, parts in sums.items()}
    there = [value for value in whole.values() if value is not None]
    if not there:
        return card("By day", empty("No machine measures energy."))
    text = f"From {formats.energy(min(there))} to {formats.energy(max(there))} a day."
    names = [f"{day:%a %-d %b}" for day in days]
    useful, idle = zip(*sums.values(), strict=True)
    parts = {"useful": (charts.USEFUL, useful), "idle": (charts.IDLE, idle)}
    lines = [[formats.calendar_day(day), formats.energy(whole[day]), formats.energy(sums[day][1])] for day in days]
    listed = table("Energy by day", ("Day (UTC)", "Energy", "Idle energy"), lines, (1, 2))
    details = html.Details([html.Summary("As a table"), listed])
    return card("By day", chart("energy", charts.bars(names, parts, "kWh"), text, details))


def _parts(use: EnergyUse) -> Component:
    if use.kwh is None:
        return html.Span(NOT_MEASURED)
    idle = use.idle_kwh or 0.0
    return stacked([("useful", use.kwh - idle), ("idle", idle)], f"{formats.share(use.idle_share)} idle")


def _machines(shown: list[EnergyUse], url: PageUrl) -> list[Component]:
    number = url.number("page", 1, -(-len(shown) // ROWS))
    rows = [
        [
            machine_link(use.equipment_id, use.name, url),
            _parts(use),
            formats.energy(use.kwh),
            formats.energy(use.idle_kwh),
            bar(use.idle_share, formats.share(use.idle_share)),
            formats.length(use.idle_seconds),
            formats.length(use.running_seconds),
        ]
        for use in shown[(number - 1) * ROWS : number * ROWS]
    ]
    headings = ("Machine", "Useful and idle", "Energy", "Idle energy", "Idle share", "Idle time", "Running")
    listed = table("Machines by idle energy, most first", headings, rows, (2, 3, 5, 6))
    return [
        card("Where energy is wasted", legend(("useful", "idle")), listed),
        *pages(url, number, len(shown), ROWS),
    ]
