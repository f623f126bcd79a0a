"""The command `python -m images`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from images import cli, cluster, docker, local, names, tools
from images.errors import PrerequisiteError, ServiceError

# What only the commands for images and clusters import, and what only starting a service does.
FOREIGN = {"images.build", "images.cluster", "images.docker", "images.tools", "yaml", "kafka", "cassandra"}


def invoke(*arguments: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    done = CliRunner().invoke(cli.app, arguments)
    return done.exit_code, done.output


def commands() -> list[list[str]]:
    groups = [(group.name, group.typer_instance) for group in cli.app.registered_groups]
    found = [[group, command.name] for group, inner in groups for command in inner.registered_commands]
    return [*([group] for group, _ in groups), *([command.name] for command in cli.app.registered_commands), *found]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_each_command_explains_itself(command: list[str]) -> None:
    code, printed = invoke(*command, "--help")
    assert code == 0
    usage, summary = (line for line in printed.splitlines()[:3] if line)
    assert usage.startswith(f"Usage: root {' '.join(command)} ")
    assert summary.strip()


@pytest.mark.parametrize(("command", "choices"), [("build", names.NAMES), ("tools", tuple(tools.TOOLS))])
def test_help_names_every_image_and_every_tool(command: str, choices: tuple[str, ...]) -> None:
    arguments = invoke(command, "--help")[1].split("Arguments:")[1]
    assert set(choices) <= set(re.findall(r"\w+", arguments))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["build", "page", "xx", "nope"], "no such image: nope, xx"),
        (["tools", "helm", "nope"], "no such tool: nope"),
        (["cluster", "nope"], "No such command 'nope'"),
    ],
)
def test_wrong_usage_is_exit_code_2(command: list[str], message: str) -> None:
    code, printed = invoke(*command)
    assert code == 2
    assert message in printed


@pytest.mark.parametrize("error", [ServiceError("kafka ended"), PrerequisiteError("Java 17 is needed")])
def test_expected_error_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: ServiceError
) -> None:
    def fail(directory: Path) -> None:
        raise error

    monkeypatch.setattr(local, "start_missing", fail)
    monkeypatch.setattr(sys, "argv", ["images", "local", "up"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == error.exit_code
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize(("answers", "codes"), [(True, [0, 0]), (False, [4, 0])])
def test_docker_says_whether_a_daemon_answers(monkeypatch: pytest.MonkeyPatch, answers: bool, codes: list[int]) -> None:
    monkeypatch.setattr(docker, "is_up", lambda: answers)
    monkeypatch.setattr(docker, "down", lambda: None)
    said = f"docker: {'answers' if answers else 'stopped'}\n"
    assert [invoke("docker", action) for action in ("status", "down")] == [(code, said) for code in codes]


@pytest.mark.parametrize("state", ["running", "stopped", "absent"])
def test_cluster_says_its_state_and_how_to_reach_it(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setattr(cluster, "state", lambda name: state)
    code, printed = invoke("cluster", "status", "--name", "beside")
    assert code == (0 if state == "running" else 4)
    assert printed.splitlines()[0] == f"beside: {state}"
    assert printed.splitlines()[1:] == [f"export KUBECONFIG={cluster.kubeconfig('beside')}"] * (state == "running")


def test_local_services_import_nothing_of_images_and_clusters(tmp_path: Path) -> None:
    script = (
        "import sys; from images.cli import app\n"
        f"try: app(['local', 'status', '--dir', {str(tmp_path)!r}])\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *states, last = done.stdout.splitlines()
    assert states == ["kafka: stopped", "cassandra: stopped"]
    code, *imported = last.split()
    assert code == "4"
    assert FOREIGN & set(imported) == set()
