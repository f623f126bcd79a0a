"""The building blocks of all views, usable with keyboard and screen reader."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from etl.page.url import PageUrl, machine_path
from etl.results import formats
from etl.results.ranking import ACKNOWLEDGED, FINE, ICONS
from etl.results.rows import Performance
from etl.results.sums import NOT_MEASURED

Children = Any
_STACKING = range(5, 12)
_WIDE = ("Evidence", "Readings", "Acknowledged", "States", "Useful and idle", "What", "Why")
STATES = ("overload", "running", "idle", "off")


@dataclass(frozen=True)
class View:
    """The content of a URL: the title, the sentence for screen readers, and everything below the heading."""

    title: str
    says: str
    children: list[Component]


def nothing_yet(title: str) -> View:
    """Return the content of a view before the first analysis."""
    return View(title, "No data yet.", [empty("No analysed data yet: run `etl analyze` after the first load.")])


def aria(**names: str) -> dict[str, Any]:
    """Return ARIA attributes, whose names contain a hyphen."""
    return {f"aria-{name}": value for name, value in names.items() if value}


def badge(severity: str | None, text: str = "") -> Component:
    """Return a severity as colour, shape and word; acknowledged events look like `fine`."""
    level = FINE if severity == ACKNOWLEDGED else severity if severity in ICONS else "mild"
    return html.Span(
        [html.Span(ICONS[level], **aria(hidden="true")), " ", text or severity or FINE],
        className=f"badge {level}",
    )


def link(
    text: Children, url: PageUrl | str, class_name: str = "", *, current: bool = False, label: str = ""
) -> Component:
    """Return a link inside the page; the script of the page follows it without a reload."""
    href = url.href if isinstance(url, PageUrl) else url
    return html.A(text, href=href, className=class_name or None, **aria(label=label, current="true" if current else ""))


def machine_link(equipment_id: str, name: str, url: PageUrl) -> Component:
    """Return a link to the page of a machine."""
    return link(name, url.at(machine_path(equipment_id)))


def card(heading: Children, *children: Children, class_name: str = "", level: int = 2) -> Component:
    """Return a part of the view with its heading."""
    title = html.H2(heading) if level == 2 else html.H3(heading)
    return html.Section([title, *children], className=f"card {class_name}")


def stats(values: Sequence[tuple[str, str, str]]) -> Component:
    """Return a row of figures: label, value and explanation."""
    return html.Dl(
        [
            html.Div([html.Dt(label), html.Dd([html.Strong(value), html.Span(note)])], className="stat")
            for label, value, note in values
        ],
        className="stats",
    )


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[Children]], numeric: Iterable[int] = ()
) -> Component:
    """Return a table whose columns named `numeric` align to the right.

    On a narrow screen it scrolls, or its rows become cards if it has several columns.
    """
    right = set(numeric)
    head = [html.Th(text, scope="col", className="num" if i in right else "") for i, text in enumerate(headings)]
    body = [html.Tr([_cell(i, cell, headings, right) for i, cell in enumerate(row)]) for row in rows]
    return html.Div(
        html.Table([html.Caption(caption), html.Thead(html.Tr(head)), html.Tbody(body)]),
        className="scroll stacks" if len(headings) in _STACKING else "scroll",
        tabIndex=0,
        role="region",
        **aria(label=caption),
    )


def _cell(i: int, cell: Children, headings: Sequence[str], right: set[int]) -> Component:
    if i == 0:
        return html.Th(cell, scope="row")
    label: dict[str, Any] = {"data-label": headings[i]}
    style = "num" if i in right else "wide" if headings[i] in _WIDE else None
    return html.Td(cell, className=style, **label)


def choices(label: str, options: Iterable[tuple[str, PageUrl, bool]]) -> Component:
    """Return links of which one is current: text, URL, whether it is the current one."""
    return html.Div(
        [html.Span(label, className="label")]
        + [link(text, url, "choice", current=current) for text, url, current in options],
        role="group",
        className="choices",
        **aria(label=label),
    )


def field(name: str, label: str, value: str, kind: str = "text", placeholder: str = "") -> Component:
    """Return a filter, which sets the parameter `name` of the URL."""
    # Dash does not know the input type of dates, but browsers do.
    given: Any = {"type": kind, "placeholder": placeholder}
    box = dcc.Input(id={"filter": name}, value=value, debounce=0.5, autoComplete="off", **given)
    return html.Label([html.Span(label, className="label"), box], className=f"field filter-{name}")


def entry(name: str, label: str, most: int) -> Component:
    """Return a text field of a form with a maximum length."""
    box = dcc.Input(id={"form": name}, value="", maxLength=most, autoComplete="off")
    return html.Label([html.Span(label, className="label"), box], className=f"field filter-{name}")


def pages(url: PageUrl, number: int, rows: int, of_a_page: int) -> list[Component]:
    """Return links to the previous and the next page, if there is more than one."""
    last = max(1, -(-rows // of_a_page))
    if last == 1:
        return []
    steps = [
        link(text, url.replaced(page=to), "button") if 1 <= to <= last else html.Span(text, className="button off")
        for text, to in (("← Previous", number - 1), ("Next →", number + 1))
    ]
    return [html.Nav([steps[0], f"Page {number} of {last}", steps[1]], className="pages", **aria(label="Pages"))]


def empty(text: Children) -> Component:
    """Return a line for a part without data."""
    return html.P(text, className="empty")


def alert(text: str) -> Component:
    """Return an error in one line that states the remedy."""
    return html.P([html.Strong("! ", **aria(hidden="true")), text], className="alert", role="alert")


def downloads(what: str, url: PageUrl) -> Component:
    """Return links that download the rows of the view."""
    return html.Span(
        [
            html.A(text, href=f"/download/{what}.{suffix}{_with_path(url)}", className="button", download="")
            for text, suffix in (("Download CSV", "csv"), ("Parquet", "parquet"))
        ],
        className="downloads",
    )


def _with_path(url: PageUrl) -> str:
    return PageUrl("", {**url.given, "path": url.path}).search


def bar(value: float | None, text: str) -> Component:
    """Return a share from 0 to 1 as a bar with its number; an unknown share has no bar."""
    if value is None:
        return html.Span(text, className="measured")
    width = f"{100 * min(max(value, 0), 1):.1f}%"
    track = html.Span(html.Span(style={"width": width}), className="bar", **aria(hidden="true"))
    return html.Span([track, html.Span(text, className="value")], className="measured")


def stacked(parts: Sequence[tuple[str, float]], label: str) -> Component:
    """Return the parts of a whole side by side: name of the colour, and size."""
    total = sum(size for _, size in parts) or 1.0
    spans = [html.Span(className=name, style={"width": f"{100 * size / total:.2f}%"}) for name, size in parts if size]
    return html.Span(spans, className="stack", role="img", **aria(label=label))


def states(row: Performance) -> Component:
    """Return the time of a machine in each state as a bar; overload is a part of the running time."""
    known: Mapping[str, Any] = row
    if all(known.get(f"{name}_seconds") is None for name in STATES):
        return html.Span(NOT_MEASURED)
    seconds: dict[str, float] = {name: known.get(f"{name}_seconds") or 0.0 for name in STATES}
    parts = list((seconds | {"running": max(seconds["running"] - seconds["overload"], 0.0)}).items())
    return stacked(parts, ", ".join(f"{name} {formats.length(size)}" for name, size in parts))


def legend(names: Iterable[str]) -> Component:
    """Return the legend of stacked bars."""
    return html.P([html.Span([html.I(className=name), name], className="key") for name in names], className="legend")


def chart(name: str, figure: dict[str, Any], summary: str, *rest: Component) -> Component:
    """Return a chart with its text alternative; zooming in a chart with a name changes the URL."""
    config: Any = {"displayModeBar": False, "responsive": True, "doubleClick": False, "scrollZoom": False}
    graph = dcc.Graph(id={"chart": name}, figure=figure, config=config, className="plot", responsive=True)
    height = {"height": f"{figure['layout']['height']}px"}
    return html.Figure([html.Div(graph, style=height, **aria(hidden="true")), html.Figcaption(summary), *rest])
