"""Images for all platforms, pushed to a registry: for the release, which signs them.

They are built by buildx, with an SBOM and the provenance (SLSA) of the build beside each image.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from images import base, build
from images.command import follow, step

PLATFORMS = "linux/amd64,linux/arm64"


@dataclass(frozen=True)
class Published:
    """An image in a registry, without its tag, and the digest of the index of its platforms."""

    name: str
    digest: str


def publish_all(registry: str, names: Sequence[str]) -> list[Published]:
    """Build images over a base image of their own, and push all of them.

    Args:
        registry: Registry and folder, such as `ghcr.io/owner`.
        names: Names of the images.

    Raises:
        PrerequisiteError: `CA_BUNDLE` names a file that does not exist.
        CommandError: An image could not be built or pushed.
    """
    source = os.environ.get("BASE") or base.DEBIAN
    own = f"{registry}/{base.IMAGE}"
    _push(own, f"--build-arg=SOURCE={source}", "-", stdin=base.DOCKERFILE)
    return [_publish(registry, name, own) for name in names]


def _publish(registry: str, name: str, base_image: str) -> Published:
    tag = f"{registry}/{build.tag(name)}"
    with tempfile.TemporaryDirectory() as folder:
        build.fill(Path(folder), name)
        digest = _push(tag, *build.options(name, base_image), folder)
    return Published(tag.removesuffix(f":{build.VERSION}"), digest)


def _push(tag: str, *arguments: str, stdin: str | None = None) -> str:
    """Build and push an image, and return its digest."""
    with step(f"publish {tag}") as report, tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        options = (f"--platform={PLATFORMS}", "--push", "--sbom=true", "--provenance=mode=max")
        command = ("docker", "buildx", "build", *options, f"--metadata-file={result}", f"--tag={tag}")
        follow(*command, *arguments, report=report, stdin=stdin)
        found: str = json.loads(result.read_text())["containerimage.digest"]
        return found
