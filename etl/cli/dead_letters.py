"""The commands `etl dead-letters ...`."""

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli.help import variables
from etl.errors import SettingsError
from etl.settings import KafkaSettings, read_settings

if TYPE_CHECKING:
    from etl.run.dead_letters import Letter

app = typer.Typer(help="List and replay dead letters.", no_args_is_help=True, rich_markup_mode=None)

Reason = Annotated[list[str] | None, typer.Option(metavar="REASON", help="Only of this reason; may be repeated.")]
OfRun = Annotated[str | None, typer.Option("--run", metavar="ID", help="Only of this run.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only published at or after this ISO 8601 time.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only published before this time.")]


@app.command("list", help="Show dead letters, oldest first, each once.", epilog=variables(KafkaSettings))
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
        # Rows instead of letters: the bytes of a letter may be many.
        rows = [_row(letter) for letter in islice(list_letters(client, choice), limit + 1)]
    shown = rows[:limit]
    print_table("dead letters", ["published", "run", "reason", "replays", "origin", "key", "detail"], shown)
    if len(rows) > limit:
        typer.echo(f"and more: use --limit, --since {shown[-1][0]}")


@app.command(
    "replay",
    help="Send dead letters to their original topic. Conflicting, superseded and late ones need --force.",
    epilog=variables(KafkaSettings),
)
def replay_dead_letters(
    reason: Reason = None,
    run: OfRun = None,
    since: Since = None,
    until: Until = None,
    force: Annotated[bool, typer.Option("--force", help="Also send conflicting, superseded and late ones.")] = False,
) -> None:
    """Send dead letters again."""
    from etl.kafka.client import connect
    from etl.run.dead_letters import Choice, replay

    choice = Choice(frozenset(reason or ()), run, _time("--since", since), _time("--until", until))
    with connect(read_settings(KafkaSettings)) as client:
        done = replay(client, choice, force)
    typer.echo(f"{done.sent:,} replayed")
    if done.lost:
        typer.echo(f"{done.lost:,} left out: conflicting, superseded or late (--force sends them)")
    if done.from_files:
        typer.echo(f"{done.from_files:,} left out: lines of a file (correct it and generate from it)")


def _row(letter: "Letter") -> list[object]:
    return [
        f"{letter.published:%Y-%m-%dT%H:%M:%S.%fZ}",
        letter.run,
        letter.reason,
        letter.replays,
        _origin(letter),
        (letter.key or b"").decode(errors="replace"),
        letter.detail,
    ]


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
