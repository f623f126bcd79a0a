"""The page as the command serves it, on tables with made-up rows."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import waitress
from cassandra.cluster import Session

from etl.admin.schema import create_tables
from etl.cassandra.connection import connect
from etl.model.measurements import read_measurements
from etl.model.tables import INSIGHT, pipeline_tables
from etl.page.server import make_server
from etl.results.reader import Reader
from etl.settings import CassandraSettings, PageSettings, SchemaSettings
from tests.integration.fleet import Plant, seed
from tests.integration.machine import part


@contextmanager
def tables(environment: dict[str, str]) -> Iterator[Session]:
    """A session in a keyspace with all tables."""
    settings = CassandraSettings(**part(environment, "ETL_CASSANDRA_"))
    with connect(settings, keyspace=False) as session:
        list(create_tables(session, [*pipeline_tables(read_measurements()), *INSIGHT], SchemaSettings(), settings))
        session.set_keyspace(settings.keyspace)
        yield session


@contextmanager
def filled(
    environment: dict[str, str], machines: int, days: int, detailed_days: int = 2
) -> Iterator[tuple[Session, Plant]]:
    """The same, with some machines up to yesterday."""
    with tables(environment) as session:
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        yield session, seed(session, machines, days, yesterday, detailed_days=detailed_days)


@contextmanager
def answering(reader: Reader) -> Iterator[str]:
    """The URL of a page in this process."""
    server = waitress.create_server(make_server(reader, PageSettings()), host="127.0.0.1", port=0, threads=4)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()


@contextmanager
def commanded(environment: dict[str, str], *module: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The page as the command serves it, or another module with the command's arguments: its URL, and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
    own = kept | environment | {"ETL_PAGE_PORT": str(port)}
    command = [sys.executable, "-m", *(module or ("etl",)), "page"]
    with subprocess.Popen(command, env=own, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert b"serving on" in process.stderr.readline()
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
