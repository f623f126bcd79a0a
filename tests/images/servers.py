"""Servers in containers, which share the network of this machine."""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from images import local
from images.certificates import write_certificates
from images.service import free_ports

Start = Callable[..., str]
USERS = {"admin": secrets.token_urlsafe(16)}
ALONE = ["--network=host"]


def service(name: str, folder: Path) -> local.Service:
    """What a client needs to know of a server in a container that shares this machine's network."""
    write_certificates(folder / "tls", name)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return local.Service(name, folder, free_ports(name), USERS, psutil.Process())


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
        os.chown(folder / "tls" / "tls.key", 0, 10001)
        port = free_ports("kafka")["port"]
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
        wait(lambda: "starting up" not in self.sql("SELECT 1")[1] and listens(self.port), self.container)


def listens(port: int) -> bool:
    """Tell whether something listens."""
    with socket.socket() as client:
        return client.connect_ex((local.HOST, port)) == 0
