import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from etl.errors import SettingsError
from etl.settings import (
    ALL_PARTITIONS,
    PARTS,
    AnalyzeSettings,
    CassandraSettings,
    ConsumeSettings,
    GenerateSettings,
    KafkaSettings,
    RunSettings,
    TransformSettings,
    describe,
    read_settings,
    unknown_variables,
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ETL_"):
            monkeypatch.delenv(name)


def test_defaults_work_when_nothing_is_set() -> None:
    for part in PARTS:
        read_settings(part)


def test_every_variable_is_explained_when_described() -> None:
    for part in PARTS:
        for name, (text, _) in describe(part).items():
            assert name.startswith("ETL_")
            assert text, name


def test_default_is_as_one_would_write_it_when_it_is_a_duration_or_a_time() -> None:
    described = describe(GenerateSettings)
    assert described["ETL_GENERATE_DURATION"][1] == "600"
    assert described["ETL_GENERATE_START"][1] == "2026-01-05T06:00:00+00:00"
    assert described["ETL_GENERATE_INTERVAL"][1] == ""
    assert describe(CassandraSettings)["ETL_CASSANDRA_TLS"][1] == "false"


def test_blank_variable_means_the_default_when_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_METRICS_FOLDER", "")
    monkeypatch.setenv("ETL_KAFKA_TOPIC", "")
    assert read_settings(RunSettings).metrics_folder is None
    assert read_settings(KafkaSettings).topic == "sensor-readings"


def test_option_goes_first_when_the_variable_is_set_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_RUN_ID", "from-environment")
    assert read_settings(RunSettings, run_id="from-option").run_id == "from-option"
    assert read_settings(RunSettings, run_id=None).run_id == "from-environment"


def test_secret_is_read_when_it_is_a_mounted_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ETL_CASSANDRA_USERNAME").write_text("reader\n")
    (tmp_path / "ETL_CASSANDRA_PASSWORD").write_text("s3cret\n")
    monkeypatch.setenv("ETL_SECRETS_DIR", str(tmp_path))
    settings = read_settings(CassandraSettings)
    assert settings.username == "reader"
    assert settings.password
    assert settings.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_message_names_the_setting_when_its_file_is_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ETL_KAFKA_PASSWORD").write_bytes(b"s3cret\xff")
    monkeypatch.setenv("ETL_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=r"^ETL_KAFKA_PASSWORD: its file in ETL_SECRETS_DIR .* not UTF-8$"):
        read_settings(KafkaSettings)


def test_message_names_the_folder_when_secrets_are_not_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ETL_SECRETS_DIR", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match=r"ETL_SECRETS_DIR.*absent"):
        read_settings(RunSettings)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (RunSettings, "ETL_SHARD", "1"),
        (RunSettings, "ETL_SHARD", "-1"),
        (RunSettings, "ETL_SHARDS", "0"),
        (KafkaSettings, "ETL_KAFKA_CLIENT", "sarama"),
        (KafkaSettings, "ETL_KAFKA_TIMEOUT", "-1"),
        (CassandraSettings, "ETL_CASSANDRA_KEYSPACE", 'x"; DROP'),
        (CassandraSettings, "ETL_CASSANDRA_PORT", "cql"),
        (CassandraSettings, "ETL_CASSANDRA_PORT", "65536"),
        (CassandraSettings, "ETL_CASSANDRA_CONTACT_POINTS", ","),
        (CassandraSettings, "ETL_CASSANDRA_CONTACT_POINTS", "node-1,,node-2"),
        (CassandraSettings, "ETL_CASSANDRA_CONTACT_POINTS", "node-1:9042"),
        (CassandraSettings, "ETL_CASSANDRA_CONTACT_POINTS", "cql://node-1"),
        (CassandraSettings, "ETL_CASSANDRA_CONTACT_POINTS", "node-1 node-2"),
        (CassandraSettings, "ETL_CASSANDRA_CONTACT_POINTS", "node..svc"),
        (GenerateSettings, "ETL_GENERATE_START", "2026-01-05T06:00:00"),
        (GenerateSettings, "ETL_GENERATE_DURATION", "0"),
        (GenerateSettings, "ETL_GENERATE_DROPOUT_RATE", "1"),
        (ConsumeSettings, "ETL_CONSUME_FROM_OFFSET", "-5"),
        (ConsumeSettings, "ETL_CONSUME_FROM_OFFSET", "1:"),
        (ConsumeSettings, "ETL_CONSUME_FROM_TIME", "2026-01-05T06:00:00"),
        (ConsumeSettings, "ETL_CONSUME_MAX_READINGS", "0"),
        (TransformSettings, "ETL_TRANSFORM_ALLOWED_LATENESS", "soon"),
        (TransformSettings, "ETL_TRANSFORM_ALLOWED_LATENESS", "-1"),
        (TransformSettings, "ETL_TRANSFORM_ALLOWED_LATENESS", "nan"),
        (TransformSettings, "ETL_TRANSFORM_OLDEST", "yesterday"),
        (TransformSettings, "ETL_TRANSFORM_OLDEST", "946684800"),
        (TransformSettings, "ETL_TRANSFORM_OLDEST", "2000-01-01T00:00:00"),
        (TransformSettings, "ETL_TRANSFORM_OLDEST", "1969-12-31"),
        (TransformSettings, "ETL_TRANSFORM_OLDEST", "9999-01-01"),
    ],
)
def test_message_names_the_variable_when_its_value_is_wrong(
    monkeypatch: pytest.MonkeyPatch, part: type, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as caught:
        read_settings(part)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("points", ["node-1", "node_1.svc.", "10.0.0.1, ::1,fe80::1%eth0", "m\u00fchle.example"])
def test_contact_points_are_taken_when_they_are_names_or_addresses(points: str) -> None:
    assert CassandraSettings(contact_points=points).contact_points == points


def test_message_holds_no_secret_when_a_part_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("ETL_KAFKA_PASSWORD", "s3cret")
    with pytest.raises(SettingsError, match="ETL_KAFKA_USERNAME") as caught:
        read_settings(KafkaSettings)
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("ETL_CASSANDRA_PASSWORD", "s3cret")
    with pytest.raises(SettingsError, match="ETL_CASSANDRA_USERNAME") as caught:
        read_settings(CassandraSettings)
    assert "s3cret" not in str(caught.value)


LOGIN = {"SECURITY_PROTOCOL": "SASL_SSL"}
OAUTH = {
    **LOGIN,
    "SASL_MECHANISM": "OAUTHBEARER",
    "OAUTH_TOKEN_URL": "https://id.example.com/token",
    "OAUTH_CLIENT_ID": "etl",
    "OAUTH_CLIENT_SECRET": "s3cret",
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (LOGIN, "SASL_SSL with SCRAM-SHA-512 needs ETL_KAFKA_USERNAME and ETL_KAFKA_PASSWORD"),
        (
            {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "PLAIN", "USERNAME": "etl"},
            "SASL_PLAINTEXT with PLAIN needs ETL_KAFKA_USERNAME and ETL_KAFKA_PASSWORD",
        ),
        ({**LOGIN, "SASL_MECHANISM": "GSSAPI"}, "ETL_KAFKA_SASL_MECHANISM: Input should be"),
        ({"SECURITY_PROTOCOL": "TLS"}, "ETL_KAFKA_SECURITY_PROTOCOL: Input should be"),
        ({"SECURITY_PROTOCOL": "SSL", "SASL_MECHANISM": "PLAIN"}, "ETL_KAFKA_SASL_MECHANISM needs .*SASL_SSL"),
        *(
            ({**OAUTH, name: ""}, f"SASL_SSL with OAUTHBEARER needs .*ETL_KAFKA_{name}")
            for name in ("OAUTH_TOKEN_URL", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
        ),
        ({**OAUTH, "OAUTH_TOKEN_URL": "id.example.com/s3cret"}, "OAUTH_TOKEN_URL begins with neither http"),
        ({**LOGIN, "SASL_MECHANISM": "AWS_MSK_IAM"}, "AWS_MSK_IAM needs ETL_KAFKA_AWS_REGION"),
        (
            {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "AWS_MSK_IAM", "AWS_REGION": "eu-west-1"},
            "AWS_MSK_IAM needs ETL_KAFKA_SECURITY_PROTOCOL=SASL_SSL",
        ),
        ({"SECURITY_PROTOCOL": "SSL", "KEY_FILE": "a.key"}, "ETL_KAFKA_KEY_FILE needs ETL_KAFKA_CERTIFICATE_FILE"),
        ({"SECURITY_PROTOCOL": "SSL", "KEY_PASSWORD": "s3cret"}, "ETL_KAFKA_KEY_PASSWORD needs ETL_KAFKA_CERT"),
        ({"CERTIFICATE_FILE": "a.crt"}, "ETL_KAFKA_CERTIFICATE_FILE needs ETL_KAFKA_SECURITY_PROTOCOL=SSL"),
        (
            {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "USERNAME": "a", "PASSWORD": "s3cret", "CERTIFICATE_FILE": "a.crt"},
            "ETL_KAFKA_CERTIFICATE_FILE needs ETL_KAFKA_SECURITY_PROTOCOL=SSL",
        ),
    ],
)
def test_login_is_refused_when_its_settings_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"ETL_KAFKA_{name}", value)
    with pytest.raises(SettingsError, match=said) as caught:
        read_settings(KafkaSettings)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"KEY_FILE": "a.key"}, "ETL_CASSANDRA_KEY_FILE needs ETL_CASSANDRA_CERTIFICATE_FILE"),
        ({"KEY_PASSWORD": "s3cret"}, "ETL_CASSANDRA_KEY_PASSWORD needs ETL_CASSANDRA_CERTIFICATE_FILE"),
        (
            {"SECURE_CONNECT_BUNDLE": "a.zip", "PORT": "29042", "CA_FILE": "a.pem"},
            "BUNDLE has addresses and certificates: remove ETL_CASSANDRA_CA_FILE, ETL_CASSANDRA_PORT",
        ),
    ],
)
def test_certificates_of_cassandra_are_refused_when_they_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"ETL_CASSANDRA_{name}", value)
    with pytest.raises(SettingsError, match=said) as caught:
        read_settings(CassandraSettings)
    assert "s3cret" not in str(caught.value)


