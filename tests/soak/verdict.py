"""Whether a series of samples is flat."""

from dataclasses import dataclass

import numpy as np

# A series is flat if the line through its second half rises by no more than this share of its mean, or than `SLACK`.
BOUND = 0.10
# Durations depend on what else the machine does.
BOUND_OF_SECONDS = 0.30
SLACK = {"MiB": 16.0, "handles": 4.0, "threads": 4.0, "sockets": 4.0, "seconds": 1.0, "files": 4.0}


@dataclass(frozen=True)
class Verdict:
    """The second half of a series: its mean, the rise of the line through it, and the allowed rise."""

    name: str
    mean: float
    rise: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether the series does not grow."""
        return self.rise <= self.allowed


def judge(name: str, times: list[float], values: list[float]) -> Verdict:
    """Fit a line to the second half of a series by least squares.

    Args:
        name: name of the series; its last word is the unit.
        times: time of each sample in seconds.
        values: value of each sample.
    """
    half = len(values) // 2
    x, y = np.array(times[half:], dtype=float), np.array(values[half:], dtype=float)
    mean = float(y.mean())
    slope = float(np.polyfit(x - x.mean(), y, 1)[0]) if len(y) > 1 else 0.0
    unit = name.split()[-1]
    share = BOUND_OF_SECONDS if unit == "seconds" else BOUND
    return Verdict(name, mean, slope * float(x[-1] - x[0]), max(share * mean, SLACK.get(unit, 0.0)))
