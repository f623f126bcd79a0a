"""Wear and drift, where load is known and where it is not."""

from datetime import timedelta

import numpy as np
import pytest

from etl.insight.detection import detect
from tests.unit.insight.detection.synthetic import (
    ALONE,
    AT,
    DAYS,
    MACHINE,
    START,
    UNTIL,
    grown,
    steady,
    summed,
)


@pytest.mark.parametrize("growth", [0.4, -0.3])
def test_vibration_is_its_sensors_when_it_grows_evenly_or_falls(growth):
    made = grown("vibration", AT - 60, AT, lambda share: 1 + growth * share)
    assert [(event.kind, event.measurement) for event in detect(MACHINE, *made, UNTIL)] == [
        ("sensor_drift", "vibration")
    ]


@pytest.mark.parametrize("empty", [False, True], ids=["no column", "empty column"])
@pytest.mark.parametrize("machine", [MACHINE, ALONE], ids=["rated", "without mains"])
@pytest.mark.parametrize(
    ("growth", "kind"),
    [(lambda share: 1 + 2 * share * share, "bearing_wear"), (lambda share: 1 + 0.4 * share, "sensor_drift")],
    ids=["wear", "drift"],
)
def test_vibration_is_judged_when_nothing_else_is_measured(empty, machine, growth, kind):
    made = steady(4, 0.03, AT - 70, AT)
    share = np.clip((made["hour"] - (AT - 70)) / 70, 0, 1)
    shaking = np.where(made["wrong"], made["vibration"] * growth(share), made["vibration"])
    others = dict.fromkeys(("voltage", "current", "power_factor"), np.full(len(shaking), np.nan)) if empty else {}
    own = {"hour": made["hour"], "wrong": made["wrong"], "vibration": shaking, **others}
    found = detect(machine, *summed(own, machine), UNTIL)
    assert [(event.kind, event.measurement) for event in found] == [(kind, "vibration")]
    assert abs(found[0].end - (START + timedelta(hours=AT))) < timedelta(hours=8)


def test_vibration_is_judged_when_the_meter_has_broken_a_week_ago():
    made = steady(4, 0.03, AT - 70, AT)
    share = np.clip((made["hour"] - (AT - 70)) / 70, 0, 1)
    made["vibration"] = np.where(made["wrong"], made["vibration"] * (1 + 2 * share * share), made["vibration"])
    made["power_factor"] = np.where(made["hour"] > 5 * 24, np.nan, made["power_factor"])
    (event,) = detect(MACHINE, *summed(made), UNTIL)
    assert (event.kind, event.measurement) == ("bearing_wear", "vibration")


@pytest.mark.parametrize("level", [1.0, 0.08, 0.0], ids=["always on", "off at night", "quite still at night"])
def test_nothing_is_found_when_vibration_alone_is_that_of_work(level):
    made = steady(4, 0.03)
    night = (made["hour"] % 24 < 6) | (made["hour"] % 24 >= 22)
    own = {"hour": made["hour"], "wrong": made["wrong"], "vibration": made["vibration"] * np.where(night, level, 1.0)}
    minutes, hours = summed(own)
    for days in range(1, DAYS + 1):
        assert detect(ALONE, minutes, hours, START + timedelta(days=days)) == []


@pytest.mark.parametrize("rest", [0.08, 0.5], ids=["quiet", "shaken by others"])
def test_wear_ends_with_the_repair_when_the_machine_is_off_since(rest):
    # It had run day and night, and wore for most of the time that is known.
    repair = 10 * 24
    made = steady(4, 0.02, 4 * 24, repair)
    share = np.clip((made["hour"] - 4 * 24) / (repair - 4 * 24), 0, 1)
    off = made["hour"] >= repair
    made["vibration"] = made["vibration"] * np.where(made["wrong"], 1 + 4 * share * share, 1)
    made["vibration"] = np.where(off, made["vibration"] * rest, made["vibration"])
    made["current"] = np.where(off, 0.05, made["current"])
    minutes, hours = summed(made)
    past = [row for row in hours if row["hour"] >= START + timedelta(days=3)]
    for later in (6, 12, 24, 47):
        until = START + timedelta(hours=repair + later)
        events = [event for event in detect(MACHINE, minutes, past, until) if event.measurement == "vibration"]
        assert [event.kind for event in events] == ["bearing_wear"]
        assert events[0].end is not None
        assert abs(events[0].end - (START + timedelta(hours=repair))) <= timedelta(hours=3)
