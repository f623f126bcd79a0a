"""Kafka and Cassandra as local processes, for the demo, the tests and the benchmark.

A service keeps everything in its own folder: its data, its log (`<name>.log`) and `service.json`, from which a later
start takes the same ports.
"""

import contextlib
import ctypes
import functools
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from images import jars
from images.command import tail
from images.errors import PrerequisiteError, ServiceError
from images.paths import IMAGES
from images.probes import is_ready
from images.service import HOST, PORTS, Service, free_ports

START_SECONDS = 120.0
STOP_SECONDS = 30.0
# Java options for a service that runs for a few tests: without the optimising compiler a start takes half the processor
# time, and the heap grows as needed.
QUICK_START = "-XX:TieredStopAtLevel=1 -Xms64m"


def start(
    name: str,
    directory: Path,
    *,
    heap: str | None = None,
    java_options: str | None = None,
    users: Mapping[str, str] | None = None,
    host: str = HOST,
    die_with_parent: bool = False,
) -> Service:
    """Start `kafka` or `cassandra` on free ports, or on those of its last start, and return when it answers.

    Args:
        name: `kafka` or `cassandra`.
        directory: Folder of the service; data of an earlier start is kept.
        heap: Size of the Java heap, such as `512m`; by default that in `run.sh`.
        java_options: More options for Java, separated by spaces.
        users: Passwords by user name. They make the service secure, with TLS and passwords, from the first start on.
            The first user has all rights, the others none until they are granted. Cassandra's own first role is
            disabled.
        host: Loopback address for clients; on Linux any within 127.0.0.0/8.
        die_with_parent: Kill the service when this process ends in any way (Linux only).

    Raises:
        ServiceError: The service is running already, a prerequisite is missing, or it did not become ready.
    """
    return _wait_until_ready(
        launch(
            name,
            directory,
            heap=heap,
            java_options=java_options,
            users=users,
            host=host,
            die_with_parent=die_with_parent,
        )
    )


def stop(service: Service) -> None:
    """Stop a service with SIGTERM, and kill it after `STOP_SECONDS`. Idempotent."""
    with contextlib.suppress(psutil.NoSuchProcess):
        service.process.terminate()
        if not _wait_for_end(service, STOP_SECONDS):
            _kill(service)


def is_running(service: Service) -> bool:
    """Return whether the process of a service is alive."""
    try:
        # The first thread of a process can be a zombie while other threads still hold the ports.
        return service.process.is_running() and (
            service.process.status() != psutil.STATUS_ZOMBIE or service.process.num_threads() > 1
        )
    except psutil.NoSuchProcess:
        return False


def find(name: str, directory: Path) -> Service | None:
    """Return the service without users that runs in this folder, whichever process started it, or None."""
    state = _read_state(directory)
    try:
        process = psutil.Process(state["pid"])
        # A process ID can be reused; together with the start time it is unique.
        if process.create_time() != state["created"]:
            return None
    except (KeyError, psutil.NoSuchProcess):
        return None
    service = Service(name, directory, state["ports"], {}, process)
    return service if is_running(service) else None


def find_all(directory: Path) -> dict[str, Service | None]:
    """Return the running services in the sub-folders `kafka` and `cassandra`, by name; None for one that is stopped."""
    return {name: find(name, directory / name) for name in PORTS}


def start_missing(directory: Path) -> list[Service]:
    """Start the services that `find_all` does not find, at the same time, and return both.

    Raises:
        ServiceError: One did not start. Every service that this call started is stopped again.
    """
    found = find_all(directory)
    launched: list[Service] = []
    try:
        launched.extend(launch(name, directory / name) for name, service in found.items() if service is None)
        for service in launched:
            _wait_until_ready(service)
    except BaseException:
        for service in launched:
            stop(service)
        raise
    return [*(service for service in found.values() if service), *launched]


