"""The page without a browser: URLs, lines, order of attention, who may see it, and what protects it."""

import base64
import csv
import io
import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, cast

import numpy as np
import pytest
from dash import html
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from etl.errors import SettingsError, Unreachable
from etl.page import charts
from etl.page.app import steered, view_of
from etl.page.download import csv_of
from etl.page.elements import aria, bar, field, states
from etl.page.server import make_server
from etl.page.static_html import as_html, is_live
from etl.page.url import PageUrl, machine_of, machine_path
from etl.page.views.compare import measurement_of
from etl.page.views.energy import by_day, used, uses
from etl.page.views.machine import Window, read_finest, shown_measurements, window
from etl.results import formats
from etl.results.ranking import describe, in_day, judge, summary
from etl.results.reader import Reader, event_day
from etl.results.rows import EventRow
from etl.results.series import MOST_POINTS, Series, level_of, reduced, with_gaps
from etl.settings import PageSettings, read_settings

DAY = date(2026, 1, 5)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
PARAMETERS = st.dictionaries(st.text("abcdefg", min_size=1), st.text(max_size=50).map(str.strip).filter(bool))


def series(values: list[float], step: int = 1000) -> Series:
    array = np.array(values, dtype=float)
    return Series(np.arange(len(values), dtype=np.int64) * step, array, array, array)


class Silent:
    """A node that does not answer."""

    doubles = ("voltage",)

    def __getattr__(self, name: str) -> Any:
        def ask(*_: object) -> None:
            raise Unreachable("Cassandra cannot be reached")

        return ask


def client(**settings: Any) -> FlaskClient:
    return make_server(cast(Reader, Silent()), PageSettings(**settings)).test_client()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@given(PARAMETERS)
def test_place_stays_the_same_when_it_goes_through_the_url(parameters: dict[str, str]) -> None:
    place = PageUrl("/", parameters)
    assert PageUrl.of("/", place.search) == place
    assert PageUrl.of("/", place.search).href == place.href


def test_parameters_count_as_absent_when_they_cannot_be_used() -> None:
    place = PageUrl.of("/", "?day=2026-13-01&from=now&page=-3&severity=terrible&to=2026-01-05T06:00&days=9999")
    assert (place.day("day"), place.time("from")) == (None, None)
    assert (place.number("page", 1, 9), place.choice("severity", ["severe"])) == (1, "")
    assert place.time("to") == datetime(2026, 1, 5, 6, tzinfo=UTC)
    assert place.number("days", 7, 31) == 31


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40), unique=True))
def test_list_stays_the_same_when_it_goes_through_the_url(words: list[str]) -> None:
    place = PageUrl("/compare").replaced(machines=words[:4])
    assert place.words("machines") == words[:4]
    again = PageUrl.of("/compare", place.search)
    assert again.words("machines") == words[:4]
    assert again.search == place.search


@pytest.mark.parametrize("search", ["?machines=a%2Cb,c+d", "?machines=a%2Cb&machines=c%20d", "?machines=a%2cb,,c%20d,"])
def test_comma_parts_words_when_it_is_not_escaped(search: str) -> None:
    assert PageUrl.of("/compare", search).words("machines") == ["a,b", "c d"]


def test_url_holds_only_text_when_a_browser_sends_half_a_surrogate_pair() -> None:
    place = PageUrl.of("/machine/\ud800", "?text=\ud800&machines=a\udfff,b")
    assert place.href == "/machine/??machines=a%3F,b&text=%3F"
    assert place.replaced(text="\ud800").text("text") == "?"


def test_list_is_the_same_again_when_a_word_holds_the_separator() -> None:
    place = PageUrl.of("/compare", "?machines=%1Fa,b%1Fc")
    assert place.words("machines") == ["a", "b", "c"]
    assert PageUrl.of("/compare", place.search) == place


