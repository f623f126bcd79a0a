"""Each image has one extra of the package: what it runs can do without what only others have."""

import subprocess
import sys

import pytest

from images.names import PACKAGE
from tests.images.test_stages import FOREIGN, MODULES

# Makes some packages as good as not installed.
WITHOUT = """
import importlib, sys
for name in sys.argv[2:]:
    sys.modules[name] = None
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize("name", PACKAGE)
def test_part_can_be_imported_when_only_its_own_extra_is_installed(name: str) -> None:
    command = [sys.executable, "-c", WITHOUT, MODULES[name], *FOREIGN[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
