"""Print tables and progress, with rich on a terminal and as plain text elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from etl.printable import printable

LOG_SECONDS = 10.0

log = structlog.get_logger("etl.progress")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on standard output; align numbers to the right."""
    cells = [["" if cell is None else _text(cell) for cell in row] for row in rows]
    numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        for column, right in zip(columns, numeric, strict=True):
            table.add_column(column, justify="right" if right else "left")
        for line in cells:
            table.add_row(*line)
        Console().print(table, markup=False)
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    print(title)
    for line in [list(columns), *cells]:
        padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, numeric, strict=True)]
        print("  " + "  ".join(padded).rstrip())


def written(counts: Mapping[str, int]) -> str:
    """Return counts as one line, without zeros."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "nothing"


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else printable(str(cell))


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show the progress of long work: a bar on a terminal, else a log line every `LOG_SECONDS`.

    Args:
        what: name of the work.
        total: total number of readings, None if unknown.

    Yields:
        A function that takes the number of further readings.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count: bar.advance(task, count)
        return
    done, last = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic()
            log.info(what, readings=done, **({} if total is None else {"of": total}))

    yield advance