@pytest.mark.parametrize("query", ["text=\xff", "path=\xff&day=\xad"])
def test_download_is_answered_when_the_query_is_not_utf8(query: str) -> None:
    assert client().get("/download/fleet.csv", environ_overrides={"QUERY_STRING": query}).status_code == 503


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_day_counts_as_absent_when_nothing_is_before_or_after_it(day: str) -> None:
    place = PageUrl.of("/", f"?day={day}&from={day}T00:00Z&to={day}T12:00:00-01:00")
    assert place.day("day") is place.time("from") is place.time("to") is None


def test_first_page_is_shown_when_a_filter_changes() -> None:
    place = PageUrl.of("/", "?page=3&text=pump")
    assert place.replaced(text="fan").search == "?text=fan"
    assert place.replaced(page=4).search == "?page=4&text=pump"


@given(st.text(min_size=1, max_size=40))
def test_machine_is_found_when_its_name_is_unusual(name: str) -> None:
    assert machine_of(machine_path(name)) == name
    assert "/" not in machine_path(name).removeprefix("/machine/")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5_000))
def test_lows_and_highs_are_kept_when_a_line_is_reduced(values: list[float]) -> None:
    whole = series(values)
    short = reduced(whole, 100)
    assert len(short) <= max(100, min(len(whole), 100))
    assert (short.low.min(), short.high.max()) == (min(values), max(values))
    assert np.all(np.diff(short.stamps) > 0)
    assert np.all(short.low <= short.mean + 1e-6)
    assert np.all(short.mean <= short.high + 1e-6)


def test_missing_values_are_left_out_when_a_line_is_reduced() -> None:
    short = reduced(series([1.0, np.nan, 3.0, np.nan, np.nan, np.nan]), 2)
    assert short.mean.tolist()[0] == 2.0
    assert np.isnan(short.mean[1])


def test_line_is_interrupted_when_readings_are_missing() -> None:
    whole = series([1.0] * 10)
    cut = Series(whole.stamps + np.where(np.arange(10) >= 5, 60_000, 0), whole.low, whole.mean, whole.high)
    assert np.flatnonzero(np.isnan(with_gaps(cut).mean)).tolist() == [5]
    assert len(with_gaps(whole)) == 10


@pytest.mark.parametrize(
    ("span", "level"),
    [(timedelta(hours=1), "readings"), (timedelta(days=7), "minutes"), (timedelta(days=365), "hours")],
)
def test_table_is_the_finest_that_fits_when_time_is_zoomed(span: timedelta, level: str) -> None:
    assert level_of(span) == level


def test_coarser_table_is_read_when_the_finer_one_is_empty() -> None:
    class Coarse:
        def series(self, _: str, names: list[str], __: datetime, ___: datetime, level: str) -> dict[str, Series]:
            return {name: series([1.0] if level == "hours" else []) for name in names}

    seen = Window(NOON, NOON + timedelta(hours=1))
    assert read_finest(cast(Reader, Coarse()), "m", ["voltage"], seen)[0] == "hours"


def test_window_is_put_right_when_the_url_turns_it_around_or_asks_for_too_much() -> None:
    place = PageUrl.of("/machine/m", "?from=2026-01-05T12:00Z&to=2020-01-05T12:00Z")
    seen = window(place, NOON)
    assert seen.end == NOON
    assert seen.span == timedelta(days=366)
    assert window(PageUrl("/machine/m"), NOON) == Window(NOON - timedelta(days=7), NOON)


def test_zoom_goes_into_the_url_when_a_part_of_a_chart_is_chosen() -> None:
    zoomed = {"xaxis.range[0]": "2026-01-05 06:00:00.1234", "xaxis.range[1]": 1767596400000}
    place = steered(PageUrl("/machine/m"), {"chart": "readings"}, zoomed)
    assert place.search == "?from=2026-01-05T06:00:00Z&to=2026-01-05T07:00:00Z"
    assert steered(place, {"chart": "readings"}, {"autosize": True}) == place


