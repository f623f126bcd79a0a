"""`/machine/<equipment_id>`: one machine, from a year down to a single reading."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from dash import html
from dash.development.base_component import Component

from etl.model.tables import day_start
from etl.page import charts
from etl.page.elements import (
    STATES,
    View,
    badge,
    card,
    chart,
    choices,
    downloads,
    empty,
    legend,
    link,
    states,
    stats,
    table,
)
from etl.page.url import PageUrl
from etl.results import formats
from etl.results.ranking import describe, forecast, worst_measurement
from etl.results.reader import MOST_DAYS, Reader
from etl.results.rows import EventRow, MachineDay, MachineRow
from etl.results.series import Level, Series, level_of, reduced, with_gaps
from etl.results.sums import known, left_out, mean, quotient, total, total_of

USUAL = timedelta(days=7)
SHORTEST = timedelta(seconds=10)
LONGEST = timedelta(days=366)
SPANS = {"1 h": 1 / 24, "1 day": 1, "1 week": 7, "4 weeks": 28, "1 year": 365}
FIRST_SHOWN = ("current", "temperature", "vibration")
MOST_SHOWN = 4
HEAT_DAYS = 28
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HEAT_STEPS = 6
_FINER: dict[Level, Level | None] = {"readings": "minutes", "minutes": "hours", "hours": None}


@dataclass(frozen=True)
class Window:
    """A time span."""

    start: datetime
    end: datetime

    @property
    def span(self) -> timedelta:
        """Its length."""
        return self.end - self.start

    def moved(self, share: float) -> "Window":
        """Return the window moved by a number of its lengths."""
        return Window(self.start + share * self.span, self.end + share * self.span)

    def zoomed(self, factor: float) -> "Window":
        """Return the window scaled by a factor around the same middle."""
        span = min(max(self.span * factor, SHORTEST), LONGEST)
        middle = self.start + self.span / 2
        return Window(middle - span / 2, middle + span / 2)

    def applied_to(self, url: PageUrl) -> PageUrl:
        """Return the URL that shows the window."""
        return url.replaced(from_=self.start, to=self.end)


def window(url: PageUrl, newest: datetime) -> Window:
    """Return the time span in a URL, else the last week."""
    end = url.time("to") or newest
    start = url.time("from") or end - USUAL
    start, end = min(start, end), max(start, end)
    return Window(max(start, end - LONGEST), max(end, start + SHORTEST))


def shown_measurements(reader: Reader, url: PageUrl, there: Collection[str], events: Iterable[EventRow]) -> list[str]:
    """Return the measurements in a URL, else that of the worst event and the first ones of those that are `there`."""
    chosen = [name for name in url.words("show") if name in reader.doubles][:MOST_SHOWN]
    worst = worst_measurement(event for event in events if event["measurement"] in reader.doubles)
    first = [name for name in (worst, *FIRST_SHOWN) if name in reader.doubles]
    order = list(dict.fromkeys([*first, *reader.doubles]))
    usable = [name for name in order if name in there or name == worst] if there else order
    return chosen or (usable or order)[: len(FIRST_SHOWN)]


def measured(days: Iterable[MachineDay]) -> set[str]:
    """Return the measurements with a value on any of these days; empty if nothing is known."""
    return {name for row in days for name in (row["means"] or {})}


def days_in(reader: Reader, equipment_id: str, seen: Window) -> list[MachineDay]:
    """Return the last 31 analysed days of a machine in a time span, oldest first."""
    last = (seen.end - timedelta(microseconds=1)).date()
    first = max(seen.start.date(), last - timedelta(days=MOST_DAYS - 1))
    return reader.machine_days(equipment_id, first, last)


def read_finest(
    reader: Reader, equipment_id: str, names: Sequence[str], seen: Window
) -> tuple[Level, dict[str, Series]]:
    """Read at the level that fits the time span, or at the next coarser level with data."""
    level: Level | None = level_of(seen.span)
    while level:
        found = reader.series(equipment_id, names, seen.start, seen.end, level)
        if any(map(len, found.values())) or _FINER[level] is None:
            break
        level = _FINER[level]
    return level or "hours", found


def newest_of(reader: Reader, equipment_id: str, today: date) -> datetime:
    """Return the end of a machine's data, rounded up to the hour."""
    mark = reader.watermark(equipment_id) or day_start(today)
    return (mark + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)


