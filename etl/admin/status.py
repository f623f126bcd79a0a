"""`etl status`: consumer lag, watermarks and the last runs."""

from dataclasses import dataclass
from datetime import datetime

import pyarrow.compute as pc
from cassandra.cluster import Session

from etl.cassandra.connection import connect
from etl.cassandra.store import Store
from etl.cassandra.watermarks import read_watermarks
from etl.kafka.client import connect as connect_kafka
from etl.kafka.lag import Lag, read_lags
from etl.run.ledger import LoadedRun, read_last_runs
from etl.settings import CassandraSettings, KafkaSettings


@dataclass(frozen=True)
class Watermarks:
    """The oldest and the newest watermark of all machines; without machines there is no time."""

    equipment: int
    oldest: datetime | None
    newest: datetime | None


@dataclass(frozen=True)
class Status:
    """Lag, watermarks and the last runs."""

    lags: list[Lag]
    watermarks: Watermarks
    runs: list[LoadedRun]


def read_status(cassandra: CassandraSettings, kafka: KafkaSettings, runs: int = 5) -> Status:
    """Read lag, watermarks and the last runs; write nothing.

    Raises:
        SettingsError: a topic or table is missing, or may not be read.
        Unreachable: Kafka or Cassandra does not answer.
    """
    with connect_kafka(kafka) as client, connect(cassandra) as session:
        return Status(read_lags(client), read_span(session), read_last_runs(Store(session), runs))


def read_span(session: Session) -> Watermarks:
    """Read the oldest and the newest watermark."""
    stamps = read_watermarks(session)["timestamp"]
    ends = pc.min_max(stamps).as_py()
    return Watermarks(len(stamps), ends["min"], ends["max"])
