"""Charts in Plotly's format. Text, lines and backgrounds get their colours from the style sheet, light or dark.

Plotly takes tags in text for HTML, so names and units are escaped. Every time is a text in UTC (`utc_text`): Plotly
shows numbers in the browser's zone.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np

from etl.results import formats
from etl.results.rows import EventRow, TrendRow
from etl.results.series import Series, utc_text, utc_texts

# Colours of Okabe and Ito, which colour-blind people can distinguish; visible on a light and a dark background.
LINES = ("#2b83ba", "#d9730d", "#0e9f7e", "#b5589b")
SEVERITY = {"severe": "#d1495b", "moderate": "#d98e04", "mild": "#4a86c5"}
SYMBOLS = {"severe": "triangle-up", "moderate": "diamond", "mild": "circle"}
USEFUL = "#2b83ba"
IDLE = "#e0a33e"
ROW = 170
_GAP = 0.05
_LINE = 60
_MOST_BANDS = 100
# The axes of the marks have numbers after those of the measurements.
_MARKS = 90

Figure = dict[str, Any]


def readings(
    lines: Sequence[tuple[str, str, dict[str, Series]]],
    events: Sequence[EventRow],
    start: datetime,
    end: datetime,
) -> Figure:
    """Draw measurements below each other over the same time; bands mark events, each on its own measurement.

    An event without a measurement, such as a dropout, has a band on all of them.

    Args:
        lines: name, unit, and series by their name in the legend, for each measurement.
        events: the events to mark.
        start: left edge.
        end: right edge.
    """
    count = len(lines)
    height = (1 - _GAP * (count - 1)) / count
    data: list[Figure] = []
    layout = _layout(ROW * count + 70)
    for i, (name, unit, by_label) in enumerate(lines):
        axis = f"y{i + 1 if i else ''}"
        top = 1 - i * (height + _GAP)
        title = f"{formats.measurement(name)}{f' ({unit})' if unit and unit != '1' else ''}"
        layout[f"yaxis{axis[1:]}"] = {
            **_AXIS,
            "domain": [max(0.0, top - height), top],
            "title": {"text": escape(title), "standoff": 8},
            "fixedrange": True,
        }
        for j, (label, series) in enumerate(by_label.items()):
            color = LINES[(j if len(by_label) > 1 else i) % len(LINES)]
            data += _line(label if len(by_label) > 1 else name, series, color, axis, shown=len(by_label) > 1)
    layout["xaxis"] = {
        **_TIME_AXIS,
        "range": [utc_text(start), utc_text(end)],
        "anchor": f"y{count if count > 1 else ''}",
        "hoverformat": _moments(series for _, _, by_label in lines for series in by_label.values()),
    }
    by_axis = _by_axis(events[:_MOST_BANDS], [name for name, _, _ in lines])
    layout["shapes"] = [_band(event, end, axis) for axis, own in by_axis.items() for event in own]
    layout["showlegend"] = any(len(by_label) > 1 for _, _, by_label in lines)
    for axis, own in by_axis.items():
        above = f"y{_MARKS + int(axis[1:] or 1)}"
        data.append(_marks(own, start, above))
        layout[f"yaxis{above[1:]}"] = {"overlaying": axis, "range": [0, 1], "visible": False, "fixedrange": True}
    return {"data": data, "layout": layout}


def _by_axis(events: Iterable[EventRow], names: Sequence[str]) -> dict[str, list[EventRow]]:
    """Return the events by the axis of their measurement; those without a measurement are on all axes."""
    axes = {name: f"y{i + 1 if i else ''}" for i, name in enumerate(names)}
    found: dict[str, list[EventRow]] = {axis: [] for axis in axes.values()}
    for event in events:
        own = event["measurement"]
        for name in [own] if own else names:
            if name in axes:
                found[axes[name]].append(event)
    return {axis: own for axis, own in found.items() if own}


def growth(history: Sequence[tuple[datetime, float]], trend: TrendRow, unit: str) -> Figure:
    """Draw a trend and its continuation to the threshold."""
    name = formats.measurement(trend["measurement"])
    layout = _layout(ROW + 60)
    layout["xaxis"] = {**_TIME_AXIS, "fixedrange": True}
    layout["yaxis"] = {**_AXIS, "title": {"text": escape(f"{name} ({unit})" if unit else name)}, "fixedrange": True}
    now = utc_text(trend["as_of"])
    data: list[Figure] = [
        {
            "x": [utc_text(time) for time, _ in history],
            "y": [value for _, value in history],
            "mode": "lines",
            "name": "daily mean",
            "line": {"color": LINES[0], "width": 2},
        }
    ]
    if trend["reached"]:
        reached, threshold = utc_text(trend["reached"]), trend["threshold"]
        data.append(
            {
                "x": [now, reached],
                "y": [trend["value"], threshold],
                "mode": "lines+markers",
                "name": "forecast",
                "line": {"color": LINES[1], "dash": "dash", "width": 2},
            }
        )
        bounds = [utc_text(trend[end] or trend["reached"]) for end in ("earliest", "latest")]
        layout["shapes"] = [
            _threshold(threshold),
            {"type": "rect", "x0": bounds[0], "x1": bounds[1], "y0": 0, "y1": 1, "yref": "paper"}
            | {"fillcolor": LINES[1], "opacity": 0.15, "line": {"width": 0}},
        ]
    layout["showlegend"] = True
    return {"data": data, "layout": layout}


def over_time(times: Sequence[datetime], lines: dict[str, Sequence[float | None]], unit: str) -> Figure:
    """Draw lines over the time of a day."""
    layout = _layout(ROW + 90)
    layout["xaxis"] = {**_TIME_AXIS, "fixedrange": True}
    layout["yaxis"] = {**_AXIS, "title": {"text": escape(unit)}, "rangemode": "tozero", "fixedrange": True}
    layout["showlegend"] = len(lines) > 1
    stamps = [utc_text(time) for time in times]
    data = [
        {
            "x": stamps,
            "y": list(values),
            "mode": "lines",
            "name": escape(name),
            "line": {"color": LINES[i % 4], "width": 2},
        }
        for i, (name, values) in enumerate(lines.items())
    ]
    return {"data": data, "layout": layout}


def bars(names: Sequence[str], parts: Mapping[str, tuple[str, Sequence[float | None]]], unit: str) -> Figure:
    """Draw stacked bars: by name the colour and the values; None leaves a bar out."""
    layout = _layout(ROW + 100)
    layout["barmode"] = "stack"
    layout["bargap"] = 0.25
    layout["xaxis"] = {**_AXIS, "type": "category", "fixedrange": True}
    layout["yaxis"] = {**_AXIS, "title": {"text": escape(unit)}, "fixedrange": True}
    layout["showlegend"] = True
    data = [
        {
            "type": "bar",
            "x": [escape(each) for each in names],
            "y": list(values),
            "name": escape(name),
            "marker": {"color": color},
        }
        for name, (color, values) in parts.items()
    ]
    return {"data": data, "layout": layout}


_AXIS: Figure = {"showgrid": True, "zeroline": False, "automargin": True, "ticks": "outside", "ticklen": 4}
_SECONDS = "%-d %b %Y %H:%M:%S UTC"
_MILLISECONDS = "%-d %b %Y %H:%M:%S.%L UTC"
_TIME_AXIS: Figure = {**_AXIS, "type": "date", "title": {"text": "time (UTC)"}, "hoverformat": _SECONDS}


def _moments(lines: Iterable[Series]) -> str:
    """Return the format of a time beside the pointer, with milliseconds if any point has them."""
    finer = any((series.stamps[~np.isnan(series.mean)] % 1000).any() for series in lines)
    return _MILLISECONDS if finer else _SECONDS


def _layout(height: int) -> Figure:
    return {
        "height": height,
        "margin": {"l": 64, "r": 16, "t": 24, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "inherit", "size": 12},
        "hovermode": "x unified",
        "dragmode": "zoom",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }


def _line(name: str, series: Series, color: str, axis: str, *, shown: bool) -> list[Figure]:
    mean: Figure = {
        "x": utc_texts(series.stamps),
        "y": _values(series.mean),
        "mode": "lines",
        "yaxis": axis,
        "name": escape(formats.measurement(name)),
        "legendgroup": name,
        "showlegend": shown,
        "connectgaps": False,
        "line": {"color": color, "width": 1.5},
    }
    if series.low is series.mean or shown:
        return [mean]
    mean["customdata"] = [list(pair) for pair in zip(_values(series.low), _values(series.high), strict=True)]
    mean["hovertemplate"] = "%{y:.4~g} (%{customdata[0]:.4~g} to %{customdata[1]:.4~g})"
    return [_spread(series, color, axis) | {"legendgroup": name}, mean]


def _spread(series: Series, color: str, axis: str) -> Figure:
    """Draw the area between lowest and highest value, separately for each stretch without a gap."""
    whole = ~np.isnan(series.low)
    x: list[str | None] = []
    y: list[float | None] = []
    for part in np.split(np.arange(len(series)), np.flatnonzero(~whole)):
        inside = part[whole[part]]
        stamps = utc_texts(series.stamps[inside])
        x += [*stamps, *stamps[::-1], None]
        y += [*_values(series.low[inside]), *_values(series.high[inside])[::-1], None]
    area = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": f"{color}38"}
    return {"x": x, "y": y, "yaxis": axis, "showlegend": False, "hoverinfo": "skip", **area}


def _values(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else value for value in np.round(values, 4).tolist()]


def _band(event: EventRow, end: datetime, axis: str) -> Figure:
    return {
        "type": "rect",
        "xref": "x",
        "yref": f"{axis} domain",
        "x0": utc_text(event["start"]),
        "x1": utc_text(event["end"] or end),
        "y0": 0,
        "y1": 1,
        "fillcolor": SEVERITY.get(event["severity"], SEVERITY["mild"]),
        "opacity": 0.16,
        "line": {"width": 0},
        "layer": "below",
    }


def _hover_text(event: EventRow) -> str:
    """Return what a mark says: kind, severity, duration and evidence."""
    lasted = formats.lasted(event["start"], event["end"])
    text = f"{formats.kind(event['kind'])}, {event['severity']}, from {formats.moment(event['start'])}, {lasted}"
    return "<br>".join([escape(text), *map(escape, wrap(event["evidence"] or "", _LINE))])


def _marks(events: Sequence[EventRow], start: datetime, axis: str) -> Figure:
    return {
        "x": [utc_text(max(event["start"], start)) for event in events],
        "y": [1.0] * len(events),
        "text": [_hover_text(event) for event in events],
        "mode": "markers",
        "name": "event",
        "yaxis": axis,
        "cliponaxis": False,
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
        "marker": {
            "size": 11,
            "symbol": [SYMBOLS.get(event["severity"], "circle") for event in events],
            "color": [SEVERITY.get(event["severity"], SEVERITY["mild"]) for event in events],
        },
    }


def _threshold(value: float) -> Figure:
    line = {"color": SEVERITY["severe"], "width": 1.5, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}
