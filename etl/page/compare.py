"""`/compare?machines=a,b`: a few machines beside each other."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from dash import html
from dash.development.base_component import Component

from etl import written
from etl.attention import Row
from etl.page import charts
from etl.page.elements import (
    View,
    card,
    chart,
    choices,
    downloads,
    empty,
    field,
    link,
    machine_link,
    table,
)
from etl.page.fleet import judged
from etl.page.machine import EXTREMES, Window, extremes, read_finest, window
from etl.page.place import Place
from etl.page.queries import MOST_DAYS, Reader
from etl.page.series import MOST_POINTS, Series, reduced, with_gaps

MOST_MACHINES = 4
SUGGESTED = 12
SPANS = {"1 day": 1, "1 week": 7, "4 weeks": 28}


def compare(reader: Reader, place: Place, today: date) -> View:
    """Show some machines over the same time."""
    day = reader.newest_day(today)
    machines = place.words("machines")[:MOST_MACHINES]
    end = datetime.combine((day or today) + timedelta(days=1), time(), UTC)
    seen = window(place, end)
    names = {name: (reader.machine(name) or {}).get("name") or name for name in machines}
    says = f"{' and '.join(names.values())}, {written.moment(seen.start)} to {written.moment(seen.end)}."
    if not machines:
        says = "Choose up to four machines."
    children: list[Component] = [
        html.Header([html.H1("Compare machines"), html.P(says, className="lead")]),
        html.Div(
            [
                field("text", "Find a machine", place.text("text"), placeholder="name or ID"),
                choices("Add or take away", _suggestions(reader, place, machines, names, day)),
            ],
            className="filters",
            role="search",
        ),
    ]
    if machines:
        children += [
            _controls(reader, place, seen),
            _readings(reader, place, names, seen),
            _days(reader, place, names, seen),
        ]
    else:
        children.append(empty("No machine is chosen: add some above."))
    return View("Compare", says, children)


def _suggestions(
    reader: Reader, place: Place, machines: list[str], names: dict[str, str], day: date | None
) -> list[tuple[str, Place, bool]]:
    taken = [
        (f"{names[name]} \u00d7", place.but(machines=",".join(other for other in machines if other != name)), True)
        for name in machines
    ]
    text = place.text("text").lower()
    known = judged(reader, day) if day and len(machines) < MOST_MACHINES else []
    found = [
        machine
        for machine in known
        if machine.equipment_id not in machines and text in f"{machine.equipment_id} {machine.name}".lower()
    ]
    more = [
        (f"+ {machine.name}", place.but(machines=",".join([*machines, machine.equipment_id])), False)
        for machine in found[:SUGGESTED]
    ]
    return taken + more


def measurement_of(reader: Reader, place: Place) -> str:
    """Return the measurement that a place compares."""
    usual = "current" if "current" in reader.doubles else reader.doubles[0]
    return place.choice("measurement", reader.doubles) or usual


def _controls(reader: Reader, place: Place, seen: Window) -> Component:
    chosen = measurement_of(reader, place)
    spans = []
    for text, length in SPANS.items():
        span = timedelta(days=length)
        spans.append((text, Window(seen.end - span, seen.end).in_(place), abs(seen.span - span) < timedelta(seconds=1)))
    moves = [("← Earlier", seen.moved(-0.5)), ("Later →", seen.moved(0.5))]
    return html.Div(
        [
            choices("Time", spans),
            html.Div([link(text, to.in_(place), "button") for text, to in moves], className="moves"),
            choices(
                "Measurement",
                [(written.measurement(n), place.but(measurement=n), n == chosen) for n in reader.doubles],
            ),
            downloads("compare", place),
        ],
        className="filters",
    )


def _readings(reader: Reader, place: Place, names: dict[str, str], seen: Window) -> Component:
    chosen = measurement_of(reader, place)
    lines: dict[str, Series] = {}
    whole: dict[str, Series] = {}
    for equipment_id, name in names.items():
        found = read_finest(reader, equipment_id, [chosen], seen)[1][chosen]
        if len(found):
            whole[name] = found
            lines[name] = with_gaps(reduced(found, MOST_POINTS // 2))
    heading = written.measurement(chosen).capitalize()
    if not lines:
        return card(heading, empty("No readings in this time: choose an earlier or longer one."))
    figure = charts.readings([(chosen, reader.units[chosen], lines)], [], seen.start, seen.end)
    figure["layout"]["height"] += charts.ROW
    text = f"Means from {written.moment(seen.start)} to {written.moment(seen.end)}. Drag over a part to see it finer."
    rows = [[name, *extremes(series, reader.units[chosen])] for name, series in whole.items()]
    listed = table(f"Lowest, mean and highest {written.measurement(chosen)}", EXTREMES, rows, (1, 2, 3))
    return card(heading, chart("compare", figure, text, listed))


def _days(reader: Reader, place: Place, names: dict[str, str], seen: Window) -> Component:
    last = (seen.end - timedelta(microseconds=1)).date()
    first = max(seen.start.date(), last - timedelta(days=MOST_DAYS - 1))
    rows = [
        [machine_link(equipment_id, name, place), *_totals(reader.machine_days(equipment_id, first, last))]
        for equipment_id, name in names.items()
    ]
    caption = f"{written.calendar_day(first)} to {written.calendar_day(last)}: means, and sums of energy and events"
    return card("Days", table(caption, _HEADINGS, rows, range(1, 9)))


_HEADINGS = (
    "Machine",
    "Utilisation",
    "Energy",
    "Idle energy",
    "Power factor",
    "Temperature",
    "Vibration",
    "Efficiency",
    "Events",
)


def _totals(days: list[Row]) -> list[Any]:
    def known(name: str) -> list[float]:
        return [row[name] for row in days if row[name] is not None]

    def mean(name: str) -> float | None:
        return sum(known(name)) / len(known(name)) if known(name) else None

    return [
        written.share(mean("utilisation")),
        written.energy(sum(known("energy_kwh")) if days else None),
        written.energy(sum(known("idle_energy_kwh")) if days else None),
        written.number(mean("power_factor")),
        written.number(mean("temperature"), "°C"),
        written.number(mean("vibration"), "mm/s"),
        written.number(mean("efficiency"), digits=2),
        f"{int(sum(known('events'))):,}",
    ]
