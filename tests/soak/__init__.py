"""Runs back to back for hours, to show that nothing grows: `make soak`."""
