"""The command `etl`.

Each sub-command imports what it needs by itself, so that a stage starts fast and runs where only its own
dependencies are installed.
"""

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import structlog
import typer
from pydantic_settings import BaseSettings

from etl.errors import EtlError, NothingNew, SettingsError
from etl.log import configure_logs
from etl.settings import (
    PARTS,
    CassandraSettings,
    ConsumeSettings,
    GenerateSettings,
    KafkaSettings,
    LoadSettings,
    ProduceSettings,
    RunSettings,
    TransformSettings,
    describe,
    read_settings,
    unknown_variables,
)

log = structlog.get_logger("etl")

app = typer.Typer(
    name="etl",
    help="Machine sensor data from Kafka into Cassandra.",
    epilog="Exit codes: 0 done, 2 settings, 3 nothing new, 4 a service cannot be reached, "
    "5 does not balance or another run interfered, 143 after SIGTERM.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dead_letters = typer.Typer(help="See and replay dead letters.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(dead_letters, name="dead-letters")

_EVERYWHERE = ["ETL_LOG_FORMAT\n    `json` for machines, else readable lines"]

Run = Annotated[str | None, typer.Option("--run", metavar="ID", help="Name of the run (ETL_RUN_ID).")]


def main() -> None:
    """Run the command; an expected end becomes one line on standard error and its exit code."""
    configure_logs()
    for name, near in unknown_variables().items():
        log.warning(f"{name} means nothing here{f', did you mean {near}?' if near else ''}")
    try:
        app()
    except NothingNew as end:
        log.info(str(end))
        sys.exit(end.exit_code)
    except EtlError as error:
        log.error(str(error))
        sys.exit(error.exit_code)


def _variables(*parts: type[BaseSettings]) -> str:
    """List variables with what they mean and their defaults, for the end of a command's help."""
    lines = [
        f"{name}\n    {text}{f' [{default}]' if default else ''}"
        for part in parts
        for name, (text, default) in describe(part).items()
    ]
    # Typer keeps the lines of a paragraph that begins with this mark as they are.
    return "\b\nSettings, from the environment or files of these names in ETL_SECRETS_DIR:\n" + "\n".join(
        [*lines, *_EVERYWHERE]
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sensor-etl {version('sensor-etl')}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _run_stage(name: str, **options: object) -> None:
    from etl.stage import run_stage

    _set(options)
    settings = read_settings(RunSettings)
    if not settings.run_id:
        raise SettingsError("which run? set ETL_RUN_ID or give --run, the same for all stages of a run")
    run_stage(name, getattr(import_module(f"etl.{name}"), name), settings)


def _set(options: dict[str, object]) -> None:
    """Let options that were given stand for their variables, as a stage reads its settings by itself."""
    os.environ.update({name: str(value) for name, value in options.items() if value is not None})


@app.command(help="Stage 1: make readings, or take recorded ones.", epilog=_variables(GenerateSettings, RunSettings))
def generate(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("generate", ETL_RUN_ID=run)


@app.command(
    help="Stage 2: write readings to the topic.", epilog=_variables(ProduceSettings, KafkaSettings, RunSettings)
)
def produce(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("produce", ETL_RUN_ID=run)


@app.command(
    help="Stage 3: read what is new on the topic. From the committed offsets to the end; commits nothing.",
    epilog=_variables(ConsumeSettings, KafkaSettings, RunSettings),
)
def consume(
    run: Run = None,
    from_offset: Annotated[
        str | None,
        typer.Option(metavar="[PARTITION:]OFFSET,...", help="Read again from here (ETL_CONSUME_FROM_OFFSET)."),
    ] = None,
    from_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Read again from this ISO 8601 time (ETL_CONSUME_FROM_TIME).",
        ),
    ] = None,
    max_readings: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Read no more than this (ETL_CONSUME_MAX_READINGS).")
    ] = None,
) -> None:
    """Run the stage."""
    _run_stage(
        "consume",
        ETL_RUN_ID=run,
        ETL_CONSUME_FROM_OFFSET=from_offset,
        ETL_CONSUME_FROM_TIME=from_time,
        ETL_CONSUME_MAX_READINGS=max_readings,
    )


@app.command(
    help="Stage 4: check readings, tell new ones. The others are duplicates, late, conflicting or rejected.",
    epilog=_variables(TransformSettings, CassandraSettings, RunSettings),
)
def transform(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("transform", ETL_RUN_ID=run)


@app.command(
    help="Stage 5: write to Cassandra. Rows first, then dead letters and watermarks, then the offsets are committed.",
    epilog=_variables(LoadSettings, CassandraSettings, KafkaSettings, RunSettings),
)
def load(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("load", ETL_RUN_ID=run)


@app.command(
    "run",
    help="Run all five stages. Checks everything first, runs each stage as a process, and shows what they did. "
    "With the ID of a run that did not finish: go on where it stopped.",
    epilog=_variables(*PARTS),
)
def run_all(run: Run = None) -> None:
    """Run all stages."""
    from etl.run import run_stages

    raise typer.Exit(run_stages(run))


@app.command(
    help="Check every dependency, say what to do. The exit code is that of the worst problem.",
    epilog=_variables(*PARTS),
)
def doctor() -> None:
    """Check everything."""
    from etl.doctor import check_all, worst
    from etl.terminal import print_check

    checks = []
    for check in check_all():
        print_check(check.state, check.what, check.text)
        checks.append(check)
    raise typer.Exit(worst(checks))
