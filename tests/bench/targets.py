"""What the lines are meant to reach on a machine of two cores with 1 million readings of 100 machines."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.bench.figures import Figure

Measure = Literal["rate", "seconds", "cpu_per_million", "peak_mib"]

_UNITS = {"rate": "/s", "seconds": " s", "cpu_per_million": " CPU s/M", "peak_mib": " MiB"}


@dataclass(frozen=True)
class Target:
    """A bound on one measure of a line: a number, or a multiple of the best of some other lines."""

    line: str
    measure: Measure
    bound: Literal[">=", "<="]
    value: float
    times: tuple[str, ...] = ()

    def verdict(self, figures: Mapping[str, Figure]) -> "Verdict | None":
        """Compare; None where what it is compared with was not measured."""
        found = getattr(figures[self.line], self.measure)
        others = [getattr(figures[name], self.measure) for name in self.times if name in figures]
        if found is None or (self.times and not others):
            return None
        limit = self.value * max(others) if self.times else self.value
        met = operator.ge(found, limit) if self.bound == ">=" else operator.le(found, limit)
        text = f"{self.bound} {limit:,.0f}{_UNITS[self.measure]}"
        if self.times:
            name = self.times[0].rpartition(" of ")[0] or self.times[0]
            text += f" ({self.value:g} x {name}: is {found / max(others):.2f})"
        return Verdict(text, met)


@dataclass(frozen=True)
class Verdict:
    """A target in words, and whether it was met."""

    text: str
    met: bool


BATCHES = tuple(f"driver's batches of {size}" for size in (50, 100, 400))
STRESS = tuple(f"cassandra-stress, batches of {size}" for size in (100, 400))
SPARK = ("Spark and its connector, warm, 3rd run",)
FROM_JSON = tuple(f"topic to table, {shape}, librdkafka" for shape in ("JSON", "nested JSON", "JSON arrays"))

TARGETS = (
    Target("generate", "rate", ">=", 1_000_000),
    Target("generate from CSV", "rate", ">=", 500_000),
    Target("generate from Parquet", "rate", ">=", 2_000_000),
    Target("produce Arrow", "rate", ">=", 500_000),
    Target("produce JSON", "rate", ">=", 0.8, ("kafka-python produces bytes",)),
    Target("consume Arrow, kafka-python", "rate", ">=", 500_000),
    Target("consume JSON, kafka-python", "rate", ">=", 0.9, ("kafka-python consumes bytes",)),
    Target("consume JSON, librdkafka", "rate", ">=", 3, ("confluent-kafka and orjson consume",)),
    Target("consume Avro, librdkafka", "rate", ">=", 0.8, ("consume JSON, librdkafka",)),
    Target("transform", "rate", ">=", 1_000_000),
    Target("load", "rate", ">=", 120_000),
    Target("load", "rate", ">=", 2.5, BATCHES),
    Target("load", "rate", ">=", 20, ("driver's execute_concurrent_with_args",)),
    Target("load", "rate", ">=", 1.5, STRESS),
    Target("topic to table, Arrow, kafka-python", "rate", ">=", 80_000),
    # What a tuned Spark does in a warm JVM, and the processor time that it takes for it.
    Target("topic to table, JSON, librdkafka", "rate", ">=", 66_800),
    Target("topic to table, JSON, librdkafka", "cpu_per_million", "<=", 12),
    *(Target(line, "rate", ">=", 1.5, SPARK) for line in FROM_JSON),
    *(Target(line, "cpu_per_million", "<=", 0.5, SPARK) for line in FROM_JSON),
    Target("etl run", "seconds", "<=", 25),
    Target("etl run, ten times as many", "rate", ">=", 0.9, ("etl run",)),
    Target("etl run, ten times as many", "peak_mib", "<=", 512),
)


def verdicts(figures: Mapping[str, Figure]) -> dict[str, list[Verdict]]:
    """Compare every line that has targets, and what they need, with them."""
    found: dict[str, list[Verdict]] = {}
    for target in TARGETS:
        verdict = target.verdict(figures) if target.line in figures else None
        if verdict:
            found.setdefault(target.line, []).append(verdict)
    return found