def name_of(known: MachineRow | None, equipment_id: str) -> str:
    """Return the name of a machine for people: its ID if the catalogue has none."""
    return (known["name"] if known else None) or equipment_id


def machine(reader: Reader, url: PageUrl, equipment_id: str, today: date) -> View:
    """Show a machine."""
    known = reader.machine(equipment_id)
    mark = reader.watermark(equipment_id)
    if known is None and mark is None:
        text = f"There is no machine {equipment_id}: look for it in the fleet."
        return View(equipment_id, text, [html.H1(equipment_id), empty(text), link("Fleet", "/", "button")])
    name = name_of(known, equipment_id)
    seen = window(url, newest_of(reader, equipment_id, today))
    events = reader.machine_events(equipment_id, seen.start, seen.end)
    last = (seen.end - timedelta(microseconds=1)).date()
    days = days_in(reader, equipment_id, seen)
    shown = shown_measurements(reader, url, measured(days), events)
    says = f"{name}, {formats.moment(seen.start)} to {formats.moment(seen.end)}, {_counted(events)}."
    children = [
        html.Header([html.H1(name), html.P(_about(equipment_id, known, mark, measured(days)), className="lead")]),
        _controls(reader, url, equipment_id, seen, shown),
        _figures(days),
        _readings(reader, equipment_id, shown, seen, events),
        card("Events in this time", _events(reader, events, last, url)),
        *_trends(reader, equipment_id),
        card("Days", *_days(days, url)),
        card("When energy is used", *_heat(reader, equipment_id, seen.end)),
    ]
    return View(name, says, children)


def _counted(events: list[EventRow]) -> str:
    open_ = sum(not event["by"] for event in events)
    return formats.count(len(events), "event") + (f", {open_:,} of them not acknowledged" if events else "")


def _about(equipment_id: str, known: MachineRow | None, mark: datetime | None, there: Collection[str]) -> str:
    parts = [equipment_id]
    # A catalogue may contain a voltage for a machine without mains. Without measured voltage it means nothing.
    volts, amperes = (not there or name in there for name in ("voltage", "current"))
    if known:
        parts += [
            f"{formats.number(known['nominal_voltage'], 'V')} nominal" if volts and known["nominal_voltage"] else "",
            f"{formats.number(known['rated_current'], 'A')} rated" if amperes and known["rated_current"] else "",
            formats.count(known["phases"], "phase") if (volts or amperes) and known["phases"] else "",
        ]
    return " · ".join([*filter(None, parts), f"newest reading {formats.moment(mark)}"])


def _controls(reader: Reader, url: PageUrl, equipment_id: str, seen: Window, shown: list[str]) -> Component:
    toggles = [
        (formats.measurement(name), url.replaced(show=_toggled(shown, name)), name in shown) for name in reader.doubles
    ]
    spans = []
    for text, length in SPANS.items():
        span = timedelta(days=length)
        spans.append(
            (text, Window(seen.end - span, seen.end).applied_to(url), abs(seen.span - span) < timedelta(seconds=1))
        )
    moves = [
        ("← Earlier", seen.moved(-0.5)),
        ("Zoom in", seen.zoomed(0.5)),
        ("Zoom out", seen.zoomed(2)),
        ("Later →", seen.moved(0.5)),
    ]
    return html.Div(
        [
            choices("Time", spans),
            html.Div([link(text, to.applied_to(url), "button") for text, to in moves], className="moves"),
            choices("Show", toggles),
            link("Compare with others", PageUrl("/compare").replaced(machines=[equipment_id]), "button"),
            downloads("readings", url),
        ],
        className="filters",
    )


