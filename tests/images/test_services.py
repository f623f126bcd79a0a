"""The images of Kafka, Cassandra and Postgres: real servers on a read-only root, with TLS and passwords."""

import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from images import local
from images.certificates import write_certificates

Start = Callable[..., str]
USERS = {"admin": secrets.token_urlsafe(16)}
ALONE = ["--network=host"]


def service(name: str, folder: Path) -> local.Service:
    """What a client needs to know of a server in a container that shares this machine's network."""
    write_certificates(folder / "tls", name)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return local.Service(name, folder, local._free_ports(name), USERS, psutil.Process())


def wait(answers: Callable[[], bool], container: str) -> None:
    """Return when it answers."""
    deadline = time.monotonic() + 120
    while not answers():
        log = subprocess.run(["docker", "logs", "--tail=20", container], capture_output=True, text=True, check=True)
        state = subprocess.run(
            ["docker", "inspect", "--format={{.State.Running}}", container], capture_output=True, text=True, check=True
        )
        assert state.stdout.strip() == "true", log.stdout + log.stderr
        assert time.monotonic() < deadline, log.stdout + log.stderr
        time.sleep(0.5)


def options(prefix: str, variables: dict[str, object], mount: Path) -> list[str]:
    """Arguments of `docker run`: settings of the server, and its files."""
    environment = [f"--env={prefix}_{key}={value}" for key, value in variables.items()]
    return [*ALONE, *environment, f"--volume={mount}:/etc/service:ro"]


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
    wait(lambda: local._accepts(kafka) and local._kafka_answers(kafka), container)


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
    wait(lambda: local._accepts(cassandra) and local._cassandra_answers(cassandra), container)
    user = next(iter(USERS.items()))
    named = f"SELECT data_center FROM system.local WHERE key = 'local' AND data_center = '{datacenter}' ALLOW FILTERING"
    assert local._cassandra_execute(cassandra, user, [named])


class Postgres:
    """A server in a container, and its files."""

    def __init__(self, start: Start, folder: Path) -> None:
        service("kafka", folder)  # any certificate will do
        key, certificate = (folder / "tls" / "keystore.pem").read_text().split("-----BEGIN CERTIFICATE-----")
        (folder / "tls" / "tls.key").write_text(key)
        (folder / "tls" / "tls.crt").write_text("-----BEGIN CERTIFICATE-----" + certificate)
        # As Kubernetes mounts a Secret: of root, readable by the group.
        (folder / "tls" / "tls.key").chmod(0o440)
        self.change_password(folder, "it's a 'secret'\\")
        import os

        os.chown(folder / "tls" / "tls.key", 0, 10001)
        port = local._free_ports("kafka")["port"]
        variables = {"PORT": port, "PASSWORD_FILE": "/etc/service/password", "TLS_DIR": "/etc/service/tls"}
        self.folder, self.port = folder, port
        self.container = start("postgres", "/var/lib/postgresql", *options("POSTGRES", variables, folder))
        wait(lambda: self.sql("SELECT 1")[0] == 0, self.container)

    def change_password(self, folder: Path, password: str) -> None:
        """Write the file that holds it."""
        (folder / "password").write_text(f"{password}\n")
        (folder / "password").chmod(0o644)
        self.password = password

    def sql(self, statement: str, *, password: str | None = None, tls: str = "verify-full") -> tuple[int, str]:
        """Run a statement by psql; return its exit code and what it printed."""
        where = f"host=127.0.0.1 port={self.port} user=airflow dbname=airflow sslmode={tls}"
        where += " sslrootcert=/etc/service/tls/ca.pem"
        environment = f"--env=PGPASSWORD={password or self.password}"
        line = ["docker", "exec", environment, self.container, "psql", "--no-psqlrc", "-tA", where, "-c", statement]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, (done.stdout + done.stderr).strip()

    def restart(self, *, kill: bool) -> None:
        """Stop it in order or not, and start it again."""
        subprocess.run(["docker", "kill" if kill else "stop", self.container], check=True, capture_output=True)
        subprocess.run(["docker", "start", self.container], check=True, capture_output=True)
        wait(lambda: "starting up" not in self.sql("SELECT 1")[1] and local_port_open(self.port), self.container)


def local_port_open(port: int) -> bool:
    """Tell whether something listens."""
    import socket

    with socket.socket() as client:
        return client.connect_ex((local.HOST, port)) == 0


@pytest.fixture
def postgres(start: Start, tmp_path: Path) -> Postgres:
    """A running server."""
    return Postgres(start, tmp_path)


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
