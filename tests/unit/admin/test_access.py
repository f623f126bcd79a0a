import pytest

from etl.admin.access import Acl, kafka_acls
from etl.settings import KafkaSettings


@pytest.mark.parametrize(
    ("stage", "operations"),
    [("produce", set()), ("consume", {"READ", "DESCRIBE"}), ("load", {"READ"}), ("analyze", {"DESCRIBE"})],
)
def test_stage_may_read_but_never_write_when_topics_are_of_others(stage: str, operations: set[str]) -> None:
    acls = kafka_acls(stage, KafkaSettings(more_topics="plc,meter"))
    for topic in ("plc", "meter"):
        assert {acl.operation for acl in acls if acl.name == topic} == operations
    assert kafka_acls(stage, KafkaSettings()) == [acl for acl in acls if acl.name not in ("plc", "meter")]
    assert all(isinstance(acl, Acl) and acl.resource == "topic" for acl in acls if acl.name in ("plc", "meter"))
