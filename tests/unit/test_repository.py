"""The files for GitHub and for new contributors: valid, complete, and about files that exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*"))
SCHEMAS = {
    **dict.fromkeys(WORKFLOWS, "github-workflows"),
    **dict.fromkeys(ROOT.glob(".github/ISSUE_TEMPLATE/*"), "github-issue-forms"),
    ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml": "github-issue-config",
    ROOT / ".github" / "dependabot.yml": "dependabot",
}


def folders_of(*patterns: str) -> set[str]:
    """Return the folders, as Dependabot writes them, of the files of the repository that match."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {f"/{Path(name).parent}".removesuffix(".") for name in found.stdout.split("\0") if name}


@pytest.mark.parametrize(("path", "schema"), SCHEMAS.items(), ids=lambda value: getattr(value, "name", value))
def test_files_of_github_are_valid_when_they_are_compared_with_their_schema(path: Path, schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_version_when_a_workflow_uses_them(path: Path) -> None:
    used = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", line)] == []


def test_dependabot_knows_each_lock_file_when_there_are_several() -> None:
    text = (ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8")
    updates = {update["package-ecosystem"]: update for update in yaml.safe_load(text)["updates"]}
    assert set(updates["uv"]["directories"]) == folders_of("*uv.lock")
    assert set(updates["maven"]["directories"]) == folders_of("*pom.xml")
    # The node of the cluster is made on a machine without a registry, from the images of the project.
    without_registry = "/images/without_registry/node"
    assert set(updates["docker"]["directories"]) == folders_of("*Dockerfile") - {without_registry}


def test_code_owners_are_named_for_paths_that_exist() -> None:
    lines = (ROOT / ".github" / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    paths = [line.split()[0] for line in lines if line.startswith("/")]
    assert paths
    assert [path for path in paths if not (ROOT / path.strip("/")).exists()] == []


def test_map_of_the_code_names_files_that_exist_when_a_contributor_follows_it() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Where to change something\n(.+?)^## ", text, re.MULTILINE | re.DOTALL)
    named = re.findall(r"`((?:etl|charts|tests|docs)/[^`]+)`", section)
    assert len(named) > 20
    assert [path for path in named if not list(ROOT.glob(path.rstrip("/")))] == []


def test_devcontainer_has_the_programs_of_ci_when_a_codespace_starts() -> None:
    folder = ROOT / ".devcontainer"
    config = json.loads((folder / "devcontainer.json").read_text(encoding="utf-8"))
    installed = set(re.findall(r"^ +([\w.-]+) \\$", (folder / config["build"]["dockerfile"]).read_text(), re.MULTILINE))
    # Without the registry and Docker, which a devcontainer has, CI makes images by other programs.
    for_images = {"docker.io", "containerd", "runc", "iptables", "jq", "mmdebstrap"}
    of_ci = re.findall(r"missing\+=\((.+?)\)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert {package for line in of_ci for package in line.split()} - for_images == installed
