"""One table of all lines for people, and the same as JSON for the README."""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from etl.run.workspace import versions
from etl.terminal import print_table
from tests.bench.figures import Figure
from tests.bench.targets import Verdict

COLUMNS = ["line", "rows", "rows/s", "CPU s/M", "Kafka", "Cassandra", "peak MiB", "target", "met", ""]


def show(title: str, figures: list[Figure], verdicts: dict[str, list[Verdict]]) -> None:
    """Print the table; CPU is in seconds per million rows, of the client and of each service."""
    print_table(title, COLUMNS, _rows(figures, verdicts))


def _rows(figures: list[Figure], verdicts: dict[str, list[Verdict]]) -> list[list[object]]:
    rows: list[list[object]] = []
    for figure in figures:
        first, *more = [_judged(verdict) for verdict in verdicts.get(figure.name, [])] or [[None, None]]
        cells: list[object] = [
            figure.name,
            figure.rows,
            round(figure.rate),
            figure.cpu_per_million,
            figure.service_per_million("kafka"),
            figure.service_per_million("cassandra"),
            None if figure.peak_mib is None else round(figure.peak_mib),
        ]
        rows.append([*cells, *first, "; ".join(figure.notes)])
        rows.extend([*[None] * len(cells), *judged, None] for judged in more)
    return rows


def _judged(verdict: Verdict) -> list[object]:
    return [verdict.text, "met" if verdict.met else "not met"]


def write(path: Path, tables: dict[str, list[Figure]], verdicts: dict[str, list[Verdict]]) -> None:
    """Write everything as JSON, and the tables as Markdown beside it for the docs."""
    document = {
        "machine": machine(),
        "versions": versions(),
        "tables": {title: [_as_json(figure) for figure in figures] for title, figures in tables.items()},
        "targets": {line: [asdict(verdict) for verdict in of] for line, of in verdicts.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join(_markdown(tables, verdicts)))


def _markdown(tables: dict[str, list[Figure]], verdicts: dict[str, list[Verdict]]) -> Iterator[str]:
    yield ", ".join(f"{name} {value}" for name, value in machine().items()) + ".\n"
    for title, figures in tables.items():
        if figures:
            yield f"**{title}**\n"
            yield f"| {' | '.join(COLUMNS)} |"
            yield f"|---|{'---:|' * (len(COLUMNS) - 4)}---|---|---|"
            for row in _rows(figures, verdicts if figures is next(iter(tables.values())) else {}):
                yield f"| {' | '.join(_text(cell) for cell in row)} |"
            yield ""


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell or "")


def _as_json(figure: Figure) -> dict[str, object]:
    return {**asdict(figure), "rate": round(figure.rate), "cpu_per_million": round(figure.cpu_per_million, 2)}


def machine() -> dict[str, object]:
    """What a figure means little without."""
    return {
        "cores": cores(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