def test_times_of_charts_are_text_in_utc_without_a_zone() -> None:
    line = Series(np.array([1767614400123, 1767614401123]), *(np.array([1.0, 2.0]),) * 3)
    event = an_event(0, "mild", measurement="voltage", start=NOON.astimezone(timezone(timedelta(hours=5))))
    trend = {"measurement": "vibration", "as_of": NOON, "value": 1.0, "reached": NOON, "threshold": 2.0}
    figures = [
        charts.readings([("voltage", "V", {"voltage": line})], [event], NOON, NOON + timedelta(days=1)),
        charts.growth([(NOON, 1.0)], trend | {"earliest": None, "latest": NOON}, "mm/s"),
        charts.over_time([NOON], {"offsets": [1]}, "offsets"),
    ]
    for figure in figures:
        layout = figure["layout"]
        edges = [shape[key] for shape in layout.get("shapes", []) if shape["type"] == "rect" for key in ("x0", "x1")]
        given = [x for trace in figure["data"] for x in trace["x"]] + layout["xaxis"].get("range", []) + edges
        assert given
        assert [x for x in given if not re.fullmatch(r"2026-01-0\dT\d\d:\d\d:\d\d\.\d{3}", x)] == []
        assert layout["xaxis"]["hoverformat"].endswith(" UTC")
    assert figures[0]["data"][0]["x"][0] == "2026-01-05T12:00:00.123"
    assert figures[0]["layout"]["shapes"][0]["x0"] == "2026-01-05T12:00:00.000"
    assert "%L" in figures[0]["layout"]["xaxis"]["hoverformat"]


def test_event_is_marked_on_its_own_measurement_when_several_are_shown() -> None:
    names = ("voltage", "vibration")
    lines = [(name, "", {name: series([1.0])}) for name in names]
    events = [
        an_event(0, "severe", evidence="<b>off</b>", end=NOON + timedelta(minutes=20)),
        an_event(1, "mild", kind="dropout", measurement=None, evidence="none for an hour"),
        an_event(2, "mild", measurement="pressure", evidence="not shown"),
    ]
    figure = charts.readings(lines, cast(list[EventRow], events), NOON, NOON + timedelta(days=1))
    bands = [shape["yref"] for shape in figure["layout"]["shapes"]]
    assert sorted(bands) == ["y domain", "y2 domain", "y2 domain"]
    marks = {trace["yaxis"]: trace["text"] for trace in figure["data"] if trace["name"] == "event"}
    none = "no readings, mild, from 5 Jan 2026 12:00 UTC, still lasting<br>none for an hour"
    worn = "bearing wear, severe, from 5 Jan 2026 12:00 UTC, 20 min<br>&lt;b&gt;off&lt;/b&gt;"
    assert marks == {"y91": [none], "y92": [worn, none]}
    assert [figure["layout"][f"yaxis{axis}"]["overlaying"] for axis in (91, 92)] == ["y", "y2"]


def day_row(equipment_id: str, kwh: float | None, idle: float | None) -> dict[str, Any]:
    states = {"idle_seconds": None, "running_seconds": None}
    return {"equipment_id": equipment_id, "name": "", "day": DAY, "energy_kwh": kwh, "idle_energy_kwh": idle, **states}


def test_sum_of_energy_leaves_out_and_names_machines_when_they_do_not_measure_it() -> None:
    rows = [
        day_row("rig", None, None),
        day_row("pump", 10.0, 4.0),
        day_row("fan", 5.0, None),
        day_row("pump", 2.0, 1.0),
    ]
    found = uses(rows)
    assert [(use.equipment_id, use.kwh, use.idle_kwh, use.idle_share) for use in found] == [
        ("pump", 12.0, 5.0, 5 / 12),
        ("fan", 5.0, None, None),
        ("rig", None, None, None),
    ]
    assert found[0].running_seconds is None
    said = used(found, "a day").replace("\u202f", " ")
    assert said == ("17 kWh in a day, 5 kWh of it idle energy. 1 of 3 machines do not measure it and are left out.")
    assert used(found[2:], "a day") == "No machine measures energy in a day."
    other = DAY + timedelta(days=1)
    assert by_day(rows, [DAY, other]) == {DAY: (12.0, 5.0), other: (None, None)}


