from pathlib import Path

import pytest

from etl.errors import SettingsError
from etl.mapping import topics
from etl.model.measurements import read_measurements

ONE = "{timestamp: ts, measurements: {voltage: U}}"


def read(tmp_path: Path, text: str, *names: str) -> dict[str, str]:
    """Return the column of the voltage by topic."""
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    found = topics.read_topic_mappings(path, read_measurements(), names)
    return {topic: mapping.measurements["voltage"].column for topic, mapping in found.items()}


def test_mapping_is_that_of_all_topics_when_it_names_none(tmp_path: Path) -> None:
    assert read(tmp_path, ONE, "a", "b") == {"a": "U", "b": "U"}


def test_each_topic_has_its_own_mapping_when_the_file_names_them(tmp_path: Path) -> None:
    text = f"topics:\n  b: {ONE}\n  c: {ONE.replace('U', 'values.V')}\n"
    assert read(tmp_path, text, "a", "b", "c") == {"b": "U", "c": "values.V"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"topics: {{x: {ONE}}}", r"topic 'x' is not read: .*ETL_KAFKA_MORE_TOPICS; read are a, b"),
        (f"topics: {{a: {ONE}}}\ntimestamp: ts", "topics: the only entry"),
        ("topics: [a]", "topics: the only entry"),
        ("topics:", "topics: the only entry"),
        ("topics: {b: {timestamp: ts, measurements: {tension: U}}}", "topics.b: measurement 'tension' is not declared"),
        ("topics: {b: {measurements: {voltage: U}}}", "topics.b: timestamp: Field required"),
    ],
)
def test_file_of_topics_is_refused_when_an_entry_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(tmp_path, text, "a", "b")