def test_login_is_taken_when_its_settings_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OAUTH.items():
        monkeypatch.setenv(f"ETL_KAFKA_{name}", value)
    settings = read_settings(KafkaSettings)
    assert (settings.encrypts, settings.logs_in, settings.uses_tokens) == (True, True, True)
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ("7", {("", ALL_PARTITIONS): 7}),
        ("0:5", {("", 0): 5}),
        ("0:5, 12:0", {("", 0): 5, ("", 12): 0}),
        ("a.b-c/0:5,d/7", {("a.b-c", 0): 5, ("d", ALL_PARTITIONS): 7}),
    ],
)
def test_offsets_are_read_when_given_as_text(monkeypatch: pytest.MonkeyPatch, text: str, offsets: object) -> None:
    monkeypatch.setenv("ETL_CONSUME_FROM_OFFSET", text)
    assert read_settings(ConsumeSettings).from_offset == offsets


def test_topics_follow_each_other_when_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(KafkaSettings).topics == ["sensor-readings"]
    monkeypatch.setenv("ETL_KAFKA_MORE_TOPICS", "plc-readings, meter.lines")
    assert read_settings(KafkaSettings).topics == ["sensor-readings", "plc-readings", "meter.lines"]


@pytest.mark.parametrize(
    "more", ["a,a", "a,", "a b", "sensor-readings", "sensor-events", "sensor-readings-dead-letters"]
)
def test_topics_are_refused_when_a_name_is_wrong_or_taken(monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    monkeypatch.setenv("ETL_KAFKA_MORE_TOPICS", more)
    with pytest.raises(SettingsError, match="ETL_KAFKA_MORE_TOPICS"):
        read_settings(KafkaSettings)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90", 90), ("PT1H", 3600)])
def test_duration_is_read_when_in_seconds_or_iso_8601(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    monkeypatch.setenv("ETL_TRANSFORM_ALLOWED_LATENESS", text)
    assert read_settings(TransformSettings).allowed_lateness == timedelta(seconds=seconds)


def test_recorded_source_asks_for_its_file_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_GENERATE_SOURCE", "recorded")
    with pytest.raises(SettingsError, match="ETL_GENERATE_RECORDED_URL"):
        read_settings(GenerateSettings)


def test_topics_differ_when_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_KAFKA_DEAD_LETTER_TOPIC", "sensor-readings")
    with pytest.raises(SettingsError, match="ETL_KAFKA_DEAD_LETTER_TOPIC must differ"):
        read_settings(KafkaSettings)
    monkeypatch.delenv("ETL_KAFKA_DEAD_LETTER_TOPIC")
    monkeypatch.setenv("ETL_KAFKA_EVENTS_TOPIC", "sensor-readings-dead-letters")
    with pytest.raises(SettingsError, match="ETL_KAFKA_EVENTS_TOPIC must differ"):
        read_settings(KafkaSettings)


def test_webhook_is_refused_when_it_is_no_web_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_ANALYZE_WEBHOOK", "file:///secret")
    with pytest.raises(SettingsError, match="ETL_ANALYZE_WEBHOOK") as raised:
        read_settings(AnalyzeSettings)
    assert "secret" not in str(raised.value)


def test_unknown_variable_is_reported_when_it_resembles_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_KAFKA_TOPICS", "x")
    monkeypatch.setenv("ETL_LOG_FORMAT", "json")
    monkeypatch.setenv("ETL_KAFKA_GROUP", "x")
    assert unknown_variables() == {"ETL_KAFKA_TOPICS": "ETL_KAFKA_TOPIC"}


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        (None, "2000-01-01T00:00:00+00:00"),
        ("2015-03-01", "2015-03-01T00:00:00+00:00"),
        ("2015-03-01T06:00:00+01:00", "2015-03-01T05:00:00+00:00"),
        ("2015-03-01T05:00:00Z", "2015-03-01T05:00:00+00:00"),
        ("1970-01-01", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_oldest_is_a_moment_when_a_day_or_a_time_is_given(
    monkeypatch: pytest.MonkeyPatch, given: str | None, moment: str
) -> None:
    if given:
        monkeypatch.setenv("ETL_TRANSFORM_OLDEST", given)
    assert read_settings(TransformSettings).oldest == datetime.fromisoformat(moment)
