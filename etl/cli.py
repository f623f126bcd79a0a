"""The command `etl`.

Each sub-command imports what it needs by itself, so that a stage starts fast and runs where only its own
dependencies are installed.
"""

import platform
import sys
import time
from datetime import date, datetime
from importlib import import_module
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from pydantic_settings import BaseSettings

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
    describe,
    read_settings,
    read_stage_settings,
    unknown_variables,
)
from etl.urls import without_secrets

if TYPE_CHECKING:
    from etl.run.dead_letters import Letter

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

Wait = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Try again for so long while a service cannot be reached.")
]
WaitForUsers = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        help="Try again for so long while a service cannot be reached, or refuses the credentials.",
    ),
]
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


def _run_stage(name: str, run: str | None, **given: object) -> None:
    """Run a stage, `etl.stages.<name>.<name>`; importing it here keeps the others' dependencies away."""
    from etl.run.runner import run_stage

    settings = read_settings(RunSettings, run_id=run)
    if not settings.run_id:
        raise SettingsError("which run? set ETL_RUN_ID or give --run, the same for all stages of a run")
    parts = read_stage_settings(name, **given)
    run_stage(name, getattr(import_module(f"etl.stages.{name}"), name), settings, *parts)


def _stage_variables(name: str) -> str:
    return _variables(*STAGE_PARTS[name], RunSettings)


