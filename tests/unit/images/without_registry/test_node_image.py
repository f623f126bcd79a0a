"""The node image that is made from packages."""

import re

from images.without_registry import node_image


def test_manifest_of_the_node_names_only_images_that_are_in_it() -> None:
    manifest = node_image.FOLDER / "files" / "kind" / "manifests" / "default-cni.yaml"
    named = re.findall(r"image: (\S+)", manifest.read_text())
    assert named
    assert set(named) <= {f"{node_image.REGISTRY}/{component}" for component in node_image.COMPONENTS.values()}
