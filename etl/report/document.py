"""The report as one HTML document without external files."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import cast

from etl.report import svg
from etl.report.data import AHEAD, MOST_TRENDS, ReportData, trend_key
from etl.results import formats
from etl.results.energy import by_day
from etl.results.ranking import (
    ACKNOWLEDGED,
    ACKNOWLEDGING,
    FINE,
    ICONS,
    WORST_FIRST,
    Judged,
    describe,
    forecast,
    summary,
)
from etl.results.rows import FleetDay, HealthRow
from etl.results.sums import NOT_MEASURED, lag_of, left_out, mean, quotient, total, total_of

MOST_FIRST = 10
MOST_RANKED = 40
MOST_WASTERS = 15
MOST_EVENTS = 60
GLOSSARY = {
    "Acknowledged": f"A person has stated on the page that they know of the event and take care of it. {ACKNOWLEDGING}",
    "Dead letter": "A message that could not be used. It is kept with the reason, and can be replayed.",
    "Efficiency": "An index from 0 to 100 for a day: 100 minus points for idle time, missing readings, a low power "
    "factor, overload, bad supply, vibration and heat. It compares a machine with itself, not with other kinds.",
    "EN 50160": "The European standard of what a supplier of electricity delivers: voltage within 10 %, and frequency "
    "within 1 % of the nominal one.",
    "Event": "Something that differs from what the machine's own past and its load explain, with a begin and an end.",
    "Forecast": "A trend, continued in a straight line. In 80 of 100 cases it reaches its threshold between the "
    "earliest and the latest day.",
    "Idle": "The machine is switched on but does no work. Idle energy is used while it is idle or off.",
    "kWh, MWh": "Kilowatt-hour: what a machine of one kilowatt uses in an hour. A MWh is 1,000 of them.",
    "Lag": "Messages that are still waiting to be read from the topic, where machines put them.",
    "Power factor": "The part of the current that does work, from 0 to 1. Below 0.9 most suppliers charge it.",
    "Severity": "Severe: act now. Moderate: plan for it. Mild: know about it.",
    "Utilisation": "The share of the day in which the machine worked.",
    "Vibration": "Speed of vibration in mm/s. ISO 20816-3 divides it into zones: A is new, D is dangerous.",
}


def as_html(data: ReportData, now: datetime) -> str:
    """Return the report as one HTML document without external files."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    first, last = data.days[0], data.days[-1]
    span = (
        formats.calendar_day(last)
        if first == last
        else f"{formats.calendar_day(first)} to {formats.calendar_day(last)}"
    )
    parts = [
        f"<h1>Machines from {span}</h1>" if first != last else f"<h1>Machines on {span}</h1>",
        f'<p class="soft">Made {formats.moment(now)} by sensor-etl. All days and times are UTC.</p>',
        _attention(data),
        _figures(data),
        _ranked(data),
        _energy(data),
        _events(data),
        _trends(data),
        _quality(data),
        _glossary(),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Machines, {span}</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _attention(data: ReportData) -> str:
    urgent = [machine for machine in data.judged if machine.level != FINE]
    lines = [
        f'<li class="{machine.level}">{_badge(machine.attention)} <strong>{escape(machine.name)}</strong>'
        f' <span class="soft">{escape(machine.equipment_id)}</span>{_reasons(machine)}</li>'
        for machine in urgent[:MOST_FIRST]
    ]
    more = len(urgent) - len(lines)
    rest = f'<p class="soft">{more:,} more are in the ranking below.</p>' if more > 0 else ""
    listed = f'<ol class="first">{"".join(lines)}</ol>' if lines else ""
    return f'<h2>What needs attention first</h2><p class="lead">{escape(summary(data.judged))}</p>{listed}{rest}'


def _badge(level: str | None) -> str:
    name = FINE if level == ACKNOWLEDGED else level if level in ICONS else "mild"
    return f'<span class="badge {name}">{ICONS[name]} {escape(level or "")}</span>'


def _reasons(machine: Judged) -> str:
    return f"<ul>{''.join(f'<li>{escape(concern.text)}</li>' for concern in machine.concerns)}</ul>"


def _figures(data: ReportData) -> str:
    kwh, idle = (total_of(getattr(use, name) for use in data.uses) for name in ("kwh", "idle_kwh"))
    received = quotient(total(data.rows, "received"), total(data.rows, "expected"))
    energy_note = f"{formats.share(quotient(idle, kwh))} of it idle" if kwh is not None else ""
    utilisation = mean(data.rows, "utilisation")
    unseen = sum(event["by"] is None for event in data.events)
    stats = [
        (
            "Machines",
            formats.number(len(data.judged), digits=9),
            f"over {formats.count(len(data.days), 'day')}",
        ),
        (
            "Utilisation",
            formats.share(utilisation),
            NOT_MEASURED if utilisation is None else "mean of all machines and days that measure it",
        ),
        (
            "Energy",
            formats.energy(kwh),
            ", ".join(filter(None, [energy_note, left_out([use.kwh for use in data.uses])])),
        ),
        ("Events", f"{len(data.events):,}", f"{unseen:,} not acknowledged"),
        ("Readings received", formats.share(received), "of those expected"),
    ]
    boxes = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in stats)
    return f'<h2>In figures</h2><dl class="stats">{boxes}</dl>'


