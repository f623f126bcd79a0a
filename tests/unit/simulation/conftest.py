from collections.abc import Iterator

import pytest

from tests.quiet import quiet_for_now


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The stages log nothing here, and as before in all other tests."""
    with quiet_for_now():
        yield
