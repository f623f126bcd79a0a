"""The port to a real broker, through both clients."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourceType,
)

from etl.admin.topics import create_topics
from etl.errors import SettingsError, Unreachable
from etl.kafka import client as port
from etl.kafka import ports
from etl.kafka.ports import open_producer
from etl.kafka.records import BLOCK_BYTES, Records, Span
from etl.settings import KafkaSettings, SchemaSettings, read_settings
from images import local
from tests.integration.conftest import end
from tests.integration.topics import CLIENTS, await_end, made_topics, send, transaction


def read_all(client: port.Client, topic: str, spans: dict[int, Span] | None = None) -> list[tuple[int, int, Any]]:
    blocks: list[Records] = list(ports.read(client.settings, topic, spans or client.log_spans(topic)))
    return sorted(
        (partition, offset, value)
        for block in blocks
        for partition, offset, value in zip(block.partitions, block.offsets, block.values, strict=True)
    )


def send_one(settings: KafkaSettings, topic: str, value: bytes) -> None:
    with open_producer(settings) as producer:
        producer.send(topic, b"m1", value, [])
        producer.flush()


def test_crc32c_when_records_are_checked_is_the_native_one() -> None:
    import crc32c
    from kafka.record import util

    assert util._crc32c is crc32c.crc32c


def test_producer_when_flushed_has_sent_everything_in_order(client: port.Client, topic: str) -> None:
    with open_producer(client.settings) as producer:
        for i in range(5000):
            producer.send(topic, b"m1", b"%d" % i, [("n", b"%d" % i)])
        producer.send(topic, b"m1", None, [])
        producer.flush()
        spans = client.log_spans(topic)
        assert sum(span.end for span in spans.values()) == 5001
    found = read_all(client, topic)
    assert [value for _, _, value in found] == [*(b"%d" % i for i in range(5000)), None]
    (block, *_) = ports.read(client.settings, topic, spans)
    assert list(block.headers[0]) == [("n", b"0")]
    assert block.keys[0] == b"m1"
    assert abs(block.times[0] / 1000 - time.time()) < 60


@pytest.mark.parametrize("name", CLIENTS)
def test_producer_when_a_key_repeats_uses_the_partition_that_java_would(
    kafka: local.Service, topic: str, tmp_path: Path, name: str
) -> None:
    with made_topics(kafka, topic, tmp_path, name, partitions=7) as client:
        with open_producer(client.settings) as producer:
            for i in range(50):
                producer.send(topic, b"machine-%d" % i, b"machine-%d" % i, [])
            producer.flush()
        # murmur2 of Kafka's DefaultPartitioner, as kafka-python computes it.
        from kafka.partitioner.default import murmur2

        for partition, _, value in read_all(client, topic):
            assert partition == (murmur2(value) & 0x7FFFFFFF) % 7


def test_producer_when_a_record_is_too_large_names_the_topic(client: port.Client, topic: str) -> None:
    with pytest.raises(SettingsError, match=rf"topic {topic} .*max\.message\.bytes"):
        send_one(client.settings, topic, random.Random(1).randbytes(3_000_000))


def test_read_when_the_end_holds_nothing_to_deliver_ends(kafka: local.Service, client: port.Client, topic: str) -> None:
    send(kafka, topic, {"value": b"a"})
    with transaction(kafka, topic) as producer:
        producer.send(topic, value=b"aborted", partition=0)
        producer.flush()
        producer.abort_transaction()
        producer.begin_transaction()
        producer.send(topic, value=b"b", partition=0)
        producer.commit_transaction()
    await_end(client, 5)
    assert read_all(client, topic) == [(0, 0, b"a"), (0, 3, b"b")]
    # Nothing but a marker, and nothing but what was aborted.
    assert read_all(client, topic, {0: Span(4, 5)}) == []
    assert read_all(client, topic, {0: Span(1, 3), 1: Span(0, 0)}) == []


def test_read_when_a_transaction_is_open_ends_before_it(kafka: local.Service, client: port.Client, topic: str) -> None:
    send(kafka, topic, {"value": b"a"})
    with transaction(kafka, topic) as producer:
        producer.send(topic, value=b"open", partition=0)
        producer.flush()
        send(kafka, topic, {"value": b"behind"})
        assert client.log_spans(topic)[0] == (0, 1)
        assert read_all(client, topic) == [(0, 0, b"a")]
        producer.commit_transaction()
    await_end(client, 4)
    assert [value for _, _, value in read_all(client, topic)] == [b"a", b"open", b"behind"]


def test_read_when_more_arrives_meanwhile_keeps_to_its_range(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    send(kafka, topic, *({"value": b"%d" % i, "partition": i % 2} for i in range(2000)))
    spans = {0: Span(10, 700), 1: Span(0, 1)}
    ended = threading.Event()

    def keep_sending() -> None:
        while not ended.is_set():
            send(kafka, topic, *({"value": b"more", "partition": i % 2} for i in range(100)))

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        found = read_all(client, topic, spans)
    finally:
        ended.set()
        sender.join()
    assert found == [*((0, i, b"%d" % (2 * i)) for i in range(10, 700)), (1, 0, b"1")]


def test_read_when_records_were_compacted_away_ends(kafka: local.Service, client: port.Client, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.address)

    def pause_cleaner(milliseconds: int) -> None:
        changed = {"log.cleaner.backoff.ms": str(milliseconds)}
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", changed)])

    # By itself it looks for work every 15 seconds.
    pause_cleaner(100)
    name = f"{topic}-compacted"
    settings = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"}
    admin.create_topics({name: {"num_partitions": 1, "configs": settings}}, wait_for_metadata=True)
    send(kafka, name, *({"key": b"k", "value": b"%d" % i} for i in range(10)))
    time.sleep(0.3)
    send(kafka, name, {"key": b"last", "value": b"x"})
    deadline = time.monotonic() + 60
    # The cleaner leaves a gap in front; a range that lies in it must come to its end.
    while len(read_all(client, name)) == 11 and time.monotonic() < deadline:
        time.sleep(0.1)
    pause_cleaner(15_000)
    admin.close()
    assert [offset for _, offset, _ in read_all(client, name)] == [9, 10]
    assert read_all(client, name, {0: Span(2, 7)}) == []


def test_read_when_records_are_large_keeps_blocks_small(client: port.Client, topic: str) -> None:
    noise = random.Random(1)
    with open_producer(client.settings) as producer:
        for _ in range(60):
            producer.send(topic, b"m1", noise.randbytes(500_000), [])
        producer.flush()
    sizes = [sum(map(len, block.values)) for block in ports.read(client.settings, topic, client.log_spans(topic))]  # type: ignore[arg-type]
    assert sum(sizes) == 30_000_000
    # The first block comes before anything is known of the records.
    assert max(sizes[1:]) <= BLOCK_BYTES + 500_000


def test_offsets_when_committed_are_there_without_a_group_member(client: port.Client, topic: str) -> None:
    assert client.committed(topic) == {0: None, 1: None}
    client.commit(topic, {0: 0, 1: 7})
    client.commit(topic, {1: 8})
    assert client.committed(topic) == {0: 0, 1: 8}


def test_commit_when_the_group_has_a_member_says_so(kafka: local.Service, client: port.Client, topic: str) -> None:
    member = KafkaConsumer(topic, bootstrap_servers=kafka.address, group_id=topic)
    deadline = time.monotonic() + 30
    while not member.assignment() and time.monotonic() < deadline:
        member.poll(200)
    with pytest.raises(SettingsError, match="another program"):
        client.commit(topic, {0: 0})
    member.close()


def test_offsets_at_when_time_is(kafka: local.Service, client: port.Client, topic: str) -> None:
    send(kafka, topic, {"value": b"a"})
    time.sleep(0.05)
    between = int(time.time() * 1000)
    time.sleep(0.05)
    send(kafka, topic, {"value": b"b"})
    assert client.offsets_at(topic, between) == {0: 1, 1: None}
    assert client.offsets_at(topic, 0) == {0: 0, 1: None}


def test_partitions_when_the_topic_is_missing_names_it_and_does_not_make_it(client: port.Client) -> None:
    for _ in range(2):
        with pytest.raises(SettingsError, match="nowhere does not exist: create it with `etl schema`"):
            client.partitions("nowhere")


def test_topics_when_created_are_stamped_by_the_broker_and_keep_dead_letters(client: port.Client, topic: str) -> None:
    source, letters = client.topic_settings(topic), client.topic_settings(f"{topic}-dead")
    assert source["message.timestamp.type"] == letters["message.timestamp.type"] == "LogAppendTime"
    assert (letters["retention.ms"], letters["retention.bytes"], letters["cleanup.policy"]) == ("-1", "-1", "delete")
    assert int(letters["max.message.bytes"]) > int(source["max.message.bytes"])
    assert client.partitions(topic) == [0, 1]
    names = [topic, f"{topic}-dead", client.settings.events_topic]
    assert create_topics(client, SchemaSettings()) == [f"topic {name}: is there" for name in names]


def test_topics_when_dead_letters_would_be_lost_says_what_to_set(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.address)
    changed = {"retention.ms": "1000", "max.message.bytes": "1000"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{topic}-dead", changed)])
    admin.close()
    # A broker applies changed settings a little later than it acknowledges them.
    while client.topic_settings(f"{topic}-dead")["max.message.bytes"] != "1000":
        time.sleep(0.1)
    with pytest.raises(SettingsError, match=r"set retention\.ms=-1, max\.message\.bytes=\d+"):
        create_topics(client, SchemaSettings())


def test_connect_when_nobody_listens_is_unreachable() -> None:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:1", timeout=1)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 cannot be reached"), port.connect(settings):
        pass


@pytest.mark.parametrize(
    "servers",
    [
        "localhost",
        "localhost:x",
        ":9092",
        "localhost:0",
        "localhost:70000",
        "a:9092,,b:9092",
        "http://localhost:9092",
        "a..b:9092",
        "a b:9092",
    ],
)
def test_connect_when_an_address_is_wrong(servers: str) -> None:
    with pytest.raises(SettingsError, match="host:port"), port.connect(KafkaSettings(bootstrap_servers=servers)):
        pass


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Service]:
    """A broker that a test may stop in its tracks."""
    folder = tmp_path_factory.mktemp("own")
    service = local.start("kafka", folder, heap="256m", java_options=local.QUICK_START, die_with_parent=True)
    yield service
    end(service)


@contextmanager
def suspended(service: local.Service) -> Iterator[None]:
    service.process.suspend()
    try:
        yield
    finally:
        service.process.resume()


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_when_the_broker_hangs_find_it_unreachable(
    own_kafka: local.Service, topic: str, tmp_path: Path, name: str
) -> None:
    with made_topics(own_kafka, topic, tmp_path, name) as client:
        settings = client.settings.model_copy(update={"timeout": 3.0})
        with open_producer(client.settings) as producer:
            for _ in range(100):
                producer.send(topic, b"m1", random.Random(1).randbytes(500_000), [])
            producer.flush()
        blocks = ports.read(settings, topic, client.log_spans(topic))
        next(blocks)
        with open_producer(settings) as producer:
            producer.send(topic, b"m1", b"a", [])
            producer.flush()

            def read_on() -> None:
                with pytest.raises(Unreachable, match=f"topic {topic}: nothing came from Kafka for 3 s"):
                    list(blocks)

            def send_on() -> None:
                producer.send(topic, b"m1", b"b", [])
                with pytest.raises(Unreachable, match=f"topic {topic}"):
                    producer.flush()

            def read() -> None:
                with pytest.raises(Unreachable, match="cannot be reached"):
                    next(ports.read(settings, topic, {0: Span(0, 1)}))

            def send() -> None:
                with pytest.raises(Unreachable, match="cannot be reached"):
                    send_one(settings, topic, b"c")

            # Each waits for the same seconds, so they wait side by side; the broker goes on before they are waited for.
            with ThreadPoolExecutor() as threads, suspended(own_kafka):
                for ended in [threads.submit(waits) for waits in (read_on, send_on, read, send)]:
                    ended.result()


# A secure broker


@pytest.fixture(params=CLIENTS)
def secure(
    secure_kafka: local.Service, topic: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[port.Client]:
    with made_topics(secure_kafka, topic, tmp_path, request.param) as connected:
        yield connected


def test_secure_broker_when_the_password_is_right(secure: port.Client, topic: str) -> None:
    send_one(secure.settings, topic, b"a")
    assert [value for _, _, value in read_all(secure, topic)] == [b"a"]


def test_secure_broker_when_the_password_is_wrong_says_so_quickly(
    secure: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_KAFKA_PASSWORD", "guessed")
    settings = read_settings(KafkaSettings)
    started = time.monotonic()
    with pytest.raises(SettingsError, match="ETL_KAFKA_PASSWORD") as raised, port.connect(settings):
        pass
    assert "guessed" not in str(raised.value)
    with pytest.raises(SettingsError, match="ETL_KAFKA_PASSWORD"):
        send_one(settings, topic, b"a")
    with pytest.raises(SettingsError, match="ETL_KAFKA_PASSWORD"):
        list(ports.read(settings, topic, {0: Span(0, 1)}))
    assert time.monotonic() - started < 15


@pytest.fixture
def stranger(secure: port.Client, users: dict[str, str]) -> KafkaSettings:
    """Settings of a user who may do nothing."""
    return KafkaSettings(**{**secure.settings.model_dump(), "username": "stranger", "password": users["stranger"]})


def test_secure_broker_when_the_user_may_do_nothing_names_the_topic(stranger: KafkaSettings, topic: str) -> None:
    with port.connect(stranger) as client, pytest.raises(SettingsError, match=f"topic {topic}.*user stranger"):
        client.partitions(topic)
    with pytest.raises(SettingsError, match=f"topic {topic}.*stranger"):
        send_one(stranger, topic, b"a")


def test_secure_broker_when_the_user_may_only_see_the_topic_names_it(
    secure: port.Client, stranger: KafkaSettings, topic: str
) -> None:
    send_one(secure.settings, topic, b"a")
    secure._admin.create_acls(
        [
            ACL(
                "User:stranger",
                "*",
                ACLOperation.DESCRIBE,
                ACLPermissionType.ALLOW,
                ResourcePattern(ResourceType.TOPIC, topic),
            )
        ]
    )
    with port.connect(stranger) as client:
        spans = client.log_spans(topic)
        with pytest.raises(SettingsError, match=f"group {topic}.*stranger"):
            client.committed(topic)
    with pytest.raises(SettingsError, match=f"topic {topic}.*stranger"):
        list(ports.read(stranger, topic, spans))
    with pytest.raises(SettingsError, match=f"topic {topic}.*stranger"):
        send_one(stranger, topic, b"a")


def test_secure_broker_when_the_ca_is_another_names_the_setting(secure: port.Client, tmp_path: Path) -> None:
    import certifi

    settings = secure.settings.model_copy(update={"ca_file": Path(certifi.where())})
    with pytest.raises(SettingsError, match="ETL_KAFKA_CA_FILE"), port.connect(settings):
        pass
    missing = secure.settings.model_copy(update={"ca_file": tmp_path / "none.pem"})
    with pytest.raises(SettingsError, match=r"ETL_KAFKA_CA_FILE: .*none\.pem"), port.connect(missing):
        pass


def test_secure_broker_when_the_client_does_not_encrypt(secure: port.Client) -> None:
    settings = KafkaSettings(
        bootstrap_servers=secure.settings.bootstrap_servers, security_protocol="PLAINTEXT", timeout=3
    )
    with pytest.raises((SettingsError, Unreachable), match="ETL_KAFKA_SECURITY_PROTOCOL"), port.connect(settings):
        pass


def test_plain_broker_when_the_client_encrypts(kafka: local.Service, topic: str) -> None:
    settings = KafkaSettings(
        bootstrap_servers=kafka.address, security_protocol="SASL_SSL", username="a", password="b", timeout=3
    )
    # The broker ends the connection amid the handshake, as one does that goes down.
    with pytest.raises(Unreachable, match="ETL_KAFKA_SECURITY_PROTOCOL"), port.connect(settings):
        pass