def launch(
    name: str,
    directory: Path,
    *,
    heap: str | None = None,
    java_options: str | None = None,
    users: Mapping[str, str] | None = None,
    host: str = HOST,
    die_with_parent: bool = False,
) -> Service:
    """Start the process of `kafka` or `cassandra` without waiting until it answers; see `start`."""
    directory = directory.absolute()
    if find(name, directory):
        raise ServiceError(f"{name} is running already in {directory}: stop it first, or use another folder")
    _check_java()
    lib = jars.resolve(name)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = _read_state(directory).get("ports") or free_ports(name)
    variables = {"DATA": str(directory / "data"), "LIB": str(lib), "HOST": host}
    variables |= {key.upper(): str(port) for key, port in ports.items()}
    variables |= {key: value for key, value in (("HEAP", heap), ("JAVA_OPTIONS", java_options)) if value}
    if users:
        variables |= _secure(name, directory, users)
    environment = os.environ | {f"{name.upper()}_{key}": value for key, value in variables.items()}
    with (directory / f"{name}.log").open("ab") as log:
        process = psutil.Popen(
            [str(IMAGES / name / "run.sh")],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C must reach only the caller, which stops its services in its own order.
            start_new_session=True,
            preexec_fn=functools.partial(_kill_with_parent, os.getpid()) if die_with_parent else None,
        )
    state = {"pid": process.pid, "created": process.create_time(), "ports": ports}
    (directory / "service.json").write_text(json.dumps(state))
    return Service(name, directory, ports, dict(users or {}), process, host)


def _check_java() -> None:
    java = str(Path(os.environ["JAVA_HOME"], "bin", "java")) if os.environ.get("JAVA_HOME") else "java"
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        raise PrerequisiteError(f"Java 17 is needed, but there is no {java}: install it, or set JAVA_HOME") from None
    found = re.search(r'version "(\d+)', done.stderr)
    # Cassandra needs the security manager, which Java 24 no longer has.
    if not found or not 17 <= int(found[1]) < 24:
        version = found[1] if found else "something else"
        raise PrerequisiteError(f"Java 17 is needed, but {java} is {version}: set JAVA_HOME to a Java 17")


def _read_state(directory: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((directory / "service.json").read_text())
    except FileNotFoundError:
        return {}
    return state


def _kill_with_parent(parent: int) -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _secure(name: str, directory: Path, users: Mapping[str, str]) -> dict[str, str]:
    from images.certificates import write_certificates

    tls = directory / "tls"
    if not tls.exists():
        write_certificates(tls, name)
    if name == "cassandra":
        return {"AUTHENTICATION": "true", "KEYSTORE": str(tls / "keystore.pem")}
    passwords = directory / "users"
    passwords.touch(mode=0o600)
    passwords.write_text("".join(f"{user} {password}\n" for user, password in users.items()))
    return {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "KEYSTORE": str(tls / "keystore.pem"),
        "CA": str(tls / "ca.pem"),
        "PRINCIPAL": f"CN={name}",
        "USERS": str(passwords),
    }


def _wait_until_ready(service: Service) -> Service:
    """Return a service when it answers a client; kill it if it does not."""
    deadline = time.monotonic() + START_SECONDS
    try:
        while not is_ready(service):
            if not is_running(service):
                raise ServiceError(f"{service.name} ended while starting; {_end_of_log(service)}")
            if time.monotonic() > deadline:
                raise ServiceError(f"{service.name} did not answer in {START_SECONDS:.0f} s; {_end_of_log(service)}")
            time.sleep(0.05)
    except BaseException:
        _kill(service)
        raise
    return service


def _kill(service: Service) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        service.process.kill()
        _wait_for_end(service, STOP_SECONDS)


def _wait_for_end(service: Service, seconds: float) -> bool:
    """Wait for the end of the process and reap it if it is a child; return False after these seconds."""
    deadline = time.monotonic() + seconds
    while is_running(service):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    # Only the parent can reap a process.
    with contextlib.suppress(psutil.TimeoutExpired):
        service.process.wait(0)
    return True


def _end_of_log(service: Service) -> str:
    return f"its log {service.log} ends with:\n{tail(service.log.read_text(errors='replace'))}"
