"""A worker of Kafka Connect, configured as docs/gateways.md says; the mappings beside it read what it writes."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etl.admin.mapping_trial import Trial, try_topic
from etl.model.measurements import read_measurements
from etl.settings import KafkaSettings, RegistrySettings, read_settings
from images import jars, local
from tests.integration.topics import made_topics

PAGE = (Path(__file__).parents[3] / "docs" / "gateways.md").read_text()
SECTION = PAGE.partition("\n## Kafka Connect\n")[2].partition("\n## ")[0]
LINES = [{"id": "press-1", "ts": 1_767_592_800_250 + n, "U": 230.5 + n} for n in range(2)]
START_SECONDS = 120


def properties(block: str, path: Path, **values: str) -> Path:
    """Write a file of the page with other values."""
    (text,) = re.findall(rf"```properties {block}\n(.+?)```", SECTION, re.DOTALL)
    for key, value in values.items():
        key = key.replace("_", ".")
        text, found = re.subn(rf"^{re.escape(key)}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
        text += "" if found else f"{key}={value}\n"
    path.write_text(text)
    return path


@contextmanager
def running(folder: Path, *files: Path) -> Iterator[subprocess.Popen[bytes]]:
    java = str(Path(os.environ["JAVA_HOME"], "bin", "java")) if "JAVA_HOME" in os.environ else "java"
    command = [java, *local.QUICK_START.split(), "-Xmx256m", "-cp", f"{jars.resolve('kafka')}/*"]
    with (folder / "connect.log").open("wb") as log:
        worker = subprocess.Popen(
            [*command, "org.apache.kafka.connect.cli.ConnectStandalone", *map(str, files)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield worker
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()


def stored(trial: Trial) -> list[tuple[object, ...]]:
    return [(row["equipment_id"], row["timestamp"], row["voltage"]) for row in trial.readings]


def test_rows_of_kafka_connect_are_readings_when_mapped_as_the_page_says(
    kafka: local.Service, topic: str, tmp_path: Path
) -> None:
    source = tmp_path / "readings.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    worker = properties(
        "worker.properties",
        tmp_path / "worker.properties",
        bootstrap_servers=kafka.address,
        offset_storage_file_filename=str(tmp_path / "offsets"),
        plugin_path=str(jars.resolve("connect", Path(__file__).parent / "pom.xml")),
        listeners="http://127.0.0.1:0",
        plugin_discovery="service_load",  # faster than a search of all jars
    )
    given = {"topic": topic, "file": str(source)}
    first = properties("source.properties", tmp_path / "first.properties", **given)
    plain = {
        "name": "plain",
        "value_converter": "org.apache.kafka.connect.json.JsonConverter",
        "value_converter_schemas_enable": "false",
    }
    second = properties("source.properties", tmp_path / "second.properties", **given, **plain)
    with_schemas, without = (tmp_path / name for name in ("with.yaml", "without.yaml"))
    for path, text in zip((with_schemas, without), re.findall(r"```yaml\n(.+?)```", SECTION, re.DOTALL), strict=True):
        path.write_text(text)
    wanted = [("press-1", f"2026-01-05T06:00:00.25{n}Z", line["U"]) for n, line in enumerate(LINES)]
    with (
        made_topics(kafka, topic, tmp_path, partitions=1) as client,
        running(tmp_path, worker, first, second) as process,
    ):
        until = time.monotonic() + START_SECONDS
        while client.log_spans(topic)[0].end < 2 * len(LINES):
            told = (tmp_path / "connect.log").read_text()[-2000:]
            assert process.poll() is None, told
            assert time.monotonic() < until, told
            time.sleep(0.2)
        for mapping in (with_schemas, without):
            trial = try_topic(read_settings(KafkaSettings), RegistrySettings(), mapping, read_measurements())
            # The rows of the other converter are no readings of this mapping.
            assert (stored(trial), len(trial.dead_letters)) == (wanted, len(LINES)), mapping
