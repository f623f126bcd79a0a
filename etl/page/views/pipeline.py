"""`/pipeline`: consumer lag, dead letters, watermarks and the last runs."""

from datetime import UTC, date, datetime, time

from dash import html
from dash.development.base_component import Component

from etl.page import charts
from etl.page.elements import View, card, chart, downloads, empty, stats, table
from etl.page.url import PageUrl
from etl.page.window import day_picker
from etl.results import formats
from etl.results.reader import Reader
from etl.results.rows import HealthRow
from etl.results.sums import lag_of, lags_of
from etl.run.ledger import LoadedRun, unmapped

RUNS = 10


def pipeline(reader: Reader, url: PageUrl, today: date) -> View:
    """Show the health of the pipeline on a day."""
    day = shown_day(reader, url, today)
    health = reader.health(day)
    runs = reader.runs(RUNS, datetime.combine(day, time(12), UTC))
    says = _says(health, day)
    children: list[Component] = [
        html.Header([html.H1("Pipeline health"), html.P(says, className="lead")]),
        html.Div([day_picker(url, day), downloads("pipeline", url)], className="filters", role="search"),
    ]
    if health:
        children += [_figures(health[0]), _lag(health)]
    else:
        children.append(empty("Nothing was measured on this day: `etl analyze` measures each time that it runs."))
    children.append(card("Last runs", _runs(runs)))
    children += _unmapped(runs)
    return View("Pipeline", says, children)


def shown_day(reader: Reader, url: PageUrl, today: date) -> date:
    """Return the day in a URL, else the newest one with a measurement, else today."""
    return url.day("day") or reader.newest_health_day(today) or today


def _says(health: list[HealthRow], day: date) -> str:
    if not health:
        return f"Nothing was measured on {formats.calendar_day(day)}."
    newest = health[0]
    lag = lag_of(newest)
    if lag is None:
        return f"The lag was not measured at {formats.moment(newest['at'])}."
    behind = "Nothing is waiting on the topic" if lag == 0 else f"{lag:,} offsets wait on the topic"
    return f"{behind}, as measured at {formats.moment(newest['at'])}."


def _figures(newest: HealthRow) -> Component:
    at = newest["at"]
    ends = {"oldest": newest["oldest"], "newest": newest["newest"]}
    since = {name: (at - end).total_seconds() if end else None for name, end in ends.items()}
    return stats(
        [
            ("Lag", formats.number(lag_of(newest), digits=9), f"offsets on {len(lags_of(newest))} partitions"),
            ("Dead letters", formats.number(newest["dead_letters"], digits=9), "on their topic"),
            ("Machines", formats.number(newest["equipment"], digits=9), "with a watermark"),
            (
                "Newest watermark",
                formats.clock(newest["newest"], at.date()),
                f"{formats.length(since['newest'])} before",
            ),
            (
                "Oldest watermark",
                formats.clock(newest["oldest"], at.date()),
                f"{formats.length(since['oldest'])} before",
            ),
        ]
    )


def _lag(health: list[HealthRow]) -> Component:
    rows = health[::-1]
    times = [row["at"] for row in rows]
    partitions = list(dict.fromkeys(partition for row in health for partition in lags_of(row)))
    lags = [lag_of(row) for row in rows]
    there = [lag for lag in lags if lag is not None]
    if not there:
        return card("Lag", empty("The lag was not measured on this day."))
    text = f"Lag over the day, {len(there)} measurements: from {min(there):,} to {max(there):,} offsets."
    newest = lags_of(rows[-1])
    now = [[f"partition {name}", formats.number(newest.get(name), digits=9)] for name in partitions]
    return html.Div(
        [
            card("Lag", chart("lag", charts.over_time(times, {"offsets": lags}, "offsets"), text)),
            card("Lag now", table("By partition of the topic", ("Partition", "Offsets"), now, (1,))),
        ],
        className="two",
    )


def _runs(runs: list[LoadedRun]) -> Component:
    if not runs:
        return empty("No run in this month and the previous one: `etl run` makes one.")
    rows = []
    for run in runs:
        for stage in run.stages:
            started = datetime.fromisoformat(stage.started)
            name = f"{stage.stage} {stage.shard + 1} of {stage.shards}" if stage.shards > 1 else stage.stage
            counts = ", ".join(f"{value:,} {label}" for label, value in stage.counts.items() if value)
            rows.append([run.run, name, formats.moment(started), formats.number(stage.seconds, "s"), counts])
    return table("Newest first", ("Run", "Stage", "Started", "Took", "Readings"), rows, (3,))


def _unmapped(runs: list[LoadedRun]) -> list[Component]:
    rows = [[run.run, text] for run, text in zip(runs, unmapped(runs), strict=True) if text]
    if not rows:
        return []
    title = "Elements by field, the newest run first"
    return [card("Fields that are not mapped", table(title, ("Run", "Fields"), rows))]