def _toggled(shown: list[str], name: str) -> list[str]:
    if name in shown:
        return [other for other in shown if other != name]
    return [*shown, name][-MOST_SHOWN:]


def _figures(days: list[MachineDay]) -> Component:
    seconds = total_of(total(days, f"{state}_seconds") for state in ("off", "idle", "running"))
    span = formats.count(len(days), "day")

    def figure(label: str, name: str, value: str, note: str) -> tuple[str, str, str]:
        """Return a figure with its note: no text if nothing is measured, and the number of days without a value."""
        missing = left_out([row.get(name) for row in days], "day")
        return label, value, ", ".join(filter(None, [note if known(days, name) else "", missing]))

    busy, energy = total(days, "running_seconds"), total(days, "energy_kwh")
    figures = [
        figure("Utilisation", "running_seconds", formats.share(quotient(busy, seconds)), f"of {span}"),
        figure(
            "Energy",
            "energy_kwh",
            formats.energy(energy),
            f"{formats.energy(total(days, 'idle_energy_kwh'))} of it idle",
        ),
        figure("Power factor", "power_factor", formats.number(mean(days, "power_factor")), "mean of the days"),
    ]
    for part in ("voltage", "frequency"):
        name = f"{part}_outside_seconds"
        outside = total(days, name)
        note = f"{formats.share(quotient(outside, seconds))} of the time" if seconds else f"in {span}"
        figures.append(figure(f"{part.capitalize()} outside EN 50160", name, formats.length(outside), note))
    return stats(figures)


def _readings(reader: Reader, equipment_id: str, names: list[str], seen: Window, events: list[EventRow]) -> Component:
    level, found = read_finest(reader, equipment_id, names, seen)
    if not any(map(len, found.values())):
        return card("Readings", empty("No readings in this time: zoom out, or choose an earlier time."))
    lines = [(name, reader.units[name], {name: with_gaps(reduced(found[name]))}) for name in names]
    unit = {"hours": "hour", "minutes": "minute", "readings": "reading"}[level]
    most = max(map(len, found.values()))
    points = max(len(series[name]) for name, _, series in lines)
    text = (
        f"{formats.moment(seen.start)} to {formats.moment(seen.end)}, by {unit}: {formats.number(most)} values a line"
        + (f", shown as {formats.number(points)} with lowest and highest kept" if points < most else "")
        + f". {formats.count(len(events), 'event')} in it. Drag over a part to zoom in."
    )
    return card(
        "Readings",
        chart("readings", charts.readings(lines, events, seen.start, seen.end), text),
        _summary(reader, found),
    )


EXTREMES = ("Line", "Lowest", "Mean", "Highest")


def _summary(reader: Reader, found: dict[str, Series]) -> Component:
    rows = [[formats.measurement(name), *extremes(series, reader.units[name])] for name, series in found.items()]
    return table("Lowest, mean and highest in this time", EXTREMES, rows, (1, 2, 3))


def extremes(series: Series, unit: str) -> list[str]:
    """Return the lowest, the mean and the highest value as text."""
    if not len(series) or np.isnan(series.mean).all():
        return [formats.NONE] * 3
    values = np.nanmin(series.low), np.nanmean(series.mean), np.nanmax(series.high)
    return [formats.number(float(value), unit, 4) for value in values]


def _events(reader: Reader, events: list[EventRow], day: date, url: PageUrl) -> Component:
    if not events:
        return empty("No events in this time.")
    rows = [
        [
            link(formats.moment(event["start"]), around(event).applied_to(url)),
            badge(event["severity"]),
            describe(event, day, reader.units),
            event["evidence"] or formats.NONE,
            f"by {event['by']}" if event["by"] else link("Acknowledge", _acknowledge(event), "button"),
        ]
        for event in events[:50]
    ]
    return table("Events, newest first", ("Began", "Severity", "What", "Evidence", "Acknowledged"), rows)


