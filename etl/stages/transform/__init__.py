"""Stage 4: clean and classify readings."""

from etl.stages.transform.stage import transform

__all__ = ["transform"]
