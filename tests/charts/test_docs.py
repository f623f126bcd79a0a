"""The values files in the docs: Helm takes each on top of the defaults, and Kubernetes the objects."""

import re
from pathlib import Path

import pytest

from tests.charts.conftest import CHART, Render
from tests.charts.test_features import OPERATORS, VERSIONS, everything, group, validator

DOCS = CHART.parents[1] / "docs"
BLOCK = re.compile(r"^```yaml (values\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VALUES = {
    f"{page.name} {name}": text
    for page in sorted(DOCS.glob("*.md"))
    for name, text in BLOCK.findall(page.read_text(encoding="utf-8"))
}


def test_page_of_your_own_services_has_values_for_each_of_them() -> None:
    assert sum(name.startswith("own-services.md ") for name in VALUES) > 1


@pytest.mark.parametrize("name", VALUES)
def test_values_of_the_docs_give_objects_that_kubernetes_takes(render: Render, tmp_path: Path, name: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(VALUES[name])
    objects = [item for item in everything(render(file=file)) if group(item) not in OPERATORS]
    assert len(objects) > 15
    for item in objects:
        for version in VERSIONS:
            validator(version, item["kind"], item["apiVersion"]).validate(item)