def around(event: EventRow) -> Window:
    """Return the time of an event with an hour on both sides; of one that lasts, its first hours."""
    margin = timedelta(hours=1)
    return Window(event["start"] - margin, (event["end"] or event["start"] + 5 * margin) + margin)


def _acknowledge(event: EventRow) -> PageUrl:
    return PageUrl("/events", {"ack": event["event_id"], "day": event["event_id"][:10]})


def _trends(reader: Reader, equipment_id: str) -> list[Component]:
    parts: list[Component] = []
    for trend in reader.trends(equipment_id):
        name = trend["measurement"]
        since = trend["as_of"].date() - timedelta(days=MOST_DAYS - 1)
        days = reader.machine_days(equipment_id, since, trend["as_of"].date())
        history = [
            (datetime.combine(row["day"], time(12), UTC), row["means"][name])
            for row in days
            if row["means"] and row["means"].get(name) is not None
        ]
        unit = reader.units.get(name, "")
        text = (
            f"{formats.measurement(name).capitalize()} is {formats.number(trend['value'], unit)} and changes by"
            f" {formats.number(trend['per_day'], unit)} a day: "
            + (forecast(trend, trend["as_of"], reader.units) if trend["reached"] else "no threshold is in reach")
            + f". The band is the 80 % confidence interval. {trend['evidence'] or ''}"
        )
        parts.append(
            card(
                f"Trend of {formats.measurement(name)}",
                chart(f"trend-{name}", charts.growth(history, trend, unit), text),
            )
        )
    return parts


def _days(days: list[MachineDay], url: PageUrl) -> list[Component]:
    if not days:
        return [empty("No analysed day in this time: run `etl analyze`.")]
    rows = []
    for row in reversed(days):
        start = day_start(row["day"])
        rows.append(
            [
                link(formats.calendar_day(row["day"]), Window(start, start + timedelta(days=1)).applied_to(url)),
                states(row),
                formats.share(row["utilisation"]),
                formats.energy(row["energy_kwh"]),
                formats.energy(row["idle_energy_kwh"]),
                formats.number(row["power_factor"]),
                formats.length(row["voltage_outside_seconds"]),
                formats.length(row["frequency_outside_seconds"]),
                formats.number(row["efficiency"], digits=2),
            ]
        )
    headings = (
        "Day (UTC)",
        "States",
        "Utilisation",
        "Energy",
        "Idle energy",
        "Power factor",
        "Voltage outside",
        "Frequency outside",
        "Efficiency",
    )
    return [legend(STATES), table("Days, newest first, at most 31", headings, rows, range(2, 9))]


def _heat(reader: Reader, equipment_id: str, end: datetime) -> list[Component]:
    rows = reader.hours(equipment_id, end - timedelta(days=HEAT_DAYS), end, ["energy_kwh"])
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in rows:
        if row["energy_kwh"] is not None:
            cells[row["hour"].weekday(), row["hour"].hour].append(row["energy_kwh"])
    if not rows:
        return [empty("No analysed hours in the last four weeks.")]
    if not cells:
        return [empty("The energy of this machine is not measured.")]
    means = {key: sum(values) / len(values) for key, values in cells.items()}
    most = max(means.values()) or 1.0
    lines = [
        [
            WEEKDAYS[weekday],
            *(_cell(means.get((weekday, hour)), most) for hour in range(24)),
        ]
        for weekday in range(7)
    ]
    last = (end - timedelta(microseconds=1)).date()
    caption = f"Mean kWh by weekday and hour (UTC), four weeks up to {formats.calendar_day(last)}"
    return [html.Div(table(caption, ("Day", *(f"{hour:02d}" for hour in range(24))), lines), className="heat")]


def _cell(value: float | None, most: float) -> Component:
    if value is None:
        return html.Span(formats.NONE, className="h")
    step = min(int(value / most * _HEAT_STEPS), _HEAT_STEPS - 1)
    return html.Span(formats.number(value, digits=2), className=f"h h{step}")
