"""The image of a kind node: the published one where its registry answers, else one that is made here.

`python -m images.node` prints its name, and makes it first if needed. `NODE_IMAGE` names another, such as a mirror's.
"""

import os

from images import docker
from images.command import LOCKS, alone
from images.without_registry import node_image

# The default of kind 0.30.0.
PUBLISHED = "docker.io/kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"


def image() -> str:
    """Return the node image's name, and see that the daemon has it; the first time this takes up to some minutes.

    Raises:
        PrerequisiteError: No registry answers, and something that making one takes is missing.
        CommandError: It could not be made.
    """
    if chosen := os.environ.get("NODE_IMAGE"):
        return chosen
    own = node_image.tag()
    with alone(LOCKS / "images", "build images"):
        for name in (own, PUBLISHED):
            if docker.has(name):
                return name
        if docker.pull(PUBLISHED):
            return PUBLISHED
        node_image.make()
    return own


def is_own(name: str) -> bool:
    """Tell whether an image is made by this project, in whatever registry."""
    return node_image.REPOSITORY in name
