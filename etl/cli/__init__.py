"""The command `etl`.

Each sub-command imports its own dependencies, so that a stage starts fast and runs if only they are installed.
"""

import platform
import sys
import time
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import structlog
import typer

from etl.cli import dead_letters, mapping
from etl.cli.help import variables
from etl.errors import CredentialsError, EtlError, NothingNew, SettingsError, Unreachable
from etl.log import configure_logs
from etl.patience import patiently
from etl.settings import (
    PARTS,
    STAGE_PARTS,
    AnalyzeSettings,
    CassandraSettings,
    GrantSettings,
    KafkaSettings,
    PageSettings,
    ReportSettings,
    RunSettings,
    SchemaSettings,
    read_settings,
    read_stage_settings,
    unknown_variables,
)
from etl.urls import without_secrets

log = structlog.get_logger("etl")

app = typer.Typer(
    name="etl",
    help="Machine sensor data from Kafka into Cassandra.",
    epilog="Exit codes: 0 done, 2 settings, 3 nothing new, 4 a service cannot be reached, "
    "5 the run does not balance or another run interfered, 143 after SIGTERM.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(mapping.app, name="mapping")

Wait = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Retry for this time while a service is unreachable.")
]
WaitForUsers = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        help="Retry for this time while a service is unreachable or refuses the credentials.",
    ),
]
Run = Annotated[str | None, typer.Option("--run", metavar="ID", help="Name of the run (ETL_RUN_ID).")]


def main() -> None:
    """Run the command; print an expected error as one line on standard error, and exit with its code."""
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
    except Exception:
        # Python's own traceback would show the secrets of URLs in messages.
        log.critical("unexpected error", exc_info=True)
        sys.exit(1)


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


def _run_stage(name: str, run: str | None, **given: object) -> None:
    """Run a stage, `etl.stages.<name>.<name>`; import it here, because other stages' dependencies may be missing."""
    from etl.run.runner import run_stage

    settings = read_settings(RunSettings, run_id=run)
    if not settings.run_id:
        raise SettingsError("which run? set ETL_RUN_ID or give --run, the same for all stages of a run")
    parts = read_stage_settings(name, **given)
    run_stage(name, getattr(import_module(f"etl.stages.{name}"), name), settings, *parts)


def _stage_variables(name: str) -> str:
    return variables(*STAGE_PARTS[name], RunSettings)


