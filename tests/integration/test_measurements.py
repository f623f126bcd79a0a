"""A measurement that is declared later: the topic, read again, fills it for the past."""

import json
from pathlib import Path

import etl.model
from etl.cassandra.connection import connect
from images import local
from tests.integration.commands import ROOT, Block, read_blocks, run
from tests.integration.machine import Machine
from tests.integration.topics import send

NAME = "test_new_measurement_is_filled_for_the_past_when_the_topic_is_read_again"
TORQUE = "  torque: {type: double, unit: Nm, decimals: 1, range: [-10000, 10000]}\n"
TORQUES = (5.0, 6.0, 7.0)


def test_new_measurement_is_filled_for_the_past_when_the_topic_is_read_again(
    kafka: local.Service, machine: Machine, tmp_path: Path
) -> None:
    (again,) = (block for block in read_blocks(ROOT / "docs" / "measurements.md") if NAME in block.mark)
    for second, torque in enumerate(TORQUES):
        reading = {"timestamp": f"2026-01-05T06:00:0{second}Z", "voltage": 230.0, "torque": torque}
        record = {"key": b"press-1", "value": json.dumps(reading).encode()}
        send(kafka, machine.environment["ETL_KAFKA_TOPIC"], record)
    assert machine.etl("run", ETL_GENERATE_SOURCE="none").returncode == 0
    default = Path(etl.model.__file__).parent / "measurements.yaml"
    (tmp_path / "measurements.yaml").write_text(default.read_text() + TORQUE)
    environment = {**machine.environment, "ETL_MEASUREMENTS_FILE": str(tmp_path / "measurements.yaml")}
    run([Block("", "etl schema\n", None), again], environment)
    with connect(machine.cassandra) as session:
        rows = session.execute("SELECT voltage, torque FROM sensor_data")
        assert sorted(rows) == [(230.0, torque) for torque in TORQUES]
