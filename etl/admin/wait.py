"""`etl wait`: wait until the tables of the pipeline exist and the role of the settings may read them."""

import math
import time

from etl.cassandra.connection import connect
from etl.cassandra.retry import driver_errors
from etl.errors import EtlError
from etl.patience import patiently
from etl.settings import CassandraSettings, read_settings

PAUSE_SECONDS = 2.0
PROGRESS_SECONDS = 20.0


def wait_for_tables() -> str:
    """Try to read a table until it works, without a time limit; return a line that says how long it took.

    It retries after every error of Cassandra or of a setting, because the node, the role, its password and the tables
    may appear later. So each attempt reads the settings and mounted secrets again.
    """
    began = time.monotonic()
    patiently(
        math.inf,
        _read_a_table,
        EtlError,
        doing="waiting for the tables",
        pauses=(PAUSE_SECONDS, PAUSE_SECONDS),
        say_seconds=PROGRESS_SECONDS,
    )
    return f"tables are there after {time.monotonic() - began:.0f} s"


def _read_a_table() -> None:
    with connect(read_settings(CassandraSettings)) as session, driver_errors():
        session.execute("SELECT equipment_id FROM watermarks LIMIT 1")
