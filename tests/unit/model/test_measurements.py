from pathlib import Path

import pyarrow as pa
import pytest

from etl.errors import SettingsError
from etl.model.measurements import read_measurements


def _declare(folder: Path, text: str) -> Path:
    path = folder / "measurements.yaml"
    path.write_text(f"measurements:\n{text}", encoding="utf-8")
    return path


def test_eight_measurements_are_declared_when_no_file_is_given() -> None:
    declared = read_measurements()
    assert declared.names == [
        "voltage",
        "current",
        "frequency",
        "temperature",
        "power_factor",
        "vibration",
        "pressure",
        "humidity",
    ]
    assert not any(measurement.required for measurement in declared.declared)
    assert all(measurement.arrow == pa.float64() for measurement in declared.declared)


def test_everything_is_read_when_declared(tmp_path: Path) -> None:
    text = """
  torque: {type: double, unit: Nm, decimals: 1, range: [null, 900], required: true}
  state: {type: text}
"""
    torque, state = read_measurements(_declare(tmp_path, text)).declared
    assert (torque.unit, torque.decimals, torque.minimum, torque.maximum, torque.required) == ("Nm", 1, None, 900, True)
    assert (state.arrow, state.required, state.decimals) == (pa.string(), False, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  Voltage: {type: double}", "'Voltage' is no name"),
        ("  1: {type: double}", "1 is no name"),
        ("  a b: {type: double}", "'a b' is no name"),
        ("  quality: {type: text}", "'quality' is a column of the pipeline"),
        ("  equipment_id: {type: text}", "'equipment_id' is a column of the pipeline"),
        ("  v: double", "v: expected a mapping"),
        ("  v: {type: double, units: V}", "v: unknown key 'units'"),
        ("  v: {type: float}", "v: type must be double or text, not 'float'"),
        ("  v: {unit: 1}", "v: unit must be text, not 1"),
        ("  v: {required: 1}", "v: required must be true or false"),
        ("  v: {decimals: -1}", "v: decimals must be"),
        ("  v: {decimals: true}", "v: decimals must be"),
        ("  v: {decimals: 1.5}", "v: decimals must be"),
        ("  v: {range: [1]}", r"v: range must be \[lowest, highest\]"),
        ("  v: {range: [2, 1]}", "v: range begins above its end"),
        ("  v: {range: [.nan, 1]}", "v: the bounds of range must be numbers"),
        ("  v: {range: [a, 1]}", "v: the bounds of range must be numbers"),
        ("  v: {type: text, decimals: 1}", "v: decimals and range are for type double only"),
        ("  v: {type: text, range: [0, 1]}", "v: decimals and range are for type double only"),
        ("  []", "expected a mapping `measurements:`"),
        ("  {}", "expected a mapping `measurements:`"),
        ("  v: {type: double", "cannot be read"),
        ("  v: {unit: 2026-13-45}", "cannot be read"),
        ("  v: {unit: !!float ''}", "cannot be read"),
        ("  v: " + "[" * 5000, "cannot be read"),
        (f"  v: {{range: [0, {'9' * 400}]}}", "v: a bound of range is larger than a double"),
        (f"  v: {{range: [0, {'9' * 5000}]}}", "cannot be read"),
    ],
)
def test_message_names_file_and_entry_when_a_declaration_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = _declare(tmp_path, text)
    with pytest.raises(SettingsError, match=message) as caught:
        read_measurements(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_message_is_short_when_aliases_make_an_entry_long(tmp_path: Path) -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    path = tmp_path / "measurements.yaml"
    path.write_text("\n".join(["a0: &a0 [1]", *levels, "measurements: {v: {range: *a8}}"]))
    with pytest.raises(SettingsError, match="v: range must be") as caught:
        read_measurements(path)
    assert len(str(caught.value)) < 1000


def test_message_names_the_file_when_it_is_absent(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml"):
        read_measurements(tmp_path / "absent.yaml")


def test_message_names_the_file_when_it_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "measurements.yaml"
    path.write_bytes(b"\xff\xfe\x00measurements")
    with pytest.raises(SettingsError, match=r"measurements\.yaml cannot be read"):
        read_measurements(path)


def test_hash_is_the_same_when_only_the_layout_differs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    flow = read_measurements(_declare(tmp_path / "a", "  v: {type: double, unit: V, range: [0, 9]}"))
    block = read_measurements(_declare(tmp_path / "b", "  # mains\n  v:\n    range: [0, 9.0]\n    unit: V\n"))
    assert flow.sha256 == block.sha256


@pytest.mark.parametrize(
    "change", ["v: {decimals: 3}", "v: {required: true}", "v: {range: [0, 8]}", "w: {}", "v: {type: text}"]
)
def test_hash_differs_when_a_declaration_changes(tmp_path: Path, change: str) -> None:
    before = read_measurements(_declare(tmp_path, "  v: {}")).sha256
    assert read_measurements(_declare(tmp_path, f"  {change}")).sha256 != before
