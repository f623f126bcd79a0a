"""The stage: what it leaves in the workspace."""

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from etl.errors import SettingsError
from etl.model.measurements import read_measurements
from etl.model.schemas import DEAD_LETTERS, generated
from etl.run.runner import run_stage
from etl.run.workspace import Shard, Source, open_workspace
from etl.settings import GenerateSettings, RunSettings, read_stage_settings
from etl.stages.generate import progress
from etl.stages.generate import stage as stage_module
from etl.stages.generate.stage import generate

DATA = Path(__file__).parents[3] / "data"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage; gives its counts and its tables."""

    def written(value):
        if isinstance(value, timedelta):
            return str(value.total_seconds())
        return value.isoformat() if isinstance(value, datetime) else str(value)

    def do(run_id="one", measurements_file=None, shard=0, shards=1, **options):
        settings = RunSettings(
            workspace_url=str(tmp_path / "workspace"),
            run_id=run_id,
            measurements_file=measurements_file,
            shard=shard,
            shards=shards,
        )
        with monkeypatch.context() as patch:
            for name, value in options.items():
                patch.setenv(f"ETL_GENERATE_{name.upper()}", written(value))
            manifest = run_stage("generate", generate, settings, *read_stage_settings("generate"))
        source = Source(open_workspace(settings.workspace_url, run_id, Shard(shard, shards)), manifest)
        schemas = {"readings": generated(read_measurements(measurements_file)), "dead-letters": DEAD_LETTERS}
        tables = {
            kind: pa.concat_tables([schema.empty_table(), *source.tables(kind)]) for kind, schema in schemas.items()
        }
        return manifest.summary.counts, tables

    return do


def test_the_default_is_ten_machines_for_ten_minutes_when_nothing_is_set(run):
    counts, tables = run()
    assert counts["generated"] == len(tables["readings"]) == 10 * 600
    assert counts["rejected"] == len(tables["dead-letters"]) == 0


def test_a_repeated_run_gives_the_same_readings_when_settings_are_the_same(run):
    faults = {"duplicate_rate": 0.1, "late_rate": 0.1, "dropout_rate": 0.1, "out_of_order_rate": 0.1}
    one, other = (run(run_id, late_by=timedelta(minutes=3), **faults) for run_id in ("one", "other"))
    assert one[0] == other[0]
    assert one[1]["readings"].equals(other[1]["readings"])
    assert {"generated", "rejected", "duplicates", "dropped", "late", "out_of_order"} <= set(one[0])


def test_overlapping_runs_share_readings_when_the_second_begins_half_way(run):
    start = GenerateSettings().start
    _, first = run("first", duration=timedelta(minutes=2))
    _, second = run("second", start=start + timedelta(minutes=1), duration=timedelta(minutes=2))
    assert first["readings"].slice(600).equals(second["readings"].slice(0, 600))


def test_a_catalogue_gives_the_machines_when_set(run, tmp_path):
    path = tmp_path / "machines.yaml"
    path.write_text("machines: [{equipment_id: a, interval_seconds: 60}, {equipment_id: b, interval_seconds: 30}]")
    _, all_of_them = run("all", catalogue_file=path)
    assert all_of_them["readings"]["equipment_id"].value_counts().to_pylist() == [
        {"values": "a", "counts": 10},
        {"values": "b", "counts": 20},
    ]
    _, first = run("first", catalogue_file=path, machines=1)
    assert set(first["readings"]["equipment_id"].to_pylist()) == {"a"}
    with pytest.raises(SettingsError, match=r"ETL_GENERATE_MACHINES: 3 machines, but .*machines.yaml has 2"):
        run("none", catalogue_file=path, machines=3)


@pytest.mark.parametrize("shards", [2, 3, 9])
def test_shards_make_the_readings_of_a_whole_run_when_put_together(run, shards):
    options = {"machines": 7, "duplicate_rate": 0.1, "late_rate": 0.1, "late_by": timedelta(minutes=2)}
    counts, whole = run("whole", **options)
    parts = [run("cut", shard=shard, shards=shards, **options) for shard in range(shards)]
    order = [("equipment_id", "ascending"), ("timestamp", "ascending")]
    together = pa.concat_tables(tables["readings"] for _, tables in parts)
    assert together.sort_by(order).equals(whole["readings"].sort_by(order))
    assert {name: sum(part.get(name, 0) for part, _ in parts) for name in counts} == counts
    machines = [set(tables["readings"]["equipment_id"].to_pylist()) for _, tables in parts]
    assert sum(map(len, machines)) == 7
    assert [len(names) for names in machines] == [len(range(shard, 7, shards)) for shard in range(shards)]


def test_first_shard_reads_the_recorded_file_when_there_are_several(run):
    options = {"source": "recorded", "recorded_url": str(DATA / "plant.csv"), "mapping_file": DATA / "plant.yaml"}
    counts = [run(shard=shard, shards=2, **options)[0] for shard in range(2)]
    assert counts == [{"generated": 300, "rejected": 7}, {"generated": 0, "rejected": 0}]


def test_nothing_is_written_when_gateways_fill_the_topic(run):
    counts, tables = run(source="none")
    assert counts == {"generated": 0, "rejected": 0}
    assert len(tables["readings"]) == 0


@pytest.mark.parametrize("rows", [7, 250_000])
def test_recorded_readings_are_in_order_of_the_file_when_written(run, monkeypatch, rows):
    monkeypatch.setattr(progress, "CHUNK_ROWS", rows)
    monkeypatch.setattr("etl.stages.generate.lines.BLOCK_ROWS", 5)
    counts, tables = run(source="recorded", recorded_url=str(DATA / "plant.csv"), mapping_file=DATA / "plant.yaml")
    assert counts == {"generated": 300, "rejected": 7}
    times = tables["readings"]["timestamp"].to_pylist()
    assert times == sorted(times)
    assert tables["readings"]["json"].null_count == 299
    assert tables["dead-letters"]["line"].to_pylist() == [23, 25, 27, 29, 31, 33, 310]
    assert set(tables["dead-letters"]["file"].to_pylist()) == {str(DATA / "plant.csv")}


def test_an_empty_recorded_file_is_no_failure_when_read(run, tmp_path):
    (tmp_path / "empty.csv").write_bytes(b"")
    counts, _ = run(source="recorded", recorded_url=str(tmp_path / "empty.csv"), mapping_file=DATA / "plant.yaml")
    assert counts == {"generated": 0, "rejected": 0}


def test_nothing_is_written_when_the_mapping_is_wrong(run, tmp_path):
    (tmp_path / "mapping.yaml").write_text("timestamp: when\nequipment: machine\nmeasurements: {voltage: U}\n")
    with pytest.raises(SettingsError, match="has no column 'when'"):
        run(source="recorded", recorded_url=str(DATA / "plant.csv"), mapping_file=tmp_path / "mapping.yaml")
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize(
    ("name", "data", "cause"),
    [
        ("a.csv", "time,machine,U\n1,2026-01-05T08:00:00Z,p,1\n2,2026-01-05T08:01:00Z,p,2\n", "lack a name"),
        ("a.csv", "time,machine,U\n46027,p,1\n46028,p,2\n", "another `format`"),
        (
            "a.csv",
            "time,machine,U\n2026-01-05T08:00:00Z,p,\n2026-01-05T08:01:00Z,p,\n",
            "`measurements` of the mapping",
        ),
        ("a.csv", 'time,machine,U\n2026-01-05T08:00:00Z,p,"1,5"\n2026-01-05T08:01:00Z,p,"2,5"\n', "`decimal`"),
        ("a.jsonl", '{"time": 1767600000,\n"machine": "p"}\n', "`format` of the mapping"),
        ("a.jsonl", '{"time": 1767600000, "U": 1}\n{"time": 1767600000, "U": 1}', "`equipment` of the mapping"),
    ],
)
def test_a_warning_names_the_cause_when_nothing_of_a_recorded_file_is_usable(
    run, tmp_path, monkeypatch, name, data, cause
):
    told = []
    monkeypatch.setattr(stage_module.log, "warning", told.append)
    (tmp_path / name).write_text(data)
    (tmp_path / "mapping.yaml").write_text("timestamp: time\nequipment: machine\nmeasurements: {voltage: U}\n")
    counts, tables = run(source="recorded", recorded_url=str(tmp_path / name), mapping_file=tmp_path / "mapping.yaml")
    assert sum(counts.values()) == len(tables["readings"]) + len(tables["dead-letters"]) == 2
    (text,) = told
    assert cause in text


def test_no_warning_when_any_reading_is_usable(run, monkeypatch):
    monkeypatch.setattr(stage_module.log, "warning", None)
    run(source="recorded", recorded_url=str(DATA / "plant.csv"), mapping_file=DATA / "plant.yaml")


def test_older_epochs_are_readings_when_the_setting_allows_them(run, tmp_path):
    (tmp_path / "a.csv").write_text("time,machine,U\n788918400,p,1\n")
    (tmp_path / "mapping.yaml").write_text("timestamp: time\nequipment: machine\nmeasurements: {voltage: U}\n")
    options = {"recorded_url": str(tmp_path / "a.csv"), "mapping_file": tmp_path / "mapping.yaml"}
    assert run("now", source="recorded", **options)[0] == {"generated": 0, "rejected": 1}
    old = datetime.fromisoformat("1990-01-01T00:00:00+00:00")
    assert run("old", source="recorded", oldest=old, **options)[0] == {"generated": 1, "rejected": 0}
