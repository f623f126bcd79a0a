"""The base image of all others: Debian 12 with the certificates of the public authorities.

The variable `BASE` names its source: a Debian 12 image, or `packages` for Debian packages alone. By default the source
is Debian's own image where its registry answers, else packages.
"""

import os

from images import docker
from images.command import LOCKS, exclusive, run, step
from images.errors import CommandError
from images.without_registry import debian

IMAGE = "sensor-etl/base:bookworm"
DEBIAN = "docker.io/library/debian:bookworm-20250520-slim"
PACKAGES = "packages"
SOURCE_LABEL = "org.opencontainers.image.base.name"
# The packages of the upstream image may be older than Debian's current ones.
DOCKERFILE = f"""
ARG SOURCE
FROM ${{SOURCE}}
ARG SOURCE
RUN apt-get update && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates \\
    && rm -rf /var/lib/apt/lists/*
LABEL {SOURCE_LABEL}=${{SOURCE}}
"""


def image() -> str:
    """Return the name of the base image; it is pulled or made unless the daemon has it.

    Raises:
        PrerequisiteError: No registry answers, and mmdebstrap is missing.
        CommandError: The image could not be made.
    """
    wanted = os.environ.get("BASE")
    with exclusive(LOCKS / "images", "build images"):
        made_from = _source()
        if made_from and wanted in (None, "", made_from):
            return IMAGE
        source = wanted or (DEBIAN if docker.pull(DEBIAN) else PACKAGES)
        with step(f"make {IMAGE} from {source}") as report:
            if source == PACKAGES:
                debian.make_image(IMAGE, f"{SOURCE_LABEL}={PACKAGES}", report)
            else:
                docker.build(IMAGE, "--build-arg", f"SOURCE={source}", "-", report=report, stdin=DOCKERFILE)
    return IMAGE


def _source() -> str | None:
    """Return the source of the daemon's base image, None if the daemon has none."""
    try:
        return run("docker", "image", "inspect", "--format", f'{{{{index .Config.Labels "{SOURCE_LABEL}"}}}}', IMAGE)
    except CommandError:
        return None
