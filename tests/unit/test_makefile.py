import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["test", "test-charts", "e2e"])
def test_only_pytest_gets_arguments_when_tests_are_selected(target: str) -> None:
    # The `make test` that runs this test hands its flags down in MAKEFLAGS.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", target, "ARGS=-m 'not long'"]
    plan = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    with_arguments = [line for line in plan.stdout.splitlines() if "-m 'not long'" in line]
    assert len(with_arguments) == 1
    assert "-m pytest" in with_arguments[0]
