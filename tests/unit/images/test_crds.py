"""Resource definitions of the operators."""

import json
from pathlib import Path

import pytest

from images import cluster, crds
from images.errors import CommandError, PrerequisiteError


def test_shared_definitions_are_skipped_when_nothing_names_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ETL_SHARED", raising=False)
    monkeypatch.setattr(crds, "ROOT", tmp_path / "checkout")
    assert crds.k8ssandra() == []


def test_shared_definitions_are_missed_when_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_SHARED", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="ETL_SHARED"):
        crds.k8ssandra()


def test_module_is_refused_when_its_checksum_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crds.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(crds, "run", lambda *command, **options: '{"Dir": "/modules/one", "Sum": "h1:other="}')
    with pytest.raises(CommandError, match="checksum h1:other="):
        crds.of_module("cert-manager.io")


def test_definitions_of_modules_are_missed_when_go_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="Go"):
        crds.of_module("cert-manager.io")


def test_definitions_that_an_operator_came_with_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / name for name in ("kafkas", "k8ssandraclusters")]
    for file in files:
        file.write_text(json.dumps({"metadata": {"name": f"{file.name}.example.com"}}))
    monkeypatch.setattr(crds, "strimzi", lambda: files[:1])
    monkeypatch.setattr(crds, "k8ssandra", lambda: files[1:])
    told: list[tuple[str, ...]] = []

    def kubectl(name: str, *arguments: str) -> str:
        told.append(arguments)
        return "customresourcedefinition.apiextensions.k8s.io/k8ssandraclusters.example.com\n"

    monkeypatch.setattr(cluster, "kubectl", kubectl)
    monkeypatch.setattr(cluster, "_notes", lambda name: {})
    monkeypatch.setattr(cluster, "_write_notes", lambda name, notes: None)
    cluster.apply_crds("any")
    applied = [arguments for arguments in told if arguments[0] == "apply"]
    assert [word for word in applied[0] if word.startswith("--filename")] == [f"--filename={files[0]}"]
