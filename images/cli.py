"""The command `python -m images`: local services, container images and the kind cluster.

Each command imports what it needs by itself, so that `local` starts without what builds images and clusters.
"""

import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from images.errors import ServiceError
from images.names import CLUSTER, NAMES

if TYPE_CHECKING:
    from images.service import Service


def _group(text: str, epilog: str | None = None) -> typer.Typer:
    return typer.Typer(
        help=text,
        epilog=epilog,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


app = _group(
    "Local services, container images and the kind cluster of this project.",
    "Exit codes: 0 done, 2 wrong usage or a missing prerequisite, 4 a failure, or not running.",
)
local = _group("Kafka and Cassandra as processes of this machine.")
docker = _group("The Docker daemon of this machine.")
cluster = _group("A kind cluster, with the resource definitions of the operators.")
app.add_typer(local, name="local")
app.add_typer(docker, name="docker")
app.add_typer(cluster, name="cluster")

Directory = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder of their data and logs.")]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the cluster.")]
SERVICES = Path(".cache/local")


def main() -> None:
    """Run the command; an expected error becomes one line on standard error and its exit code."""
    try:
        app()
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


@local.command("up")
def local_up(directory: Directory = SERVICES) -> None:
    """Start both, print the settings that reach them.

    The settings are `export` lines for a shell to evaluate, with which the `etl` command reaches both.
    """
    from images.local import start_missing

    _print_settings(start_missing(directory.absolute()))


@local.command("down")
def local_down(directory: Directory = SERVICES) -> None:
    """Stop both. Their data stays."""
    from images.local import find_all, stop

    for service in find_all(directory.absolute()).values():
        if service:
            stop(service)


@local.command("status")
def local_status(directory: Directory = SERVICES) -> None:
    """Print address and process ID of both. Exit code 4 unless both run."""
    from images.local import find_all

    services = find_all(directory.absolute())
    for name, service in services.items():
        print(f"{name}: {f'{service.address}, process {service.process.pid}' if service else 'stopped'}")
    _require(None not in services.values())


@local.command("env")
def local_env(directory: Directory = SERVICES) -> None:
    """Print the settings again. Exit code 4 unless both run."""
    from images.local import find_all

    services = find_all(directory.absolute())
    _print_settings([service for service in services.values() if service])
    _require(None not in services.values())


@docker.command("up")
def docker_up() -> None:
    """Start a daemon unless one answers.

    This takes root, and a machine without a service manager: elsewhere, starting it is the service manager's job.
    """
    from images.docker import up

    up()
    _require(_print_docker())


@docker.command("down")
def docker_down() -> None:
    """Stop the daemon that `up` started. Any other daemon is left alone."""
    from images.docker import down

    down()
    _print_docker()


@docker.command("status")
def docker_status() -> None:
    """Print whether a daemon answers. Exit code 4 if none does."""
    _require(_print_docker())


@cluster.command("up")
def cluster_up(name: Name = CLUSTER) -> None:
    """Create or start the cluster, with resource definitions."""
    from images.cluster import apply_crds, up

    up(name)
    apply_crds(name)
    _require(_print_cluster(name))


@cluster.command("down")
def cluster_down(name: Name = CLUSTER) -> None:
    """Delete the cluster with everything in it."""
    from images.cluster import down

    down(name)
    _print_cluster(name)


@cluster.command("status")
def cluster_status(name: Name = CLUSTER) -> None:
    """Print the state of the cluster. Exit code 4 unless it runs."""
    _require(_print_cluster(name))


@cluster.command("load")
def cluster_load(
    images: Annotated[list[str] | None, typer.Argument(metavar="IMAGE", help="Image, by name and tag.")] = None,
    name: Name = CLUSTER,
) -> None:
    """Copy images from Docker into the cluster. Only those that are missing there or have changed."""
    from images.cluster import load

    load(images or [], name)
    _require(_print_cluster(name))


