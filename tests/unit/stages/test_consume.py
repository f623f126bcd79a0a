"""Consume before it reaches a service."""

import pytest

from etl.errors import SettingsError
from etl.model.measurements import read_measurements
from etl.run.runner import Work
from etl.settings import ConsumeSettings, KafkaSettings
from etl.stages.consume import consume


def test_consume_reads_nothing_when_its_mapping_is_wrong(tmp_path):
    path = tmp_path / "mapping.yaml"
    path.write_text("timestamp: ts\nmeasurements: {tension: U}\n")
    work = Work(None, read_measurements(), None, None)  # type: ignore[arg-type]
    # There is no broker, so it would be unreachable if consume asked it.
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1", timeout=1)
    with pytest.raises(SettingsError, match="measurement 'tension' is not declared"):
        consume(work, ConsumeSettings(mapping_file=path), kafka)
