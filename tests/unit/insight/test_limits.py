import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

import etl.insight.limits
from etl.errors import SettingsError
from etl.insight.limits import Alarm, check_alarms, default_limits, read_limits
from etl.model.measurements import Measurement, Measurements

DEFAULT = Path(etl.insight.limits.__file__).with_name("limits.yaml")


def _changed(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "limits.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_limits_of_a_file_are_read_when_it_differs_from_the_default_one(tmp_path: Path) -> None:
    document = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    document["temperature"] = default_limits().temperature + 5
    assert read_limits(_changed(tmp_path, yaml.safe_dump(document))).temperature == default_limits().temperature + 5


def test_limits_of_unusual_are_the_default_ones_when_a_file_of_before_lacks_them(tmp_path: Path) -> None:
    document = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    del document["unusual"], document["detection"]["unusual"]
    limits = read_limits(_changed(tmp_path, yaml.safe_dump(document)))
    assert limits == default_limits()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("temperature:", "temprature:", "temperature: Field required"),
        ("temperature:", "temperature: warm #", "temperature: Input should be a valid number"),
        ("states:", "states: [", "cannot be read"),
        ("states:", "states: {off_below: 0.1}\nothers:", "states.idle_below: Field required"),
        ("alarms:", "alarms: [{measurement: flow}] #", "alarms.0: it needs one of low_low, low, high,"),
        ("alarms:", "alarms: [{measurement: flow, high: 9, high_high: 8}] #", "its limits are not in order: low_low"),
        ("alarms:", "alarms: [{high: 9}] #", "alarms.0.measurement: Field required"),
    ],
)
def test_message_names_file_and_entry_in_one_line_when_a_limit_is_wrong(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    assert f"\n{old}" in text
    path = _changed(tmp_path, text.replace(f"\n{old}", f"\n{new}", 1))
    with pytest.raises(SettingsError, match=message) as caught:
        read_limits(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_message_names_the_file_when_it_is_absent(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml cannot be read"):
        read_limits(tmp_path / "absent.yaml")


@pytest.mark.parametrize("name", ["frequency_lowest", "frequency_highest"])
def test_file_of_older_days_is_read_when_it_has_an_entry_that_is_not_used_any_more(tmp_path: Path, name: str) -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    assert name not in text
    path = _changed(tmp_path, text.replace("  frequency: 0.01\n", f"  frequency: 0.01\n  {name}: 0.04\n"))
    with capture_logs() as lines:
        assert read_limits(path) == default_limits()
    assert [line["event"] for line in lines] == [f"limits file {path}: supply.{name} is not used any more: remove it"]


@pytest.mark.parametrize("text", ["states: [", "", "states: {}", "- 1"])
@pytest.mark.parametrize(
    ("file", "command", "kind"),
    [("insight/limits.yaml", ["analyze"], "limits"), ("stages/generate/faults.yaml", ["generate"], "faults")],
)
def test_command_ends_with_one_line_when_a_file_of_its_own_is_broken(
    tmp_path: Path, file: str, command: list[str], kind: str, text: str
) -> None:
    copied = tmp_path / "etl"
    shutil.copytree(DEFAULT.parents[1], copied, ignore=shutil.ignore_patterns("__pycache__", "page"))
    (copied / file).write_text(text, encoding="utf-8")
    own = {"PYTHONPATH": str(tmp_path), "ETL_WORKSPACE_URL": str(tmp_path / "work"), "ETL_GENERATE_FAULT_RATE": "5"}
    environment = {**os.environ, **own, "ETL_RUN_ID": "r1"}
    done = subprocess.run(
        [sys.executable, "-m", "etl", *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{kind} file {copied / file}" in done.stderr


@pytest.mark.parametrize("measurement", ["flow", "note"])
def test_alarm_is_refused_when_its_measurement_is_not_declared_as_a_number(measurement: str) -> None:
    declared = Measurements((Measurement("speed", "double"), Measurement("note", "text")))
    limits = default_limits().model_copy(update={"alarms": (Alarm(measurement=measurement, high=9),)})
    with pytest.raises(SettingsError, match=f"alarms.0.measurement: '{measurement}' is none of speed"):
        check_alarms(limits, declared)


def test_alarms_of_the_comments_are_right_when_they_are_used(tmp_path: Path) -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    before, _, examples = text.partition("alarms: []\n")
    path = _changed(tmp_path, f"{before}alarms:\n{examples.replace('#  -', '  -')}")
    assert [alarm.measurement for alarm in read_limits(path).alarms] == ["temperature", "pressure"]
