"""The images of Kafka, Cassandra and Postgres: real servers on a read-only root, with TLS and passwords."""

import subprocess
from pathlib import Path

import pytest

from images import local
from images.probes import execute, is_ready
from tests.images.servers import USERS, Postgres, Start, options, service, wait


def test_kafka_answers_when_its_root_is_read_only(start: Start, tmp_path: Path) -> None:
    kafka = service("kafka", tmp_path)
    (tmp_path / "users").write_text("".join(f"{user} {password}\n" for user, password in USERS.items()))
    variables = {
        "HOST": local.HOST,
        **{key.upper(): port for key, port in kafka.ports.items()},
        "SECURITY_PROTOCOL": "SASL_SSL",
        "KEYSTORE": "/etc/service/tls/keystore.pem",
        "CA": "/etc/service/tls/ca.pem",
        "PRINCIPAL": "CN=kafka",
        "USERS": "/etc/service/users",
        "JAVA_OPTIONS": local.QUICK_START,
    }
    container = start("kafka", "/var/lib/kafka", *options("KAFKA", variables, tmp_path))
    wait(lambda: is_ready(kafka), container)


@pytest.mark.parametrize("datacenter", ["dc1"])
def test_cassandra_answers_when_its_root_is_read_only(start: Start, tmp_path: Path, datacenter: str) -> None:
    cassandra = service("cassandra", tmp_path)
    variables = {
        "HOST": local.HOST,
        **{key.upper(): port for key, port in cassandra.ports.items()},
        "DATACENTER": datacenter,
        "AUTHENTICATION": "true",
        "KEYSTORE": "/etc/service/tls/keystore.pem",
        "JAVA_OPTIONS": local.QUICK_START,
        "HEAP": "512m",
    }
    container = start("cassandra", "/var/lib/cassandra", *options("CASSANDRA", variables, tmp_path))
    wait(lambda: is_ready(cassandra), container)
    user = next(iter(USERS.items()))
    named = f"SELECT data_center FROM system.local WHERE key = 'local' AND data_center = '{datacenter}' ALLOW FILTERING"
    assert execute(cassandra, user, [named])


def test_postgres_takes_its_user_by_tls_and_password_only(postgres: Postgres) -> None:
    assert postgres.sql("SELECT current_user || ' ' || current_database()") == (0, "airflow airflow")
    code, text = postgres.sql("SELECT 1", tls="disable")
    assert code
    assert "no pg_hba.conf entry" in text
    code, text = postgres.sql("SELECT 1", password="wrong")
    assert code
    assert "password authentication failed" in text


def test_postgres_user_owns_its_database_and_is_no_superuser(postgres: Postgres) -> None:
    assert postgres.sql("CREATE TABLE mine (a int); INSERT INTO mine VALUES (1)")[0] == 0
    assert postgres.sql("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user") == (0, "f")
    assert postgres.sql("COPY mine TO PROGRAM 'cat'")[0]


@pytest.mark.parametrize("kill", [False, True])
def test_postgres_keeps_its_data_and_takes_a_new_password_when_it_starts_again(postgres: Postgres, kill: bool) -> None:
    assert postgres.sql("CREATE TABLE mine (a int); INSERT INTO mine VALUES (7)")[0] == 0
    old = postgres.password
    postgres.change_password(postgres.folder, "another")
    postgres.restart(kill=kill)
    assert postgres.sql("SELECT a FROM mine") == (0, "7")
    assert postgres.sql("SELECT a FROM mine", password=old)[0]


def test_postgres_log_never_holds_the_password(postgres: Postgres) -> None:
    log = subprocess.run(["docker", "logs", postgres.container], capture_output=True, text=True, check=True)
    assert "secret" not in log.stdout + log.stderr
