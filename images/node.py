"""The image of a kind node: the published one where its registry answers, else one made by `without_registry`.

The variable `NODE_IMAGE` names another image, such as a mirror's copy.
"""

import os

from images import docker
from images.command import LOCKS, exclusive
from images.without_registry import node_image

# The default of kind 0.30.0.
PUBLISHED = "docker.io/kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"


def image() -> str:
    """Return the name of the node image; it is pulled or made unless the daemon has it, which takes minutes.

    Raises:
        PrerequisiteError: No registry answers, and a program that is needed to make the image is missing.
        CommandError: The image could not be made.
    """
    if chosen := os.environ.get("NODE_IMAGE"):
        return chosen
    own = node_image.tag()
    with exclusive(LOCKS / "images", "build images"):
        for name in (own, PUBLISHED):
            if docker.has(name):
                return name
        if docker.pull(PUBLISHED):
            return PUBLISHED
        node_image.make()
    return own


def is_own(name: str) -> bool:
    """Return whether an image was made by this project, in any registry."""
    return node_image.REPOSITORY in name
