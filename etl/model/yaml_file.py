"""Read YAML files that people write; report an error in one line."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from etl.errors import SettingsError


def read_document(path: Path, kind: str) -> Any:
    """Read a YAML file; `kind` names it in the message of an error.

    Raises:
        SettingsError: the file cannot be read; the message has one line.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    # PyYAML also raises errors of Python, such as ValueError for the date 2026-13-45, or RecursionError.
    except Exception as error:
        raise SettingsError(f"{kind} file {path} cannot be read: {' '.join(str(error).split())}") from error


def first_problem(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """Return the location and the message of the first problem, without the value, which may be a secret."""
    first = error.errors(include_input=False, include_url=False)[0]
    return first["loc"], first["msg"].removeprefix("Value error, ")
