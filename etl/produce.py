"""Stage 2: write readings to the topic. At least once: a repeated attempt may append them again."""

from etl.deadletters import publish
from etl.kafka import connect, open_producer
from etl.record import ARROW, CONTENT_TYPE, JSON, encode_arrow, encode_json
from etl.settings import KafkaSettings, ProduceSettings, read_settings
from etl.stage import Outcome, Work
from etl.terminal import progress


def produce(work: Work) -> Outcome:
    """Send the readings in their order, then publish the dead letters of `generate`.

    Raises:
        SettingsError: a topic is missing, or may not be written.
        Unreachable: Kafka does not acknowledge what it was sent.
    """
    how, settings = read_settings(ProduceSettings), read_settings(KafkaSettings)
    counts = {"produced": 0, "records": 0, "dead_letters": 0}
    manifest = work.input.manifest
    if not manifest.rows("readings") and not manifest.rows("dead-letters"):
        return Outcome(counts)
    # JSON is what a record without a content type holds.
    headers: dict[str, list[tuple[str, bytes]]] = {JSON: [], ARROW: [(CONTENT_TYPE, ARROW.encode())]}
    with connect(settings) as client:
        client.partitions(settings.topic)
        client.partitions(settings.dead_letter_topic)
    with open_producer(settings) as producer, progress("produce", manifest.rows("readings")) as advance:
        for table in work.input.tables("readings"):
            if how.format == "arrow":
                records = encode_arrow(table, work.measurements, how.batch_readings)
            else:
                records = encode_json(table, work.measurements)
            for key, value, content_type, readings in records:
                producer.send(settings.topic, key, value, headers[content_type])
                counts["records"] += 1
                counts["produced"] += readings
            advance(table.num_rows)
        producer.flush()
        letters = work.input.tables("dead-letters")
        counts["dead_letters"] = publish(producer, settings.dead_letter_topic, letters, work.workspace.run)
    return Outcome(counts)
