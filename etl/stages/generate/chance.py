"""Random numbers that depend only on seed, name and time, bit for bit.

They are hashes of (seed, equipment ID, time) rather than a stream, so that chunks and other machines do not matter.
Values use only integer operations and `+ - * / sqrt`. IEEE 754 rounds these the same on every processor and for any
length of an array, which it does not guarantee for `sin` or `exp`.
"""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
DAY = 86_400_000
GAMMA = np.uint64(0x9E3779B97F4A7C15)


def mix(values: Hashes) -> Hashes:
    """Hash 64-bit values in place.

    The finaliser of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _name_hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def key_of(seed: int, *names: str) -> Hashes:
    """Return the key of one kind of random numbers for each name; shape (names,)."""
    return mix(np.array([_name_hash(f"{seed}/{name}") for name in names], dtype=np.uint64))


def channel(keys: Hashes, name: str) -> Hashes:
    """Return the keys of an independent kind of random numbers; same shape."""
    return mix(keys ^ np.uint64(_name_hash(name)))


def hashes(keys: Hashes, counters: Integers) -> Hashes:
    """Hash each counter (a time in ms, or the number of a grid point) under its key; the shapes broadcast."""
    return mix(counters.astype(np.uint64) * GAMMA + keys)


def uniform(keys: Hashes, counters: Integers | int = 0) -> Floats:
    """Draw from [0, 1) by key and counter."""
    return (hashes(keys, np.asarray(counters)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def wander(keys: Hashes, positions: Integers, period: int) -> Floats:
    """Wander smoothly in [-1, 1]: value noise, random at multiples of `period` and smoothstep in between."""
    knots = positions // period
    share = (positions - knots * period) / period
    share = share * share * (3.0 - 2.0 * share)
    before, after = uniform(keys, knots), uniform(keys, knots + 1)
    return 2.0 * (before + share * (after - before)) - 1.0


def cycle(positions: Integers, period: int, peak: int) -> Floats:
    """Approximate a sine of amplitude 1 with its maximum at `peak`, by two parabolas (error about 0.1 %)."""
    phase = ((positions - peak + 3 * period // 4) % period) / period * 2.0 - 1.0
    sine = 4.0 * phase * (1.0 - np.abs(phase))
    return 0.775 * sine + 0.225 * sine * np.abs(sine)
