"""The images of the stages: each can do its own work, and holds nothing that only others need."""

import pytest

from images.build import STAGES
from tests.images.conftest import Run

# What other stages import, by stage.
FOREIGN = {
    "generate": ["kafka", "cassandra", "orjson"],
    "produce": ["cassandra", "pandas"],
    "consume": ["cassandra", "pandas"],
    "transform": ["kafka", "crc32c"],
    "load": ["pandas"],
}
PYTHON = ["--entrypoint=python"]


@pytest.mark.parametrize("stage", STAGES)
def test_image_imports_its_own_stage(run: Run, stage: str) -> None:
    done = run(stage, "-c", f"import etl.{stage}", options=PYTHON)
    assert done.returncode == 0, done.stderr


def test_image_of_load_has_what_schema_and_grant_need(run: Run) -> None:
    done = run("load", "-c", "import etl.schema, etl.grant", options=PYTHON)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_image_lacks_what_only_others_import(run: Run, stage: str) -> None:
    found = "[name for name in sys.argv[1:] if importlib.util.find_spec(name)]"
    done = run(stage, "-c", f"import importlib.util, sys; print({found})", *FOREIGN[stage], options=PYTHON)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_image_runs_its_stage_by_default(run: Run, stage: str) -> None:
    done = run(stage)
    assert done.returncode == 2, done.stderr
    assert "ETL_RUN_ID" in done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_image_shows_the_help_of_the_command(run: Run, stage: str) -> None:
    done = run(stage, "--help")
    assert done.returncode == 0, done.stderr
    assert f"\n  {stage}" in done.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_image_has_bytecode_of_its_stage(run: Run, stage: str) -> None:
    code = f"import etl.{stage} as m, os; assert os.path.exists(m.__cached__)"
    done = run(stage, "-c", code, options=PYTHON)
    assert done.returncode == 0, done.stderr


def test_stage_works_when_only_its_workspace_can_be_written(run: Run) -> None:
    options = ["--tmpfs=/workspace:uid=10001,mode=0700", "--env=ETL_RUN_ID=test", "--env=ETL_GENERATE_MACHINES=2"]
    done = run("generate", options=options)
    assert done.returncode == 0, done.stderr
    assert "done" in done.stderr
    assert "generated" in done.stderr


@pytest.mark.parametrize("module", ["s3fs", "opentelemetry.exporter.otlp.proto.http"])
@pytest.mark.parametrize("stage", STAGES)
def test_image_has_object_stores_and_metrics(run: Run, stage: str, module: str) -> None:
    done = run(stage, "-c", f"import {module}", options=PYTHON)
    assert done.returncode == 0, done.stderr
