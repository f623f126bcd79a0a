import os
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from etl.errors import TERMINATED, DeliveryError, NothingNew, SettingsError, Unreachable
from etl.run.runner import STAGES, Outcome, Work, run_stage
from etl.run.workspace import Range, find_manifest, open_workspace
from etl.settings import RunSettings

TABLE = pa.table({"equipment_id": ["a", "b"]})


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    return RunSettings(workspace_url=str(tmp_path / "space"), run_id="run-1")


@pytest.fixture(autouse=True)
def _keep_handlers() -> object:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def write_two(work: Work) -> Outcome:
    work.output.write("readings", TABLE)
    return Outcome({"generated": 2}, [Range("t", 0, None, 0, 2)])


def files(settings: RunSettings) -> list[Path]:
    return [path for path in Path(settings.workspace_url).rglob("*") if path.is_file()]


def test_manifest_says_what_was_done_when_a_stage_is_done(settings: RunSettings) -> None:
    manifest = run_stage("generate", write_two, settings)
    assert find_manifest(open_workspace(settings.workspace_url, "run-1"), "generate") == manifest
    assert manifest.summary.counts == {"generated": 2}
    assert manifest.summary.offsets == [Range("t", 0, None, 0, 2)]


def test_stage_is_not_run_again_when_it_has_finished(settings: RunSettings) -> None:
    first = run_stage("generate", write_two, settings)

    def fail(work: Work) -> Outcome:
        raise AssertionError

    assert run_stage("generate", fail, settings) == first


def test_stage_reads_the_output_of_the_one_before_when_there_is_one(settings: RunSettings) -> None:
    run_stage("generate", write_two, settings)
    seen = []

    def read(work: Work) -> Outcome:
        seen.extend(work.input.tables("readings"))
        return Outcome({})

    manifest = run_stage("produce", read, settings)
    assert seen == [TABLE]
    assert [summary.stage for summary in manifest.history] == ["generate"]


def test_stage_may_be_retried_when_the_stage_before_has_not_finished(settings: RunSettings) -> None:
    def read(work: Work) -> Outcome:
        assert work.source is None
        return Outcome({"read": work.input.manifest.rows("readings")})

    with pytest.raises(Unreachable, match="run run-1: nothing to transform"):
        run_stage("transform", read, settings)
    assert not files(settings)


@pytest.mark.parametrize("error", [DeliveryError("x"), NothingNew("x"), ZeroDivisionError("x"), KeyboardInterrupt()])
def test_nothing_is_left_when_a_stage_fails(settings: RunSettings, error: BaseException) -> None:
    def fail(work: Work) -> Outcome:
        write_two(work)
        raise error

    with pytest.raises(type(error)):
        run_stage("generate", fail, settings)
    assert not files(settings)


def test_nothing_is_left_when_a_stage_is_terminated(settings: RunSettings) -> None:
    def wait(work: Work) -> Outcome:
        write_two(work)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([], 5)
        raise AssertionError

    with pytest.raises(SystemExit) as ended:
        run_stage("generate", wait, settings)
    assert ended.value.code == TERMINATED
    assert not files(settings)


def test_stage_stops_when_the_run_began_with_another_measurement_file(settings: RunSettings, tmp_path: Path) -> None:
    run_stage("generate", write_two, settings)
    other = tmp_path / "measurements.yaml"
    other.write_text("measurements: {torque: {unit: Nm}}")
    changed = settings.model_copy(update={"measurements_file": other})
    with pytest.raises(SettingsError, match="began with another measurement file"):
        run_stage("produce", write_two, changed)


def test_stage_gets_the_declared_measurements_when_it_runs(settings: RunSettings, tmp_path: Path) -> None:
    other = tmp_path / "measurements.yaml"
    other.write_text("measurements: {torque: {unit: Nm}}")

    def look(work: Work) -> Outcome:
        assert work.measurements.names == ["torque"]
        return Outcome({})

    run_stage("generate", look, settings.model_copy(update={"measurements_file": other}))


def test_stages_come_in_the_order_of_the_docs_when_listed() -> None:
    assert STAGES == ("generate", "produce", "consume", "transform", "load")


def test_shard_reads_the_output_of_its_own_when_there_are_several(settings: RunSettings) -> None:
    shards = [settings.model_copy(update={"shard": shard, "shards": 2}) for shard in range(2)]
    run_stage("generate", write_two, shards[0])
    run_stage("generate", lambda _: Outcome({"generated": 0}), shards[1])

    def count(work: Work) -> Outcome:
        return Outcome({"read": work.input.manifest.rows("readings")})

    assert [run_stage("produce", count, shard).summary.counts["read"] for shard in shards] == [2, 0]


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("stage", ["generate", "produce"])
def test_stage_stops_when_the_run_began_with_another_number_of_shards(
    settings: RunSettings, first: int, then: int, stage: str
) -> None:
    run_stage("generate", write_two, settings.model_copy(update={"shards": first}))
    with pytest.raises(SettingsError, match=rf"began with {first} shard.*ETL_SHARDS={first}"):
        run_stage(stage, write_two, settings.model_copy(update={"shards": then}))


def test_older_runs_go_when_the_last_stage_is_done(settings: RunSettings) -> None:
    for run in ("run-1", "run-2", "run-3"):
        run_stage("load", write_two, settings.model_copy(update={"run_id": run, "keep_runs": 2}))
    assert sorted(path.name for path in Path(settings.workspace_url).iterdir()) == ["run-2", "run-3"]
