"""Programs that are built from Go modules."""

import contextlib
from pathlib import Path

import pytest

from images.errors import PrerequisiteError
from images.without_registry import golang, programs
from tests.unit.images.conftest import Program


def test_build_asks_for_go_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match=r"Go 1\.26"):
        golang.build(programs.MODULES / "pause", {"pause": "."}, tmp_path / "bin")


def test_build_runs_again_when_the_pins_have_changed(program: Program, tmp_path: Path) -> None:
    module, out = tmp_path / "module", tmp_path / "out"
    module.mkdir()
    (module / "go.mod").write_text("module one\n")
    program("go", f"test $1 = list || echo x >> {tmp_path}/builds; touch {out}/thing")
    for _ in range(2):
        golang.build(module, {"thing": "."}, out)
    assert (tmp_path / "builds").read_text() == "x\n"
    (module / "go.mod").write_text("module two\n")
    golang.build(module, {"thing": "."}, out)
    assert (tmp_path / "builds").read_text() == "x\nx\n"


def test_compilation_tells_what_is_fetched_and_how_many_packages_are_done(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module").mkdir()
    listed = "echo 'go: downloading example.com/x v1.0.0' >&2; printf 'a\\nb\\nc'"
    compiled = f"echo a >&2; echo b >&2; touch {tmp_path}/bin/thing"
    program("go", f'if [ "$1" = list ]; then {listed}; else {compiled}; fi')
    steps: list[str] = []
    monkeypatch.setattr(golang, "step", lambda what: contextlib.nullcontext(steps.append))
    golang.build(tmp_path / "module", {"thing": "."}, tmp_path / "bin")
    assert steps == ["go: downloading example.com/x v1.0.0", "package 1 of at most 3: a", "package 2 of at most 3: b"]
