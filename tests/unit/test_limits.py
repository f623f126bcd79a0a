from pathlib import Path

import pytest
import yaml

import etl.limits
from etl.errors import SettingsError
from etl.limits import LIMITS, read_limits

DEFAULT = Path(etl.limits.__file__).with_name("limits.yaml")


def _changed(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "limits.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_limits_of_a_file_are_read_when_it_differs_from_the_default_one(tmp_path: Path) -> None:
    document = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    document["temperature"] = LIMITS.temperature + 5
    assert read_limits(_changed(tmp_path, yaml.safe_dump(document))).temperature == LIMITS.temperature + 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("temperature:", "temprature:", "temperature: Field required"),
        ("temperature:", "temperature: warm #", "temperature: Input should be a valid number"),
        ("states:", "states: [", "cannot be read"),
        ("states:", "states: {off_below: 0.1}\nothers:", "states.idle_below: Field required"),
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