@app.command(help="Stage 1: generate synthetic readings, or read recorded ones.", epilog=_stage_variables("generate"))
def generate(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("generate", run)


@app.command(help="Stage 2: write readings to the topic.", epilog=_stage_variables("produce"))
def produce(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("produce", run)


@app.command(
    help="Stage 3: read new records of the topic. Reads from the committed offsets to the end; commits nothing.",
    epilog=_stage_variables("consume"),
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
    _run_stage("consume", run, from_offset=from_offset, from_time=from_time, max_readings=max_readings)


@app.command(
    help="Stage 4: clean and classify readings. Finds new, duplicate, late, conflicting and rejected ones.",
    epilog=_stage_variables("transform"),
)
def transform(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("transform", run)


@app.command(
    help="Stage 5: write rows to Cassandra. Then writes dead letters and watermarks, and commits the offsets last.",
    epilog=_stage_variables("load"),
)
def load(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("load", run)


@app.command(
    "run",
    help="Run all five stages. Checks everything first, runs each stage as a process, and shows the results. "
    "With the ID of an unfinished run: continue it.",
    epilog=variables(*PARTS),
)
def run_all(run: Run = None) -> None:
    """Run all stages."""
    from etl.admin.run_all import run_stages

    raise typer.Exit(run_stages(run))


@app.command(
    help="Analyse new loads: machine indicators, faults and forecasts.",
    epilog=variables(AnalyzeSettings, CassandraSettings, KafkaSettings),
)
def analyze() -> None:
    """Analyse new loads."""
    from etl.insight.analyze import analyze as analyze_new
    from etl.insight.limits import check_alarms, default_limits, read_limits
    from etl.model.measurements import read_measurements

    settings = read_settings(AnalyzeSettings)
    began = time.monotonic()
    measurements = read_measurements(read_settings(RunSettings).measurements_file)
    limits = read_limits(settings.limits_file) if settings.limits_file else default_limits()
    check_alarms(limits, measurements)
    counts = analyze_new(
        measurements,
        limits,
        settings,
        read_settings(CassandraSettings),
        read_settings(KafkaSettings),
    )
    log.info("done", stage="analyze", seconds=round(time.monotonic() - began, 3), **counts)


@app.command(
    help="Create missing topics and tables. Idempotent; nothing is ever dropped.",
    epilog=variables(SchemaSettings, KafkaSettings, CassandraSettings),
)
def schema(wait: WaitForUsers = 0) -> None:
    """Create topics, keyspace and tables."""
    from etl.admin.schema import create_schema
    from etl.model.measurements import read_measurements

    measurements = read_measurements(read_settings(RunSettings).measurements_file)
    parts = read_settings(SchemaSettings), read_settings(CassandraSettings), read_settings(KafkaSettings)
    # An operator creates users after its services accept connections.
    passing = Unreachable, CredentialsError
    for finding in patiently(wait, lambda: list(create_schema(measurements, *parts)), passing):
        _print_line("warn" if finding.warning else "ok", finding.text)


@app.command(
    help="Grant the stages' users and roles their rights. Also sets passwords, and revokes rights that no stage "
    "needs. For an administrator, after `etl schema`. Idempotent.",
    epilog=variables(GrantSettings, KafkaSettings, CassandraSettings),
)
def grant(wait: Wait = 0) -> None:
    """Create users and roles from mounted secrets."""
    from etl.admin.grant import grant_access

    settings = read_settings(GrantSettings)
    for finding in patiently(wait, lambda: list(grant_access(settings))):
        _print_line("warn" if finding.warning else "ok", finding.text)


@app.command(
    help="Replace the default superuser of a new node. Uses the Cassandra role in the settings.",
    epilog=variables(CassandraSettings),
)
def superuser(wait: Wait = 0) -> None:
    """Replace the default superuser."""
    from etl.admin.superuser import replace_default_superuser

    settings = read_settings(CassandraSettings)
    _print_line("ok", patiently(wait, lambda: replace_default_superuser(settings)))


@app.command(
    help="Wait, without a time limit, until the tables exist and the role may read them.",
    epilog=variables(CassandraSettings),
)
def wait() -> None:
    """Wait for the tables."""
    from etl.admin.wait import wait_for_tables

    _print_line("ok", wait_for_tables())


@app.command(
    help="Show consumer lag, watermarks and the last runs.", epilog=variables(KafkaSettings, CassandraSettings)
)
def status(
    runs: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="How many runs to show.")] = 5,
) -> None:
    """Show consumer lag, watermarks and the last runs."""
    from etl.admin.status import read_status
    from etl.run.ledger import unmapped
    from etl.terminal import print_table, written

    kafka = read_settings(KafkaSettings)
    found = read_status(read_settings(CassandraSettings), kafka, runs)
    for topic in kafka.topics:
        lags = [[lag.partition, lag.committed, lag.end, lag.lag] for lag in found.lags if lag.topic == topic]
        print_table(f"topic {topic}, group {kafka.group}", ["partition", "committed", "end", "lag"], lags)
    marks = found.watermarks
    print_table("watermarks", ["equipment", "oldest", "newest"], [[marks.equipment, marks.oldest, marks.newest]])
    lines = [
        [
            run.run,
            stage.stage,
            f"{stage.shard} of {stage.shards}" if stage.shards > 1 else None,
            stage.started,
            stage.seconds,
            written(stage.counts),
        ]
        for run in found.runs
        for stage in run.stages
    ]
    print_table("last runs", ["run", "stage", "shard", "started", "seconds", "readings"], lines)
    fields = [[run.run, text] for run, text in zip(found.runs, unmapped(found.runs), strict=True) if text]
    if fields:
        print_table("fields that are not mapped", ["run", "elements by field"], fields)


@app.command(
    help="Serve the page. It shows machines, their events and energy, and the pipeline.",
    epilog=variables(PageSettings, CassandraSettings),
)
def page() -> None:
    """Serve the page."""
    from etl.page.server import serve

    serve()


@app.command(
    help="Write a report of some days, as one HTML or PDF file.", epilog=variables(ReportSettings, CassandraSettings)
)
def report(
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First day (UTC), as in 2026-01-05.")],
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="File to write.")],
    pdf: Annotated[bool, typer.Option("--pdf", help="Write PDF, which needs Chromium.")] = False,
) -> None:
    """Write the report."""
    from etl.report.report import report as write_report

    _print_line("ok", write_report(_day("--from", first), _day("--to", last), output, pdf=pdf))


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {text} is no day, write it as 2026-01-05") from error


@app.command(
    help="Check every dependency and name the remedy. The exit code is that of the worst problem.",
    epilog=variables(*PARTS),
)
def doctor() -> None:
    """Check everything."""
    from etl.admin.doctor import check_all, worst

    checks = []
    for check in check_all():
        _print_line(check.state, f"{check.what}: {check.text}")
        checks.append(check)
    raise typer.Exit(worst(checks))


def _print_line(state: str, text: str) -> None:
    colors = {"ok": "green", "warn": "yellow", "fail": "red"}
    typer.echo(typer.style(f"{state:<4}", fg=colors[state]) + f"  {without_secrets(text)}")
