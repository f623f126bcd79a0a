from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.schedule import quiet


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The stages log nothing here, and as before in all other tests."""
    kept = structlog.get_config()
    quiet()
    yield
    structlog.configure(**kept)
