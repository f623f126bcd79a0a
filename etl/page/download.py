"""Download the rows of a view as a file, at most `MOST_ROWS` of them, streamed."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pyarrow.parquet as pq
from flask import Flask, Response, request

from etl.errors import EtlError
from etl.page.url import PageUrl, machine_of
from etl.page.views.compare import chosen_machines, days_by_machine, measurement_of
from etl.page.views.energy import matching as matching_uses
from etl.page.views.events import matching as matching_events
from etl.page.views.events import names_to_match
from etl.page.views.fleet import judged, matching
from etl.page.views.machine import days_in, measured, newest_of, read_finest, shown_measurements, window
from etl.page.views.pipeline import shown_day
from etl.page.window import day_of, days_of
from etl.results.energy import uses
from etl.results.reader import Reader
from etl.results.rows import Row
from etl.results.series import Series
from etl.results.sums import lags_of

MOST_ROWS = 100_000
_CHUNK_ROWS = 1_000
_CHUNK_BYTES = 64 * 1024
# A spreadsheet interprets text that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


def add_downloads(server: Flask, reader: Reader, today: Callable[[], date]) -> None:
    """Serve `/download/<what>.<csv|parquet>`, with the parameters of the view and its path as `path`."""

    @server.get("/download/<what>.<suffix>")
    def download(what: str, suffix: str) -> Response:
        if what not in _ROWS or suffix not in _TYPES:
            return Response("there is no such file: use the links on the page\n", 404)
        # Flask's own parameters refuse bytes that are not UTF-8.
        query = request.query_string.decode(errors="replace")
        url = PageUrl.of(next((value for name, value in parse_qsl(query) if name == "path"), None), query)
        try:
            rows = islice(_ROWS[what](reader, url, today()), MOST_ROWS)
            body = csv_of(rows) if suffix == "csv" else parquet_of(list(rows))
            first = next(body, b"")
        except EtlError as error:
            return Response(f"{error}\n", 503)
        name = f'attachment; filename="sensor-etl-{what}.{suffix}"'

        def stream() -> Iterator[bytes]:
            yield first
            yield from body

        return Response(stream(), mimetype=_TYPES[suffix], headers={"Content-Disposition": name})


def csv_of(rows: Iterator[Row]) -> Iterator[bytes]:
    """Return rows as CSV with a header; times have their zone."""
    header: list[str] = []
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        text = io.StringIO()
        writer = csv.writer(text)
        if not header:
            header = list(chunk[0])
            writer.writerow(header)
        writer.writerows([_cell(row[name]) for name in header] for row in chunk)
        yield text.getvalue().encode()


def parquet_of(rows: list[Row]) -> Iterator[bytes]:
    """Return rows as a Parquet file; the rows of a download fit into memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    body = sink.getvalue().to_pybytes()
    for first in range(0, len(body), _CHUNK_BYTES):
        yield body[first : first + _CHUNK_BYTES]


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _fleet(reader: Reader, url: PageUrl, today: date) -> Iterator[Row]:
    day = day_of(reader, url, today)
    for machine in matching(judged(reader, day), url) if day else []:
        reasons = machine.row.get("reasons")
        row = {**machine.row, "reasons": list(reasons)} if reasons else {**machine.row}
        yield {"attention": machine.attention, "why": machine.why, **row}


def _readings(reader: Reader, url: PageUrl, today: date) -> Iterator[Row]:
    equipment_id = machine_of(url.path) or ""
    seen = window(url, newest_of(reader, equipment_id, today))
    days = days_in(reader, equipment_id, seen)
    events = reader.machine_events(equipment_id, seen.start, seen.end)
    shown = shown_measurements(reader, url, measured(days), events)
    _, found = read_finest(reader, equipment_id, shown, seen)
    yield from _points({"equipment_id": equipment_id}, found)


def _compare(reader: Reader, url: PageUrl, today: date) -> Iterator[Row]:
    end = (reader.newest_day(today) or today) + timedelta(days=1)
    seen = window(url, datetime(end.year, end.month, end.day, tzinfo=UTC))
    machines = chosen_machines(reader, url)
    measurement = measurement_of(reader, url, days_by_machine(reader, machines, seen))
    for equipment_id in machines:
        found = read_finest(reader, equipment_id, [measurement], seen)[1]
        yield from _points({"equipment_id": equipment_id}, found)


def _points(key: Row, found: dict[str, Series]) -> Iterator[Row]:
    stamps = next(iter(found.values())).stamps.tolist()
    columns: dict[str, list[Any]] = {}
    for name, series in found.items():
        if series.low is series.mean:
            columns[name] = series.mean.tolist()
        else:
            parts = {"lowest": series.low, "mean": series.mean, "highest": series.high}
            columns |= {f"{name}_{part}": values.tolist() for part, values in parts.items()}
    for i, stamp in enumerate(stamps):
        values = {name: None if column[i] != column[i] else column[i] for name, column in columns.items()}
        yield {**key, "time": datetime.fromtimestamp(stamp / 1000, UTC), **values}


def _energy(reader: Reader, url: PageUrl, today: date) -> Iterator[Row]:
    last = day_of(reader, url, today)
    found = uses(reader.fleet_energy(days_of(url, last))) if last else []
    for use in matching_uses(found, url):
        yield {
            "equipment_id": use.equipment_id,
            "name": use.name,
            "energy_kwh": use.kwh,
            "idle_energy_kwh": use.idle_kwh,
            "idle_seconds": use.idle_seconds,
            "running_seconds": use.running_seconds,
        }


def _events(reader: Reader, url: PageUrl, today: date) -> Iterator[Row]:
    last = day_of(reader, url, today)
    found = reader.events(days_of(url, last)) if last else []
    for event in matching_events(found, url, names_to_match(reader, found, url)):
        yield {**event}


def _pipeline(reader: Reader, url: PageUrl, today: date) -> Iterator[Row]:
    for row in reader.health(shown_day(reader, url, today)):
        lags = ", ".join(f"{name}: {lag}" for name, lag in lags_of(row).items())
        yield {name: lags if name == "lags" else value for name, value in row.items() if name != "more_lags"}


_ROWS: dict[str, Callable[[Reader, PageUrl, date], Iterator[Row]]] = {
    "fleet": _fleet,
    "readings": _readings,
    "compare": _compare,
    "energy": _energy,
    "events": _events,
    "pipeline": _pipeline,
}
