"""The end of a command's help: its settings."""

from pydantic_settings import BaseSettings

from etl.settings import describe

_EVERYWHERE = ["ETL_LOG_FORMAT\n    `json` for machines, else readable lines"]


def variables(*parts: type[BaseSettings]) -> str:
    """Return a list of variables with meanings and defaults, for the end of a command's help."""
    lines = [
        f"{name}\n    {text}{f' [{default}]' if default else ''}"
        for part in parts
        for name, (text, default) in describe(part).items()
    ]
    # Typer does not wrap the lines of a paragraph that begins with this mark.
    return "\b\nSettings, from the environment or files of these names in ETL_SECRETS_DIR:\n" + "\n".join(
        [*lines, *_EVERYWHERE]
    )
