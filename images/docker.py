"""The Docker daemon: the one that answers, else one of our own where no service manager could start it.

`python -m images.docker up|down|status`. Our own keeps its log and process ID in `.cache/docker`, its data where Docker
usually has them.
"""

import contextlib
import os
import re
from pathlib import Path

from images.command import Tell, follow, run, step
from images.errors import CommandError, PrerequisiteError
from images.without_registry import dockerd

# How either builder says which of its steps it has come to.
BUILD_STEP = re.compile(r"(Step |#\d+ \[[^]]*?)\d+/\d+")


def is_up() -> bool:
    """Tell whether a daemon answers."""
    try:
        run("docker", "version", "--format", "{{.Server.Version}}")
    except CommandError:
        return False
    return True


def up() -> None:
    """Start a daemon unless one answers.

    Raises:
        PrerequisiteError: Docker is not installed, or not ours to start.
        ServiceError: It did not come up.
    """
    if is_up():
        return
    if os.geteuid() or Path("/run/systemd/system").exists():
        raise PrerequisiteError("Docker does not answer: start it, and see that you may use it (docker info)")
    dockerd.start(is_up)


def down() -> None:
    """Stop the daemon that `up` started, with its containers; leave any other alone."""
    dockerd.stop()


def has(image: str) -> bool:
    """Tell whether the daemon has an image of this name."""
    return image_id(image) is not None


def image_id(image: str) -> str | None:
    """Return the ID of an image that the daemon has, else None."""
    try:
        return run("docker", "image", "inspect", "--format", "{{.Id}}", image)
    except CommandError:
        return None


def pull(image: str) -> bool:
    """Have the daemon fetch an image, and tell whether its registry gave it."""
    with step(f"pull {image}"), contextlib.suppress(CommandError):
        run("docker", "pull", "--quiet", image)
        return True
    return False


def build(tag: str, *arguments: str | Path, tell: Tell, stdin: str | None = None) -> None:
    """Build an image, and tell which step of its Dockerfile is being done.

    Raises:
        CommandError: It could not be built.
    """

    def tell_step(line: str) -> None:
        if BUILD_STEP.match(line):
            tell(line)

    follow("docker", "build", "--tag", tag, *arguments, tell=tell_step, stdin=stdin)
