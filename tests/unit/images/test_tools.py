"""kubectl, helm and kind: taken from the PATH, or built."""

from pathlib import Path

import pytest

from images import tools
from images.errors import CommandError
from tests.unit.images.conftest import Program


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "BIN", tmp_path / "bin")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("kubectl", "Client Version: v1.33.4"),
        ("kubectl", "Client Version: v1.35.0"),
        ("helm", "v3.14.0+gabcdef"),
        ("helm", "v4.1.0"),
        ("kind", "kind v0.30.0 go1.24.6 linux/amd64"),
    ],
)
def test_tool_is_taken_from_the_path_when_its_version_fits(program: Program, name: str, version: str) -> None:
    found = program(name, f"echo '{version}'")
    assert tools.tool(name).resolve() == found


@pytest.mark.parametrize(
    ("name", "prints"),
    [
        ("kubectl", "echo 'Client Version: v1.32.9'"),
        ("kubectl", "echo 'Client Version: v1.36.0'"),
        ("helm", "echo v2.17.0"),
        ("kind", "echo 'kind v0.29.0 go1.24.2 linux/amd64'"),
        ("kind", "exit 1"),
    ],
)
def test_tool_is_built_when_the_one_on_the_path_does_not_fit(
    program: Program, monkeypatch: pytest.MonkeyPatch, name: str, prints: str
) -> None:
    program(name, prints)
    program("go", "echo built by go >&2; exit 7")
    with pytest.raises(CommandError, match="built by go"):
        tools.tool(name)