def test_state_of_a_machine_is_said_to_be_unknown_when_nothing_tells_it() -> None:
    assert as_html(states({})) == "<span>not measured</span>"
    assert "idle 1 min" in as_html(states({"idle_seconds": 60.0}))
    assert as_html(bar(None, "\u2013")) == '<span class="measured">\u2013</span>'


@pytest.mark.parametrize(
    ("there", "shown"),
    [
        ({"vibration", "temperature"}, ["temperature", "vibration"]),
        ({"voltage", "pressure"}, ["voltage", "pressure"]),
        (set(), ["current", "temperature", "vibration"]),
    ],
)
def test_measurements_are_those_that_the_machine_has_when_none_is_chosen(there: set[str], shown: list[str]) -> None:
    class Declared:
        doubles = ("voltage", "current", "temperature", "vibration", "pressure")

    reader = cast(Reader, Declared())
    assert shown_measurements(reader, PageUrl("/machine/m"), there, []) == shown
    assert shown_measurements(reader, PageUrl.of("/machine/m", "?show=voltage"), there, []) == ["voltage"]
    rows = {"a": [{"means": dict.fromkeys(there, 1.0)}], "b": []}
    first = "temperature" if "vibration" in there else "voltage" if there else "current"
    assert measurement_of(reader, PageUrl("/compare"), rows) == first


def test_machines_are_in_order_when_judged() -> None:
    event = {
        "event_id": "2026-01-05_e",
        "kind": "bearing_wear",
        "severity": "severe",
        "measurement": "vibration",
        "observed": 6.44,
        "expected": 1.9,
        "start": NOON,
        "end": None,
        "by": None,
    }
    worst = {"worst_event": "2026-01-05_e", "worst_kind": "bearing_wear", "worst_severity": "severe", "events": 1}
    rows = [
        {"equipment_id": "fine", "expected": 100, "received": 100, "efficiency": 90.0},
        {"equipment_id": "silent", "expected": 100, "received": 10},
        {"equipment_id": "worn", **worst},
    ]
    judged = judge(rows, [event], [], DAY, {"vibration": "mm/s"})
    assert [machine.level for machine in judged] == ["severe", "moderate", "fine"]
    assert judged[0].why.replace("\u202f", " ") == (
        "bearing wear, severe: vibration 6.44 mm/s, expected 1.9 mm/s, since 12:00 UTC, still lasting"
    )
    assert summary(judged) == "2 of 3 machines need attention: 1 severe, 1 moderate."
    (seen,) = judge(rows[2:], [{**event, "by": "Eva"}], [], DAY, {})
    assert (seen.level, seen.attention) == ("fine", "acknowledged")
    assert "acknowledged by Eva" in seen.why
    assert summary([seen]) == ("None of 1 machines needs attention. Of 1 other machine all events are acknowledged.")


def an_event(number: int, severity: str, by: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"2026-01-05_{number}",
        "equipment_id": "m",
        "kind": "bearing_wear",
        "severity": severity,
        "measurement": "vibration",
        "observed": 6.4,
        "expected": 1.9,
        "start": NOON,
        "end": None,
        "evidence": "",
        "by": by,
        **more,
    }


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ([("mild", "pressure", None), ("severe", "humidity", None)], ["humidity", "current", "temperature"]),
        # Somebody takes care of the severe one.
        ([("mild", "pressure", None), ("severe", "humidity", "Eva")], ["pressure", "current", "temperature"]),
        ([("severe", None, None), ("mild", "temperature", None)], ["temperature", "current", "voltage"]),
        ([("severe", "removed", None)], ["current", "temperature", "voltage"]),
    ],
)
def test_measurement_of_the_worst_event_is_shown_first_when_none_is_chosen(
    events: list[tuple[str, str | None, str | None]], shown: list[str]
) -> None:
    class Declared:
        doubles = ("voltage", "current", "temperature", "vibration", "pressure", "humidity")

    rows = [an_event(i, severity, by, measurement=name) for i, (severity, name, by) in enumerate(events)]
    there = {"voltage", "current", "temperature"}
    found = shown_measurements(cast(Reader, Declared()), PageUrl("/machine/m"), there, cast(list[EventRow], rows))
    assert found == shown


