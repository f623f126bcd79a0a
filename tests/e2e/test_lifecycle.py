"""Installed as an upgrade of an earlier chart, and tested by Helm."""

import json
from collections.abc import Callable

import pytest

from images import install
from tests.e2e.conftest import SECRETS, Earlier


@pytest.mark.long
def test_passwords_and_certificates_survive_the_upgrade_from_an_earlier_chart(
    cluster: str, earlier: Earlier, secret: Callable[[str, str], str]
) -> None:
    if earlier.why_not:
        pytest.skip(earlier.why_not)
    history = json.loads(install.helm(cluster, "history", install.RELEASE, "--output=json"))
    assert history[0]["revision"] == 1
    assert [item["status"] for item in history] == ["superseded"] * (len(history) - 1) + ["deployed"]
    assert len(history) > 1
    assert {name: secret(name, key) for name, key in SECRETS.items()} == earlier.secrets


def test_helm_test_runs_a_small_pipeline(cluster: str) -> None:
    install.helm(cluster, "test", install.RELEASE, "--timeout", "5m")
