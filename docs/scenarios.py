"""The table of the scenarios in a cluster, from the folders of `tests/e2e/scenarios`.

Each folder holds a test, and `steps.md` with the steps, a paragraph `What happens: ...` and one `What you see: ...`.
"""

import re
from pathlib import Path

FOLDERS = Path(__file__).parents[1] / "tests" / "e2e" / "scenarios"
_STEPS = re.compile(r"# (.+)\n\n(?:1\. .+?)\n\nWhat happens: (.+?)\n\nWhat you see: (.+)", re.DOTALL)


def table() -> str:
    """Return the table, a row for each scenario."""
    rows = [_row(folder / "steps.md") for folder in sorted({test.parent for test in FOLDERS.glob("*/test_*.py")})]
    return "\n".join(["| scenario | what happens | what you see | test |", "|---|---|---|---|", *rows]) + "\n"


def _row(steps: Path) -> str:
    found = _STEPS.fullmatch(steps.read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{steps}: not a title, steps, `What happens: ...` and `What you see: ...`")
    title, happens, seen = (" ".join(part.split()) for part in found.groups())
    code = "".join(file.read_text(encoding="utf-8") for file in sorted(steps.parent.glob("test_*.py")))
    tests = ", ".join(f"`{name}`" for name in re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))
    link = f"../{steps.relative_to(FOLDERS.parents[2])}"
    return f"| [{title}]({link}) | {happens} | {seen} | {tests} |"
