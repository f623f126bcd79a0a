"""`etl doctor`: check every dependency, and name the remedy for each problem."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from platform import python_version
from typing import Literal, TypeVar

import pyarrow as pa
from cassandra.cluster import Session

from etl.admin.managed import Managed, limits, managed_service, refused_settings
from etl.admin.replicas import GROUPS_TOPIC, brokers, nodes_by_datacenter, thin_keyspace, thin_topics, topic_replicas
from etl.cassandra.checks import check_columns
from etl.cassandra.connection import connect as connect_cassandra
from etl.cassandra.retry import driver_errors, retrying
from etl.errors import DeliveryError, EtlError, SettingsError, Unreachable
from etl.kafka import client as kafka
from etl.kafka.lag import from_offset
from etl.mapping.language import read_mapping
from etl.model.measurements import read_measurements
from etl.model.tables import INSIGHT, pipeline_tables
from etl.run.rejected import all_rejected, any_usable
from etl.run.workspace import begin, open_workspace
from etl.settings import (
    PARTS,
    CassandraSettings,
    ConsumeSettings,
    GenerateSettings,
    KafkaSettings,
    LoadSettings,
    Part,
    RunSettings,
    read_settings,
)
from etl.stages.generate.files import file_readings
from etl.stages.generate.listing import list_files
from etl.urls import shown

# A service that is not available within this time is reported; a stage would wait for it.
CONNECT_SECONDS = 10.0
KEEPS_EVERYTHING = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}

Result = TypeVar("Result")


@dataclass(frozen=True)
class Check:
    """One line: state, subject and remedy of a check; `exit_code` is that of a stage with the same problem."""

    state: Literal["ok", "warn", "fail"]
    what: str
    text: str
    exit_code: int = 0


def worst(checks: Sequence[Check]) -> int:
    """Return the exit code of the worst problem: 4 (retry) only if there is no other problem."""
    codes = {check.exit_code for check in checks if check.state == "fail"}
    return next(
        (error.exit_code for error in (SettingsError, DeliveryError, Unreachable) if error.exit_code in codes), 0
    )


def check_all(*, patient: bool = False) -> Iterator[Check]:
    """Check settings, workspace, Kafka and Cassandra, and yield a line for each; change nothing.

    Args:
        patient: wait for an unavailable service until its timeout, as a stage does.
    """
    yield Check(
        "ok", "versions", f"sensor-etl {version('sensor-etl')}, Python {python_version()}, pyarrow {pa.__version__}"
    )
    wrong = [check for check in map(_check_settings, PARTS) if check.state == "fail"]
    yield from wrong or [Check("ok", "settings", "all can be used")]
    yield _try("measurements", _measurements)
    yield _try("workspace", _workspace)
    yield _try("source", _source)
    yield from _kafka(patient)
    yield from _cassandra(patient)


def _try(what: str, check: Callable[[], str | Check]) -> Check:
    """Return the result of a check, or the error that it raises, as a line."""
    try:
        found = check()
        return found if isinstance(found, Check) else Check("ok", what, found)
    except EtlError as error:
        return Check("fail", what, str(error), error.exit_code)


def _for_analysis(check: Check) -> Check:
    """Turn failures of the analysis' dependencies into warnings: a run does not need them."""
    return replace(check, state="warn") if check.state == "fail" else check


def _check_settings(part: type[Part]) -> Check:
    return _try("settings", lambda: str(read_settings(part)))


def _measurements() -> str:
    return ", ".join(read_measurements(read_settings(RunSettings).measurements_file).names)


def _workspace() -> str:
    settings = read_settings(RunSettings)
    workspace = open_workspace(settings.workspace_url, f"doctor-{secrets.token_hex(3)}")
    begin(workspace, "doctor").write("readings", pa.table({"equipment_id": ["x"]}))
    workspace.files.rm(f"{workspace.root}/{workspace.run}", recursive=True)
    return f"{shown(settings.workspace_url)} can be written"