@app.command(help="Stage 1: make readings, or take recorded ones.", epilog=_stage_variables("generate"))
def generate(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("generate", run)


@app.command(help="Stage 2: write readings to the topic.", epilog=_stage_variables("produce"))
def produce(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("produce", run)


@app.command(
    help="Stage 3: read what is new on the topic. From the committed offsets to the end; commits nothing.",
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
    help="Stage 4: check readings, tell new ones. The others are duplicates, late, conflicting or rejected.",
    epilog=_stage_variables("transform"),
)
def transform(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("transform", run)


@app.command(
    help="Stage 5: write to Cassandra. Rows first, then dead letters and watermarks, then the offsets are committed.",
    epilog=_stage_variables("load"),
)
def load(run: Run = None) -> None:
    """Run the stage."""
    _run_stage("load", run)


@app.command(
    "run",
    help="Run all five stages. Checks everything first, runs each stage as a process, and shows what they did. "
    "With the ID of a run that did not finish: go on where it stopped.",
    epilog=_variables(*PARTS),
)
def run_all(run: Run = None) -> None:
    """Run all stages."""
    from etl.admin.run_all import run_stages

    raise typer.Exit(run_stages(run))


@app.command(
    help="Look at what was loaded since the last time: what machines did, what is wrong with them, what is to come.",
    epilog=_variables(AnalyzeSettings, CassandraSettings, KafkaSettings),
)
def analyze() -> None:
    """Analyse what is new."""
    from etl.insight.analyze import analyze as analyze_new
    from etl.insight.limits import default_limits, read_limits
    from etl.model.measurements import read_measurements

    settings = read_settings(AnalyzeSettings)
    began = time.monotonic()
    counts = analyze_new(
        read_measurements(read_settings(RunSettings).measurements_file),
        read_limits(settings.limits_file) if settings.limits_file else default_limits(),
        settings,
        read_settings(CassandraSettings),
        read_settings(KafkaSettings),
    )
    log.info("done", stage="analyze", seconds=round(time.monotonic() - began, 3), **counts)


@app.command(
    help="Create topics and tables. Again and again without harm; nothing is dropped.",
    epilog=_variables(SchemaSettings, KafkaSettings, CassandraSettings),
)
def schema(wait: WaitForUsers = 0) -> None:
    """Create topics, keyspace and tables."""
    from etl.admin.schema import create_schema
    from etl.model.measurements import read_measurements

    measurements = read_measurements(read_settings(RunSettings).measurements_file)
    parts = read_settings(SchemaSettings), read_settings(CassandraSettings), read_settings(KafkaSettings)
    # An operator makes its users after its services let anybody in.
    passing = Unreachable, CredentialsError
    for finding in patiently(wait, lambda: list(create_schema(measurements, *parts)), passing):
        _print_line("warn" if finding.warning else "ok", finding.text)


@app.command(
    help="Give the stages' users and roles their rights. Sets passwords too; takes away what a stage does not need. "
    "For an administrator, after `etl schema`; again and again without harm.",
    epilog=_variables(GrantSettings, KafkaSettings, CassandraSettings),
)
def grant(wait: Wait = 0) -> None:
    """Make users and roles from mounted secrets."""
    from etl.admin.grant import grant_access

    settings = read_settings(GrantSettings)
    for finding in patiently(wait, lambda: list(grant_access(settings))):
        _print_line("warn" if finding.warning else "ok", finding.text)


@app.command(
    help="Put the administrator of the settings in the place of the one that every new Cassandra node has.",
    epilog=_variables(CassandraSettings),
)
def superuser(wait: Wait = 0) -> None:
    """Replace the default superuser."""
    from etl.admin.superuser import replace_default_superuser

    settings = read_settings(CassandraSettings)
    _print_line("ok", patiently(wait, lambda: replace_default_superuser(settings)))


@app.command(help="Show lag, watermarks and the last runs.", epilog=_variables(KafkaSettings, CassandraSettings))
def status(
    runs: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="How many runs to show.")] = 5,
) -> None:
    """Show how far everything is."""
    from etl.admin.status import read_status
    from etl.terminal import print_table, written

    kafka = read_settings(KafkaSettings)
    found = read_status(read_settings(CassandraSettings), kafka, runs)
    lags = [[lag.partition, lag.committed, lag.end, lag.lag] for lag in found.lags]
    print_table(f"topic {kafka.topic}, group {kafka.group}", ["partition", "committed", "end", "lag"], lags)
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


@app.command(
    help="Serve the page that shows machines, their events and energy, and the pipeline.",
    epilog=_variables(PageSettings, CassandraSettings),
)
def page() -> None:
    """Serve the page."""
    from etl.page.server import serve

    serve()


@app.command(
    help="Write a report of some days, as one HTML or PDF file.", epilog=_variables(ReportSettings, CassandraSettings)
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
    help="Check every dependency, say what to do. The exit code is that of the worst problem.",
    epilog=_variables(*PARTS),
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


Reason = Annotated[list[str] | None, typer.Option(metavar="REASON", help="Only of this reason; may be repeated.")]
OfRun = Annotated[str | None, typer.Option("--run", metavar="ID", help="Only of this run.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only published at this ISO 8601 time or later.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only published before this time.")]


@dead_letters.command("list", help="Show dead letters, oldest first, each once.", epilog=_variables(KafkaSettings))
def list_dead_letters(
    reason: Reason = None,
    run: OfRun = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Show no more than this.")] = 100,
) -> None:
    """Show dead letters."""
    from etl.kafka.client import connect
    from etl.run.dead_letters import Choice, list_letters
    from etl.terminal import print_table

    choice = Choice(frozenset(reason or ()), run, _time("--since", since), _time("--until", until))
    with connect(read_settings(KafkaSettings)) as client:
        letters = list(islice(list_letters(client, choice), limit + 1))
    rows = [
        [
            f"{letter.published:%Y-%m-%dT%H:%M:%S.%fZ}",
            letter.run,
            letter.reason,
            letter.replays,
            _origin(letter),
            (letter.key or b"").decode(errors="replace"),
            letter.detail,
        ]
        for letter in letters[:limit]
    ]
    print_table("dead letters", ["published", "run", "reason", "replays", "origin", "key", "detail"], rows)
    if len(letters) > limit:
        typer.echo(f"and more: see them with --limit, --since {rows[-1][0]}")


@dead_letters.command(
    "replay",
    help="Send dead letters to the topic again. Those that lost, or came too late, only with --force.",
    epilog=_variables(KafkaSettings),
)
def replay_dead_letters(
    reason: Reason = None,
    run: OfRun = None,
    since: Since = None,
    until: Until = None,
    force: Annotated[bool, typer.Option("--force", help="Also those that lost against another, or came late.")] = False,
) -> None:
    """Send dead letters again."""
    from etl.kafka.client import connect
    from etl.run.dead_letters import Choice, replay

    choice = Choice(frozenset(reason or ()), run, _time("--since", since), _time("--until", until))
    with connect(read_settings(KafkaSettings)) as client:
        done = replay(client, choice, force)
    typer.echo(f"{done.sent:,} replayed")
    if done.lost:
        typer.echo(f"{done.lost:,} left out, since they lost or came too late (--force sends them)")
    if done.from_files:
        typer.echo(f"{done.from_files:,} left out, since they are lines of a file: correct it and generate from it")


def _origin(letter: "Letter") -> str:
    if letter.topic is None:
        return f"{letter.file}:{letter.line}"
    index = "" if letter.index is None else f" reading {letter.index}"
    return f"{letter.topic} {letter.partition}:{letter.offset}{index}"


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}") from error
    if time.tzinfo is None:
        raise SettingsError(f"{option}: {text} has no zone, add one such as Z or +01:00")
    return time
