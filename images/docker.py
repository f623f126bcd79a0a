"""The Docker daemon: whether it answers, which images it has, and builds."""

import contextlib
import os
import re
from pathlib import Path

from images.command import Report, follow, run, step
from images.errors import CommandError, PrerequisiteError
from images.without_registry import dockerd

# The line with which either builder of Docker begins a step of a Dockerfile.
BUILD_STEP = re.compile(r"(Step |#\d+ \[[^]]*?)\d+/\d+")


def is_up() -> bool:
    """Return whether a daemon answers."""
    try:
        run("docker", "version", "--format", "{{.Server.Version}}")
    except CommandError:
        return False
    return True


def up() -> None:
    """Start a daemon unless one answers.

    Raises:
        PrerequisiteError: Docker is not installed, or a service manager is to start it.
        ServiceError: The daemon did not start.
    """
    if is_up():
        return
    if os.geteuid() or Path("/run/systemd/system").exists():
        raise PrerequisiteError("Docker does not answer: start it, and see that you may use it (docker info)")
    dockerd.start(is_up)


def down() -> None:
    """Stop the daemon that `up` started, with its containers. Any other daemon keeps running."""
    dockerd.stop()


def has(image: str) -> bool:
    """Return whether the daemon has an image of this name."""
    return image_id(image) is not None


def image_id(image: str) -> str | None:
    """Return the ID of an image that the daemon has, else None."""
    try:
        return run("docker", "image", "inspect", "--format", "{{.Id}}", image)
    except CommandError:
        return None


def pull(image: str) -> bool:
    """Pull an image, and return whether that succeeded."""
    with step(f"pull {image}"), contextlib.suppress(CommandError):
        run("docker", "pull", "--quiet", image)
        return True
    return False


def build(tag: str, *arguments: str | Path, report: Report, stdin: str | None = None) -> None:
    """Build an image, and report the current step of its Dockerfile.

    Args:
        tag: Name and tag of the image.
        arguments: Options of `docker build`, then the folder of the build context.
        report: Called with each step, as progress.
        stdin: Text for its standard input, such as a Dockerfile.

    Raises:
        CommandError: The image could not be built.
    """

    def report_step(line: str) -> None:
        if BUILD_STEP.match(line):
            report(line)

    follow("docker", "build", "--tag", tag, *arguments, report=report_step, stdin=stdin)
