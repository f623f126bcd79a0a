"""All settings: environment variables, or files of the same names in the folder ETL_SECRETS_DIR.

One class per part, so that a stage reads, and fails on, only settings that it uses. The module is longer than others,
since it is one list.
"""

import difflib
import ipaddress
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from etl.errors import SettingsError

ALL_PARTITIONS = -1  # in a key of `from_offset`: an offset without a partition
MOST_TOPICS = 1000


def _seconds(given: object) -> object:
    """Parse text that is a number as seconds; pydantic does this only for numbers."""
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given


Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(0))]
Rate = Annotated[float, Field(ge=0, lt=1)]
Names = Annotated[str, Field(min_length=1)]


def check_host(host: str) -> None:
    """Check that a text can be the name or the address of a host; otherwise no lookup would ever find it.

    Raises:
        ValueError: it cannot; the message states the reason.
    """
    if not host:
        raise ValueError("a host is empty")
    if "://" in host or re.search(r"[\s/@,]", host):
        raise ValueError(f"{host!r} is no name of a host")
    try:
        if ":" in host:
            ipaddress.IPv6Address(host.partition("%")[0])
        else:
            host.encode("idna")
    except ValueError:
        raise ValueError(f"{host!r} is no name of a host, and no address") from None


def _check_certificate(prefix: str, certificate: Path | None, key: Path | None, password: SecretStr | None) -> None:
    if key and not certificate:
        raise ValueError(f"{prefix}KEY_FILE needs {prefix}CERTIFICATE_FILE")
    if password and not certificate:
        raise ValueError(f"{prefix}KEY_PASSWORD needs {prefix}CERTIFICATE_FILE and {prefix}KEY_FILE")


class RunSettings(BaseSettings):
    """Settings of every stage."""

    model_config = SettingsConfigDict(env_prefix="ETL_", env_ignore_empty=True, hide_input_in_errors=True)

    workspace_url: str = Field("workspace", description="folder or S3-like URL through which the stages exchange files")
    run_id: str = Field("", description="name of the run; the same for all of its stages")
    shard: NonNegativeInt = Field(0, description="number of this shard of the run, from 0")
    shards: PositiveInt = Field(1, description="number of shards of the run; the same for all of its stages")
    keep_runs: PositiveInt = Field(5, description="finished runs kept in the workspace")
    measurements_file: Path | None = Field(
        None, description="YAML file of measurements; default: etl/model/measurements.yaml"
    )
    metrics_folder: Path | None = Field(
        None, description="folder for Prometheus metrics, a textfile `sensor_etl_<stage>.prom` per stage"
    )
    otlp_endpoint: str | None = Field(None, description="push metrics to this OTLP/HTTP endpoint (extra `otlp`)")

    @model_validator(mode="after")
    def _complete(self) -> "RunSettings":
        if self.shard >= self.shards:
            raise ValueError(f"ETL_SHARD is {self.shard}, but must be below ETL_SHARDS, which is {self.shards}")
        return self