def _sum(rows: Iterable[FleetDay], name: str) -> float:
    """Return the sum of counts; a day without a row has none."""
    return total(rows, name) or 0.0


def _table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = ()) -> str:
    """Return a table; the cells are already HTML."""
    right = set(numeric)
    marks = ["class='num'" if i in right else "" for i in range(len(headings))]
    head = "".join(f'<th scope="col" {mark}>{text}</th>' for text, mark in zip(headings, marks, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{cell}</th>' if i == 0 else f"<td {marks[i]}>{cell}</td>" for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _ranked(data: ReportData) -> str:
    by_id = {use.equipment_id: use for use in data.uses}
    rows = [
        [
            escape(machine.name),
            _badge(machine.attention),
            escape("; ".join(concern.text for concern in machine.concerns) or formats.NONE),
            formats.share(machine.row["utilisation"]),
            formats.energy(by_id[machine.equipment_id].kwh),
            formats.number(machine.row["efficiency"], digits=2),
        ]
        for machine in data.judged[:MOST_RANKED]
    ]
    left = len(data.judged) - len(rows)
    caption = "Utilisation and efficiency are those of the last day, energy is that of all days." + (
        f" {left:,} machines that need less attention are left out." if left else ""
    )
    headings = ("Machine", "Attention", "Why", "Utilisation", "Energy", "Efficiency")
    return f"<h2>Machines, ranked</h2>{_table(caption, headings, rows, (3, 4, 5))}"


def _energy(data: ReportData) -> str:
    kwh, lost = (total_of(getattr(use, name) for use in data.uses) for name in ("kwh", "idle_kwh"))
    if kwh is None:
        return "<h2>Energy and idle waste</h2><p>No machine measures energy.</p>"
    text = f"The machines used {formats.energy(kwh)}."
    if lost is not None:
        share = formats.share(quotient(lost, kwh))
        text += f" {formats.energy(lost)} ({share}) was idle energy."
    missing = sum(use.kwh is None for use in data.uses)
    if missing:
        text += f" {missing:,} of {len(data.uses):,} machines do not measure it and are left out."
    useful, idle = zip(*by_day(data.rows, data.days).values(), strict=True)
    parts = [("useful", [value or 0.0 for value in useful]), ("idle", [value or 0.0 for value in idle])]
    chart = svg.bars([f"{day:%-d %b}" for day in data.days], parts, "kWh", text)
    key = '<span class="key"><i style="background:#2b83ba"></i>useful<i style="background:#e0a33e"></i>idle</span>'
    rows = [
        [
            escape(use.name),
            formats.energy(use.idle_kwh),
            formats.share(use.idle_share),
            formats.energy(use.kwh),
            formats.length(use.idle_seconds),
        ]
        for use in [use for use in data.uses if use.kwh is not None][:MOST_WASTERS]
    ]
    headings = ("Machine", "Idle energy", "of its energy", "Energy", "Idle time")
    return (
        f"<h2>Energy and idle waste</h2><p>{text}</p><figure>{chart}"
        f"<figcaption>Energy by day {key}</figcaption></figure>"
        + _table("Machines with the most idle energy", headings, rows, (1, 2, 3, 4))
    )


def _events(data: ReportData) -> str:
    if not data.events:
        return "<h2>Events</h2><p>There was no event in this time.</p>"
    counts = Counter((event["kind"], event["severity"]) for event in data.events)
    kinds = Counter(event["kind"] for event in data.events)
    table = [
        [escape(formats.kind(kind)), *(f"{counts[kind, severity]:,}" for severity in WORST_FIRST), f"{total:,}"]
        for kind, total in kinds.most_common()
    ]
    rows = [
        [
            formats.moment(event["start"]),
            _badge(event["severity"]),
            data.name_of(event["equipment_id"]),
            escape(describe(event, event["start"].date(), data.units)),
            escape(f"{event['by']}{': ' + event['note'] if event['note'] else ''}" if event["by"] else "nobody yet"),
        ]
        for event in data.events[:MOST_EVENTS]
    ]
    left = len(data.events) - len(rows)
    caption = "The worst first." + (f" {left:,} more are left out: the page shows all." if left else "")
    return (
        "<h2>Events</h2>"
        + _table("How many of each kind", ("Kind", *WORST_FIRST, "all"), table, (1, 2, 3, 4))
        + _table(caption, ("Began", "Severity", "Machine", "What", "Acknowledged by"), rows)
    )


def _trends(data: ReportData) -> str:
    if not data.trends:
        return f"<h2>Trends</h2><p>Nothing reaches a threshold in the next {AHEAD.days} days.</p>"
    parts = [f"<h2>Trends</h2><p>{len(data.trends):,} measurements reach a threshold in {AHEAD.days} days.</p>"]
    for trend in data.trends[:MOST_TRENDS]:
        unit = data.units.get(trend["measurement"], "")
        text = (
            f"{forecast(trend, data.end, data.units)}. It is {formats.number(trend['value'], unit)} now"
            f" and changes by {formats.number(trend['per_day'], unit)} a day."
        )
        # The data of a report has only trends that reach their threshold.
        reached = cast(datetime, trend["reached"])
        bounds = trend["earliest"] or reached, trend["latest"] or reached
        now, then = (trend["as_of"], trend["value"]), (reached, trend["threshold"])
        chart = svg.growth(data.histories[trend_key(trend)], now, then, bounds, unit, text)
        name = data.name_of(trend["equipment_id"])
        parts.append(f"<figure>{chart}<figcaption><strong>{name}</strong>: {escape(text)}</figcaption></figure>")
    others = data.trends[MOST_TRENDS:]
    if others:
        rows = [
            [
                data.name_of(trend["equipment_id"]),
                escape(forecast(trend, data.end, data.units)),
            ]
            for trend in others[:MOST_RANKED]
        ]
        parts.append(_table("Further ones, the nearest first", ("Machine", "What"), rows))
    return "".join(parts)


def _quality(data: ReportData) -> str:
    expected = {day: _sum((row for row in data.rows if row["day"] == day), "expected") for day in data.days}
    received = {day: _sum((row for row in data.rows if row["day"] == day), "received") for day in data.days}
    known, missing = (
        [received[day] for day in data.days],
        [max(expected[day] - received[day], 0) for day in data.days],
    )
    wanted = sum(expected.values())
    bad = formats.number(_sum(data.rows, "bad"), digits=9)
    text = (
        f"{formats.share(sum(known) / wanted if wanted else None)} of the expected readings arrived."
        f" {bad} of them held a value that no sensor can put out."
    )
    names = [f"{day:%-d %b}" for day in data.days]
    chart = svg.bars(names, [("received", known), ("absent", missing)], "", text)
    key = '<span class="key"><i style="background:#2b83ba"></i>received<i style="background:#d9730d"></i>missing</span>'
    return (
        f"<h2>Data quality</h2><p>{text}</p><figure>{chart}<figcaption>Readings by day {key}</figcaption></figure>"
        + _fewest(data)
        + _health(data.health)
    )


def _fewest(data: ReportData) -> str:
    sums: dict[str, list[float]] = {}
    for row in data.rows:
        entry = sums.setdefault(row["equipment_id"], [0.0, 0.0])
        entry[0] += row["received"] or 0
        entry[1] += row["expected"] or 0
    shares = sorted((got / wanted, name) for name, (got, wanted) in sums.items() if wanted and got / wanted < 0.95)
    if not shares:
        return "<p>Every machine sent at least 95 % of what was expected.</p>"
    rows = [[data.name_of(name), formats.share(share)] for share, name in shares[:MOST_WASTERS]]
    return _table("Machines with fewest readings", ("Machine", "Readings received"), rows, (1,))


def _health(health: HealthRow | None) -> str:
    if health is None:
        return "<p>The pipeline was not measured on the last day.</p>"
    return (
        f"<p>Pipeline at {formats.moment(health['at'])}: {formats.number(lag_of(health), digits=9)} messages waiting,"
        f" {formats.number(health['dead_letters'], digits=9)} dead letters, newest reading"
        f" {formats.moment(health['newest'])}, the machine furthest behind {formats.moment(health['oldest'])}.</p>"
    )


def _glossary() -> str:
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in GLOSSARY.items())
    return f'<h2>Glossary</h2><dl class="glossary">{terms}</dl>'
