"""What the cluster is made with: tools, the runtime for bounded capabilities, resource definitions."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from images import cluster, crds, tools
from images.errors import CommandError, PrerequisiteError
from images.without_registry import dockerd, golang, node_image, programs


def program(folder: Path, name: str, prints: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{prints}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(tools, "BIN", tmp_path / "bin")
    return folder


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
def test_tool_is_taken_from_the_path_when_its_version_fits(path_folder: Path, name: str, version: str) -> None:
    found = program(path_folder, name, f"echo '{version}'")
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
    path_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, prints: str
) -> None:
    program(path_folder, name, prints)
    program(path_folder, "go", "echo built by go >&2; exit 7")
    with pytest.raises(CommandError, match="built by go"):
        tools.tool(name)


def test_build_asks_for_go_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match=r"Go 1\.26"):
        golang.build(programs.MODULES / "pause", {"pause": "."}, tmp_path / "bin")


PREREQUISITES = Path(__file__).parents[2] / "images" / "prerequisites"
# What the script itself takes, which every system has.
PLAIN = ("bash", "env", "dirname", "sed")
INSTALLED = ("python3.11", "mvn", "java", "docker", "dockerd", "containerd", "runc", "iptables", "jq", "mmdebstrap")


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a system without anything, and without a registry in reach."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in PLAIN:
        (folder / name).symlink_to(shutil.which(name) or "")
    program(folder, "timeout", "exit 1")
    # A copy of the script, since tools may have been built beside the real one.
    (tmp_path / "images").mkdir()
    shutil.copy(PREREQUISITES, tmp_path / "images")
    return {"PATH": str(folder)}


def prerequisites(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "images" / "prerequisites"
    return subprocess.run([script], env=environment, capture_output=True, text=True, check=False)


def test_everything_missing_is_named_at_once_when_there_is_nothing(tmp_path: Path, bare: dict[str, str]) -> None:
    done = prerequisites(tmp_path, bare)
    assert (done.returncode, done.stdout) == (2, "")
    title, install, go = done.stderr.splitlines()
    assert title == "make up needs what is not there:"
    assert install.split()[:3] == ["apt-get", "install", "--no-install-recommends"]
    assert set(install.split()[3:]) == {
        *("python3.11", "python3.11-venv", "maven", "openjdk-17-jdk-headless", "docker.io", "containerd", "runc"),
        *("iptables", "jq", "mmdebstrap"),
    }
    assert "Go 1.26" in go
    assert go.endswith("to build kind, kubectl, helm, the node image")


@pytest.mark.parametrize("missing", [*INSTALLED, "go"])
def test_only_what_is_missing_is_named(tmp_path: Path, bare: dict[str, str], missing: str) -> None:
    folder = Path(bare["PATH"])
    for name in (*INSTALLED, "go"):
        if name != missing:
            answer = {"docker": "test ${1#image} = $1", "go": "echo go1.26.8"}
            program(folder, name, answer.get(name, "exit 0"))
    # A daemon that answers needs nothing of what would start one.
    is_needless = missing in ("dockerd", "containerd", "runc", "iptables", "jq")
    done = prerequisites(tmp_path, bare)
    if is_needless:
        assert (done.returncode, done.stderr) == (0, "")
        return
    package = {"mvn": "maven", "java": "openjdk-17-jdk-headless", "docker": "docker.io", "go": "Go 1.26"}
    assert done.returncode == 2
    assert package.get(missing, missing) in done.stderr
    assert "mmdebstrap" not in done.stderr or missing in ("mmdebstrap", "docker")


@pytest.mark.parametrize("version", ["go1.19.8", ""])
def test_go_is_named_when_it_is_too_old_to_build(tmp_path: Path, bare: dict[str, str], version: str) -> None:
    for name in INSTALLED:
        program(Path(bare["PATH"]), name, "test $1 != images")
    program(Path(bare["PATH"]), "go", f"echo {version}")
    done = prerequisites(tmp_path, bare)
    assert done.returncode == 2
    assert "Go 1.26" in done.stderr
    assert "apt-get" not in done.stderr


def test_nothing_is_built_from_sources_when_a_registry_answers(tmp_path: Path, bare: dict[str, str]) -> None:
    folder = Path(bare["PATH"])
    for name in {*INSTALLED, "timeout", "kind", "kubectl", "helm"} - {"mmdebstrap"}:
        (folder / name).unlink(missing_ok=True)
        program(folder, name, "test $1 != image")
    done = prerequisites(tmp_path, bare)
    assert (done.returncode, done.stderr) == (0, "")


def test_build_runs_again_when_the_pins_have_changed(path_folder: Path, tmp_path: Path) -> None:
    module, out = tmp_path / "module", tmp_path / "out"
    module.mkdir()
    (module / "go.mod").write_text("module one\n")
    program(path_folder, "go", f"test $1 = list || echo x >> {tmp_path}/builds; touch {out}/thing")
    for _ in range(2):
        golang.build(module, {"thing": "."}, out)
    assert (tmp_path / "builds").read_text() == "x\n"
    (module / "go.mod").write_text("module two\n")
    golang.build(module, {"thing": "."}, out)
    assert (tmp_path / "builds").read_text() == "x\nx\n"


def test_manifest_of_the_node_names_only_images_that_are_in_it() -> None:
    manifest = node_image.FOLDER / "files" / "kind" / "manifests" / "default-cni.yaml"
    named = re.findall(r"image: (\S+)", manifest.read_text())
    assert named
    assert set(named) <= {f"{node_image.REGISTRY}/{component}" for component in node_image.COMPONENTS.values()}


@pytest.fixture
def runtime(path_folder: Path) -> Path:
    if not shutil.which("jq"):
        pytest.skip("jq is needed by the runtime for bounded capabilities")
    program(path_folder, "runc", 'printf "%s\\n" "$@"')
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
