"""Simple charts as SVG text, which needs no script and is suitable for print."""

from collections.abc import Sequence
from datetime import datetime
from html import escape

from etl.results import formats

WIDTH, HEIGHT = 720, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 10, 30
_INSIDE = WIDTH - _LEFT - _RIGHT
_DEEP = HEIGHT - _TOP - _BOTTOM
_MOST_LABELS = 10


def bars(names: Sequence[str], parts: Sequence[tuple[str, Sequence[float]]], unit: str, label: str) -> str:
    """Draw stacked bars.

    Args:
        names: one for each bar.
        parts: class and values of each part, the lowest first.
        unit: unit of the values.
        label: text alternative of the chart.
    """
    totals = [sum(values) for values in zip(*(values for _, values in parts), strict=True)]
    most = nice(max(totals, default=0.0))
    step = _INSIDE / max(len(names), 1)
    shapes = [_level(most * share, most, unit) for share in (0, 0.5, 1)]
    floors = [0.0] * len(names)
    for style, values in parts:
        for i, value in enumerate(values):
            top, height = _y(floors[i] + value, most), _DEEP * value / most
            x = _LEFT + step * (i + 0.15)
            shapes.append(
                f'<rect class="{style}" x="{x:.1f}" y="{top:.1f}" width="{step * 0.7:.1f}" height="{height:.1f}"/>'
            )
            floors[i] += value
    every = -(-len(names) // _MOST_LABELS) or 1
    shapes += [
        f'<text x="{_LEFT + step * (i + 0.5):.1f}" y="{HEIGHT - 10}" class="middle">{escape(names[i])}</text>'
        for i in range(0, len(names), every)
    ]
    return _svg(shapes, label)


def growth(
    history: Sequence[tuple[datetime, float]],
    now: tuple[datetime, float],
    reached: tuple[datetime, float],
    bounds: tuple[datetime, datetime],
    unit: str,
    label: str,
) -> str:
    """Draw a trend, its continuation to the threshold, and the interval in which it reaches it."""
    times = [*(time for time, _ in history), now[0], reached[0], *bounds]
    begin, end = min(times), max(times)
    most = nice(max([value for _, value in history] + [now[1], reached[1]]))
    span = (end - begin).total_seconds() or 1.0

    def at(time: datetime, value: float) -> str:
        return f"{_LEFT + _INSIDE * (time - begin).total_seconds() / span:.1f},{_y(value, most):.1f}"

    left, right = (_LEFT + _INSIDE * (time - begin).total_seconds() / span for time in bounds)
    limit = _y(reached[1], most)
    shapes = [
        *(_level(most * share, most, unit) for share in (0, 0.5, 1)),
        f'<rect class="chance" x="{left:.1f}" y="{_TOP}" width="{max(right - left, 1):.1f}" height="{_DEEP}"/>',
        f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{limit:.1f}" y2="{limit:.1f}"/>',
        f'<polyline class="line" points="{" ".join(at(*point) for point in history)}"/>',
        f'<polyline class="forecast" points="{at(*now)} {at(*reached)}"/>',
        f'<text x="{_LEFT}" y="{HEIGHT - 10}">{begin:%-d %b}</text>',
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 10}" class="end">{end:%-d %b}</text>',
    ]
    return _svg(shapes, label)


def nice(value: float) -> float:
    """Round up to a number that looks good at the end of an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 0.1
    while power > value:
        power /= 10
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= value)


def _y(value: float, most: float) -> float:
    return _TOP + _DEEP * (1 - value / most)


def _level(value: float, most: float, unit: str) -> str:
    y = _y(value, most)
    text = f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="end">{escape(formats.number(value, unit))}</text>'
    return f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>{text}'


def _svg(shapes: Sequence[str], label: str) -> str:
    inside = "".join(shapes)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{inside}</svg>'
