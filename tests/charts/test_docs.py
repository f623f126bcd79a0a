"""The values files in the docs: Helm takes each on top of the defaults, and Kubernetes the objects."""

import re
from pathlib import Path

import pytest

from tests.charts.conftest import CHART, Render
from tests.charts.schemas import VERSIONS, everything, validate, write_objects

DOCS = CHART.parents[1] / "docs"
BLOCK = re.compile(r"^```yaml (values\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VALUES = {
    f"{page.name} {name}": text
    for page in sorted(DOCS.glob("*.md"))
    for name, text in BLOCK.findall(page.read_text(encoding="utf-8"))
}


def test_page_of_your_own_services_has_values_for_each_of_them() -> None:
    assert sum(name.startswith("own-services.md ") for name in VALUES) > 1


# Some definitions are generated the first time.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", VERSIONS)
def test_values_of_the_docs_give_objects_that_kubernetes_takes(
    render: Render, checks: dict[str, Path], schemas: dict[str, Path], tmp_path: Path, version: str
) -> None:
    files = []
    for number, (name, text) in enumerate(VALUES.items()):
        values = tmp_path / f"values-{number}.yaml"
        values.write_text(text)
        objects = list(everything(render(file=values)))
        assert len(objects) > 15, name
        files.append(write_objects(objects, tmp_path / f"{number}.yaml"))
    assert validate(checks["kubeconform"], files, [schemas[version], schemas["custom"]]) == ""
