"""What the analysis knows of a machine from one hour to the next, and how that is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.insight.detection.reference import ARRAYS, Reference
from etl.insight.detection.spans import Floats

Singles = npt.NDArray[np.float32]

# Of what `pack_watch` writes. A change makes the analysis learn each machine again.
_VERSION = 1
_NUMBERS = ("at", "first", "explained", "calm")
_AVERAGES = ("smooth", "slow", "loud", "held", "age")
_OF_EPISODE = ("start", "last", "leader", "peak", "observed", "expected", "count", "end")


@dataclass
class Regime:
    """One way to operate: its normal readings (p,), newest last, those of recurring alarms, and the fit to both."""

    readings: list[Singles]
    recurring: list[Singles] = field(default_factory=list)
    reference: Reference | None = None
    fresh: int = 0


@dataclass
class Episode:
    """A time with alarms, in ms since 1970: `last` is the last alarm, `end` None while it continues.

    `leader` is the measurement that raised the alarm, `shares` (p,) are the contributions, `peak` is the largest
    multiple of the limit, with the reading and the prediction of the leader at that time.
    """

    start: int
    last: int
    leader: int
    shares: Floats
    peak: float = 0.0
    observed: float = np.nan
    expected: float = np.nan
    count: int = 0
    end: int | None = None


@dataclass
class Watch:
    """All that is known of a machine at time `at` (ms): readings before it have been watched.

    `smooth`, `slow` and `loud` (p,) are the moving averages, `held` (p,) the last values with their `age` in readings.
    `alarmed` are readings since the current alarm began. `explained` counts those in a row that another regime
    explains, `calm` those in a row without an alarm. The first of the regimes is the current one.
    """

    names: tuple[str, ...]
    at: int
    first: int
    smooth: Floats
    slow: Floats
    loud: Floats
    held: Floats
    age: Floats
    alarmed: list[Singles]
    regimes: list[Regime]
    episodes: list[Episode] = field(default_factory=list)
    explained: int = 0
    calm: int = 0


def new_watch(names: Sequence[str]) -> Watch:
    """Return the watch of a machine of which no reading is known."""
    zero, unknown = np.zeros(len(names)), np.full(len(names), np.nan)
    return Watch(tuple(names), 0, 0, zero, zero, zero, unknown, zero, [], [Regime([])])


def pack_watch(watched: Watch) -> bytes:
    """Write what is known of a machine as compressed arrays."""
    arrays: dict[str, Any] = {
        "version": np.array(_VERSION),
        "names": np.array(watched.names, dtype=np.str_),
        "numbers": np.array([getattr(watched, name) for name in _NUMBERS]),
        "averages": np.array([getattr(watched, name) for name in _AVERAGES]),
        "alarmed": _stack(watched.alarmed, len(watched.names)),
        "fresh": np.array([regime.fresh for regime in watched.regimes]),
        "shares": np.array([each.shares for each in watched.episodes]),
        "episodes": np.array([[_stored(getattr(each, name)) for name in _OF_EPISODE] for each in watched.episodes]),
    }
    for number, regime in enumerate(watched.regimes):
        arrays[f"readings_{number}"] = _stack(regime.readings, len(watched.names))
        arrays[f"recurring_{number}"] = _stack(regime.recurring, len(watched.names))
        if regime.reference is not None:
            arrays |= {f"{name}_{number}": getattr(regime.reference, name) for name in ARRAYS}
    file = BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _stored(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _stack(readings: Sequence[Singles], width: int) -> Singles:
    return np.array(readings, np.float32).reshape(-1, width)


def unpack_watch(packed: bytes, names: Sequence[str]) -> Watch:
    """Read what `pack_watch` wrote; a new watch if that was another version, or of other measurements."""
    with np.load(BytesIO(packed), allow_pickle=False) as arrays:
        if arrays["version"] != _VERSION or arrays["names"].tolist() != list(names):
            return new_watch(names)
        return Watch(
            names=tuple(names),
            alarmed=list(arrays["alarmed"]),
            regimes=[_regime(arrays, number, fresh) for number, fresh in enumerate(arrays["fresh"].tolist())],
            episodes=[_episode(*each) for each in zip(arrays["episodes"], arrays["shares"], strict=True)],
            **dict(zip(_NUMBERS, arrays["numbers"].tolist(), strict=True)),
            **dict(zip(_AVERAGES, arrays["averages"], strict=True)),
        )


def _regime(arrays: Mapping[str, Any], number: int, fresh: int) -> Regime:
    fitted = f"mean_{number}" in arrays
    reference = Reference(*(arrays[f"{name}_{number}"] for name in ARRAYS)) if fitted else None
    return Regime(list(arrays[f"readings_{number}"]), list(arrays[f"recurring_{number}"]), reference, fresh)


def _episode(numbers: Floats, shares: Floats) -> Episode:
    start, last, leader, peak, observed, expected, count, end = numbers.tolist()
    until = None if np.isnan(end) else int(end)
    return Episode(int(start), int(last), int(leader), shares, peak, observed, expected, int(count), until)
