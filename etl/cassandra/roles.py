"""Roles of Cassandra."""

from functools import partial

from cassandra.cluster import Session

from etl.cassandra.cql import identifier, literal
from etl.cassandra.retry import retrying


def set_role(session: Session, name: str, password: str, *, superuser: bool) -> None:
    """Create a role that may log in, or change an existing one.

    Raises:
        SettingsError: the current role lacks a right.
        Unreachable: Cassandra still fails after all retries.
    """
    there = retrying(lambda: session.execute("SELECT role FROM system_auth.roles WHERE role = %s", (name,)).one())
    # A node refuses to change a password that it has set within the last five seconds, so never set it twice.
    verb = "ALTER ROLE" if there else "CREATE ROLE IF NOT EXISTS"
    options = f"PASSWORD = {literal(password)} AND LOGIN = true AND SUPERUSER = {str(superuser).lower()}"
    retrying(partial(session.execute, f"{verb} {identifier(name)} WITH {options}"))
