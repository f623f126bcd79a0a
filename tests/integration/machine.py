"""The command `etl`, run as a user would, on services, topic, keyspace and workspace of a test's own."""

import os
import subprocess
import sys
from typing import Any

from etl.cassandra.connection import connect
from etl.run.runner import STAGES
from etl.run.workspace import find_manifest, open_workspace
from etl.settings import CassandraSettings, KafkaSettings


def part(environment: dict[str, str], prefix: str) -> dict[str, Any]:
    """The settings of one part, by field."""
    return {k.removeprefix(prefix).lower(): v for k, v in environment.items() if k.startswith(prefix)}


class Machine:
    """The command on services, topic, keyspace and workspace of a test's own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        # What is run with the command's arguments.
        self.module: tuple[str, ...] = ("etl",)

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(**part(self.environment, "ETL_KAFKA_"))

    @property
    def cassandra(self) -> CassandraSettings:
        return CassandraSettings(**part(self.environment, "ETL_CASSANDRA_"))

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
        return subprocess.Popen(
            [sys.executable, "-m", *self.module, *arguments],
            env=kept | self.environment | variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def etl(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **variables)
        stdout, stderr = process.communicate(timeout=200)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def finished(self, run: str) -> list[str]:
        workspace = open_workspace(self.environment["ETL_WORKSPACE_URL"], run)
        return [stage for stage in STAGES if find_manifest(workspace, stage)]

    def counts(self, run: str, stage: str) -> dict[str, int]:
        manifest = find_manifest(open_workspace(self.environment["ETL_WORKSPACE_URL"], run), stage)
        assert manifest
        return manifest.summary.counts

    def rows(self) -> int:
        with connect(self.cassandra) as session:
            return int(session.execute("SELECT count(*) FROM sensor_data").one()[0])
