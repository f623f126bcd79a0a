"""When a series of samples counts as flat."""

import random

import pytest

from tests.soak.verdict import judge

TIMES = [float(60 * minute) for minute in range(60)]


def test_series_is_flat_when_it_grows_in_its_first_half_only() -> None:
    values = [min(minute, 30) * 10.0 + 200 for minute in range(60)]
    assert judge("broker MiB", TIMES, values).flat


def test_series_is_flat_when_it_only_varies() -> None:
    chance = random.Random(1)
    assert judge("page MiB", TIMES, [chance.gauss(300, 10) for _ in TIMES]).flat


@pytest.mark.parametrize(
    ("name", "step"), [("page MiB", 1.0), ("page handles", 0.5), ("run seconds", 0.5), ("broker sockets", 1.0)]
)
def test_series_grows_when_each_sample_adds_to_the_one_before(name: str, step: float) -> None:
    verdict = judge(name, TIMES, [20.0 + step * minute for minute in range(60)])
    assert verdict.rise == pytest.approx(29 * step)
    assert not verdict.flat


def test_series_is_flat_when_it_has_one_sample() -> None:
    assert judge("page MiB", [1.0], [100.0]).flat
