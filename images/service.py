"""A local broker or Cassandra node: its ports, its files, and the settings with which the `etl` command reaches it."""

import contextlib
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

HOST = "127.0.0.1"
PORTS = {"kafka": ("port", "controller_port", "internal_port"), "cassandra": ("port", "storage_port", "jmx_port")}
# Below the range from which the system takes the ports of outgoing connections.
PORT_RANGE = range(20_000, 32_000)


@dataclass(frozen=True)
class Service:
    """A running broker or node.

    `ports` has the client port as `port`. `users` are the accounts of a secure service (name to password), the first
    one a super user; a service without users has neither passwords nor TLS.
    """

    name: str
    directory: Path
    ports: Mapping[str, int]
    users: Mapping[str, str]
    process: psutil.Process
    host: str = HOST

    @property
    def address(self) -> str:
        """Host and port for clients, as `host:port`."""
        return f"{self.host}:{self.ports['port']}"

    @property
    def log(self) -> Path:
        """File with the output of all starts."""
        return self.directory / f"{self.name}.log"

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority that signed the certificate; exists only for a secure service."""
        return self.directory / "tls" / "ca.pem"

    @property
    def environment(self) -> dict[str, str]:
        """Settings with which the `etl` command reaches the service, as the super user if it is secure."""
        settings = _kafka_settings(self) if self.name == "kafka" else _cassandra_settings(self)
        if self.users:
            username, password = next(iter(self.users.items()))
            settings |= {"USERNAME": username, "PASSWORD": password, "CA_FILE": str(self.ca_file)}
        return {f"ETL_{self.name.upper()}_{key}": value for key, value in settings.items()}


def free_ports(name: str) -> dict[str, int]:
    """Return free ports for a `kafka` or a `cassandra`, by their purpose as in `PORTS`."""
    with contextlib.ExitStack() as held:
        ports: dict[str, int] = {}
        while len(ports) < len(PORTS[name]):
            candidate = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind((HOST, random.choice(PORT_RANGE)))  # noqa: S311 - no secret
                ports[PORTS[name][len(ports)]] = candidate.getsockname()[1]
        return ports


def _kafka_settings(service: Service) -> dict[str, str]:
    return {
        "BOOTSTRAP_SERVERS": service.address,
        "SECURITY_PROTOCOL": "SASL_SSL" if service.users else "PLAINTEXT",
    }


def _cassandra_settings(service: Service) -> dict[str, str]:
    return {
        "CONTACT_POINTS": service.host,
        "PORT": str(service.ports["port"]),
        "LOCAL_DATACENTER": "datacenter1",
    }
