"""What all tests share."""

from hypothesis import settings

# A shared machine is slow at times; tests measure nothing.
settings.register_profile("default", deadline=None)
settings.load_profile("default")
