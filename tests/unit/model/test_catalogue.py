"""The catalogue of machines."""

import pytest

from etl.errors import SettingsError
from etl.model.catalogue import Machine, as_stored, read_catalogue, synthetic_machines


def write(tmp_path, text):
    path = tmp_path / "machines.yaml"
    path.write_text(text)
    return path


def test_made_up_machines_are_the_same_when_the_plant_grows():
    assert synthetic_machines(10_000)[:100] == synthetic_machines(100)


def test_made_up_machines_have_unique_ids_when_many():
    machines = synthetic_machines(10_000)
    assert len({machine.equipment_id for machine in machines}) == 10_000
    assert {machine.phases for machine in machines} == {1, 3}


def test_read_catalogue_gives_machines_when_file_is_right(tmp_path):
    path = write(
        tmp_path,
        "machines:\n"
        "  - {equipment_id: Prägepresse 1, name: Press, nominal_voltage: 690, rated_current: 63.5, phases: 3,"
        " interval_seconds: 10}\n"
        "  - {equipment_id: fan}\n",
    )
    assert read_catalogue(path) == [
        Machine(
            equipment_id="Prägepresse 1",
            name="Press",
            nominal_voltage=690.0,
            rated_current=63.5,
            phases=3,
            interval_seconds=10.0,
        ),
        Machine(equipment_id="fan"),
    ]


@pytest.mark.parametrize(
    ("entry", "rated"),
    [
        ("", (None, None)),
        (", nominal_voltage: null", (None, None)),
        (", rated_current: 5", (None, 5.0)),
        (", nominal_voltage: 230", (230.0, 16.0)),
        (", nominal_voltage: 230, rated_current: null", (230.0, None)),
    ],
)
def test_machine_without_mains_has_no_rated_values_when_none_are_given(tmp_path, entry, rated):
    (machine,) = read_catalogue(write(tmp_path, f"machines: [{{equipment_id: rig{entry}}}]"))
    assert (machine.nominal_voltage, machine.rated_current) == rated


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a list `machines:`"),
        ("machines: []", "expected a list `machines:`"),
        ("machines: {a: 1}", "expected a list `machines:`"),
        ("machines: [", "cannot be read"),
        ("machines: [fan]", "machine 1:"),
        ("machines: [{name: Fan}]", "machine 1: equipment_id: Field required"),
        ("machines: [{equipment_id: a}, {equipment_id: 12}]", "machine 2 (12): equipment_id: Input should be"),
        ("machines: [{equipment_id: ''}]", "machine 1 (''): equipment_id: must have 1 to 255 bytes"),
        (f"machines: [{{equipment_id: {'ä' * 128}}}]", "must have 1 to 255 bytes"),
        ('machines: [{equipment_id: "a\\tb"}]', "equipment_id: must hold no control characters"),
        ("machines: [{equipment_id: a}, {equipment_id: ' a '}]", "equipment_id 'a' is there 2 times"),
        ("machines: [{equipment_id: a, phases: 2}]", "machine 1 ('a'): phases: Input should be 1 or 3"),
        ("machines: [{equipment_id: a, rated_current: 0}]", "rated_current: Input should be greater than 0"),
        ("machines: [{equipment_id: a, rated_current: .nan}]", "rated_current: Input should be"),
        ("machines: [{equipment_id: a, nominal_voltage: 230 V}]", "nominal_voltage: Input should be a valid number"),
        ("machines: [{equipment_id: a, interval_seconds: 0}]", "interval_seconds: Input should be"),
        ("machines: [{equipment_id: a, rated: 3}]", "rated: Extra inputs are not permitted"),
        ("machines: [{equipment_id: a}, {equipment_id: a}]", "equipment_id 'a' is there 2 times"),
    ],
)
def test_read_catalogue_names_file_and_entry_when_wrong(tmp_path, text, expected):
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read_catalogue(path)
    message = str(caught.value)
    assert str(path) in message
    assert expected in message
    assert "\n" not in message


def test_read_catalogue_names_file_when_it_is_missing(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml cannot be read"):
        read_catalogue(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("equipment_id", ['"pump-1"', " pump-1", "\0\0\0\0\5pump-1"])
def test_id_of_the_tables_stays_when_today_it_would_be_another(equipment_id):
    assert as_stored(equipment_id, name="x").equipment_id == equipment_id