class KafkaSettings(BaseSettings):
    """Connection to Kafka, and names of topics and group."""

    model_config = SettingsConfigDict(env_prefix="ETL_KAFKA_", env_ignore_empty=True, hide_input_in_errors=True)

    bootstrap_servers: Names = Field("localhost:9092", description="host:port, comma-separated")
    topic: Names = Field("sensor-readings", description="topic of the readings")
    more_topics: str = Field(
        "", description="further topics that consume reads, such as those of gateways, comma-separated; they must exist"
    )
    dead_letter_topic: Names = Field("sensor-readings-dead-letters", description="topic of the dead letters")
    events_topic: Names = Field("sensor-events", description="topic of the events that the analysis finds")
    group: Names = Field("sensor-etl", description="consumer group that holds the offsets")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT: SSL encrypts, SASL logs in"
    )
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER", "AWS_MSK_IAM"] = Field(
        "SCRAM-SHA-512",
        description="SCRAM-SHA-512, SCRAM-SHA-256, PLAIN, OAUTHBEARER or AWS_MSK_IAM (extra `msk`)",
    )
    username: str | None = Field(None, description="user of SCRAM or PLAIN")
    password: SecretStr | None = Field(None, description="the user's password")
    oauth_token_url: str | None = Field(None, description="OAUTHBEARER: http(s) URL that returns tokens")
    oauth_client_id: str | None = Field(None, description="OAUTHBEARER: client ID")
    oauth_client_secret: SecretStr | None = Field(None, description="OAUTHBEARER: the client's secret")
    oauth_scope: str | None = Field(None, description="OAUTHBEARER: scope, if the token server needs one")
    aws_region: str | None = Field(None, description="AWS_MSK_IAM: region of the cluster")
    ca_file: Path | None = Field(
        None, description="PEM file of the CA that signed the brokers' certificates; default: the CAs of the system"
    )
    certificate_file: Path | None = Field(None, description="PEM file of the client certificate (mutual TLS)")
    key_file: Path | None = Field(None, description="PEM file of its key; default: the file of the certificate")
    key_password: SecretStr | None = Field(None, description="password of the key, if it has one")
    client: Literal["kafka-python", "librdkafka"] = Field("kafka-python", description="client library")
    timeout: PositiveFloat = Field(
        60, description="seconds without any progress, including name lookups, until a broker counts as unreachable"
    )

    @property
    def topics(self) -> list[str]:
        """The topics that consume reads, in the order of their readings."""
        more = [name.strip() for name in self.more_topics.split(",")] if self.more_topics.strip() else []
        return [self.topic, *more]

    @property
    def encrypts(self) -> bool:
        """Whether connections use TLS."""
        return self.security_protocol.endswith("SSL")

    @property
    def logs_in(self) -> bool:
        """Whether connections use SASL."""
        return self.security_protocol.startswith("SASL_")

    @property
    def uses_tokens(self) -> bool:
        """Whether the login is a token instead of a password."""
        return self.logs_in and self.sasl_mechanism in ("OAUTHBEARER", "AWS_MSK_IAM")

    @model_validator(mode="after")
    def _login(self) -> "KafkaSettings":
        needed: dict[str, object] = {}
        if self.logs_in and self.sasl_mechanism == "OAUTHBEARER":
            if self.oauth_token_url and not re.match(r"https?://[^/\s]", self.oauth_token_url):
                raise ValueError("ETL_KAFKA_OAUTH_TOKEN_URL begins with neither http:// nor https://")
            needed = {"OAUTH_TOKEN_URL": self.oauth_token_url, "OAUTH_CLIENT_ID": self.oauth_client_id}
            needed |= {"OAUTH_CLIENT_SECRET": self.oauth_client_secret}
        elif self.logs_in and self.sasl_mechanism == "AWS_MSK_IAM":
            if not self.encrypts:
                raise ValueError("AWS_MSK_IAM needs ETL_KAFKA_SECURITY_PROTOCOL=SASL_SSL")
            needed = {"AWS_REGION": self.aws_region}
        elif self.logs_in:
            needed = {"USERNAME": self.username, "PASSWORD": self.password}
        elif "sasl_mechanism" in self.model_fields_set:
            raise ValueError("ETL_KAFKA_SASL_MECHANISM needs ETL_KAFKA_SECURITY_PROTOCOL=SASL_SSL or SASL_PLAINTEXT")
        if not all(needed.values()):
            names = [f"ETL_KAFKA_{name}" for name in needed]
            raise ValueError(f"{self.security_protocol} with {self.sasl_mechanism} needs {' and '.join(names)}")
        return self

    @model_validator(mode="after")
    def _complete(self) -> "KafkaSettings":
        _check_certificate("ETL_KAFKA_", self.certificate_file, self.key_file, self.key_password)
        if self.certificate_file and not self.encrypts:
            raise ValueError("ETL_KAFKA_CERTIFICATE_FILE needs ETL_KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL")
        if self.dead_letter_topic == self.topic:
            raise ValueError("ETL_KAFKA_DEAD_LETTER_TOPIC must differ from ETL_KAFKA_TOPIC")
        if self.events_topic in (self.topic, self.dead_letter_topic):
            raise ValueError("ETL_KAFKA_EVENTS_TOPIC must differ from the other topics")
        self._check_more_topics()
        return self

    def _check_more_topics(self) -> None:
        more = self.topics[1:]
        for name in more:
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name):
                raise ValueError(f"ETL_KAFKA_MORE_TOPICS: {name!r} is no name of a topic")
            if name in (self.topic, self.dead_letter_topic, self.events_topic) or more.count(name) > 1:
                raise ValueError(f"ETL_KAFKA_MORE_TOPICS: {name} has another use, or is named twice")
        if len(more) > MOST_TOPICS:
            raise ValueError(f"ETL_KAFKA_MORE_TOPICS: more than {MOST_TOPICS} topics")


