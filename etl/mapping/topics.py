"""The mapping file of topics: one mapping for all of them, or one for each by its name.

    topics:
      plc-readings: {timestamp: ts, measurements: {voltage: values.U}}
      meter-lines:
        record: {format: csv, names: [id, time, mA]}
        equipment: {column: id}
        timestamp: time
        measurements: {current: {column: mA, unit: mA}}

A topic without an entry holds the formats of the project.
"""

from collections.abc import Sequence
from pathlib import Path

from etl.errors import SettingsError
from etl.mapping.language import ColumnMapping, checked_mapping
from etl.model.measurements import Measurements
from etl.model.yaml_file import read_document


def read_topic_mappings(path: Path, measurements: Measurements, topics: Sequence[str]) -> dict[str, ColumnMapping]:
    """Read the mapping file of these topics, and return the mapping of each topic that has one.

    Raises:
        SettingsError: the file cannot be read, an entry is wrong, a measurement is not declared, or a topic is not one
            of those that are read.
    """
    document, where = read_document(path, "mapping"), f"mapping file {path}"
    if not isinstance(document, dict) or "topics" not in document:
        return dict.fromkeys(topics, checked_mapping(document, where, measurements))
    entries = document["topics"]
    if len(document) > 1 or not isinstance(entries, dict) or not entries:
        raise SettingsError(f"{where}: topics: the only entry, with a mapping by name of a topic")
    if unread := [name for name in entries if name not in topics]:
        raise SettingsError(
            f"{where}: topic {unread[0]!r} is not read: add it to ETL_KAFKA_MORE_TOPICS; read are {', '.join(topics)}"
        )
    return {name: checked_mapping(entry, f"{where}: topics.{name}", measurements) for name, entry in entries.items()}
