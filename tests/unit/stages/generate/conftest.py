"""Read bytes as a recorded file."""

import pytest

from etl.mapping.language import read_mapping
from etl.model.measurements import Measurement, Measurements
from etl.stages.generate.files import recorded_readings

MAPPING = "timestamp: time\nequipment: machine\nmeasurements: {voltage: U}\n"
MEASUREMENTS = Measurements(
    (Measurement("voltage", "double"), Measurement("current", "double"), Measurement("state", "text"))
)


@pytest.fixture
def rows_of(tmp_path):
    """Return readings as (equipment ID, UTC time, voltage), and letters as (line, reason, value)."""

    def do(data, mapping=MAPPING, name="file.csv"):
        (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        (tmp_path / "mapping.yaml").write_text(mapping)
        blocks = list(
            recorded_readings(str(tmp_path / name), read_mapping(tmp_path / "mapping.yaml", MEASUREMENTS), MEASUREMENTS)
        )
        rows = [row for block in blocks for row in block.readings.to_pylist()]
        letters = [row for block in blocks for row in block.dead_letters.to_pylist()]
        return (
            [(row["equipment_id"], f"{row['timestamp']:%Y-%m-%d %H:%M:%S}", row["voltage"]) for row in rows],
            [(row["line"], row["reason"], row["value"]) for row in letters],
        )

    return do