class CassandraSettings(BaseSettings):
    """Connection to Cassandra, and the keyspace."""

    model_config = SettingsConfigDict(env_prefix="ETL_CASSANDRA_", env_ignore_empty=True, hide_input_in_errors=True)

    contact_points: Names = Field("localhost", description="hosts, comma-separated")
    port: Annotated[int, Field(gt=0, lt=65_536)] = Field(9042, description="native transport port")
    local_datacenter: Names = Field("datacenter1", description="datacenter whose replicas are used")
    keyspace: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")] = Field("sensors", description="keyspace")
    username: str | None = Field(None, description="role; none: no authentication")
    password: SecretStr | None = Field(None, description="the role's password")
    tls: bool = Field(False, description="encrypt; always on with a CA or client certificate")
    ca_file: Path | None = Field(None, description="PEM file of the CA that signed the nodes' certificates")
    certificate_file: Path | None = Field(None, description="PEM file of the client certificate (mutual TLS)")
    key_file: Path | None = Field(None, description="PEM file of its key; default: the file of the certificate")
    key_password: SecretStr | None = Field(None, description="password of the key, if it has one")
    secure_connect_bundle: Path | None = Field(
        None, description="Astra: zip file with its addresses and certificates, in place of contact points and TLS"
    )
    consistency: Literal["LOCAL_ONE", "ONE", "LOCAL_QUORUM", "QUORUM", "EACH_QUORUM", "ALL"] = Field(
        "LOCAL_QUORUM", description="consistency level, of reads and writes"
    )
    timeout: PositiveFloat = Field(
        60, description="seconds of retries, including name lookups, until Cassandra counts as unreachable"
    )

    @field_validator("contact_points")
    @classmethod
    def _hosts(cls, given: str) -> str:
        for host in given.split(","):
            try:
                check_host(host.strip())
            except ValueError as error:
                raise ValueError(f"{error}: expected hosts without port, comma-separated") from None
        return given

    @model_validator(mode="after")
    def _complete(self) -> "CassandraSettings":
        if bool(self.username) != bool(self.password):
            raise ValueError("ETL_CASSANDRA_USERNAME and ETL_CASSANDRA_PASSWORD go together")
        _check_certificate("ETL_CASSANDRA_", self.certificate_file, self.key_file, self.key_password)
        others = {"contact_points", "port", "tls", "ca_file", "certificate_file"} & self.model_fields_set
        if self.secure_connect_bundle and others:
            raise ValueError(
                f"ETL_CASSANDRA_SECURE_CONNECT_BUNDLE has addresses and certificates: remove"
                f" {', '.join(sorted(f'ETL_CASSANDRA_{name.upper()}' for name in others))}"
            )
        return self


class SchemaSettings(BaseSettings):
    """Settings of `etl schema`, which are fixed at creation."""

    model_config = SettingsConfigDict(env_prefix="ETL_SCHEMA_", env_ignore_empty=True, hide_input_in_errors=True)

    partitions: PositiveInt = Field(4, description="partitions of the topic")
    kafka_replication: PositiveInt = Field(
        1, description="replicas of the topics; if it is not set, one per broker, at most 3"
    )
    cassandra_replication: str = Field(
        "",
        description='CQL map, e.g. {"class": "NetworkTopologyStrategy", "dc1": 3}; default: as many replicas in the'
        " local datacenter as it has nodes, at most 3",
    )
    ttl: Annotated[int, Field(ge=0)] = Field(0, description="lifetime of a row of sensor_data in seconds; 0: unlimited")
    compaction: str = Field("", description='CQL map of sensor_data, e.g. {"class": "TimeWindowCompactionStrategy"}')
    catalogue_file: Path | None = Field(None, description="YAML file of machines for table `equipment`")
    made_up_machines: Annotated[int, Field(ge=0)] = Field(
        0, description="without such a file: number of synthetic machines, the same as those of `generate`"
    )


