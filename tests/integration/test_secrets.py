"""No secret is anywhere but in its setting: not in logs of any level, arguments, files, records, tables or metrics."""

import base64
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import psutil
import pyarrow.parquet as pq
import pytest

from etl.cassandra.connection import connect
from etl.kafka import ports
from etl.kafka.client import connect as connect_kafka
from etl.run.runner import STAGES
from images import local
from tests.integration.machine import Machine

DATA = Path(__file__).parents[1] / "data"
RECORDED = (DATA / "plant.csv").read_bytes()


class _Answers(BaseHTTPRequestHandler):
    """The recorded file, an endpoint of metrics that accepts, and a webhook that refuses."""

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._answer(*((200, RECORDED) if self.path.startswith("/plant.csv") else (404, b"")))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200 if self.path.endswith("/v1/metrics") else 503, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Host and port of a server for everything that settings reach by HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


class Hunt:
    """A machine whose settings hold many secrets, and all that its commands showed."""

    def __init__(self, services: list[local.Service], folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.known = [password for service in services for password in service.users.values()]
        self.known += [line for service in services for line in _private_key(service)]
        self.shown: dict[str, bytes] = {}
        own = {
            "ETL_KAFKA_TOPIC": "hunted",
            "ETL_KAFKA_DEAD_LETTER_TOPIC": "hunted-dead",
            "ETL_KAFKA_EVENTS_TOPIC": "hunted-events",
            "ETL_KAFKA_GROUP": "hunted",
            "ETL_CASSANDRA_KEYSPACE": "hunted",
            "ETL_WORKSPACE_URL": str(folder / "workspace"),
            "ETL_METRICS_FOLDER": str(folder / "metrics"),
            "ETL_GENERATE_SOURCE": "recorded",
            "ETL_GENERATE_MAPPING_FILE": str(DATA / "plant.yaml"),
            "ETL_GENERATE_RECORDED_URL": f"http://reader:{self.new()}@{address}/plant.csv?sig={self.new()}&se=2030-01-01",
            "ETL_OTLP_ENDPOINT": f"http://pusher:{self.new()}@{address}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={self.new()}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": self.new(),
            "AWS_SESSION_TOKEN": self.new(),
        }
        given = {name: value for service in services for name, value in service.environment.items()} | own
        given["ETL_SECRETS_DIR"] = str(folder / "secrets")
        (folder / "secrets").mkdir()
        # Named as the chart mounts them.
        for name in ("ETL_KAFKA_PASSWORD", "ETL_CASSANDRA_PASSWORD"):
            (folder / "secrets" / name.lower()).write_text(given.pop(name))
        (folder / "secrets" / "etl_analyze_webhook").write_text(self.webhook())
        self.machine = Machine(given)
        self.machine.module = ("tests.integration.debug",)

    def new(self, prefix: str = "") -> str:
        """A new secret, with a character that URLs write in another way."""
        self.known.append(f"{prefix}{secrets.token_hex(8)}+{secrets.token_hex(4)}")
        return quote(self.known[-1], safe="")

    def webhook(self) -> str:
        return f"http://{self.address}/services/T0/{self.new()}?key={self.new()}"

    def etl(self, *arguments: str, code: int | None = 0, **variables: str) -> str:
        """Run a command, keep its output and the arguments of all processes meanwhile."""
        with _arguments() as seen:
            done = self.machine.etl(*arguments, **variables)
        name = f"{' '.join(arguments)} {variables}"
        self.shown[name] = (done.stdout + done.stderr).encode()
        self.shown[f"arguments of {name}"] = "\n".join(seen).encode()
        assert code is None or done.returncode == code, f"{done.returncode}: {done.stderr[-2000:]}"
        return done.stdout + done.stderr

    def found(self) -> set[tuple[str, str]]:
        """Where a secret is shown, and which."""
        forms = {form: secret for secret in self.known for form in _forms(secret)}
        return {(name, form) for name, text in self.shown.items() for form in forms if form.encode() in text}


Failures = Callable[[Hunt], list[tuple[str, dict[str, str]]]]


def _private_key(service: local.Service) -> list[str]:
    """Lines of the private key, which no client has."""
    text = (service.directory / "tls" / "keystore.pem").read_text()
    begin = text.index("PRIVATE KEY-----")
    return [line for line in text[begin : text.index("-----END", begin)].splitlines()[1:] if len(line) > 20]


def _forms(secret: str) -> set[str]:
    """A secret as text, in a URL, and inside a header of HTTP at any of three alignments."""
    encoded = {base64.b64encode(b"x" * lead + secret.encode())[4:-4].decode() for lead in range(3)}
    return {secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1]} | encoded


