"""Render parts of a view without callbacks as HTML text.

Dash creates a component for each element, which takes a browser a millisecond or more; a table has hundreds of them.
"""

from html import escape
from typing import Any

from dash import html
from dash.development.base_component import Component

_NAMES = {"className": "class", "tabIndex": "tabindex"}
_ALLOWED = {"class", "tabindex", "href", "role", "scope", "style", "download"}


def as_static_html(component: Component) -> Component:
    """Return a component that the page's script fills with HTML; return it unchanged if it needs callbacks."""
    if is_live(component):
        return component
    text: dict[str, Any] = {"data-html": as_html(component)}
    return html.Div(className="still", **text)


def is_live(node: Any) -> bool:
    """Return whether a component contains an element with callbacks, or one that is not plain HTML."""
    if isinstance(node, list | tuple):
        return any(map(is_live, node))
    if not isinstance(node, Component):
        return False
    return node._namespace != "dash_html_components" or hasattr(node, "id") or is_live(getattr(node, "children", None))


def as_html(node: Any) -> str:
    """Return elements as HTML; all text is escaped."""
    if node is None:
        return ""
    if isinstance(node, list | tuple):
        return "".join(map(as_html, node))
    if not isinstance(node, Component):
        return escape(str(node))
    props = {name: getattr(node, name) for name in node._prop_names if hasattr(node, name)}
    props |= {name: value for name, value in vars(node).items() if name.startswith(("aria-", "data-"))}
    children = props.pop("children", None)
    tag = str(node._type).lower()
    return f"<{tag}{''.join(_attribute(*prop) for prop in props.items())}>{as_html(children)}</{tag}>"


def _attribute(name: str, value: Any) -> str:
    name = _NAMES.get(name, name)
    if name not in _ALLOWED and not name.startswith(("aria-", "data-")):
        raise ValueError(f"attribute {name} is not known here")
    if value is None:
        return ""
    if isinstance(value, dict):
        value = ";".join(f"{key}:{part}" for key, part in value.items())
    return f' {name}="{escape(str(value))}"'
