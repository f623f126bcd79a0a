import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from etl.cli import app
from etl.errors import DeliveryError, EtlError, NothingNew, SettingsError, Unreachable
from etl.run.runner import STAGES
from etl.settings import PARTS, describe

ROOT = Path(__file__).parents[2]
COMMANDS = [*STAGES, "run", "schema", "grant", "wait", "status", "doctor", "dead-letters", "page", "report"]


def etl(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
    return subprocess.run(
        [sys.executable, "-m", "etl", *arguments], capture_output=True, text=True, check=False, env=kept | variables
    )


def test_every_command_is_listed_when_help_is_asked_for() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    for command in COMMANDS:
        assert f"  {command} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_works_when_asked_for(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_every_variable_is_in_the_help_when_a_command_uses_all() -> None:
    text = CliRunner().invoke(app, ["run", "--help"], terminal_width=200).output
    for part in PARTS:
        for name, (_, default) in describe(part).items():
            assert f"  {name}\n" in text
            assert f"[{default}]" in text or not default


def test_help_leaves_out_a_variable_when_the_stage_does_not_use_it() -> None:
    assert "ETL_CASSANDRA_" not in CliRunner().invoke(app, ["consume", "--help"]).output
    assert "ETL_KAFKA_" not in CliRunner().invoke(app, ["transform", "--help"]).output


def declared_version() -> str:
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def test_version_is_shown_when_asked_for() -> None:
    assert etl("--version").stdout.startswith(f"sensor-etl {declared_version()}, Python ")


def test_version_of_the_chart_is_that_of_the_package() -> None:
    chart = yaml.safe_load((ROOT / "charts/sensor-etl/Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"]} == {declared_version()}


@pytest.mark.parametrize("name", ["etl", "sensor-etl"])
def test_commands_are_completed_when_a_shell_asks(name: str) -> None:
    command = [Path(sys.executable).with_name(name)]
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    asked = {variable: "complete_bash", "COMP_WORDS": f"{name} dead", "COMP_CWORD": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | asked)
    assert (done.stdout.split(), done.stderr) == (["dead-letters"], "")


@pytest.mark.parametrize("arguments", [["nope"], ["consume", "--nope"], ["consume", "--max-readings", "x"], []])
def test_exit_code_is_2_when_the_usage_is_wrong(arguments: list[str]) -> None:
    assert etl(*arguments).returncode == 2


@pytest.mark.parametrize("stage", STAGES)
def test_one_line_names_the_setting_when_the_run_has_no_id(stage: str, tmp_path: Path) -> None:
    done = etl(stage, ETL_WORKSPACE_URL=str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "ETL_RUN_ID" in line
    assert not list(tmp_path.iterdir())


def test_option_goes_first_when_the_variable_is_set_too(tmp_path: Path) -> None:
    done = etl(
        "consume", "--from-offset", "x", ETL_CONSUME_FROM_OFFSET="5", ETL_RUN_ID="r", ETL_WORKSPACE_URL=str(tmp_path)
    )
    assert done.returncode == 2
    assert "ETL_CONSUME_FROM_OFFSET" in done.stderr


def test_whole_run_is_refused_when_it_is_cut_into_shards(tmp_path: Path) -> None:
    done = etl("run", ETL_SHARDS="2", ETL_WORKSPACE_URL=str(tmp_path))
    assert done.returncode == 2
    assert "ETL_SHARDS" in done.stderr


def test_a_line_warns_when_a_variable_means_nothing(tmp_path: Path) -> None:
    done = etl("generate", ETL_KAFKA_TOPICS="x", ETL_WORKSPACE_URL=str(tmp_path))
    assert "ETL_KAFKA_TOPICS means nothing here, did you mean ETL_KAFKA_TOPIC?" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("why"), 2),
        (NothingNew("why"), 3),
        (Unreachable("why"), 4),
        (DeliveryError("why"), 5),
        (RuntimeError("why"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_code_tells_what_happened_when_a_command_ends(error: BaseException, code: int) -> None:
    script = f"""
import etl.cli, etl.errors, etl.admin.doctor
def fail():
    raise etl.errors.{type(error).__name__}("why") if hasattr(etl.errors, {type(error).__name__!r}) else {error!r}
etl.admin.doctor.check_all = fail
etl.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == code
    if isinstance(error, EtlError):
        (line,) = done.stderr.splitlines()
        assert line.endswith("why")
    assert ("Traceback" in done.stderr) == (code == 1)


def test_exit_code_is_143_when_terminated_while_generating(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "ETL_RUN_ID": "r",
        "ETL_WORKSPACE_URL": str(tmp_path),
        "ETL_GENERATE_MACHINES": "2000",
        "ETL_GENERATE_DURATION": "864000",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "etl", "generate"], env=environment, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        try:
            assert b"started" in process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 143
        finally:
            process.kill()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
