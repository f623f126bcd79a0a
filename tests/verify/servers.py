"""The broker and the node of a verification, each behind a proxy and a name, and the harm that can be done to them."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import psutil

from images import local
from images.errors import ServiceError
from images.probes import is_ready
from images.service import HOST, free_ports
from tests.verify.proxy import Proxy

HEAPS = {"kafka": "384m", "cassandra": "640m"}
# Loopback addresses at which the proxies are, one after the other.
ADDRESSES = tuple(f"127.0.0.{last}" for last in range(2, 6))
STARTS, START_SECONDS = 3, 300.0
# Bytes that a file of a full disk can still have.
FULL = 4096


class Server:
    """A service that keeps its data and its port, whatever happens to its process and its address."""

    def __init__(self, name: str, folder: Path) -> None:
        """Prepare it; `launch` starts it. It dies with the thread that does."""
        self.name, self.folder = name, folder / name
        self.port = free_ports_of(self.folder, name)
        self.alias = f"{name}-{self.port}.test"
        self.host = ADDRESSES[0]
        self.names = folder / f"{name}.names"
        self.names.write_text(f"{self.alias} {self.host}\n")
        self.proxy = Proxy(self.port, HOST)
        self.proxy.listen(self.host)
        self.service: local.Service | None = None

    @property
    def process(self) -> psutil.Process:
        """Its process, which may have ended."""
        assert self.service
        return self.service.process

    def launch(self) -> None:
        """Start its process, and do not wait until it answers."""
        # Clients are told the address of the proxy.
        with patch.dict(os.environ, {f"{self.name.upper()}_BIND": HOST}):
            self.service = local.launch(
                self.name,
                self.folder,
                heap=HEAPS[self.name],
                java_options=local.QUICK_START,
                host=self.host,
                die_with_parent=True,
            )

    def wait(self) -> None:
        """Wait until it answers. It may have died at its start, or be slow on a busy machine.

        Raises:
            ServiceError: it does not answer.
        """
        for _ in range(STARTS):
            give_up = time.monotonic() + START_SECONDS
            while self.service and local.is_running(self.service) and time.monotonic() < give_up:
                if self._listens() and is_ready(self.service):
                    return
                time.sleep(0.05)
            self.kill()
            self.launch()
        raise ServiceError(f"{self.name} does not answer: see {self.folder}")

    def _listens(self) -> bool:
        """Whether it accepts connections: the proxy always does."""
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it without any notice."""
        if self.service and local.is_running(self.service):
            self.process.kill()
            self.process.wait(local.STOP_SECONDS)

    def terminate(self) -> None:
        """End it in order."""
        assert self.service
        local.stop(self.service)

    def move(self) -> str:
        """Kill it, and start it behind the next address of its name; return that address."""
        self.kill()
        self.names.write_text(f"{self.alias}\n")
        before = self.host
        self.host = ADDRESSES[(ADDRESSES.index(before) + 1) % len(ADDRESSES)]
        self.proxy.listen(self.host)
        self.launch()
        # For a while a lookup may still find the address before.
        self.names.write_text(f"{self.alias} {before} {self.host}\n")
        return self.host

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop it for a while; it stays there, but does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let no file of it grow for a while, as on a full disk."""
        limits = self.process.rlimit(psutil.RLIMIT_FSIZE)
        self.process.rlimit(psutil.RLIMIT_FSIZE, (FULL, limits[1]))
        try:
            yield
        finally:
            if local.is_running(self.service):
                self.process.rlimit(psutil.RLIMIT_FSIZE, limits)

    def close(self) -> None:
        """End everything."""
        self.kill()
        self.proxy.close()


def free_ports_of(folder: Path, name: str) -> int:
    """Choose the ports of a service before its first start; return that of its clients."""
    folder.mkdir(parents=True)
    ports = free_ports(name)
    # `local` takes those of an earlier start from this file.
    (folder / "service.json").write_text(json.dumps({"ports": ports}))
    return ports["port"]
