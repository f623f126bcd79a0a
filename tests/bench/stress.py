"""cassandra-stress on the table that load writes to, in UNLOGGED batches of one partition."""

import re
import subprocess
from pathlib import Path

from etl.model.measurements import read_measurements
from etl.model.tables import sensor_data
from images import local
from images.paths import IMAGES
from tests.bench.clients import java
from tests.bench.figures import Figure, measured, median
from tests.bench.maven import fetch
from tests.bench.place import Place, fresh_keyspace

POM = Path(__file__).parent / "cassandra-stress.xml"
BATCH_ROWS = (100, 400)
THREADS = 32
# It is older than Java 17.
JAVA_OPTIONS = [
    "-Djava.security.manager=allow",
    f"-Dlogback.configurationFile={IMAGES / 'cassandra' / 'logback.xml'}",
    *(
        "--add-exports=java.base/" + name + "=ALL-UNNAMED"
        for name in ("jdk.internal.misc", "jdk.internal.ref", "sun.nio.ch")
    ),
    *("--add-opens=java.base/" + name + "=ALL-UNNAMED" for name in ("java.lang", "java.nio", "java.io", "java.util")),
]


def stress(place: Place, readings: int, most_rows: int) -> list[Figure]:
    """Write so many rows, made up by cassandra-stress itself; its own rate counts.

    Args:
        place: where.
        readings: rows in all.
        most_rows: largest batch.

    Raises:
        NotToBeHadError: it cannot be fetched.
    """
    home = fetch(POM, "dependency:unpack") / "apache-cassandra-4.0-alpha2"
    return [_measure(place, home, readings, size) for size in sorted({min(size, most_rows) for size in BATCH_ROWS})]


def _measure(place: Place, home: Path, readings: int, size: int) -> Figure:
    batches = readings // size

    def once() -> Figure:
        with fresh_keyspace() as session:
            profile = place.folder / "stress.yaml"
            profile.write_text(_profile(str(session.keyspace), size))
            command = [java(), "-Xmx1g", "-cp", f"{home}/tools/lib/*:{home}/lib/*", *JAVA_OPTIONS]
            command += ["org.apache.cassandra.stress.Stress", "user", f"profile={profile}", "ops(insert=1)"]
            command += [f"n={batches}", "no-warmup", "cl=LOCAL_QUORUM", "-pop", f"seq=1..{batches}"]
            command += ["-rate", f"threads={THREADS}", "-node", local.HOST]
            command += ["-port", f"native={place.cassandra.ports['port']}"]
            with measured(f"cassandra-stress, batches of {size}", batches * size, place.only_cassandra) as figure:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
        rate = re.search(r"Row rate +: +([0-9,]+) row/s", done.stdout)
        if done.returncode or not rate:
            raise RuntimeError(f"cassandra-stress ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        # Its own rate, as Java has to start before the first row.
        figure.seconds = figure.rows / int(rate[1].replace(",", ""))
        return figure

    return median(once, place.both)


def _profile(keyspace: str, size: int) -> str:
    """Describe the table and its contents; all values are drawn as cheaply as cassandra-stress can."""
    table = sensor_data(read_measurements(None))
    columns = [f"  - {{name: {name}, population: uniform(1..1000000)}}" for name in table.columns]
    special = {
        "equipment_id": "  - {name: equipment_id, size: fixed(10), population: uniform(1..1000000000)}",
        "day": "  - {name: day, population: fixed(1)}",
        "timestamp": f"  - {{name: timestamp, cluster: fixed({size}), population: uniform(1..1000000000000)}}",
        "quality": "  - {name: quality, size: fixed(1), population: fixed(1)}",
    }
    columns = [special.get(name, column) for name, column in zip(table.columns, columns, strict=True)]
    return "\n".join(
        [
            f"keyspace: {keyspace}",
            f"table: {table.name}",
            "table_definition: |",
            f"  CREATE TABLE {table.name} {table.definition}",
            "columnspec:",
            *columns,
            "insert:",
            "  partitions: fixed(1)",
            "  select: fixed(1)/1",
            "  batchtype: UNLOGGED",
            # Never asked, but it does not start without.
            f"queries: {{one: {{cql: 'SELECT * FROM {table.name} LIMIT 1', fields: samerow}}}}",
            "",
        ]
    )
