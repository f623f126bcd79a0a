"""`etl report`: the results of some days in one file, for readers who do not know the system."""

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from html import escape
from pathlib import Path

from etl.cassandra.connection import connect
from etl.errors import SettingsError
from etl.model.measurements import read_measurements
from etl.model.tables import days_between
from etl.report import svg
from etl.results import format as written
from etl.results.energy import EnergyUse, by_day, uses
from etl.results.ranking import (
    ACKNOWLEDGED,
    ACKNOWLEDGING,
    FINE,
    ICONS,
    SEVERITIES,
    Judged,
    Row,
    describe,
    forecast,
    judge,
    rank,
    summary,
)
from etl.results.reader import Reader
from etl.results.sums import NOT_MEASURED, lag_of, left_out, mean, quotient, total, total_of
from etl.settings import CassandraSettings, ReportSettings, RunSettings, read_settings

MOST_DAYS = 92
MOST_FIRST = 10
MOST_RANKED = 40
MOST_WASTERS = 15
MOST_EVENTS = 60
MOST_TRENDS = 5
HISTORY = timedelta(days=30)
AHEAD = timedelta(days=90)
PDF_SECONDS = 120
_BROWSERS = ("chromium", "google-chrome", "chromium-browser", "chrome")

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


@dataclass(frozen=True)
class Material:
    """The data of a report."""

    days: list[date]
    judged: list[Judged]
    rows: list[Row]
    uses: list[EnergyUse]
    events: list[Row]
    trends: list[Row]
    histories: dict[tuple[str, str], list[tuple[datetime, float]]]
    health: Row | None
    units: dict[str, str]

    def name_of(self, equipment_id: str) -> str:
        """Return the name of a machine as HTML."""
        names = (machine.name for machine in self.judged if machine.equipment_id == equipment_id)
        return escape(next(names, equipment_id))

    @property
    def end(self) -> datetime:
        """The end of the last day."""
        return datetime.combine(self.days[-1] + timedelta(days=1), time(), UTC)


def report(first: date, last: date, output: Path, *, pdf: bool = False) -> str:
    """Write the report of these days; return a line about it.

    Raises:
        SettingsError: the days, the file or a program cannot be used, or there is no data.
        Unreachable: Cassandra does not answer.
    """
    if not 0 <= (last - first).days < MOST_DAYS:
        raise SettingsError(f"--from {first} --to {last}: choose from 1 to {MOST_DAYS} days")
    browser = find_browser(read_settings(ReportSettings)) if pdf else ""
    measurements = read_measurements(read_settings(RunSettings).measurements_file)
    with connect(read_settings(CassandraSettings)) as session:
        material = gathered(Reader(session, measurements), days_between(first, last))
    text = as_html(material, datetime.now(UTC))
    try:
        if pdf:
            print_pdf(browser, text, output)
        else:
            output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--output {output} cannot be written: {error.strerror}") from error
    return f"{output}: {written.count(len(material.judged), 'machine')}, {written.count(len(material.events), 'event')}"


def gathered(reader: Reader, days: list[date]) -> Material:
    """Read the data of the report."""
    by_day = {day: rows for day in days if (rows := reader.fleet(day))}
    if not by_day:
        raise SettingsError(_no_data(reader, days))
    newest = max(by_day)
    events = _events_in(reader, days, by_day)
    ends = datetime.combine(newest + timedelta(days=1), time(), UTC)
    trends = sorted(
        (trend for trend in reader.trends() if trend["reached"] and trend["reached"] <= ends + AHEAD),
        key=lambda trend: (trend["reached"], trend["equipment_id"]),
    )
    last = {row["equipment_id"]: row for rows in by_day.values() for row in rows}
    health = reader.health(days[-1], 1) or reader.health(newest, 1)
    return Material(
        days=days,
        judged=judge(with_worst(last.values(), events), events, trends, newest, reader.units),
        rows=[row for rows in by_day.values() for row in rows],
        uses=uses(row for rows in by_day.values() for row in rows),
        events=sorted(events, key=lambda event: (rank(event["severity"]), event["start"])),
        trends=trends,
        histories={_key(trend): _history(reader, trend) for trend in trends[:MOST_TRENDS]},
        health=health[0] if health else None,
        units=reader.units,
    )


def _no_data(reader: Reader, days: list[date]) -> str:
    newest = reader.newest_day(datetime.now(UTC).date())
    there = f"choose other days, the newest analysed one is {newest}" if newest else "run `etl analyze` first"
    return f"no analysed data from {days[0]} to {days[-1]}: {there}"


