"""What a release hands to buildx; the program itself is a stand-in, since no registry is there."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from images import base, build, publish
from images.cli import app

# Writes down its arguments and the input, and answers as buildx does.
BUILDX = """#!/bin/sh
printf '%s\\n' "$@" > "{folder}/$(ls {folder} | wc -l)"
for argument in "$@"; do
    case $argument in --metadata-file=*) echo '{{"containerimage.digest": "sha256:42"}}' > "${{argument#*=}}" ;; esac
done
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file for each call of docker, which has its arguments."""
    folder, program = tmp_path / "calls", tmp_path / "docker"
    folder.mkdir()
    program.write_text(BUILDX.format(folder=folder))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("BASE", raising=False)
    return folder


def test_images_are_pushed_for_all_platforms_over_their_own_base(calls: Path) -> None:
    done = CliRunner().invoke(app, ["publish", "registry.example/plant", "load"])
    assert json.loads(done.stdout) == [{"name": "registry.example/plant/sensor-etl/load", "digest": "sha256:42"}]
    below, image = ((calls / number).read_text().splitlines() for number in ("0", "1"))
    assert f"--build-arg=SOURCE={base.DEBIAN}" in below
    assert "--build-arg=BASE=registry.example/plant/sensor-etl/base:bookworm" in image
    assert f"--tag=registry.example/plant/sensor-etl/load:{build.VERSION}" in image
    for arguments in (below, image):
        assert {f"--platform={publish.PLATFORMS}", "--push", "--sbom=true", "--provenance=mode=max"} <= set(arguments)


def test_image_is_built_by_the_same_options_when_it_is_published(calls: Path) -> None:
    CliRunner().invoke(app, ["publish", "registry.example", "generate"])
    arguments = (calls / "1").read_text().splitlines()
    assert set(build.options("generate", "registry.example/sensor-etl/base:bookworm")) <= set(arguments)
