"""Stage 5: write rows to Cassandra, commit offsets last."""

from etl.stages.load.stage import load

__all__ = ["load"]
