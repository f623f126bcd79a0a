"""The images of the package: each can do its own work, and holds nothing that only others need."""

import json
from collections.abc import Callable

import pytest

from images.command import run as run_command
from images.names import PACKAGE, STAGES
from tests.images.conftest import Run

# What others import, by image.
FOREIGN = {
    "generate": ["kafka", "cassandra", "orjson", "scipy", "dash"],
    "produce": ["cassandra", "msgspec", "pandas", "scipy", "dash"],
    "consume": ["cassandra", "scipy", "dash"],
    "transform": ["kafka", "crc32c", "msgspec", "scipy", "dash"],
    "load": ["msgspec", "pandas", "scipy", "dash"],
    "analyze": ["dash", "plotly", "waitress"],
    "page": ["kafka", "crc32c", "pandas", "scipy"],
}
MODULES = {name: f"etl.stages.{name}" for name in STAGES} | {
    "analyze": "etl.insight.analyze",
    "page": "etl.page.server",
}
PYTHON = ["--entrypoint=python"]
# Bytes, uncompressed.
LARGEST, LARGEST_TOGETHER = 300_000_000, 600_000_000


@pytest.mark.parametrize("name", PACKAGE)
def test_image_imports_its_own_part(run: Run, name: str) -> None:
    done = run(name, "-c", f"import {MODULES[name]}", options=PYTHON)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", PACKAGE)
def test_image_reads_the_times_of_the_tables(run: Run, name: str) -> None:
    done = run(
        name, "-c", "import pyarrow as pa; print(pa.scalar(0, pa.timestamp('ms', 'UTC')).as_py())", options=PYTHON
    )
    assert done.stdout.strip() == "1970-01-01 00:00:00+00:00", done.stderr


def test_image_of_load_has_what_schema_and_grant_need(run: Run) -> None:
    done = run("load", "-c", "import etl.admin.schema, etl.admin.grant", options=PYTHON)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", PACKAGE)
def test_image_lacks_what_only_others_import(run: Run, name: str) -> None:
    found = "[name for name in sys.argv[1:] if importlib.util.find_spec(name)]"
    done = run(name, "-c", f"import importlib.util, sys; print({found})", *FOREIGN[name], options=PYTHON)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_image_runs_its_stage_by_default(run: Run, stage: str) -> None:
    done = run(stage)
    assert done.returncode == 2, done.stderr
    assert "ETL_RUN_ID" in done.stderr


@pytest.mark.parametrize("name", ["analyze", "page"])
def test_image_runs_its_command_by_default_without_a_run(run: Run, name: str) -> None:
    done = run(name, options=["--env=ETL_CASSANDRA_USERNAME=somebody"])
    assert done.returncode == 2, done.stderr
    assert "ETL_CASSANDRA_PASSWORD" in done.stderr


@pytest.mark.parametrize("name", PACKAGE)
def test_image_shows_the_help_of_the_command(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"\n  {name}" in done.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_image_of_a_stage_is_small(images: Callable[[str], str], stage: str) -> None:
    assert int(run_command("docker", "image", "inspect", "--format={{.Size}}", images(stage))) <= LARGEST


def test_images_of_all_stages_share_layers(images: Callable[[str], str]) -> None:
    layers: dict[str, int] = {}
    for stage in STAGES:
        listed = json.loads(run_command("docker", "image", "inspect", images(stage)))[0]["RootFS"]["Layers"]
        sizes = run_command("docker", "history", "--human=false", "--format={{.Size}}", images(stage)).split()
        # Steps that change no file have no layer.
        layers |= zip(listed, [int(size) for size in reversed(sizes) if size != "0"], strict=True)
    assert sum(layers.values()) <= LARGEST_TOGETHER


@pytest.mark.parametrize("name", PACKAGE)
def test_image_has_bytecode_of_its_part(run: Run, name: str) -> None:
    code = f"import os, {MODULES[name]} as m; assert os.path.exists(m.__cached__)"
    done = run(name, "-c", code, options=PYTHON)
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
