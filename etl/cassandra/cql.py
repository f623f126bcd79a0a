"""Names and texts as CQL writes them."""


def identifier(name: str) -> str:
    """Return the name of a role, table or column quoted for CQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return text quoted for CQL, for statements without parameters."""
    return "'" + text.replace("'", "''") + "'"
