"""PySpark and spark-cassandra-connector, tuned, cold and in a warm Java machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil

from etl.model.measurements import read_measurements
from images import local
from tests.bench.figures import Figure, Processes, processor_seconds
from tests.bench.maven import CACHE, NotToBeHadError, fetch
from tests.bench.place import Place, check_stored, fresh_keyspace

POM = Path(__file__).parent / "spark.xml"
JOB = Path(__file__).parent / "spark_job.py"
PYSPARK = "pyspark==3.5.7"
SETTINGS = {
    "spark.master": "local[2]",
    "spark.driver.memory": "2g",
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.cassandra.connection.host": local.HOST,
    # The two that matter: large batches, many of them under way.
    "spark.cassandra.output.batch.size.bytes": "65536",
    "spark.cassandra.output.concurrent.writes": "16",
    # A missing value is left alone, as ours is, rather than written as a tombstone.
    "spark.cassandra.output.ignoreNulls": "true",
}
# As many runs in one Java machine; the first finds it cold.
RUNS = ("cold", "warm, 2nd run", "warm, 3rd run")


def topic_to_table(place: Place, topic: str, readings: int) -> Iterator[Figure]:
    """Take a topic of JSON readings into a table of its own, several times in a row.

    The time counts from the first micro-batch to its end, so that the start of Java and the planning are apart; the
    processor time is that of the job's processes.

    Raises:
        NotToBeHadError: it cannot be fetched.
    """
    python, jars = _install(), fetch(POM, "dependency:copy-dependencies")
    options = SETTINGS | {
        "spark.cassandra.connection.port": str(place.cassandra.ports["port"]),
        "spark.jars": ",".join(map(str, sorted(jars.glob("*.jar")))),
        "spark.local.dir": str(place.folder / "spark"),
    }
    submit = [item for name, value in options.items() for item in ("--conf", f"{name}={value}")]
    with ExitStack() as stack:
        sessions = [stack.enter_context(fresh_keyspace()) for _ in RUNS]
        arguments = [place.kafka.address, topic, ",".join(read_measurements(None).names)]
        arguments += [str(session.keyspace) for session in sessions]
        log = stack.enter_context((place.folder / "spark.log").open("wb"))
        job = subprocess.Popen(
            [str(python), "-I", str(JOB), *arguments],
            env=os.environ | {"PYSPARK_SUBMIT_ARGS": " ".join([*map(_quoted, submit), "pyspark-shell"])},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        stack.callback(job.kill)
        yield from _follow(job, readings, place.both)
        if job.wait():
            raise RuntimeError(f"Spark ended with {job.returncode}: {Path(log.name).read_text()[-2000:]}")
        for session in sessions:
            check_stored(session, readings)


def _quoted(item: str) -> str:
    return f'"{item}"'


def _follow(job: subprocess.Popen[str], readings: int, services: Processes) -> Iterator[Figure]:
    begun: dict[str, float] = {}
    runs = iter(RUNS)
    for line in job.stdout or ():
        word, *seconds = line.split()
        if word not in ("begin", "end"):
            continue
        now = {name: processor_seconds(process) for name, process in services.items()}
        now["client"] = _tree_seconds(job.pid)
        if word == "begin":
            begun = now
            continue
        spent = {name: now[name] - begun[name] for name in now}
        cpu = spent.pop("client")
        yield Figure(f"Spark and its connector, {next(runs)}", readings, float(seconds[0]), cpu, spent)


def _tree_seconds(pid: int) -> float:
    root = psutil.Process(pid)
    return sum(processor_seconds(process) for process in [root, *root.children(recursive=True)])


def _install() -> Path:
    """Return the Python of an environment of its own that has PySpark."""
    folder = CACHE / PYSPARK.replace("==", "-")
    python = folder / "bin" / "python"
    if not python.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["python3.11", "-m", "venv", str(folder)], check=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", PYSPARK],
            check=False,
        )
        if done.returncode:
            shutil.rmtree(folder)
            raise NotToBeHadError(f"pip could not install {PYSPARK}")
    return python
