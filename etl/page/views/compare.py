"""`/compare?machines=a,b`: up to four machines over the same time."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from dash import html
from dash.development.base_component import Component

from etl.model.tables import day_start
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
from etl.page.url import PageUrl
from etl.page.views.fleet import judged
from etl.page.views.machine import EXTREMES, Window, days_in, extremes, measured, name_of, read_finest, window
from etl.results import formats
from etl.results.reader import MOST_DAYS, Reader
from etl.results.rows import MachineDay
from etl.results.series import MOST_POINTS, Series, reduced, with_gaps
from etl.results.sums import mean, total

MOST_MACHINES = 4
USUAL_MEASUREMENT = "current"
SUGGESTED = 12
SPANS = {"1 day": 1, "1 week": 7, "4 weeks": 28}


def _told_apart(names: dict[str, str]) -> dict[str, str]:
    """Add the equipment IDs to names that several machines have."""
    twice = Counter(names.values())
    return {key: name if twice[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def compare(reader: Reader, url: PageUrl, today: date) -> View:
    """Show machines over the same time."""
    day = reader.newest_day(today)
    machines = chosen_machines(reader, url)
    end = day_start(day or today) + timedelta(days=1)
    seen = window(url, end)
    names = _told_apart({name: name_of(reader.machine(name), name) for name in machines})
    says = f"{' and '.join(names.values())}, {formats.moment(seen.start)} to {formats.moment(seen.end)}."
    if not machines:
        says = "Choose up to four machines."
    children: list[Component] = [
        html.Header([html.H1("Compare machines"), html.P(says, className="lead")]),
        html.Div(
            [
                field("text", "Find a machine", url.text("text"), placeholder="name or ID"),
                choices("Add or take away", _suggestions(reader, url, machines, names, day)),
            ],
            className="filters",
            role="search",
        ),
    ]
    if machines:
        days = days_by_machine(reader, machines, seen)
        chosen = measurement_of(reader, url, days)
        children += [
            _controls(reader, url, seen, chosen),
            _readings(reader, chosen, names, seen),
            _days(reader, url, names, seen, days),
        ]
    else:
        children.append(empty("No machine is chosen: add some above."))
    return View("Compare", says, children)


def chosen_machines(reader: Reader, url: PageUrl) -> list[str]:
    """Return the machines that a URL compares.

    An ID may contain commas. If they are not escaped in the URL, words that are not machines are joined to one that is.
    A word with escaped commas that separate machines is split.
    """
    words = url.words("machines")
    found: list[str] = []
    while words:
        ends = range(len(words), 1, -1) if not reader.knows(words[0]) else ()
        length = next((end for end in ends if reader.knows(",".join(words[:end]))), 1)
        word = ",".join(words[:length])
        words = words[length:]
        parts = word.split(",") if length == 1 and "," in word and not reader.knows(word) else [word]
        found += [part for part in parts if part]
    return list(dict.fromkeys(found))[:MOST_MACHINES]


def days_by_machine(reader: Reader, machines: Iterable[str], seen: Window) -> dict[str, list[MachineDay]]:
    """Return the analysed days of each machine in a time span."""
    return {equipment_id: days_in(reader, equipment_id, seen) for equipment_id in machines}


def _suggestions(
    reader: Reader, url: PageUrl, machines: list[str], names: dict[str, str], day: date | None
) -> list[tuple[str, PageUrl, bool]]:
    taken = [
        (f"{names[name]} \u00d7", url.replaced(machines=[other for other in machines if other != name]), True)
        for name in machines
    ]
    text = url.text("text").lower()
    known = judged(reader, day) if day and len(machines) < MOST_MACHINES else []
    found = [
        machine
        for machine in known
        if machine.equipment_id not in machines and text in f"{machine.equipment_id} {machine.name}".lower()
    ]
    more = [
        (f"+ {machine.name}", url.replaced(machines=[*machines, machine.equipment_id]), False)
        for machine in found[:SUGGESTED]
    ]
    return taken + more


def measurement_of(reader: Reader, url: PageUrl, days: Mapping[str, list[MachineDay]]) -> str:
    """Return the measurement that a URL compares: the one it names, else the first one that most machines have."""
    order = sorted(reader.doubles, key=lambda name: name != USUAL_MEASUREMENT)
    there = Counter(name for rows in days.values() for name in measured(rows))
    return url.choice("measurement", reader.doubles) or max(order, key=lambda name: there[name])


def _controls(reader: Reader, url: PageUrl, seen: Window, chosen: str) -> Component:
    spans = []
    for text, length in SPANS.items():
        span = timedelta(days=length)
        spans.append(
            (text, Window(seen.end - span, seen.end).applied_to(url), abs(seen.span - span) < timedelta(seconds=1))
        )
    moves = [("← Earlier", seen.moved(-0.5)), ("Later →", seen.moved(0.5))]
    return html.Div(
        [
            choices("Time", spans),
            html.Div([link(text, to.applied_to(url), "button") for text, to in moves], className="moves"),
            choices(
                "Measurement",
                [(formats.measurement(n), url.replaced(measurement=n), n == chosen) for n in reader.doubles],
            ),
            downloads("compare", url),
        ],
        className="filters",
    )


def _readings(reader: Reader, chosen: str, names: dict[str, str], seen: Window) -> Component:
    lines: dict[str, Series] = {}
    whole: dict[str, Series] = {}
    for equipment_id, name in names.items():
        found = read_finest(reader, equipment_id, [chosen], seen)[1][chosen]
        if len(found):
            whole[name] = found
            lines[name] = with_gaps(reduced(found, MOST_POINTS // 2))
    heading = formats.measurement(chosen).capitalize()
    if not lines:
        return card(heading, empty("No readings in this time: choose an earlier or longer one."))
    figure = charts.readings([(chosen, reader.units[chosen], lines)], [], seen.start, seen.end)
    figure["layout"]["height"] += charts.ROW
    text = f"Means from {formats.moment(seen.start)} to {formats.moment(seen.end)}. Drag over a part to zoom in."
    rows = [[name, *extremes(series, reader.units[chosen])] for name, series in whole.items()]
    listed = table(f"Lowest, mean and highest {formats.measurement(chosen)}", EXTREMES, rows, (1, 2, 3))
    return card(heading, chart("compare", figure, text, listed))


def _days(
    reader: Reader, url: PageUrl, names: dict[str, str], seen: Window, days: Mapping[str, list[MachineDay]]
) -> Component:
    last = (seen.end - timedelta(microseconds=1)).date()
    first = max(seen.start.date(), last - timedelta(days=MOST_DAYS - 1))
    begin, end = (day_start(day) for day in (first, last + timedelta(days=1)))
    rows = [
        [
            machine_link(equipment_id, name, url),
            *_totals(days[equipment_id]),
            f"{len(reader.machine_events(equipment_id, begin, end)):,}",
        ]
        for equipment_id, name in names.items()
    ]
    caption = (
        f"{formats.calendar_day(first)} to {formats.calendar_day(last)}: means, sums of energy,"
        " and how many events there were, each counted once"
    )
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


def _totals(days: list[MachineDay]) -> list[str]:
    return [
        formats.share(mean(days, "utilisation")),
        formats.energy(total(days, "energy_kwh")),
        formats.energy(total(days, "idle_energy_kwh")),
        formats.number(mean(days, "power_factor")),
        formats.number(mean(days, "temperature"), "°C"),
        formats.number(mean(days, "vibration"), "mm/s"),
        formats.number(mean(days, "efficiency"), digits=2),
    ]
