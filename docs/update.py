"""Write the generated parts of the docs: settings by part, and who may touch what. `make docs` runs it.

A generated part stands between `<!-- NAME -->` and `<!-- end -->`; NAME is `access` or a class of `etl.settings`.
"""

import re
from pathlib import Path

from etl import settings
from etl.access import read_access

DOCS = Path(__file__).parent
_PART = re.compile(r"<!-- (access|\w+Settings) -->\n.*?<!-- end -->", re.DOTALL)


def updated(text: str) -> str:
    """Return a page with its generated parts as the code has them now."""
    return _PART.sub(lambda part: f"<!-- {part[1]} -->\n{_generated(part[1])}<!-- end -->", text)


def _generated(name: str) -> str:
    return _access() if name == "access" else _settings(name)


def _settings(name: str) -> str:
    rows = [
        f"| `{variable}` | {text} | {f'`{default}`' if default else ''} |"
        for variable, (text, default) in settings.describe(getattr(settings, name)).items()
    ]
    return "\n".join(["| variable | meaning | default |", "|---|---|---|", *rows]) + "\n"


def _access() -> str:
    rows = []
    for stage, services in read_access().items():
        cells = [
            "; ".join(f"{what}: {', '.join(rights)}" for what, rights in services.get(service, {}).items()) or "-"
            for service in ("kafka", "cassandra")
        ]
        rows.append(f"| {stage} | {cells[0]} | {cells[1]} |")
    return "\n".join(["| stage | Kafka | Cassandra |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    for page in DOCS.glob("*.md"):
        page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")
