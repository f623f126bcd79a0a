"""What holds for every image."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from images import sbom
from images.build import VERSION, tag
from images.docker import image_id
from images.names import NAMES
from tests.images.conftest import Run

SHELL = ["--entrypoint=sh"]
TOOLS = ("pip", "pip3", "uv", "cc", "gcc", "g++", "ld", "make", "javac", "jlink", "mvn", "git", "curl", "wget")


@pytest.mark.parametrize("name", NAMES)
def test_image_runs_as_nobody_that_matters(run: Run, inspect: Callable[[str], Any], name: str) -> None:
    user = inspect(name)["User"]
    assert user == ("50000:0" if name == "airflow" else "10001:10001")
    done = run(name, "-c", "id -u; id -g; id -un", options=SHELL)
    uid, gid, username = done.stdout.split()
    assert f"{uid}:{gid}" == user
    assert username, "initdb and Airflow look their user up"


@pytest.mark.parametrize("name", NAMES)
def test_image_has_no_build_tools_and_no_package_lists(run: Run, name: str) -> None:
    commands = f"for tool in {' '.join(TOOLS)}; do command -v $tool; done"
    done = run(name, "-c", f"{commands}; find /var/lib/apt/lists /var/cache/apt -type f -size +0", options=SHELL)
    assert done.stdout == ""


@pytest.mark.parametrize("name", NAMES)
def test_image_has_no_certificates_but_those_of_debian(run: Run, name: str) -> None:
    # Debian's bundle is rebuilt from these files; one that came from elsewhere would have more or less.
    count = "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; ls /etc/ssl/certs/*.pem | wc -l"
    bundled, single = run(name, "-c", count, options=SHELL).stdout.split()
    assert bundled == single


@pytest.mark.parametrize("name", NAMES)
def test_image_says_what_it_is(inspect: Callable[[str], Any], name: str) -> None:
    labels = inspect(name)["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.title"]


@pytest.mark.parametrize("name", NAMES)
def test_image_has_no_setting_of_the_build_and_no_secret(inspect: Callable[[str], Any], name: str) -> None:
    names = {line.split("=")[0] for line in inspect(name)["Env"]}
    assert not [name for name in names if name.startswith(("PIP_", "UV_", "SSL_")) or "PASSWORD" in name]


@pytest.mark.parametrize("name", NAMES)
def test_sbom_is_of_this_image_and_names_its_packages(inspect: Callable[[str], Any], name: str) -> None:
    inspect(name)
    document = json.loads((sbom.FOLDER / f"{name}.cdx.json").read_text())
    assert document["metadata"]["component"]["bom-ref"] == image_id(tag(name))
    names = {component["name"] for component in document["components"]}
    expected = {"airflow": "apache-airflow", "kafka": "kafka_2.13", "cassandra": "cassandra-all"}
    assert {"libc6", expected.get(name, "postgresql-15" if name == "postgres" else "pyarrow")} <= names
