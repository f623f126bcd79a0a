"""What a build hands to Docker: no secret as an argument, and none in the layers of an image."""

import re
from pathlib import Path

import pytest

from images import build, docker
from images.names import NAMES, PACKAGE, PYTHON
from images.paths import IMAGES

# What may hold passwords, and certificates that belong to the network of the build.
OF_THE_BUILD = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "certificates/")
SECRET = re.compile(r"^(?:ARG|ENV|LABEL)\b.*(?:PASSWORD|SECRET|TOKEN|CREDENTIAL)", re.IGNORECASE | re.MULTILINE)


def stages(dockerfile: str) -> dict[str, tuple[str, str]]:
    """Parent and instructions of each stage, by its name; the last one has none."""
    found: dict[str, tuple[str, str]] = {}
    for part in re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[1:]:
        head, _, instructions = part.partition("\n")
        parent, *named = head.split(" AS ")
        found[named[0] if named else ""] = (parent, instructions)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_layers_of_an_image_hold_nothing_of_its_build_and_no_secret(name: str) -> None:
    dockerfile = (IMAGES / "Dockerfile" if name in PACKAGE else IMAGES / name / "Dockerfile").read_text()
    # Its layers are those of `shared`, and more.
    dockerfile = dockerfile.replace("${UNDER}", "pandas")
    found = stages(dockerfile)
    instructions, stage = "", name if name in PACKAGE else ""
    while stage in found:
        stage, own = found[stage]
        instructions += own
    assert "ENTRYPOINT" in instructions
    assert not [word for word in OF_THE_BUILD if word in instructions]
    assert not SECRET.search(dockerfile)


@pytest.mark.parametrize("name", PYTHON)
def test_password_of_an_index_is_no_argument_of_docker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    given: list[str] = []
    monkeypatch.setattr(docker, "build", lambda *arguments, report: given.extend(map(str, arguments)))
    monkeypatch.setattr(docker, "image_id", lambda _: "id")
    monkeypatch.setattr(build.sbom, "is_current", lambda *_: True)
    monkeypatch.setattr(build, "run", lambda *_: "1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:hunter22@index.example/simple")
    build.build(name, "base", lambda _: None)
    assert "--build-arg=PIP_INDEX_URL" in given
    assert "hunter22" not in " ".join(given)
