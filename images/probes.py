"""Readiness of a local broker or Cassandra node: whether it answers a client.

Functions import the clients that they use, so that commands that start nothing do not load them.
"""

import socket

from images.service import HOST, Service


def is_ready(service: Service) -> bool:
    """Return whether the service answers a client.

    The first call that reaches a secure Cassandra node creates its users and disables Cassandra's own first role.
    """
    return _accepts(service) and (_kafka_answers(service) if service.name == "kafka" else _cassandra_answers(service))


def _accepts(service: Service) -> bool:
    try:
        socket.create_connection((service.host, service.ports["port"]), timeout=1).close()
    except OSError:
        return False
    return True


def _kafka_answers(service: Service) -> bool:
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    options: dict[str, object] = {"bootstrap_servers": service.address, "bootstrap_timeout_ms": 5000}
    if service.users:
        username, password = next(iter(service.users.items()))
        options |= {"security_protocol": "SASL_SSL", "ssl_cafile": str(service.ca_file)}
        options |= {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": username, "sasl_plain_password": password}
    try:
        client = KafkaAdminClient(**options)
    except KafkaError:
        return False
    try:
        return bool(client.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        client.close()


def _cassandra_answers(service: Service) -> bool:
    if not service.users:
        return execute(service, None, ["SELECT release_version FROM system.local"])
    (superuser, password), *others = service.users.items()
    if execute(service, (superuser, password), ["SELECT release_version FROM system.local"]):
        return True
    role = "CREATE ROLE IF NOT EXISTS \"{}\" WITH LOGIN = true AND PASSWORD = '{}' AND SUPERUSER = {}"
    create = [role.format(superuser, password, "true"), *(role.format(*other, "false") for other in others)]
    return execute(service, ("cassandra", "cassandra"), create) and execute(
        service, (superuser, password), ["ALTER ROLE cassandra WITH LOGIN = false AND SUPERUSER = false"]
    )


def execute(service: Service, user: tuple[str, str] | None, statements: list[str]) -> bool:
    """Execute CQL statements on a node as a user (name and password), and return whether all succeeded."""
    import ssl

    from cassandra import DriverException
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.policies import WhiteListRoundRobinPolicy

    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([service.host]), request_timeout=30)
    cluster = Cluster(
        [service.host],
        port=service.ports["port"],
        protocol_version=5,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        auth_provider=PlainTextAuthProvider(*user) if user else None,
        ssl_context=ssl.create_default_context(cafile=str(service.ca_file)) if user else None,
        ssl_options={"server_hostname": HOST} if user else None,
    )
    try:
        session = cluster.connect()
        for statement in statements:
            session.execute(statement)
    except (DriverException, NoHostAvailable):
        return False
    finally:
        cluster.shutdown()
    return True
