"""Readings of a made-up pump loop with own measurements, with one thing wrong from a row on."""

import numpy as np

from etl.insight.detection import new_watch, watch
from etl.insight.limits import default_limits

NAMES = ["speed", "flow", "pressure", "oil"]
STEP = 60_000
BEGIN = 1_767_571_200_000  # 2026-01-05T00:00:00Z
LEARNED = 1000
SETTINGS = default_limits().unusual


def loop(rows=1600, seed=1, speed=0.0):
    """Readings (rows, 4): flow and pressure follow the speed, oil is on its own."""
    chance = np.random.default_rng(seed)
    drive = speed + np.sin(np.arange(rows) / 40) + chance.normal(0, 0.3, rows)
    noise = chance.normal(0, 0.1, (rows, 4))
    return np.column_stack([50 + drive, 20 + 2 * drive, 6 - drive, 40 + np.zeros(rows)]) + noise


def times(rows):
    return BEGIN + np.arange(rows) * STEP


def watched(readings, names=NAMES):
    return watch(new_watch(names), times(len(readings)), readings, SETTINGS)


def found(readings, names=NAMES):
    """Return the episodes of at least five alarms: first row, and name of the measurement that raised the alarm."""
    state = watched(readings, names)
    return [(round((each.start - BEGIN) / STEP), names[each.leader]) for each in state.episodes if each.count >= 5]
