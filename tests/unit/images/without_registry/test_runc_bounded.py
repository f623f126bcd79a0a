"""The OCI runtime for machines whose capabilities are bounded."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from images.without_registry import dockerd
from tests.unit.images.conftest import Program


@pytest.fixture
def runtime(program: Program) -> Path:
    if not shutil.which("jq"):
        pytest.skip("jq is needed by the runtime for bounded capabilities")
    program("runc", 'printf "%s\\n" "$@"')
    return dockerd.RUNTIME


def held_capabilities(asked: list[str]) -> list[str]:
    """Those of ours to ask for that this machine's bounding set holds, told by the kernel one by one."""
    numbers = {"CAP_CHOWN": 0, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24, "CAP_CHECKPOINT_RESTORE": 40}
    status = Path("/proc/self/status").read_text()
    bounding = int(status.split("CapBnd:")[1].split()[0], 16)
    return [name for name in asked if bounding >> numbers[name] & 1]


ASKED = ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_CHECKPOINT_RESTORE"]


@pytest.mark.parametrize("flag", [["--bundle"], ["-b"], None])
def test_runtime_drops_what_the_machine_lacks_when_a_container_is_created(
    runtime: Path, tmp_path: Path, flag: list[str] | None
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"process": {"capabilities": {"bounding": ASKED}, "cwd": "/"}, "root": {}}))
    bundle = [f"--bundle={tmp_path}"] if flag is None else [*flag, str(tmp_path)]
    arguments = ["--root", "/run/x", "create", *bundle, "--pid-file", "/run/pid", "name with space"]
    done = subprocess.run([runtime, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == arguments
    assert json.loads(config.read_text()) == {
        "process": {"capabilities": {"bounding": held_capabilities(ASKED)}, "cwd": "/"},
        "root": {},
    }


def test_runtime_drops_what_the_machine_lacks_when_a_process_joins(runtime: Path, tmp_path: Path) -> None:
    process = tmp_path / "process.json"
    process.write_text(json.dumps({"capabilities": {"effective": ASKED}, "args": ["sh"]}))
    subprocess.run([runtime, "exec", "--process", process, "name"], capture_output=True, check=True)
    assert json.loads(process.read_text()) == {
        "capabilities": {"effective": held_capabilities(ASKED)},
        "args": ["sh"],
    }


def test_runtime_leaves_a_process_alone_when_it_asks_for_nothing(runtime: Path, tmp_path: Path) -> None:
    process = tmp_path / "process.json"
    process.write_text(json.dumps({"args": ["sh"]}))
    subprocess.run([runtime, "exec", "-p", process, "name"], capture_output=True, check=True)
    assert json.loads(process.read_text()) == {"args": ["sh"]}
