"""Stage 2: write readings to the topic, at least once: a retry may append them again."""

from etl.codec.arrow_records import encode_arrow
from etl.codec.columns import ARROW, CONTENT_TYPE, JSON
from etl.codec.json_records import encode_json
from etl.errors import SettingsError
from etl.kafka.client import connect
from etl.kafka.ports import open_producer
from etl.run.dead_letters import publish
from etl.run.rejected import all_rejected, any_usable
from etl.run.runner import Outcome, Work
from etl.settings import KafkaSettings, ProduceSettings
from etl.terminal import progress


def produce(work: Work, settings: ProduceSettings, kafka: KafkaSettings) -> Outcome:
    """Send the readings in order, then publish the dead letters of `generate`.

    Raises:
        SettingsError: a topic is missing, or may not be written.
        Unreachable: Kafka does not confirm the records.

    If nothing in a recorded file is usable, the outcome has a complaint; its dead letters are published first.
    """
    counts = {"produced": 0, "records": 0, "dead_letters": 0}
    manifest = work.input.manifest
    if not manifest.rows("readings") and not manifest.rows("dead-letters"):
        return Outcome(counts)
    # A record without a content type contains JSON.
    headers: dict[str, list[tuple[str, bytes]]] = {JSON: [], ARROW: [(CONTENT_TYPE, ARROW.encode())]}
    with connect(kafka) as client:
        client.partitions(kafka.topic)
        client.partitions(kafka.dead_letter_topic)
    with open_producer(kafka) as producer, progress("produce", manifest.rows("readings")) as advance:
        usable = False
        for table in work.input.tables("readings"):
            usable = usable or any_usable(table, work.measurements)
            if settings.format == "arrow":
                records = encode_arrow(table, work.measurements, settings.batch_readings)
            else:
                records = encode_json(table, work.measurements)
            for key, value, content_type, readings in records:
                producer.send(kafka.topic, key, value, headers[content_type])
                counts["records"] += 1
                counts["produced"] += readings
            advance(table.num_rows)
        producer.flush()
        letters = work.input.tables("dead-letters")
        counts["dead_letters"] = publish(producer, kafka.dead_letter_topic, letters, work.workspace.run)
    complaint = None
    if not usable:
        complaint = SettingsError(all_rejected(manifest.rows("readings"), work.input.tables("dead-letters")))
    return Outcome(counts, complaint=complaint)
