"""How the pods log in to an external Kafka and an external Cassandra: settings, and Secrets mounted as files."""

import pytest

from tests.charts.conftest import Object, Render, Template, containers, pods
from tests.charts.test_modes import EXTERNAL, environment, schema_job, stage_pod


def sources(pod: Object) -> dict[str, tuple[str, str]]:
    """The files of the volume of secrets, each with its Secret and its key; with a mark if it may be missing."""
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "secrets"]
    return {
        item["path"]: (source["secret"]["name"], item["key"] + "?" * source["secret"].get("optional", False))
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }


def of_kafka(render: Render, stage: str, values: dict[str, object]) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """Kafka's settings, files with their keys, and volumes of a pod."""
    pod = stage_pod(render({**EXTERNAL, **{f"kafka.external.{name}": value for name, value in values.items()}}), stage)
    settings = environment(pod["spec"]["containers"][0])
    login = ("SECURITY", "SASL", "USERNAME", "CA", "CERTIFICATE", "KEY", "OAUTH", "AWS")
    named = {name.removeprefix("ETL_KAFKA_"): value for name, value in settings.items()}
    return (
        {name: value for name, value in named.items() if name.startswith(login)},
        {path: key for path, (_, key) in sources(pod).items() if "kafka" in path},
        {volume["name"] for volume in pod["spec"]["volumes"]},
    )


FILES = {"kafka.crt": "tls.crt", "kafka.key": "tls.key", "etl_kafka_key_password": "key-password?"}
PATHS = {"CERTIFICATE_FILE": "/etc/sensor-etl/secrets/kafka.crt", "KEY_FILE": "/etc/sensor-etl/secrets/kafka.key"}
CA = {"CA_FILE": "/etc/sensor-etl/kafka-ca/ca.crt"}
NAME = {"USERNAME": "plant-sensor-etl-kafka-load"}
PASSWORD = {"etl_kafka_password": "password"}
TOKEN = {"etl_kafka_oauth_client_id": "client-id", "etl_kafka_oauth_client_secret": "client-secret"}


@pytest.mark.parametrize(
    ("values", "settings", "files"),
    [
        ({}, {"SECURITY_PROTOCOL": "SASL_SSL", **CA, **NAME}, PASSWORD),
        ({"systemCa": True}, {"SECURITY_PROTOCOL": "SASL_SSL", **NAME}, PASSWORD),
        (
            {"saslMechanism": "PLAIN", "clientCertificates": True},
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", **CA, **NAME, **PATHS},
            {**PASSWORD, **FILES},
        ),
        (
            {"securityProtocol": "SASL_PLAINTEXT", "saslMechanism": "SCRAM-SHA-256"},
            {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "SCRAM-SHA-256", **NAME},
            PASSWORD,
        ),
        ({"securityProtocol": "SSL"}, {"SECURITY_PROTOCOL": "SSL", **CA}, {}),
        (
            {"securityProtocol": "SSL", "clientCertificates": True},
            {"SECURITY_PROTOCOL": "SSL", **CA, **PATHS},
            FILES,
        ),
        ({"securityProtocol": "PLAINTEXT"}, {"SECURITY_PROTOCOL": "PLAINTEXT"}, {}),
        (
            {"saslMechanism": "OAUTHBEARER", "oauthTokenUrl": "https://id.plant/token", "oauthScope": "kafka"},
            {
                "SECURITY_PROTOCOL": "SASL_SSL",
                "SASL_MECHANISM": "OAUTHBEARER",
                "OAUTH_TOKEN_URL": "https://id.plant/token",
                "OAUTH_SCOPE": "kafka",
                **CA,
            },
            TOKEN,
        ),
        (
            {"saslMechanism": "AWS_MSK_IAM", "awsRegion": "eu-west-1", "systemCa": True},
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "AWS_MSK_IAM", "AWS_REGION": "eu-west-1"},
            {},
        ),
    ],
)
def test_pods_log_in_to_an_external_kafka_as_the_values_say(
    render: Render, values: dict[str, object], settings: dict[str, str], files: dict[str, str]
) -> None:
    found_settings, found_files, volumes = of_kafka(render, "load", values)
    assert found_settings == settings
    assert found_files == files
    assert ("kafka-ca" in volumes) == ("CA_FILE" in settings)


