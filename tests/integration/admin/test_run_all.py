import re
import signal
from pathlib import Path

import pytest

from etl.kafka.ports import open_producer
from etl.run.runner import STAGES
from tests.integration.machine import Machine


def test_only_new_readings_are_loaded_when_two_runs_overlap_by_half(machine: Machine, tmp_path: Path) -> None:
    first = machine.etl("run", "--run", "2026", ETL_GENERATE_START="2026-01-05T06:00:00Z")
    assert first.returncode == 0, first.stderr
    assert machine.counts("2026", "load")["loaded"] == machine.rows() == 300
    table = first.stdout.splitlines()
    assert table[0] == "run 2026"
    assert [line.split()[0] for line in table[2:]] == [*STAGES, "all"]
    # Seconds, readings per second and megabytes end each line.
    assert all(re.search(r"[\d.]+\s+[\d,]+\s+\d+$", line) for line in table[2:-1])

    metrics = tmp_path / "metrics"
    second = machine.etl("run", ETL_GENERATE_START="2026-01-05T06:00:50Z", ETL_METRICS_FOLDER=str(metrics))
    assert second.returncode == 0, second.stderr
    (run,) = {path.name for path in (tmp_path / "workspace").iterdir()} - {"2026"}
    counts = machine.counts(run, "load")
    assert (counts["consumed"], counts["loaded"], counts["duplicate"]) == (300, 150, 150)
    assert machine.rows() == 450
    assert {path.name for path in metrics.iterdir()} == {f"sensor_etl_{stage}.prom" for stage in STAGES}
    assert 'sensor_etl_readings{class="duplicate",stage="load"} 150.0' in (metrics / "sensor_etl_load.prom").read_text()

    status = machine.etl("status")
    assert status.returncode == 0, status.stderr
    (line,) = (line for line in status.stdout.splitlines() if re.search(rf"{run}\s+load", line))
    assert "loaded 150" in line
    assert "duplicate 150" in line
    assert "2026-01-05 06:02:29" in status.stdout

    again = machine.etl("run", "--run", "2026")
    assert again.returncode == 0
    assert again.stderr.count("already done") == len(STAGES)
    assert machine.rows() == 450


def test_readings_of_gateways_are_loaded_when_nothing_is_generated(machine: Machine) -> None:
    with open_producer(machine.kafka) as producer:
        producer.send(machine.kafka.topic, b"press-1", b'{"timestamp": "2026-01-05T06:00:00Z", "voltage": 231}', [])
        producer.flush()
    done = machine.etl("run", "--run", "gateways", ETL_GENERATE_SOURCE="none")
    assert done.returncode == 0, done.stderr
    assert machine.finished("gateways") == list(STAGES)
    assert machine.counts("gateways", "produce") == {"produced": 0, "records": 0, "dead_letters": 0}
    assert machine.rows() == 1


def test_exit_code_is_3_when_the_topic_holds_nothing_new(machine: Machine) -> None:
    for already_done in (0, 2):
        done = machine.etl("run", "--run", "idle", ETL_GENERATE_SOURCE="none")
        assert done.returncode == 3
        assert "nothing new" in done.stderr
        assert done.stderr.count("already done") == already_done
        assert machine.finished("idle") == ["generate", "produce"]


def test_nothing_is_started_when_the_schema_is_missing(bare: Machine, tmp_path: Path) -> None:
    done = bare.etl("run", "--run", "early")
    assert done.returncode == 2
    assert "etl schema" in done.stderr
    assert bare.finished("early") == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_nothing_is_started_when_a_later_stage_has_a_wrong_setting(machine: Machine) -> None:
    done = machine.etl("run", "--run", "early", ETL_LOAD_CONCURRENCY="many")
    assert done.returncode == 2
    assert "ETL_LOAD_CONCURRENCY" in done.stderr
    assert machine.finished("early") == []


def test_exit_code_is_4_when_a_service_is_down(machine: Machine) -> None:
    done = machine.etl("run", "--run", "down", ETL_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", ETL_KAFKA_TIMEOUT="0.5")
    assert done.returncode == 4
    assert machine.finished("down") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_run_goes_on_where_it_stopped_when_a_signal_ended_it(
    machine: Machine, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    long = {"ETL_GENERATE_MACHINES": "5000", "ETL_GENERATE_DURATION": "86400"}
    process = machine.start("run", "--run", "stopped", **long)
    assert process.stderr
    for line in process.stderr:
        if "stage=generate" in line:
            break
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "etl run --run stopped" in stderr
    assert "generate" in stdout
    assert machine.finished("stopped") == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    if number == signal.SIGINT:
        return
    assert machine.etl("run", "--run", "stopped").returncode == 0
    assert machine.finished("stopped") == list(STAGES)
    assert machine.rows() == 300
