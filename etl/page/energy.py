"""`/energy`: where energy goes, and how much of it into machines that run empty."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from dash import html
from dash.development.base_component import Component

from etl import written
from etl.attention import Row
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
from etl.page.period import day_of, day_picker, days_of, length_picker, said
from etl.page.place import Place
from etl.page.queries import Reader

ROWS = 50


@dataclass(frozen=True)
class Use:
    """What a machine used over some days."""

    equipment_id: str
    name: str
    kwh: float
    idle_kwh: float
    idle_seconds: float
    running_seconds: float

    @property
    def idle_share(self) -> float | None:
        """The part of its energy that went into running empty."""
        return self.idle_kwh / self.kwh if self.kwh else None


def uses(rows: Iterable[Row]) -> list[Use]:
    """Add up the days of each machine; those that waste most come first."""
    sums: dict[str, list[Any]] = {}
    for row in rows:
        entry = sums.setdefault(row["equipment_id"], [row["name"] or row["equipment_id"], 0.0, 0.0, 0.0, 0.0])
        for i, name in enumerate(("energy_kwh", "idle_energy_kwh", "idle_seconds", "running_seconds"), 1):
            entry[i] += row[name] or 0.0
    found = [Use(key, *values) for key, values in sums.items()]
    return sorted(found, key=lambda use: (-use.idle_kwh, use.equipment_id))


def matching(found: list[Use], place: Place) -> list[Use]:
    """Return the machines that the filter lets through."""
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
    total, idle = sum(use.kwh for use in found), sum(use.idle_kwh for use in found)
    says = f"{written.energy(total)} in {said(days)}, {written.energy(idle)} of it by machines that ran empty."
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
        return View("Energy", says, [*children, empty("Nothing was analysed for these days: choose others.")])
    shown = matching(found, place)
    children += [_figures(found, total, idle, len(days)), _by_day(rows, days)]
    children += _machines(shown, place) if shown else [empty("No machine matches: loosen the filter.")]
    return View("Energy", f"{len(shown):,} machines. {says}", children)


def _figures(found: list[Use], total: float, idle: float, days: int) -> Component:
    worst = found[0]
    return stats(
        [
            ("Energy", written.energy(total), f"{written.energy(total / days)} a day"),
            ("Idle energy", written.energy(idle), f"{written.share(idle / total if total else None)} of all"),
            ("Time running empty", written.length(sum(use.idle_seconds for use in found)), "of all machines together"),
            ("Wastes most", worst.name, f"{written.energy(worst.idle_kwh)} idle"),
        ]
    )


def _by_day(rows: list[Row], days: list[date]) -> Component:
    useful, wasted = dict.fromkeys(days, 0.0), dict.fromkeys(days, 0.0)
    for row in rows:
        idle = row["idle_energy_kwh"] or 0.0
        wasted[row["day"]] += idle
        useful[row["day"]] += (row["energy_kwh"] or 0.0) - idle
    text = (
        f"From {written.energy(min(useful[day] + wasted[day] for day in days))}"
        f" to {written.energy(max(useful[day] + wasted[day] for day in days))} a day."
    )
    names = [f"{day:%a %-d %b}" for day in days]
    parts = {"useful": (charts.USEFUL, list(useful.values())), "idle": (charts.IDLE, list(wasted.values()))}
    by_day = [
        [written.calendar_day(day), written.energy(useful[day] + wasted[day]), written.energy(wasted[day])]
        for day in days
    ]
    listed = table("Energy by day", ("Day (UTC)", "Energy", "Idle energy"), by_day, (1, 2))
    details = html.Details([html.Summary("As a table"), listed])
    return card("By day", chart("energy", charts.bars(names, parts, "kWh"), text, details))


def _machines(shown: list[Use], place: Place) -> list[Component]:
    number = place.number("page", 1, -(-len(shown) // ROWS))
    rows = [
        [
            machine_link(use.equipment_id, use.name, place),
            stacked(
                [("useful", use.kwh - use.idle_kwh), ("idle", use.idle_kwh)],
                f"{written.share(use.idle_share)} idle",
            ),
            written.energy(use.kwh),
            written.energy(use.idle_kwh),
            bar(use.idle_share, written.share(use.idle_share)),
            written.length(use.idle_seconds),
            written.length(use.running_seconds),
        ]
        for use in shown[(number - 1) * ROWS : number * ROWS]
    ]
    headings = ("Machine", "Useful and idle", "Energy", "Idle energy", "Idle share", "Running empty", "Running")
    listed = table("Machines by idle energy, most first", headings, rows, (2, 3, 5, 6))
    return [
        card("Where energy is wasted", legend(("useful", "idle")), listed),
        *pages(place, number, len(shown), ROWS),
    ]