def test_schema_job_logs_in_as_the_stages_do_when_kafka_has_an_oauth_server(render: Render) -> None:
    own = {"kafka.external.saslMechanism": "OAUTHBEARER", "kafka.external.oauthTokenUrl": "https://id.plant/token"}
    pod = schema_job(render({**EXTERNAL, **own, "kafka.users.schema": "kafka-admin"}))["template"]
    assert sources(pod)["etl_kafka_oauth_client_secret"] == ("kafka-admin", "client-secret")
    settings = environment(next(item for item in containers(pod) if item["name"] == "schema"))
    assert settings["ETL_KAFKA_OAUTH_TOKEN_URL"] == "https://id.plant/token"


@pytest.mark.parametrize(("mechanism", "missing"), [("OAUTHBEARER", "oauthTokenUrl"), ("AWS_MSK_IAM", "awsRegion")])
def test_installation_is_refused_when_a_login_lacks_its_address(
    template: Template, mechanism: str, missing: str
) -> None:
    done = template({**EXTERNAL, "kafka.external.saslMechanism": mechanism})
    assert done.returncode != 0
    assert f"kafka.external.{missing}" in done.stderr


def of_cassandra(render: Render, values: dict[str, object]) -> tuple[dict[str, str], dict[str, str], Object]:
    """Cassandra's settings of load, its files with their keys, and the page's pod."""
    objects = render({**EXTERNAL, **{f"cassandra.external.{name}": value for name, value in values.items()}})
    pod = stage_pod(objects, "load")
    settings = environment(pod["spec"]["containers"][0])
    own = ("CONTACT", "CA", "TLS", "CERTIFICATE", "KEY_FILE", "SECURE", "LOCAL")
    named = {name.removeprefix("ETL_CASSANDRA_"): value for name, value in settings.items()}
    files = {path: key for path, (_, key) in sources(pod).items() if "cassandra" in path or "bundle" in path}
    return {name: value for name, value in named.items() if name.startswith(own)}, files, dict(pods(objects))


ROLE = {"etl_cassandra_username": "username", "etl_cassandra_password": "password"}
NODE = {"CONTACT_POINTS": "cassandra.plant", "LOCAL_DATACENTER": "dc1"}
NODE_CA = {"CA_FILE": "/etc/sensor-etl/cassandra-ca/ca.crt"}


@pytest.mark.parametrize(
    ("values", "settings", "files"),
    [
        ({}, {**NODE, **NODE_CA}, ROLE),
        ({"systemCa": True}, {**NODE, "TLS": "true"}, ROLE),
        (
            {"clientCertificates": True},
            {
                **NODE,
                **NODE_CA,
                "CERTIFICATE_FILE": "/etc/sensor-etl/secrets/cassandra.crt",
                "KEY_FILE": "/etc/sensor-etl/secrets/cassandra.key",
            },
            {
                **ROLE,
                "cassandra.crt": "tls.crt",
                "cassandra.key": "tls.key",
                "etl_cassandra_key_password": "key-password?",
            },
        ),
        (
            {"bundleSecretName": "astra"},
            {"SECURE_CONNECT_BUNDLE": "/etc/sensor-etl/secrets/bundle.zip"},
            {**ROLE, "bundle.zip": "bundle"},
        ),
    ],
)
def test_pods_reach_an_external_cassandra_as_the_values_say(
    render: Render, values: dict[str, object], settings: dict[str, str], files: dict[str, str]
) -> None:
    found_settings, found_files, found_pods = of_cassandra(render, values)
    assert found_settings == settings
    assert found_files == files
    page = found_pods["Deployment plant-sensor-etl-page"]
    assert set(files) < set(sources(page))
    assert ("cassandra-ca" in {volume["name"] for volume in page["spec"]["volumes"]}) == ("CA_FILE" in settings)