@cluster.command("crds")
def cluster_crds(name: Name = CLUSTER) -> None:
    """Install the operators' resource definitions."""
    from images.cluster import apply_crds

    apply_crds(name)
    _require(_print_cluster(name))


@app.command("build")
def build_images(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help=f"One of {', '.join(NAMES)}; all by default.")
    ] = None,
) -> None:
    """Build container images. Prints the size and the build time of each."""
    from images.build import build_all, print_table
    from images.docker import up

    _check_names("image", names, NAMES)
    begin = time.monotonic()
    up()
    images = build_all([name for name in NAMES if not names or name in names])
    print_table(images, time.monotonic() - begin)


@app.command("publish")
def publish_images(
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="Registry and folder, such as ghcr.io/owner.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help=f"One of {', '.join(NAMES)}; all by default.")
    ] = None,
) -> None:
    """Build container images for amd64 and arm64 and push them. Prints their names and digests as JSON.

    It needs buildx with emulators of both, and a login at the registry.
    """
    import json
    from dataclasses import asdict

    from images.publish import publish_all

    _check_names("image", names, NAMES)
    published = publish_all(registry, [name for name in NAMES if not names or name in names])
    print(json.dumps([asdict(image) for image in published]))


@app.command("audit")
def audit() -> None:
    """Look for known vulnerabilities of the locked packages, and check the SBOMs of the images."""
    from images.audit import PROJECTS, audit_lock, audit_sboms

    for project in PROJECTS:
        print(audit_lock(project))
    print(audit_sboms())


@app.command("install")
def install_pipeline(
    name: Name = CLUSTER,
    values: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="File of values, repeatable; by default a small node's.")
    ] = None,
) -> None:
    """Install the whole pipeline into a kind cluster.

    Builds the images and brings the cluster up first. Repeating it upgrades what has changed.
    """
    from images.install import bring_up, describe_access

    bring_up(name, values)
    print(describe_access(name))


@app.command("operators")
def install_operators(name: Name = CLUSTER) -> None:
    """Install the operators of Kafka and Cassandra."""
    from images.cluster import up
    from images.operators import install

    up(name)
    install(name)


@app.command("tools")
def print_tools(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="One of helm, kubectl, kind; all by default.")
    ] = None,
) -> None:
    """Print where helm, kubectl and kind are. One is built if the PATH has none that fits."""
    from images.tools import TOOLS, tool

    _check_names("tool", names, TOOLS)
    for name in names or TOOLS:
        print(tool(name), flush=True)


@app.command("base")
def print_base() -> None:
    """Print the name of the base image. It is pulled or made if it is missing."""
    from images.base import image
    from images.docker import up

    up()
    print(image())


@app.command("node")
def print_node() -> None:
    """Print the name of the cluster's node image. It is pulled or made if it is missing."""
    from images.docker import up
    from images.node import image

    up()
    print(image())


def _print_settings(services: Iterable["Service"]) -> None:
    for service in services:
        for key, value in service.environment.items():
            print(f"export {key}={shlex.quote(value)}")


def _print_docker() -> bool:
    """Print whether a daemon answers, and return it."""
    from images.docker import is_up

    answers = is_up()
    print(f"docker: {'answers' if answers else 'stopped'}")
    return answers


def _print_cluster(name: str) -> bool:
    """Print the state of the cluster and how to reach it, and return whether it runs."""
    from images.cluster import kubeconfig, state

    now = state(name)
    print(f"{name}: {now}")
    if now == "running":
        print(f"export KUBECONFIG={kubeconfig(name)}")
    return now == "running"


def _require(runs: bool) -> None:
    if not runs:
        raise typer.Exit(ServiceError.exit_code)


def _check_names(what: str, names: Iterable[str] | None, known: Iterable[str]) -> None:
    if unknown := set(names or ()) - set(known):
        raise typer.BadParameter(f"no such {what}: {', '.join(sorted(unknown))}")
