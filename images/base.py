"""The image that all others are made from: Debian 12 with the certificates of the public authorities.

`python -m images.base` prints its name, and makes it first if needed. `BASE` says what it is made from: an image's name
(Debian 12), or `packages` for Debian packages alone. By default that is Debian's own image where its registry answers,
else packages.
"""

import os

from images import docker
from images.command import LOCKS, alone, run, step
from images.errors import CommandError
from images.without_registry import debian

IMAGE = "sensor-etl/base:bookworm"
DEBIAN = "docker.io/library/debian:bookworm-20250520-slim"
PACKAGES = "packages"
SOURCE_LABEL = "org.opencontainers.image.base.name"
# What is in the upstream image may be older than what Debian gives out now.
DOCKERFILE = f"""
ARG SOURCE
FROM ${{SOURCE}}
ARG SOURCE
RUN apt-get update && apt-get upgrade -y && apt-get install -y --no-install-recommends ca-certificates \\
    && rm -rf /var/lib/apt/lists/*
LABEL {SOURCE_LABEL}=${{SOURCE}}
"""


def image() -> str:
    """Return the base image's name, and see that the daemon has it.

    Raises:
        PrerequisiteError: No registry answers, and mmdebstrap is missing.
        CommandError: It could not be made.
    """
    wanted = os.environ.get("BASE")
    with alone(LOCKS / "images", "build images"):
        made_from = _source()
        if made_from and wanted in (None, "", made_from):
            return IMAGE
        source = wanted or (DEBIAN if docker.pull(DEBIAN) else PACKAGES)
        with step(f"make {IMAGE} from {source}") as tell:
            if source == PACKAGES:
                debian.make_image(IMAGE, f"{SOURCE_LABEL}={PACKAGES}", tell)
            else:
                docker.build(IMAGE, "--build-arg", f"SOURCE={source}", "-", tell=tell, stdin=DOCKERFILE)
    return IMAGE


def _source() -> str | None:
    """Return what the daemon's base image was made from, None when it has none."""
    try:
        return run("docker", "image", "inspect", "--format", f'{{{{index .Config.Labels "{SOURCE_LABEL}"}}}}', IMAGE)
    except CommandError:
        return None