def _source() -> str | Check:
    settings = read_settings(GenerateSettings)
    if settings.source != "recorded" or not (settings.recorded_url and settings.mapping_file):
        return {"none": "gateways fill the topic"}.get(settings.source, f"{settings.machines} synthetic machine(s)")
    measurements = read_measurements(read_settings(RunSettings).measurements_file)
    mapping = read_mapping(settings.mapping_file, measurements)
    # The first rows show whether file, format and columns are right.
    oldest = int(settings.oldest.timestamp() * 1000)
    files = list_files(settings.recorded_url, mapping).files
    blocks = ((found, block) for found in files for block in file_readings(found, mapping, measurements, oldest))
    for found, block in blocks:
        if block.readings.num_rows or block.dead_letters.num_rows:
            if any_usable(block.readings, measurements):
                return f"the first rows of {found.name} fit the mapping; recorded files: {len(files)}"
            text = f"of its first rows, {all_rejected(block.readings.num_rows, [block.dead_letters])}"
            return Check("warn", "source", text)
    return "no recorded file has a row"


def _kafka(patient: bool) -> Iterator[Check]:
    with ExitStack() as stack:
        try:
            settings = read_settings(KafkaSettings)
            hurried = settings.model_copy(update={"timeout": min(settings.timeout, CONNECT_SECONDS)})
            client = stack.enter_context(kafka.connect(settings if patient else hurried))
        except EtlError as error:
            yield Check("fail", "Kafka", str(error), error.exit_code)
            return
        yield Check("ok", "Kafka", f"{settings.bootstrap_servers} answers")
        for name in settings.topics:
            yield (topic := _try("topic", partial(_topic, client, name)))
            if topic.state == "ok":
                yield _topic_settings(client, name)
                yield _try("offsets", partial(_offsets, client, name))
        yield (letters := _try("dead letters", lambda: _topic(client, settings.dead_letter_topic)))
        if letters.state == "ok":
            yield _dead_letter_settings(client)
        yield _for_analysis(_try("events", lambda: _topic(client, settings.events_topic)))
        yield _replicas("topics", lambda: _thin_topics(client))


def _topic(client: kafka.Client, topic: str) -> str:
    return f"topic {topic} has {len(client.partitions(topic))} partition(s)"


def _topic_settings(client: kafka.Client, topic: str) -> Check:
    try:
        stamp = client.topic_settings(topic)["message.timestamp.type"]
    except SettingsError as error:
        # No stage needs this right, so its absence is not a problem.
        return Check("warn", "topic", f"its settings are not shown: {error}")
    if stamp == "LogAppendTime":
        return Check("ok", "topic", f"records of {topic} are stamped by the broker (LogAppendTime)")
    return Check(
        "warn",
        "topic",
        f"records of {topic} are stamped by their producers, whose clocks then decide which of two readings is the"
        f" later one: set message.timestamp.type=LogAppendTime on {topic}",
    )


def _dead_letter_settings(client: kafka.Client) -> Check:
    topic = client.settings.dead_letter_topic
    try:
        found = client.topic_settings(topic)
        largest = max(int(client.topic_settings(name)["max.message.bytes"]) for name in client.settings.topics)
    except SettingsError as error:
        return Check("warn", "dead letters", f"the topic's settings are not shown: {error}")
    wrong = [f"{name}={value}" for name, value in KEEPS_EVERYTHING.items() if found[name] != value]
    if int(found["max.message.bytes"]) < largest:
        wrong.append(f"max.message.bytes={largest}")
    if wrong:
        return Check("warn", "dead letters", f"some would be lost: set {', '.join(wrong)} on topic {topic}")
    return Check("ok", "dead letters", "the topic keeps everything")


