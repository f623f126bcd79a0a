"""What all tests share."""

from hypothesis import settings

# A shared machine is slow at times; tests measure nothing.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Keep bytes out of the names of tests: some hold the time they were made at, and differ between processes."""
    return "bytes" if isinstance(val, bytes) else None
