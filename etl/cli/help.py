"""The end of a command's help: its settings."""

from pydantic_settings import BaseSettings

from etl.settings import describe

_EVERYWHERE = ["ETL_LOG_FORMAT\n    `json` for machines, else readable lines"]


def variables(*parts: type[BaseSettings]) -> str:
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
