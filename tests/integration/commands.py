"""The commands of a page of the docs, and the output that stands below them."""

import os
import re
import subprocess
from dataclasses import dataclass
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, Example, OutputChecker
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A block of commands with what is written beside `bash`, and the block of text right below it.
_BLOCK = re.compile(r"^```bash([^\n]*)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_END = "---- end of a block ----"


@dataclass(frozen=True)
class Block:
    """Commands, what is written beside them, and their output (None if the page does not show it)."""

    mark: str
    commands: str
    output: str | None


def read_blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    return [Block(*found.groups()) for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def program(folder: Path, name: str, command: str) -> str:
    """Make a program of this name that runs a command with its arguments; return the folder for the PATH."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    file.chmod(0o755)
    return str(file.parent)


def run(blocks: list[Block], environment: dict[str, str], folder: Path = ROOT) -> None:
    """Run blocks in one shell, as a reader does, by default in the folder of the project; compare their output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
    path = f"{environment.get('PATH', '')}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    script = "".join(f"{block.commands}\necho; echo '{_END}'\n" for block in blocks)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=kept | environment | {"PATH": path.lstrip(":")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    for block, output in zip(blocks, done.stdout.split(f"\n{_END}\n"), strict=False):
        if block.output is not None:
            _compare(block, output)


def _compare(block: Block, output: str) -> None:
    """`...` in the docs stands for any text."""
    options, checker = ELLIPSIS | NORMALIZE_WHITESPACE, OutputChecker()
    wanted = Example(block.commands, block.output or "")
    assert checker.check_output(wanted.want, output, options), checker.output_difference(wanted, output, options)
