import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, structlog
from etl.log import configure_logs
configure_logs()
structlog.get_logger("etl.stage").info("done", run="run-1", loaded=5)
structlog.get_logger("etl.stage").debug("hidden")
structlog.get_logger("etl.stage").warning("odd", name="a\\n2026-01-05 [error] forged\\x1b[2J")
logging.getLogger("kafka.conn").warning("lost %s", "broker")
logging.getLogger("kafka.conn").info("hidden")
try:
    password = "s3cret"
    raise ValueError("broken")
except ValueError:
    structlog.get_logger("etl.stage").exception("failed")
"""


def lines(log_format: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env={"ETL_LOG_FORMAT": log_format}
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_each_line_is_json_when_asked_for() -> None:
    done, _, lost, failed = map(json.loads, lines("json"))
    assert (done["event"], done["level"], done["run"], done["loaded"]) == ("done", "info", "run-1", 5)
    assert (lost["event"], lost["level"]) == ("lost broker", "warning")
    assert failed["exception"].splitlines()[-1] == "ValueError: broken"
    assert done["timestamp"].endswith("Z")


def test_lines_are_readable_when_nothing_is_set() -> None:
    done, _, lost, failed, *_ = lines("")
    assert "done loaded=5 run=run-1" in done
    assert "lost broker" in lost
    assert "failed" in failed
    assert "\x1b" not in done


@pytest.mark.parametrize("log_format", ["", "json"])
def test_line_is_one_line_when_a_name_has_control_characters(log_format: str) -> None:
    _, odd, lost, *_ = lines(log_format)
    assert "2026-01-05 [error] forged" in odd
    assert "\x1b" not in odd
    assert "lost broker" in lost


@pytest.mark.parametrize("log_format", ["", "json"])
def test_local_variables_stay_hidden_when_a_traceback_is_logged(log_format: str) -> None:
    # The source line of a frame may show, its variables may not.
    shown = [line for line in lines(log_format) if "s3cret" in line]
    assert not shown


URLS = """
import logging, structlog
from etl.log import configure_logs
configure_logs()
collector = "https://user:hunter22@collector/v1/metrics"
structlog.get_logger("etl.stage").warning("cannot read s3://key:hunter22@bucket/a", error="https://h/a?sig=hunter22")
logging.getLogger("urllib3").warning("retrying %s", collector)
try:
    raise OSError(f"no answer from {collector}")
except OSError:
    structlog.get_logger("etl.stage").exception("failed")
    logging.getLogger("asyncio").exception("failed")
"""


@pytest.mark.parametrize("log_format", ["", "json"])
def test_passwords_and_queries_of_urls_stay_hidden_when_they_are_logged(log_format: str) -> None:
    environment = {"ETL_LOG_FORMAT": log_format}
    done = subprocess.run([sys.executable, "-c", URLS], capture_output=True, text=True, check=True, env=environment)
    assert "s3://bucket/a" in done.stderr
    assert done.stderr.count("https://collector/v1/metrics") == 3
    assert "hunter22" not in done.stderr


UNEXPECTED = """
import etl.cli
def broken():
    raise RuntimeError("refused: https://user:hunter22@collector/v1/metrics, password hunter33")
etl.cli.app = broken
etl.cli.main()
"""


@pytest.mark.parametrize("log_format", ["", "json"])
def test_secrets_stay_hidden_when_an_unexpected_error_ends_a_command(log_format: str) -> None:
    environment = {"ETL_LOG_FORMAT": log_format, "ETL_KAFKA_PASSWORD": "hunter33"}
    done = subprocess.run(
        [sys.executable, "-c", UNEXPECTED], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1
    assert "RuntimeError: refused: https://collector/v1/metrics" in done.stderr
    assert "hunter" not in done.stdout + done.stderr
