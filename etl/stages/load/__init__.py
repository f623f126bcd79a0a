"""Stage 5: rows into Cassandra, offsets last."""

from etl.stages.load.stage import load

__all__ = ["load"]