EARLIER = {"start": NOON - timedelta(days=3), "end": NOON - timedelta(days=2)}


@pytest.mark.parametrize(
    ("others", "level"),
    [
        ([("severe", None, {})], "severe"),
        ([("mild", None, {}), ("moderate", None, {})], "moderate"),
        ([("moderate", "Eva", {}), ("mild", None, {})], "mild"),
        ([("moderate", "Eva", {}), ("mild", "Eva", {})], "fine"),
        # One that ended before the day says nothing of it; nor does another machine's.
        ([("moderate", None, EARLIER)], "fine"),
        ([("moderate", None, {"equipment_id": "other"})], "fine"),
    ],
)
def test_worst_open_event_ranks_a_machine_when_a_worse_one_is_acknowledged(
    others: list[tuple[str, str | None, dict[str, Any]]], level: str
) -> None:
    events = [an_event(0, "severe", "Eva")]
    events += [an_event(i, severity, by, **more) for i, (severity, by, more) in enumerate(others, 1)]
    row = {"equipment_id": "m", "worst_event": "2026-01-05_0", "worst_kind": "bearing_wear"}
    (judged,) = judge([{**row, "worst_severity": "severe", "events": len(events)}], events, [], DAY, {})
    assert judged.level == level
    assert any("acknowledged by Eva" in concern.text for concern in judged.concerns)


def test_event_without_a_number_is_described_without_it() -> None:
    event = an_event(0, "mild", observed=float("nan"), expected=float("nan"), end=NOON + timedelta(minutes=30))
    assert describe(event, DAY, {}) == "bearing wear, mild, from 12:00 UTC to 12:30 UTC (30 min)"
    over_night = {**event, "end": NOON + timedelta(days=1)}
    assert describe(over_night, DAY, {}) == "bearing wear, mild, from 12:00 UTC to 6 Jan 12:00 UTC (1 d)"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "V", "\u2013"),
        (float("nan"), "V", "\u2013"),
        (float("inf"), "V", "\u2013"),
        (0.0, "A", "0 A"),
        (1234567.0, "kWh", "1,234,567 kWh"),
        (-0.1234, "", "\u22120.12"),
    ],
)
def test_number_has_sensible_digits_when_written(value: float | None, unit: str, text: str) -> None:
    assert formats.number(value, unit).replace("\u202f", " ") == text


def test_text_is_no_formula_when_a_spreadsheet_reads_it() -> None:
    text = b"".join(csv_of(iter([{"note": "=1+1", "value": -1.5, "time": NOON}]))).decode()
    assert text.splitlines() == ["note,value,time", "'=1+1,-1.5,2026-01-05T12:00:00+00:00"]


@pytest.mark.parametrize("text", ["+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff20x"])
def test_text_is_no_formula_when_it_begins_like_one(text: str) -> None:
    written = b"".join(csv_of(iter([{"note": text}]))).decode()
    assert next(csv.reader(io.StringIO(written.partition("\r\n")[2], newline=""))) == [f"'{text}"]


def test_chart_has_no_tags_when_names_and_units_have_some() -> None:
    tag = "<a href='http://example.org'>x</a>"
    lines = [("voltage", tag, {tag: series([1.0]), "b": series([2.0])})]
    figures = [
        charts.readings(lines, [], NOON, NOON + timedelta(hours=1)),
        charts.over_time([NOON], {tag: [1.0]}, tag),
        charts.bars([tag], {tag: ("#000", [1.0])}, tag),
    ]
    assert "&lt;a" in str(figures)
    # The groups of a legend are not shown.
    assert "<a" not in re.sub(r"'legendgroup': \"[^\"]*\"", "", str(figures))


