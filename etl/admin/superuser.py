"""`etl superuser`: replace the default superuser of a new Cassandra node with the role of the settings."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from cassandra.cluster import Session
from pydantic import SecretStr

from etl.cassandra.connection import connect
from etl.cassandra.cql import literal
from etl.cassandra.retry import retrying
from etl.cassandra.roles import set_role
from etl.errors import SettingsError
from etl.settings import CassandraSettings

DEFAULT = "cassandra"  # role and password of every new node


def replace_default_superuser(settings: CassandraSettings) -> str:
    """Make the role of the settings a superuser and disable the default one; return a line about it.

    Raises:
        SettingsError: the role cannot be used, or Cassandra refuses both it and the default one.
        Unreachable: Cassandra does not answer.
    """
    if not (settings.username and settings.password):
        raise SettingsError("ETL_CASSANDRA_USERNAME and ETL_CASSANDRA_PASSWORD: name the new administrator")
    if settings.username == DEFAULT:
        raise SettingsError(f"ETL_CASSANDRA_USERNAME: {DEFAULT} is the default superuser, choose another name")
    made = not _let_in(settings)
    if made:
        with _default_superuser(settings) as session:
            set_role(session, settings.username, settings.password.get_secret_value(), superuser=True)
    # A role cannot do this to itself.
    with connect(settings, keyspace=False) as session:
        unknown = literal(secrets.token_urlsafe(32))
        shut = f"ALTER ROLE {DEFAULT} WITH PASSWORD = {unknown} AND LOGIN = false AND SUPERUSER = false"
        retrying(partial(session.execute, shut))
    return f"superuser {settings.username}: {'made' if made else 'is there'}; role {DEFAULT} is disabled"


def _let_in(settings: CassandraSettings) -> bool:
    try:
        with connect(settings, keyspace=False):
            return True
    except SettingsError:
        return False


@contextmanager
def _default_superuser(settings: CassandraSettings) -> Iterator[Session]:
    with connect(
        settings.model_copy(update={"username": DEFAULT, "password": SecretStr(DEFAULT)}), keyspace=False
    ) as session:
        yield session