class GenerateSettings(BaseSettings):
    """Settings of `generate`."""

    model_config = SettingsConfigDict(env_prefix="ETL_GENERATE_", env_ignore_empty=True, hide_input_in_errors=True)

    source: Literal["synthetic", "recorded", "none"] = Field(
        "synthetic", description="none: gateways fill the topic, nothing to do"
    )
    machines: PositiveInt = Field(10, description="synthetic: number of machines, the first of the catalogue")
    catalogue_file: Path | None = Field(None, description="synthetic: YAML file of machines; default: synthetic ones")
    seed: int = Field(1, description="synthetic: the same seed gives the same readings")
    interval: PositiveFloat | None = Field(
        None, description="synthetic: seconds between readings; default: catalogue's"
    )
    start: AwareDatetime = Field(
        datetime.fromisoformat("2026-01-05T06:00:00+00:00"), description="synthetic: first arrival, with zone"
    )
    duration: Duration = Field(timedelta(minutes=10), description="synthetic: length of the range, seconds or ISO 8601")
    fault_rate: Annotated[float, Field(ge=0, le=10)] = Field(
        0.0, description="synthetic: faults of machines per machine and week, with labels in the workspace"
    )
    dropout_rate: Rate = Field(0.0, description="synthetic: share of readings that never arrive")
    duplicate_rate: Rate = Field(0.0, description="synthetic: share of readings that arrive twice")
    late_rate: Rate = Field(0.0, description="synthetic: share of readings delayed by up to `late_by`")
    late_by: Duration = Field(timedelta(hours=1), description="synthetic: longest delay of a late reading")
    out_of_order_rate: Rate = Field(0.0, description="synthetic: share of readings delayed by a few intervals")
    recorded_url: str | None = Field(
        None, description="recorded: path or fsspec URL of a file, a folder, or a pattern such as `data/**/*.csv`"
    )
    mapping_file: Path | None = Field(None, description="recorded: YAML file that maps columns to measurements")
    oldest: AwareDatetime = Field(
        datetime.fromisoformat("2000-01-01T00:00:00+00:00"),
        description="recorded: an epoch number before this time is not a timestamp, with zone",
    )

    @model_validator(mode="after")
    def _complete(self) -> "GenerateSettings":
        if self.source == "recorded" and not (self.recorded_url and self.mapping_file):
            raise ValueError("source recorded needs ETL_GENERATE_RECORDED_URL and ETL_GENERATE_MAPPING_FILE")
        if self.duration <= timedelta(0):
            raise ValueError("ETL_GENERATE_DURATION must be positive")
        return self


class ProduceSettings(BaseSettings):
    """Settings of `produce`."""

    model_config = SettingsConfigDict(env_prefix="ETL_PRODUCE_", env_ignore_empty=True, hide_input_in_errors=True)

    format: Literal["arrow", "json"] = Field("arrow", description="arrow: micro-batches; json: one reading per record")
    batch_readings: Annotated[int, Field(gt=0, le=10_000)] = Field(
        1000, description="arrow: the most readings in a record"
    )