@contextmanager
def _arguments() -> Iterator[set[str]]:
    """The arguments of every process that runs meanwhile, as `ps` shows them."""
    seen: set[str] = set()
    end = threading.Event()

    def watch() -> None:
        while not end.wait(0.02):
            for process in psutil.process_iter(["cmdline"]):
                seen.add(" ".join(process.info["cmdline"] or ()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        end.set()
        watcher.join()


@pytest.fixture(scope="module")
def hunt(
    secure_kafka: local.Service,
    secure_cassandra: local.Service,
    tmp_path_factory: pytest.TempPathFactory,
    address: str,
) -> Hunt:
    """Topics and tables are made."""
    hunt = Hunt([secure_kafka, secure_cassandra], tmp_path_factory.mktemp("hunted"), address)
    hunt.etl("schema")
    return hunt


def test_hunt_finds_a_secret_when_there_is_one(hunt: Hunt) -> None:
    for text in (hunt.known[0], quote(hunt.known[-1], safe=""), base64.b64encode(b"me:" + hunt.known[-1].encode())):
        hunt.shown["planted"] = text if isinstance(text, bytes) else text.encode()
        assert [name for name, _ in hunt.found()] != []
        del hunt.shown["planted"]


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
def test_secrets_stay_hidden_at_every_level_of_logs_when_a_run_succeeds(hunt: Hunt, client: str) -> None:
    log_format = "json" if client == "librdkafka" else ""
    outputs = [
        hunt.etl(stage, "--run", f"run-{client}", ETL_KAFKA_CLIENT=client, ETL_LOG_FORMAT=log_format)
        for stage in STAGES
    ]
    # Lines of the libraries are there, below the level that anybody sees.
    assert "debug" in "".join(outputs).lower()
    _collect_files(hunt)
    _collect_services(hunt)
    assert not hunt.found()


def _collect_files(hunt: Hunt) -> None:
    """Keep the files of workspace and metrics, and the text of those that are compressed."""
    paths = [path for name in ("workspace", "metrics") for path in (hunt.folder / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} >= {".parquet", ".json", ".prom"}
    for path in paths:
        hunt.shown[str(path)] = path.read_bytes()
        if path.suffix == ".parquet":
            hunt.shown[f"rows of {path}"] = str(pq.read_table(path).to_pylist()).encode()


def _collect_services(hunt: Hunt) -> None:
    """Keep all records, the ledger, and the logs of broker and node."""
    given = hunt.machine.environment | {
        path.name.upper(): path.read_text() for path in (hunt.folder / "secrets").iterdir()
    }
    machine = Machine(given)
    with connect_kafka(machine.kafka) as client:
        for topic in ("hunted", "hunted-dead", "hunted-events"):
            blocks = list(ports.read(machine.kafka, topic, client.log_spans(topic)))
            hunt.shown[f"topic {topic}"] = str(blocks).encode()
    assert b"plant.csv" in hunt.shown["topic hunted-dead"]
    with connect(machine.cassandra) as session:
        for table in ("runs", "touched_days", "pipeline_health", "events"):
            hunt.shown[f"table {table}"] = str(list(session.execute(f"SELECT * FROM {table}"))).encode()


def test_secrets_stay_hidden_when_commands_for_operators_show_everything(hunt: Hunt) -> None:
    for arguments in (["doctor"], ["status"], ["dead-letters", "list"], ["schema"]):
        hunt.etl(*arguments, code=None)
    assert not hunt.found()


def test_secrets_stay_hidden_in_logs_of_broker_and_node(
    hunt: Hunt, secure_kafka: local.Service, secure_cassandra: local.Service
) -> None:
    for service in (secure_kafka, secure_cassandra):
        hunt.shown[service.name] = service.log.read_bytes()
        assert hunt.shown[service.name]
    assert not hunt.found()


NOBODY = "127.0.0.1:1"


def recorded_files(hunt: Hunt) -> list[tuple[str, dict[str, str]]]:
    urls = [
        f"http://reader:{hunt.new()}@{hunt.address}/absent.csv?sig={hunt.new()}",
        f"http://reader:{hunt.new()}@{NOBODY}/a.csv?sig={hunt.new()}",
        f"http://reader:{hunt.new()}@{hunt.address}:x/a.csv?sig={hunt.new()}",
        f"abfs://box:{hunt.new()}@host/a.csv?sig={hunt.new()}",
    ]
    return [("generate", {"ETL_GENERATE_RECORDED_URL": url}) for url in urls]


def workspaces(hunt: Hunt) -> list[tuple[str, dict[str, str]]]:
    away = {"AWS_ENDPOINT_URL": f"http://{NOBODY}", "ETL_WORKSPACE_URL": f"s3://key:{hunt.new()}@bucket/runs"}
    return [
        ("generate", {"ETL_WORKSPACE_URL": f"nosuch://key:{hunt.new()}@bucket/runs"}),
        ("generate", away),
        ("doctor", away | {"ETL_KAFKA_BOOTSTRAP_SERVERS": NOBODY}),
    ]


def services(hunt: Hunt) -> list[tuple[str, dict[str, str]]]:
    return [
        ("schema", {"ETL_KAFKA_PASSWORD": hunt.new("wrong-")}),
        ("schema", {"ETL_CASSANDRA_PASSWORD": hunt.new("wrong-")}),
        ("consume", {"ETL_KAFKA_BOOTSTRAP_SERVERS": NOBODY, "ETL_KAFKA_TIMEOUT": "2"}),
        ("schema", {"ETL_CASSANDRA_PORT": "1", "ETL_CASSANDRA_TIMEOUT": "2"}),
    ]


def webhooks(hunt: Hunt) -> list[tuple[str, dict[str, str]]]:
    urls = [
        hunt.webhook(),
        f"http://{NOBODY}/services/{hunt.new()}?key={hunt.new()}",
        f"http://a b/services/{hunt.new()}",
    ]
    return [("alert", {"ETL_ANALYZE_WEBHOOK": url}) for url in urls]


@pytest.mark.parametrize("failures", [recorded_files, workspaces, services, webhooks])
def test_secrets_stay_hidden_when_commands_fail(hunt: Hunt, failures: Failures) -> None:
    for number, (command, variables) in enumerate(failures(hunt)):
        variables |= {"ETL_RUN_ID": f"{failures.__name__}-{number}", "ETL_LOG_FORMAT": ("", "json")[number % 2]}
        variables |= {"AWS_MAX_ATTEMPTS": "1"}
        said = hunt.etl(command, code=None, **variables)
        assert "error" in said or "fail" in said, said[-2000:]
        assert command != "alert" or "webhook" in said, said[-2000:]
    assert not hunt.found()
