"""compose.yaml: its form, the versions that it names, and the order of the stages."""

import json
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from compose_spec import PyCompose

from etl.settings import STAGE_PARTS
from images.build import VERSION
from images.names import PACKAGE
from images.paths import ROOT

TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]


def test_file_has_the_form_of_the_specification() -> None:
    # The library does not know variables in names of images, and no merges.
    parsed = PyCompose.from_json(json.dumps(yaml.safe_load(TEXT.replace("${REGISTRY-}", ""))))
    assert set(parsed.service_names()) == {*PACKAGE, "kafka", "cassandra", "schema"}


@pytest.mark.parametrize("name", PACKAGE)
def test_image_is_that_of_this_version(name: str) -> None:
    assert SERVICES[name]["image"] == f"${{REGISTRY-}}sensor-etl/{name}:{VERSION}"


@pytest.mark.parametrize(("name", "image"), [("kafka", "apache/kafka"), ("cassandra", "cassandra")])
def test_version_of_a_service_is_the_one_of_the_tests(name: str, image: str) -> None:
    pom = ElementTree.parse(ROOT / "images" / name / "pom.xml").getroot()
    assert SERVICES[name]["image"] == f"{image}:{pom.findtext('{*}version')}"


def test_stage_starts_when_the_one_before_has_ended_well() -> None:
    order = ["schema", *STAGE_PARTS, "analyze"]
    for before, after in pairwise(order):
        assert SERVICES[after]["depends_on"] == {before: {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", PACKAGE)
def test_container_of_a_part_can_change_nothing_but_its_volume(name: str) -> None:
    part = SERVICES[name]
    assert (part["read_only"], part["cap_drop"]) == (True, ["ALL"])
    assert part["security_opt"] == ["no-new-privileges:true"]


def test_page_is_open_to_this_machine_alone() -> None:
    assert SERVICES["page"]["ports"] == ["127.0.0.1:8050:8050"]
