"""The Dash application: one layout, one callback that renders a URL, and callbacks that lead to another URL."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import Any

import structlog
from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from etl.errors import EtlError, Unreachable
from etl.page.elements import View, alert, aria, empty, link
from etl.page.static_html import as_static_html
from etl.page.url import PageUrl, machine_of
from etl.page.views.compare import compare
from etl.page.views.energy import energy
from etl.page.views.events import acknowledge, events
from etl.page.views.fleet import fleet
from etl.page.views.machine import Window, machine
from etl.page.views.pipeline import pipeline
from etl.results.reader import Reader

log = structlog.get_logger("etl.page")

VIEWS: dict[str, tuple[str, Callable[[Reader, PageUrl, date], View]]] = {
    "/": ("Fleet", fleet),
    "/energy": ("Energy", energy),
    "/events": ("Events", events),
    "/compare": ("Compare", compare),
    "/pipeline": ("Pipeline", pipeline),
}
INDEX = """<!DOCTYPE html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
<body>{%app_entry%}<div class="scripts">{%config%}{%scripts%}{%renderer%}</div></body>
</html>"""


def today() -> date:
    """Return the current day (UTC)."""
    return datetime.now(UTC).date()


def make_app(reader: Reader) -> Dash:
    """Return the application; its Flask server is `server`."""
    app = Dash(
        "etl.page",
        title="Sensor ETL",
        update_title="",
        index_string=INDEX,
        suppress_callback_exceptions=True,
        serve_locally=True,
        add_log_handler=False,
        enable_mcp=False,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.layout = _layout()
    _add_views(app, reader)
    _add_steering(app)
    _add_acknowledging(app, reader)
    return app


def _add_views(app: Dash, reader: Reader) -> None:
    """Show the view of the URL whenever that changes."""
    outputs = [Output("view", "children"), Output("says", "children"), Output("nav", "children")]

    @app.callback(outputs, Input("url", "pathname"), Input("url", "search"))
    def show(path: str, search: str) -> list[Any]:
        url = PageUrl.of(path, search)
        view = view_of(reader, url, today())
        return [_titled(view), view.says, _navigation(url)]


def _add_steering(app: Dash) -> None:
    """Change the URL when a user sets a filter or zooms a chart."""

    @app.callback(
        Output("url", "search"),
        Input({"filter": ALL}, "value"),
        Input({"chart": ALL}, "relayoutData"),
        State("url", "pathname"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def steer(_: list[str], __: list[Any], path: str, search: str) -> Any:
        # Several changes at once come from a new view, not from a user.
        if len(ctx.triggered) != 1:
            return no_update
        url = PageUrl.of(path, search)
        moved = steered(url, ctx.triggered_id, ctx.triggered[0]["value"])
        return no_update if moved.search == url.search else moved.search


def _add_acknowledging(app: Dash, reader: Reader) -> None:
    """Store an acknowledgement when a user sends its form."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output({"answer": ALL}, "children"),
        Input({"act": ALL}, "n_clicks"),
        Input({"form": ALL}, "n_submit"),
        State({"form": ALL}, "value"),
        State("url", "pathname"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def act(clicks: list[Any], enters: list[Any], values: list[str], path: str, search: str) -> list[Any]:
        # The buttons of a new view also count as changed.
        if not any(clicks) and not any(enters):
            return [no_update, [no_update] * len(clicks)]
        url, answer = acknowledge(reader, PageUrl.of(path, search), *values)
        return [no_update if answer else url.search, [answer]]


def view_of(reader: Reader, url: PageUrl, day: date) -> View:
    """Return the view of a URL; it shows an expected error as one line."""
    try:
        if equipment_id := machine_of(url.path):
            return machine(reader, url, equipment_id, day)
        if url.path in VIEWS:
            return VIEWS[url.path][1](reader, url, day)
    except EtlError as error:
        log.warning(str(error), path=url.path)
        passing = isinstance(error, Unreachable)
        text = f"{error}: try again in a moment" if passing else str(error)
        again = [html.Div(link("Try again", url, "button"))] if passing else []
        return View("Error", text, [html.H1("This cannot be shown now"), alert(text), *again])
    text = "There is no such page: choose one above."
    return View("Not found", text, [html.H1("Not found"), empty(text)])


def steered(url: PageUrl, by: Any, value: Any) -> PageUrl:
    """Return the URL to which a filter or a zoomed chart leads."""
    if isinstance(by, dict) and "filter" in by:
        return url.replaced(**{by["filter"]: value or None})
    if isinstance(value, dict) and "xaxis.range[0]" in value:
        ends = [_time_of(value[f"xaxis.range[{i}]"]) for i in (0, 1)]
        return Window(ends[0], ends[1]).applied_to(url)
    return url


def _time_of(value: str | float) -> datetime:
    """Parse a time of Plotly: text without a zone, or milliseconds."""
    if isinstance(value, str):
        return datetime.fromisoformat(value.replace(" ", "T")).replace(tzinfo=UTC)
    return datetime.fromtimestamp(value / 1000, UTC)


def _layout() -> Component:
    return html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            html.A("Skip to the content", href="#main", className="skip"),
            html.Header(
                [
                    html.Span([html.Span(className="mark", **aria(hidden="true")), "Sensor ETL"], className="brand"),
                    html.Nav(_navigation(PageUrl("/")), id="nav", **aria(label="Views")),
                    html.Div(
                        [
                            html.Button("Copy link", id="copy-link", type="button", className="button"),
                            html.Button("Theme", id="theme", type="button", className="button"),
                        ],
                        className="tools",
                    ),
                ],
                className="top",
            ),
            html.Main(html.Div(_loading(), id="view"), id="main", tabIndex=-1),
            html.Div(id="says", className="hidden", role="status", **aria(live="polite")),
            html.Div(id="notice", className="notice", role="status", **aria(live="polite")),
            html.Footer(f"All days and times in UTC. sensor-etl {version('sensor-etl')}", className="foot"),
        ]
    )


def _loading() -> Component:
    return html.P("Loading …", className="empty")


def _titled(view: View) -> Component:
    title: dict[str, Any] = {"data-title": f"{view.title} · Sensor ETL"}
    return html.Div([as_static_html(part) for part in view.children], className="view", **title)


def _navigation(url: PageUrl) -> list[Component]:
    return [
        link(name, url.at(path, "day"), current=path == url.path or (path == "/" and bool(machine_of(url.path))))
        for path, (name, _) in VIEWS.items()
    ]
