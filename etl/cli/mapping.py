"""The commands `etl mapping ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli.help import variables
from etl.errors import SettingsError
from etl.settings import ConsumeSettings, GenerateSettings, KafkaSettings, RegistrySettings, RunSettings, read_settings

if TYPE_CHECKING:
    from etl.admin.mapping_trial import Trial
    from etl.model.measurements import Measurements

app = typer.Typer(help="Try or guess a mapping; nothing is written.", no_args_is_help=True, rich_markup_mode=None)

SHOWN = 10

File = Annotated[str | None, typer.Argument(metavar="FILE", help="Path or fsspec URL of a recorded file.")]
Topic = Annotated[bool, typer.Option("--topic", help="The newest records of the topic (ETL_KAFKA_TOPIC).")]


@app.command(
    "try",
    help="Show the readings of a file or of the topic as they would be stored, the dead letters, and unknown fields.",
    epilog=variables(ConsumeSettings, GenerateSettings, KafkaSettings, RegistrySettings),
)
def try_mapping(
    file: File = None,
    topic: Topic = False,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The mapping (ETL_GENERATE_MAPPING_FILE, ETL_CONSUME_MAPPING_FILE)."),
    ] = None,
) -> None:
    """Try a mapping."""
    from etl.admin.mapping_trial import try_file, try_topic

    measurements = _measurements(file, topic)
    if file is None:
        chosen = mapping or read_settings(ConsumeSettings).mapping_file
        trial = try_topic(read_settings(KafkaSettings), read_settings(RegistrySettings), chosen, measurements)
    else:
        chosen = mapping or read_settings(GenerateSettings).mapping_file
        if chosen is None:
            raise SettingsError("which mapping? set ETL_GENERATE_MAPPING_FILE, or give --mapping")
        trial = try_file(file, chosen, measurements)
    _show(trial)


@app.command(
    "guess",
    help="Print a first mapping of a file or of the topic. Check each line of it, and try it.",
    epilog=variables(GenerateSettings, KafkaSettings),
)
def guess_mapping(file: File = None, topic: Topic = False) -> None:
    """Guess a mapping."""
    from etl.admin.mapping_guess import guess_file, guess_topic

    measurements = _measurements(file, topic)
    if file is None:
        typer.echo(guess_topic(read_settings(KafkaSettings), measurements), nl=False)
    else:
        typer.echo(guess_file(file, measurements), nl=False)


def _measurements(file: str | None, topic: bool) -> "Measurements":
    from etl.model.measurements import read_measurements

    if (file is None) != topic:
        raise SettingsError("give either a file or --topic")
    return read_measurements(read_settings(RunSettings).measurements_file)


def _show(trial: "Trial") -> None:
    from etl.run.rejected import likely_cause
    from etl.terminal import print_table

    if trial.readings:
        columns = list(dict.fromkeys(name for row in trial.readings[:SHOWN] for name in row))
        rows = [[_cell(row.get(name)) for name in columns] for row in trial.readings[:SHOWN]]
        print_table("first readings, as they would be stored", columns, rows)
    if trial.dead_letters:
        print_table("first dead letters", ["origin", "reason", "detail"], trial.dead_letters[:SHOWN])
    for name, number in trial.bad.most_common():
        typer.echo(
            f"not stored, or uncertain: {name} of {number:,} readings, such as {trial.examples[name]} (`decimal`,"
            " `thousands`, `missing`, `bad`, `unit`, `quality` of the mapping, or the range of the measurement)"
        )
    if trial.unknown:
        fields = ", ".join(f"{name} ({number:,})" for name, number in trial.unknown.most_common(SHOWN))
        typer.echo(f"fields that are not mapped: {fields}")
    typer.echo(f"{len(trial.readings):,} readings and {len(trial.dead_letters):,} dead letters in the sample")
    if trial.dead_letters and not trial.readings:
        _, reason, detail = trial.dead_letters[0]
        raise SettingsError(f"nothing of the sample is a reading: {likely_cause(reason, detail)}")
    if not trial.readings:
        raise SettingsError("the sample is empty")


def _cell(value: object) -> object:
    # All digits that are stored, and no marks of thousands.
    return f"{value:.15g}" if isinstance(value, float) else value
