"""Programs of the machine that some tests need."""

import os
import shutil

import pytest


def require(*names: str, variable: str) -> str:
    """Find one of these programs; without them the test is skipped, or fails if an environment variable is 1."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        reason = f"none of {', '.join(names)} is installed (with {variable}=1 this fails)"
        if os.environ.get(variable) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
