"""Look up Cassandra's nodes by name: at connect, and again if none of the known nodes answers.

The driver looks names up only at its start. A replaced pod has another address, so a longer-lived process would
use the old address for ever.
"""

import socket
from collections.abc import Iterator
from threading import Lock
from typing import Any

import structlog
from cassandra.cluster import Cluster, ControlConnection, NoHostAvailable
from cassandra.connection import DefaultEndPoint

log = structlog.get_logger("etl.cassandra")


class NamedCluster(Cluster):  # type: ignore[misc]
    """The driver's cluster; if no node answers, it looks its contact points up again."""

    def __init__(self, contact_points: list[str], **options: Any) -> None:
        """Take the driver's own arguments."""
        super().__init__(contact_points, **options)
        self.control_connection = _Control(
            self,
            self.control_connection_timeout,
            self.schema_event_refresh_window,
            self.topology_event_refresh_window,
            self.status_event_refresh_window,
        )

    def endpoints(self) -> Iterator[DefaultEndPoint]:
        """Look up all contact points; an unknown name has no endpoint."""
        found = set()
        for name in self.contact_points:
            try:
                answers = socket.getaddrinfo(name, self.port, socket.AF_UNSPEC, socket.SOCK_STREAM)
            except OSError:
                continue
            for *_, (address, port, *_) in answers:
                if (address, port) not in found:
                    found.add((address, port))
                    yield DefaultEndPoint(address, port)


class _Control(ControlConnection):  # type: ignore[misc]
    """The driver's control connection; the driver calls `_reconnect_internal` until it succeeds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._one_at_a_time = Lock()

    def _reconnect_internal(self) -> Any:
        try:
            return super()._reconnect_internal()
        except NoHostAvailable as error:
            # At the start the names were just looked up.
            if not self._cluster._is_setup:
                raise
            with self._one_at_a_time:
                return self._look_up_again(dict(error.errors))

    def _look_up_again(self, errors: dict[str, Exception]) -> Any:
        """Connect to a node that now has one of the names; the driver asks it for the nodes and forgets all others."""
        for endpoint in self._cluster.endpoints():
            if self._is_shutdown:
                break
            host, new = self._cluster.add_host(endpoint, signal=False)
            try:
                connection = self._try_connect(host)
            except Exception as error:
                errors[str(endpoint)] = error
                if new:
                    self._cluster.metadata.remove_host(host)
                continue
            log.info("Cassandra is reachable again", address=str(endpoint))
            # Also for a new node, because only here the driver retries if the part of a session fails.
            self._cluster.on_up(host)
            return connection
        raise NoHostAvailable("No node answers at the addresses of the contact points", errors)