def _offsets(client: kafka.Client, topic: str) -> str:
    group = client.settings.group
    consume = read_settings(ConsumeSettings)
    spans, committed = client.log_spans(topic), client.committed(topic)
    lag = 0
    for partition, span in spans.items():
        at = committed.get(partition)
        lag += span.end - (span.begin if at is None else at)
        if at is None or span.begin <= at <= span.end or consume.from_offset or consume.from_time:
            continue
        lost = f"{span.begin - at:,} records are lost" if at < span.begin else "the topic was recreated"
        way = from_offset(client.settings, topic, {partition: span.begin})
        raise DeliveryError(
            f"topic {topic}: group {group} stands at offset {at} of partition {partition}, the log has {span.begin} to"
            f" {span.end}: {lost}; `etl consume {way}` continues with the remaining records"
        )
    return f"group {group} lags {lag:,} record(s) behind the end of topic {topic}"


def _cassandra(patient: bool) -> Iterator[Check]:
    with ExitStack() as stack:
        try:
            settings = read_settings(CassandraSettings)
            if not patient:
                # A refusal and a failed lookup are immediate, so one attempt is enough.
                settings = settings.model_copy(update={"timeout": 0.0})
            session = stack.enter_context(connect_cassandra(settings, keyspace=False))
            (release,) = retrying(
                lambda: session.execute("SELECT release_version FROM system.local").one(), CONNECT_SECONDS
            )
            managed = managed_service(session, settings, CONNECT_SECONDS)
        except EtlError as error:
            yield Check("fail", "Cassandra", str(error), error.exit_code)
            return
        where = settings.secure_connect_bundle or f"{settings.contact_points} port {settings.port}"
        yield Check("ok", "Cassandra", f"{release} at {where} answers")
        if managed:
            yield from _limits(managed, settings)
        yield (tables := _try("tables", lambda: _tables(settings)))
        if tables.state == "ok":
            yield _for_analysis(_try("tables of the analysis", lambda: _insight_tables(session, settings)))
            if not managed:
                yield _replicas("keyspace", lambda: _thin_keyspace(session, settings.keyspace))


def _limits(service: Managed, settings: CassandraSettings) -> Iterator[Check]:
    """Yield what a managed service refuses: with these settings, and with any."""
    try:
        refused = refused_settings(service, settings, read_settings(LoadSettings))
        yield from [Check("fail", service, str(error), error.exit_code) for error in refused]
    except SettingsError:
        pass  # The check of the settings names it.
    yield from [Check("warn", service, text) for text in limits(service)]


def _replicas(of: str, find: Callable[[], Sequence[str]]) -> Check:
    what = f"replicas of the {of}"
    try:
        thin = find()
    except EtlError as error:
        # No stage needs this right.
        return Check("warn", what, f"not shown: {error}")
    if thin:
        return Check("warn", what, f"{'; '.join(thin)}: docs/scale.md says how to change that")
    return Check("ok", what, "as many as the cluster can hold, or 3")


def _thin_topics(client: kafka.Client) -> list[str]:
    settings = client.settings
    topics = (settings.topic, settings.dead_letter_topic, settings.events_topic, GROUPS_TOPIC)
    return list(thin_topics({topic: topic_replicas(client, topic) for topic in topics}, brokers(client)))


def _thin_keyspace(session: Session, keyspace: str) -> list[str]:
    query = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s"
    (replication,) = retrying(lambda: session.execute(query, (keyspace,)).one(), CONNECT_SECONDS)
    return list(thin_keyspace(keyspace, replication, nodes_by_datacenter(session)))


def _tables(settings: CassandraSettings) -> str:
    measurements = read_measurements(read_settings(RunSettings).measurements_file)
    with connect_cassandra(settings) as session:
        check_columns(session, pipeline_tables(measurements))
        columns = session.cluster.metadata.keyspaces[settings.keyspace].tables["sensor_data"].columns
    known = {"equipment_id", "day", "timestamp", "quality", *measurements.names}
    unwritten = [name for name in columns if name not in known]
    return f"keyspace {settings.keyspace} has all" + (
        f"; no longer written: {', '.join(unwritten)}" if unwritten else ""
    )


def _insight_tables(session: Session, settings: CassandraSettings) -> str:
    with driver_errors():
        session.set_keyspace(settings.keyspace)
    check_columns(session, INSIGHT)
    return f"keyspace {settings.keyspace} has all"
