"""Stage 1: synthetic or recorded readings."""

from etl.stages.generate.stage import generate

__all__ = ["generate"]