def _events_in(reader: Reader, days: list[date], by_day: Mapping[date, list[Row]]) -> list[Row]:
    """Read the events that began on these days, or began before and lasted into them."""
    start = datetime.combine(days[0], time(), UTC)
    machines = {row["equipment_id"] for rows in by_day.values() for row in rows if row["events"]}
    lasting = reader.lasting_events(sorted(machines), start, start + timedelta(days=len(days)))
    return list({event["event_id"]: event for event in [*lasting, *reader.events(days)]}.values())


def with_worst(rows: Iterable[Row], events: Iterable[Row]) -> list[Row]:
    """Return machines with their worst event of all days, an unacknowledged one if there is any."""
    own: dict[str, list[Row]] = {}
    for event in events:
        own.setdefault(event["equipment_id"], []).append(event)
    found = []
    for row in rows:
        theirs = own.get(row["equipment_id"], [])
        worst = min(theirs, key=lambda event: (event["by"] is not None, rank(event["severity"])), default=None)
        names = {"worst_event": "event_id", "worst_kind": "kind", "worst_severity": "severity"}
        found.append({**row, "events": len(theirs)} | {name: worst and worst[key] for name, key in names.items()})
    return found


def _key(trend: Row) -> tuple[str, str]:
    return trend["equipment_id"], trend["measurement"]


def _history(reader: Reader, trend: Row) -> list[tuple[datetime, float]]:
    until = trend["as_of"]
    days = reader.machine_days(trend["equipment_id"], (until - HISTORY).date(), until.date())
    means = [(row["day"], (row["means"] or {}).get(trend["measurement"])) for row in days]
    return [(datetime.combine(day, time(12), UTC), mean) for day, mean in means if mean is not None]


