"""The images as `make images` left them; without Docker, or before that, these tests are skipped."""

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from images import docker
from images.build import tag
from images.command import run as run_command
from tests.images.servers import Postgres

# What a pod of the chart has: nothing can be written but volumes, nothing is allowed.
RESTRICTED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def images() -> Callable[[str], str]:
    """Gives the tag of an image that the daemon has."""
    if not docker.is_up():
        pytest.skip("Docker does not answer")

    def find(name: str) -> str:
        if not docker.has(tag(name)):
            pytest.skip(f"no image {tag(name)}: make images")
        return tag(name)

    return find


@pytest.fixture(scope="session")
def run(images: Callable[[str], str]) -> Run:
    """Runs a command in a restricted container without a network, /tmp apart, until it ends."""

    def command(name: str, *arguments: str, options: list[str] | None = None) -> "subprocess.CompletedProcess[str]":
        line = ["docker", "run", "--rm", "--network=none", "--tmpfs=/tmp", *RESTRICTED, *(options or []), images(name)]
        return subprocess.run([*line, *arguments], capture_output=True, text=True, check=False, timeout=120)

    return command


@pytest.fixture
def start(images: Callable[[str], str]) -> Iterator[Callable[..., str]]:
    """Starts a restricted container with a volume, and gives its name."""
    names: list[str] = []

    def begin(name: str, volume: str, *options: str) -> str:
        names.append(f"{name}-{secrets.token_hex(4)}")
        line = ["docker", "run", "--detach", f"--name={names[-1]}", "--tmpfs=/tmp", *RESTRICTED]
        line += [f"--volume={names[-1]}:{volume}", *options, images(name)]
        subprocess.run(line, check=True, capture_output=True, timeout=120)
        return names[-1]

    yield begin
    for name in names:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)
        subprocess.run(["docker", "volume", "rm", "--force", name], capture_output=True, check=False)


@pytest.fixture(scope="session")
def inspect(images: Callable[[str], str]) -> Callable[[str], Any]:
    """Gives the configuration of an image."""
    return lambda name: json.loads(run_command("docker", "image", "inspect", images(name)))[0]["Config"]


@pytest.fixture
def postgres(start: Callable[..., str], tmp_path: Path) -> Postgres:
    """A running server of Airflow's database."""
    return Postgres(start, tmp_path)
