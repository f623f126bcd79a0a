"""Roles, and names and texts in CQL."""

from functools import partial

from cassandra.cluster import Session

from etl.cassandra.retry import retrying


def identifier(name: str) -> str:
    """Write the name of a role, table or column in CQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write text in CQL, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def set_role(session: Session, name: str, password: str, *, superuser: bool) -> None:
    """Make a role that may log in, or change it to that.

    Raises:
        SettingsError: whoever is logged in lacks a right.
        Unreachable: Cassandra still fails after all retries.
    """
    there = retrying(lambda: session.execute("SELECT role FROM system_auth.roles WHERE role = %s", (name,)).one())
    # A node refuses to change a password that it has set within five seconds, so a new one is not set twice.
    verb = "ALTER ROLE" if there else "CREATE ROLE IF NOT EXISTS"
    options = f"PASSWORD = {literal(password)} AND LOGIN = true AND SUPERUSER = {str(superuser).lower()}"
    retrying(partial(session.execute, f"{verb} {identifier(name)} WITH {options}"))