class ConsumeSettings(BaseSettings):
    """Settings of `consume`: where it begins and ends."""

    model_config = SettingsConfigDict(env_prefix="ETL_CONSUME_", env_ignore_empty=True, hide_input_in_errors=True)

    max_readings: PositiveInt | None = Field(
        None, description="cap on the readings of a run; ends on a record boundary"
    )
    # By topic (empty: the only one) and partition.
    from_offset: Annotated[dict[tuple[str, int], int] | None, NoDecode] = Field(
        None,
        description="read again from here: OFFSET for all partitions, or PARTITION:OFFSET,...; of several topics"
        " TOPIC/OFFSET or TOPIC/PARTITION:OFFSET",
    )
    from_time: AwareDatetime | None = Field(None, description="read again from the first record at or after this time")
    mapping_file: Path | None = Field(
        None, description="YAML file that maps the fields of records; default: JSON named as the measurements, or Arrow"
    )

    @field_validator("from_offset", mode="before")
    @classmethod
    def _parse(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        items = [re.fullmatch(r"\s*(?:([\w.-]+)/)?(?:(\d+):)?(\d+)\s*", item) for item in given.split(",")]
        if not all(items):
            raise ValueError("use OFFSET for all partitions, or PARTITION:OFFSET,..., each perhaps after TOPIC/")
        return {(item[1] or "", int(item[2] or ALL_PARTITIONS)): int(item[3]) for item in items if item}


class RegistrySettings(BaseSettings):
    """Connection to a schema registry with Confluent's API, for records of format `registry`."""

    model_config = SettingsConfigDict(env_prefix="ETL_REGISTRY_", env_ignore_empty=True, hide_input_in_errors=True)

    url: str | None = Field(None, description="http(s) URL of the schema registry; several, comma-separated")
    username: str | None = Field(None, description="user of basic authentication; none: no authentication")
    password: SecretStr | None = Field(None, description="the user's password")
    ca_file: Path | None = Field(None, description="PEM file of the CA that signed the registry's certificate")
    timeout: PositiveFloat = Field(60, description="seconds of retries until the registry counts as unreachable")

    @field_validator("url")
    @classmethod
    def _urls(cls, given: str | None) -> str | None:
        if given and not all(url.strip().startswith(("http://", "https://")) for url in given.split(",")):
            raise ValueError("begins with neither http:// nor https://")
        return given

    @model_validator(mode="after")
    def _complete(self) -> "RegistrySettings":
        if bool(self.username) != bool(self.password):
            raise ValueError("ETL_REGISTRY_USERNAME and ETL_REGISTRY_PASSWORD go together")
        return self


class TransformSettings(BaseSettings):
    """Settings of `transform` for late and old readings."""

    model_config = SettingsConfigDict(env_prefix="ETL_TRANSFORM_", env_ignore_empty=True, hide_input_in_errors=True)

    allowed_lateness: Duration | None = Field(
        None, description="seconds that a reading may be behind the watermark; default: unlimited, 0: strict"
    )
    oldest: AwareDatetime = Field(
        datetime(2000, 1, 1, tzinfo=UTC),
        description="day (UTC), or time with zone; a reading with an earlier timestamp becomes a dead letter",
    )

    partial: Literal["conflict", "merge"] = Field(
        "conflict",
        description="conflict: of two readings with the same key and other values the later one wins; "
        "merge: they are parts of one row",
    )

    @field_validator("oldest", mode="before")
    @classmethod
    def _moment(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        try:
            moment = datetime.fromisoformat(given)
            if re.fullmatch(r"[\d-]+", given):
                moment = moment.replace(tzinfo=UTC)
        except ValueError:
            moment = datetime.max
        if moment.tzinfo is None:
            raise ValueError("use a day such as 2000-01-01, or a time with its zone")
        return moment

    @field_validator("oldest")
    @classmethod
    def _past(cls, moment: datetime) -> datetime:
        if not datetime(1970, 1, 1, tzinfo=UTC) <= moment <= datetime.now(UTC):
            raise ValueError("use a day from 1970-01-01 to today")
        return moment


class LoadSettings(BaseSettings):
    """Settings of `load`."""

    model_config = SettingsConfigDict(env_prefix="ETL_LOAD_", env_ignore_empty=True, hide_input_in_errors=True)

    batch_rows: Annotated[int, Field(gt=0, le=10_000)] = Field(400, description="the most rows in one batch")
    concurrency: Annotated[int, Field(gt=0, le=1024)] = Field(16, description="batches in flight")


class AnalyzeSettings(BaseSettings):
    """Settings of `analyze`: limits and webhook."""

    model_config = SettingsConfigDict(env_prefix="ETL_ANALYZE_", env_ignore_empty=True, hide_input_in_errors=True)

    limits_file: Path | None = Field(None, description="YAML file of thresholds; default: etl/insight/limits.yaml")
    webhook: SecretStr | None = Field(
        None, description="http(s) URL that receives each event as JSON, in addition to the topic"
    )

    @field_validator("webhook")
    @classmethod
    def _url(cls, given: SecretStr | None) -> SecretStr | None:
        if given and not given.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("begins with neither http:// nor https://")
        return given


class PageSettings(BaseSettings):
    """Settings of `etl page`: address and user."""

    model_config = SettingsConfigDict(env_prefix="ETL_PAGE_", env_ignore_empty=True, hide_input_in_errors=True)

    host: Names = Field("127.0.0.1", description="address to listen on; 0.0.0.0: all")
    port: Annotated[int, Field(gt=0, lt=65_536)] = Field(8050, description="port to listen on")
    username: str | None = Field(None, description="user of basic authentication; none: everybody may see the page")
    password: SecretStr | None = Field(None, description="the user's password")

    @model_validator(mode="after")
    def _complete(self) -> "PageSettings":
        if bool(self.username) != bool(self.password):
            raise ValueError("ETL_PAGE_USERNAME and ETL_PAGE_PASSWORD go together")
        return self


class ReportSettings(BaseSettings):
    """Settings of `etl report`."""

    model_config = SettingsConfigDict(env_prefix="ETL_REPORT_", env_ignore_empty=True, hide_input_in_errors=True)

    chromium: str | None = Field(None, description="program that prints PDF; default: Chromium or Chrome on the PATH")


class GrantSettings(BaseSettings):
    """Settings of `etl grant`: mounted secrets, with a sub-folder per stage that has `password`, perhaps `username`."""

    model_config = SettingsConfigDict(env_prefix="ETL_GRANT_", env_ignore_empty=True, hide_input_in_errors=True)

    cassandra_dir: Path | None = Field(
        None, description="Cassandra: folder with STAGE/password and STAGE/username (default: STAGE); none: no changes"
    )
    kafka_dir: Path | None = Field(
        None, description="Kafka: the same, or STAGE/principal for users without a password in Kafka; none: no changes"
    )


PARTS: tuple[type[BaseSettings], ...] = (
    RunSettings,
    KafkaSettings,
    CassandraSettings,
    SchemaSettings,
    GrantSettings,
    GenerateSettings,
    ProduceSettings,
    ConsumeSettings,
    RegistrySettings,
    TransformSettings,
    LoadSettings,
    AnalyzeSettings,
    PageSettings,
    ReportSettings,
)
# The stages in order; the settings of each are in the order of its arguments after its work.
STAGE_PARTS: dict[str, tuple[type[BaseSettings], ...]] = {
    "generate": (GenerateSettings,),
    "produce": (ProduceSettings, KafkaSettings),
    "consume": (ConsumeSettings, KafkaSettings, RegistrySettings),
    "transform": (TransformSettings, CassandraSettings),
    "load": (LoadSettings, CassandraSettings, KafkaSettings),
}
_OTHERS = ("ETL_SECRETS_DIR", "ETL_SHARED", "ETL_LOG_FORMAT")

Part = TypeVar("Part", bound=BaseSettings)


def read_settings(part: type[Part], **given: object) -> Part:
    """Read one part from the environment and mounted secrets; `given` (command-line options) has priority.

    Raises:
        SettingsError: a value cannot be used; the message names its variable and never contains a secret.
    """
    folder = os.environ.get("ETL_SECRETS_DIR")
    if folder and not Path(folder).is_dir():
        raise SettingsError(f"ETL_SECRETS_DIR: {folder} is no folder")
    try:
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return part(_secrets_dir=folder, **values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        prefix = str(part.model_config.get("env_prefix", ""))
        name = f"{prefix}{first['loc'][0]}".upper() if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name}: {message}" if name else message) from None
    except SourceError as error:
        # Its message names only the field. The file may be a secret, so nothing of it is shown.
        found = re.search('field "([a-z_]+)"', str(error))
        name = f"{part.model_config.get('env_prefix', '')}{found[1]}".upper() if found else "a file"
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) else "it is not UTF-8"
        raise SettingsError(f"{name}: its file in ETL_SECRETS_DIR cannot be read: {reason}") from None


def read_stage_settings(stage: str, **given: object) -> list[BaseSettings]:
    """Read the settings of a stage; `given` is for its own part.

    Raises:
        SettingsError: as `read_settings`.
    """
    own, *services = STAGE_PARTS[stage]
    return [read_settings(own, **given), *(read_settings(part) for part in services)]


def describe(part: type[BaseSettings]) -> dict[str, tuple[str, str]]:
    """Return the variables of a part with meaning and default as text; the text is empty if there is no default."""
    prefix = str(part.model_config.get("env_prefix", ""))
    return {
        f"{prefix}{name}".upper(): (field.description or "", _written(field.default))
        for name, field in part.model_fields.items()
    }


def _written(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, timedelta):
        return f"{default.total_seconds():g}"
    return default.isoformat() if isinstance(default, datetime) else str(default)


def unknown_variables() -> dict[str, str | None]:
    """Return unknown ETL_ variables, each with the most similar known one.

    They deserve only a warning: Kubernetes sets such variables in each pod for a Service named `etl-...`.
    """
    known = [*(name for part in PARTS for name in describe(part)), *_OTHERS]
    return {
        name: next(iter(difflib.get_close_matches(name, known, 1)), None)
        for name in sorted(os.environ)
        if name.startswith("ETL_") and name not in known
    }
