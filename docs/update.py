"""Write the generated parts of the docs: tables of settings, access rights, metrics and scenarios. `make docs` runs it.

A generated part is between `<!-- NAME -->` and `<!-- end -->`; NAME is `access`, `acls`, `scenarios`, `stage-metrics`,
`page-metrics` or a class of `etl.settings`. The chart gets the ACLs, too, and its values schema and README
(`docs.chart`).
"""

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from docs import chart, scenarios
from etl import settings
from etl.admin.access import kafka_operations, read_access
from etl.page.metrics import PAGE_METRICS
from etl.run.metrics import STAGE_METRICS, Metric

DOCS = Path(__file__).parent
ACLS = DOCS.parent / "charts" / "sensor-etl" / "files" / "acls.yaml"
_PART = re.compile(r"<!-- (access|acls|scenarios|(?:stage|page)-metrics|\w+Settings) -->\n.*?<!-- end -->", re.DOTALL)


def updated(text: str) -> str:
    """Return a page with its generated parts up to date."""
    return _PART.sub(lambda part: f"<!-- {part[1]} -->\n{_generated(part[1])}<!-- end -->", text)


def acls() -> str:
    """Return the ACLs of each stage as YAML, with operations of Strimzi's KafkaUser; the chart inserts the names."""
    lines = ["# Generated from etl/admin/access.yaml by `make docs`: each stage's rights as operations of a KafkaUser."]
    for stage in read_access():
        operations = kafka_operations(stage)
        lines += [f"{stage}:"] if operations else []
        lines += [
            f"  - {{resource: {resource}, operations: [{', '.join(map(_camel_case, named))}]}}"
            for resource, named in operations.items()
        ]
    return "\n".join(lines) + "\n"


def _camel_case(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


def _generated(name: str) -> str:
    tables = {
        "access": _access,
        "acls": _acls,
        "scenarios": scenarios.table,
        "stage-metrics": partial(_metrics, STAGE_METRICS),
        "page-metrics": partial(_metrics, PAGE_METRICS),
    }
    return tables[name]() if name in tables else _settings(name)


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


def _acls() -> str:
    resources = ("topic", "more-topics", "dead-letters", "events", "group", "cluster")
    rows = []
    for stage in read_access():
        operations = kafka_operations(stage)
        cells = [", ".join(map(_camel_case, operations.get(resource, []))) or "-" for resource in resources]
        if operations:
            rows.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join([f"| stage | {' | '.join(resources)} |", "|---" * (len(resources) + 1) + "|", *rows]) + "\n"


def _metrics(metrics: Iterable[Metric]) -> str:
    rows = [f"| `{each.name}` | gauge | {each.unit} | {', '.join(each.labels)} | {each.help} |" for each in metrics]
    return "\n".join(["| metric | type | unit | labels | meaning |", "|---|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    ACLS.write_text(acls(), encoding="utf-8")
    chart.SCHEMA.write_text(chart.schema(), encoding="utf-8")
    chart.README.write_text(chart.readme(), encoding="utf-8")
    for page in DOCS.glob("*.md"):
        page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")