def test_day_is_known_when_an_event_id_begins_with_it() -> None:
    assert event_day("2026-01-05T12:00:00Z_m_dropout") == DAY
    assert event_day("m") is event_day(None) is None


def test_error_is_one_line_when_cassandra_does_not_answer() -> None:
    view = view_of(cast(Reader, Silent()), PageUrl("/"), DAY)
    assert view.says == "Cassandra cannot be reached: try again in a moment"
    assert view_of(cast(Reader, Silent()), PageUrl("/none"), DAY).title == "Not found"


def test_everybody_may_see_the_page_when_there_is_no_password() -> None:
    assert client().get("/").status_code == 200


def test_page_asks_for_a_password_when_there_is_one() -> None:
    page = client(username="eva", password=SecretStr("s3cret"))
    for path in ("/", "/machine/m", "/_dash-layout", "/download/fleet.csv", "/assets/style.css"):
        assert page.get(path).status_code == 401
        assert page.get(path).headers["WWW-Authenticate"].startswith("Basic")
    assert page.get("/", headers=basic("eva", "wrong")).status_code == 401
    assert page.get("/", headers=basic("", "")).status_code == 401
    assert page.get("/", headers=basic("eva", "s3cret")).status_code == 200
    assert page.get("/healthz").data == b"ok\n"


def test_page_is_not_ready_and_has_no_metrics_when_cassandra_does_not_answer() -> None:
    assert client().get("/readyz").status_code == 503
    assert client().get("/metrics").status_code == 503
    assert client().get("/healthz").status_code == 200


@pytest.mark.parametrize("name", ["USERNAME", "PASSWORD"])
def test_user_and_password_go_together_when_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"ETL_PAGE_{name}", "x")
    with pytest.raises(SettingsError, match="ETL_PAGE_USERNAME and ETL_PAGE_PASSWORD"):
        read_settings(PageSettings)


def test_page_is_closed_to_anything_foreign_when_served() -> None:
    answer = client().get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.split("script-src")[1].split(";")[0]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    sources = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert sources
    assert [source for source in sources if not re.match("/[^/]", source)] == []
    assert client().post("/_dash-update-component", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_text_is_compressed_when_the_browser_takes_it() -> None:
    page = client()
    plain, packed = page.get("/assets/style.css"), page.get("/assets/style.css", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(plain.data) / 2
    assert "Content-Encoding" not in plain.headers


def test_most_points_are_as_promised() -> None:
    # Lowest and highest are drawn as one area of twice as many.
    assert 2 * MOST_POINTS <= 2_000


def test_text_is_escaped_when_a_part_is_written_as_html() -> None:
    part = html.Section([html.A("<b>&", href='/"x', className="c"), None, 5], style={"width": "5%"}, **aria(label="a"))
    inside = '<a class="c" href="/&quot;x">&lt;b&gt;&amp;</a>5'
    assert as_html(part) == f'<section style="width:5%" aria-label="a">{inside}</section>'
    assert not is_live(part)
    assert is_live(html.Div([html.P([field("text", "Filter", "")])]))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (-6, 0, False),  # ended at the midnight with which the day begins
        (-6, 0.01, True),
        (-6, None, True),
        (0, 0, True),
        (23, 30, True),
        (24, None, False),
    ],
)
def test_event_is_of_a_day_when_it_lasts_into_it(start: float, end: float | None, expected: bool) -> None:
    day = datetime(2026, 1, 5, tzinfo=UTC)
    times = [None if hours is None else day + timedelta(hours=hours) for hours in (start, end)]
    assert in_day({"start": times[0], "end": times[1]}, day.date()) is expected