def as_html(material: Material, now: datetime) -> str:
    """Return the report as one HTML document without external files."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    first, last = material.days[0], material.days[-1]
    span = (
        written.calendar_day(last)
        if first == last
        else f"{written.calendar_day(first)} to {written.calendar_day(last)}"
    )
    parts = [
        f"<h1>Machines from {span}</h1>" if first != last else f"<h1>Machines on {span}</h1>",
        f'<p class="soft">Made {written.moment(now)} by sensor-etl. All days and times are UTC.</p>',
        _attention(material),
        _figures(material),
        _ranked(material),
        _energy(material),
        _events(material),
        _trends(material),
        _quality(material),
        _glossary(),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Machines, {span}</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _attention(material: Material) -> str:
    urgent = [machine for machine in material.judged if machine.level != FINE]
    lines = [
        f'<li class="{machine.level}">{_badge(machine.attention)} <strong>{escape(machine.name)}</strong>'
        f' <span class="soft">{escape(machine.equipment_id)}</span>{_reasons(machine)}</li>'
        for machine in urgent[:MOST_FIRST]
    ]
    more = len(urgent) - len(lines)
    rest = f'<p class="soft">{more:,} more are in the ranking below.</p>' if more > 0 else ""
    listed = f'<ol class="first">{"".join(lines)}</ol>' if lines else ""
    return f'<h2>What needs attention first</h2><p class="lead">{escape(summary(material.judged))}</p>{listed}{rest}'


def _badge(level: str | None) -> str:
    name = FINE if level == ACKNOWLEDGED else level if level in ICONS else "mild"
    return f'<span class="badge {name}">{ICONS[name]} {escape(level or "")}</span>'


def _reasons(machine: Judged) -> str:
    return f"<ul>{''.join(f'<li>{escape(concern.text)}</li>' for concern in machine.concerns)}</ul>"


def _figures(material: Material) -> str:
    kwh, idle = (total_of(getattr(use, name) for use in material.uses) for name in ("kwh", "idle_kwh"))
    received = quotient(total(material.rows, "received"), total(material.rows, "expected"))
    energy_note = f"{written.share(quotient(idle, kwh))} of it idle" if kwh is not None else ""
    utilisation = mean(material.rows, "utilisation")
    unseen = sum(event["by"] is None for event in material.events)
    stats = [
        (
            "Machines",
            written.number(len(material.judged), digits=9),
            f"over {written.count(len(material.days), 'day')}",
        ),
        (
            "Utilisation",
            written.share(utilisation),
            NOT_MEASURED if utilisation is None else "mean of all machines and days that measure it",
        ),
        (
            "Energy",
            written.energy(kwh),
            ", ".join(filter(None, [energy_note, left_out([use.kwh for use in material.uses])])),
        ),
        ("Events", f"{len(material.events):,}", f"{unseen:,} not acknowledged"),
        ("Readings received", written.share(received), "of those expected"),
    ]
    boxes = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in stats)
    return f'<h2>In figures</h2><dl class="stats">{boxes}</dl>'


def _sum(rows: Iterable[Row], name: str) -> float:
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


def _ranked(material: Material) -> str:
    by_id = {use.equipment_id: use for use in material.uses}
    rows = [
        [
            escape(machine.name),
            _badge(machine.attention),
            escape("; ".join(concern.text for concern in machine.concerns) or written.NONE),
            written.share(machine.row["utilisation"]),
            written.energy(by_id[machine.equipment_id].kwh),
            written.number(machine.row["efficiency"], digits=2),
        ]
        for machine in material.judged[:MOST_RANKED]
    ]
    left = len(material.judged) - len(rows)
    caption = "Utilisation and efficiency are those of the last day, energy is that of all days." + (
        f" {left:,} machines that need less attention are left out." if left else ""
    )
    headings = ("Machine", "Attention", "Why", "Utilisation", "Energy", "Efficiency")
    return f"<h2>Machines, ranked</h2>{_table(caption, headings, rows, (3, 4, 5))}"


def _energy(material: Material) -> str:
    kwh, lost = (total_of(getattr(use, name) for use in material.uses) for name in ("kwh", "idle_kwh"))
    if kwh is None:
        return "<h2>Energy and idle waste</h2><p>No machine measures energy.</p>"
    text = f"The machines used {written.energy(kwh)}."
    if lost is not None:
        share = written.share(quotient(lost, kwh))
        text += f" {written.energy(lost)} ({share}) was idle energy."
    missing = sum(use.kwh is None for use in material.uses)
    if missing:
        text += f" {missing:,} of {len(material.uses):,} machines do not measure it and are left out."
    useful, idle = zip(*by_day(material.rows, material.days).values(), strict=True)
    parts = [("useful", [value or 0.0 for value in useful]), ("idle", [value or 0.0 for value in idle])]
    chart = svg.bars([f"{day:%-d %b}" for day in material.days], parts, "kWh", text)
    key = '<span class="key"><i style="background:#2b83ba"></i>useful<i style="background:#e0a33e"></i>idle</span>'
    rows = [
        [
            escape(use.name),
            written.energy(use.idle_kwh),
            written.share(use.idle_share),
            written.energy(use.kwh),
            written.length(use.idle_seconds),
        ]
        for use in [use for use in material.uses if use.kwh is not None][:MOST_WASTERS]
    ]
    headings = ("Machine", "Idle energy", "of its energy", "Energy", "Idle time")
    return (
        f"<h2>Energy and idle waste</h2><p>{text}</p><figure>{chart}"
        f"<figcaption>Energy by day {key}</figcaption></figure>"
        + _table("Machines that waste most", headings, rows, (1, 2, 3, 4))
    )


def _events(material: Material) -> str:
    if not material.events:
        return "<h2>Events</h2><p>There was no event in this time.</p>"
    counts = Counter((event["kind"], event["severity"]) for event in material.events)
    kinds = Counter(event["kind"] for event in material.events)
    table = [
        [escape(written.kind(kind)), *(f"{counts[kind, severity]:,}" for severity in SEVERITIES), f"{total:,}"]
        for kind, total in kinds.most_common()
    ]
    rows = [
        [
            written.moment(event["start"]),
            _badge(event["severity"]),
            material.name_of(event["equipment_id"]),
            escape(describe(event, event["start"].date(), material.units)),
            escape(f"{event['by']}{': ' + event['note'] if event['note'] else ''}" if event["by"] else "nobody yet"),
        ]
        for event in material.events[:MOST_EVENTS]
    ]
    left = len(material.events) - len(rows)
    caption = "The worst first." + (f" {left:,} more are left out: the page shows all." if left else "")
    return (
        "<h2>Events</h2>"
        + _table("How many of each kind", ("Kind", *SEVERITIES, "all"), table, (1, 2, 3, 4))
        + _table(caption, ("Began", "Severity", "Machine", "What", "Acknowledged by"), rows)
    )


def _trends(material: Material) -> str:
    if not material.trends:
        return f"<h2>Trends</h2><p>Nothing reaches a threshold in the next {AHEAD.days} days.</p>"
    parts = [f"<h2>Trends</h2><p>{len(material.trends):,} measurements reach a threshold in {AHEAD.days} days.</p>"]
    for trend in material.trends[:MOST_TRENDS]:
        unit = material.units.get(trend["measurement"], "")
        text = (
            f"{forecast(trend, material.end, material.units)}. It is {written.number(trend['value'], unit)} now"
            f" and changes by {written.number(trend['per_day'], unit)} a day."
        )
        bounds = trend["earliest"] or trend["reached"], trend["latest"] or trend["reached"]
        now, then = (trend["as_of"], trend["value"]), (trend["reached"], trend["threshold"])
        chart = svg.growth(material.histories[_key(trend)], now, then, bounds, unit, text)
        name = material.name_of(trend["equipment_id"])
        parts.append(f"<figure>{chart}<figcaption><strong>{name}</strong>: {escape(text)}</figcaption></figure>")
    others = material.trends[MOST_TRENDS:]
    if others:
        rows = [
            [
                material.name_of(trend["equipment_id"]),
                escape(forecast(trend, material.end, material.units)),
            ]
            for trend in others[:MOST_RANKED]
        ]
        parts.append(_table("Further ones, the nearest first", ("Machine", "What"), rows))
    return "".join(parts)


def _quality(material: Material) -> str:
    expected = {day: _sum((row for row in material.rows if row["day"] == day), "expected") for day in material.days}
    received = {day: _sum((row for row in material.rows if row["day"] == day), "received") for day in material.days}
    known, missing = (
        [received[day] for day in material.days],
        [max(expected[day] - received[day], 0) for day in material.days],
    )
    wanted = sum(expected.values())
    bad = written.number(_sum(material.rows, "bad"), digits=9)
    text = (
        f"{written.share(sum(known) / wanted if wanted else None)} of the expected readings arrived."
        f" {bad} of them held a value that no sensor can put out."
    )
    names = [f"{day:%-d %b}" for day in material.days]
    chart = svg.bars(names, [("received", known), ("absent", missing)], "", text)
    key = '<span class="key"><i style="background:#2b83ba"></i>received<i style="background:#d9730d"></i>missing</span>'
    return (
        f"<h2>Data quality</h2><p>{text}</p><figure>{chart}<figcaption>Readings by day {key}</figcaption></figure>"
        + _fewest(material)
        + _health(material.health)
    )


def _fewest(material: Material) -> str:
    sums: dict[str, list[float]] = {}
    for row in material.rows:
        entry = sums.setdefault(row["equipment_id"], [0.0, 0.0])
        entry[0] += row["received"] or 0
        entry[1] += row["expected"] or 0
    shares = sorted((got / wanted, name) for name, (got, wanted) in sums.items() if wanted and got / wanted < 0.95)
    if not shares:
        return "<p>Every machine sent at least 95 % of what was expected.</p>"
    rows = [[material.name_of(name), written.share(share)] for share, name in shares[:MOST_WASTERS]]
    return _table("Machines with fewest readings", ("Machine", "Readings received"), rows, (1,))


def _health(health: Row | None) -> str:
    if health is None:
        return "<p>The pipeline was not measured on the last day.</p>"
    return (
        f"<p>Pipeline at {written.moment(health['at'])}: {written.number(lag_of(health), digits=9)} messages waiting,"
        f" {written.number(health['dead_letters'], digits=9)} dead letters, newest reading"
        f" {written.moment(health['newest'])}, the machine furthest behind {written.moment(health['oldest'])}.</p>"
    )


def _glossary() -> str:
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in GLOSSARY.items())
    return f'<h2>Words used here</h2><dl class="glossary">{terms}</dl>'


def find_browser(settings: ReportSettings) -> str:
    """Return the path of the program that prints PDF.

    Raises:
        SettingsError: it is not installed.
    """
    wanted = [settings.chromium] if settings.chromium else _BROWSERS
    found = next(filter(None, map(shutil.which, wanted)), None)
    if found is None:
        raise SettingsError(
            f"--pdf needs Chromium, and there is no {' or '.join(wanted)}: install it, or set ETL_REPORT_CHROMIUM"
        )
    return found


def print_pdf(browser: str, text: str, output: Path) -> None:
    """Print a document to a PDF file.

    Raises:
        SettingsError: the browser fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        page.write_text(text, encoding="utf-8")
        command = [browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command += ["--disable-background-networking", f"--user-data-dir={folder}/profile", "--no-pdf-header-footer"]
        # Chromium has no sandbox for root. The document comes from this code and has no scripts.
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        printed = Path(folder, "report.pdf")
        try:
            done = subprocess.run(
                [*command, f"--print-to-pdf={printed}", page.as_uri()],
                capture_output=True,
                timeout=PDF_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SettingsError(f"{browser} did not print within {PDF_SECONDS} s: try it by hand") from None
        if not printed.exists():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise SettingsError(f"{browser} ended with {done.returncode} and printed nothing: {' '.join(last)}")
        shutil.copyfile(printed, output)
