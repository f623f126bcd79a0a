"""Events of one analysis joined with those known before, and compared between the machines of a plant."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from etl.insight.detection.spans import Times
from etl.insight.indicators import from_ms
from etl.model.events import SEVERITIES, Event, Kind, Severity

# A drift is the weather's or the supply's if sensors drift alike on this many other machines, and on this share of all.
_SHARED_MACHINES, _SHARED_SHARE = 2.0, 1 / 4
# An event of another kind explains an `unusual` one if it begins at most this much later.
_NOT_LATER = timedelta(hours=1)


def make_event(
    kind: Kind,
    severity: Severity,
    measurement: str | None,
    times: Times,
    compared: tuple[float, float],
    evidence: str,
) -> Event:
    """Make an event from start and end (None: it lasts) in ms since 1970, and the observed and the expected value."""
    start, end = times
    return Event(
        kind,
        severity,
        measurement,
        from_ms(int(start)),
        None if end is None else from_ms(int(end)),
        float(compared[0]),
        float(compared[1]),
        evidence,
    )


def duration(hours: float) -> str:
    """Write a duration in hours, or in minutes where it is shorter than an hour."""
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"


def by_start(events: Sequence[Event]) -> list[Event]:
    """Sort events by start, kind and measurement."""
    return sorted(events, key=lambda event: (event.start, event.kind, event.measurement or ""))


def merge(known: Sequence[Event], found: Sequence[Event], until: datetime) -> list[Event]:
    """Join the events known before with those that a later `detect`, up to `until`, found.

    Events of one kind and measurement that overlap are one: it begins with the first of them, ends as found last, and
    has the worst severity. An event that lasted and is not found again has ended by `until`, to the second.
    """
    ended = until.replace(microsecond=0)
    events = list(found)
    for old in known:
        same = [event for event in events if same_event(event, old)]
        if old.end is None:
            # How long it lasted is not known any more, so later events are others.
            same = sorted(same, key=lambda event: event.start)[:1]
        for event in same:
            events.remove(event)
        if not same:
            events.append(replace(old, end=old.end or max(old.start, ended)))
        elif old.end is not None and all(old.start < event.start and event.end == old.end for event in same):
            # The minutes now begin within it, so only its end was found again.
            events.append(old)
        else:
            events.append(_joined(old, same, until))
    return by_start(events)


def _joined(old: Event, same: Sequence[Event], until: datetime) -> Event:
    newest = max(same, key=lambda event: event.end or until)
    worst = max([old, *same], key=lambda event: SEVERITIES.index(event.severity))
    shown = newest if newest.severity == worst.severity else worst
    end = newest.end if newest.end is None or old.end is None else max(newest.end, old.end)
    return replace(shown, start=min(event.start for event in (old, *same)), end=end)


def without_shared(events: Mapping[str, Sequence[Event]]) -> dict[str, list[Event]]:
    """Return the events of a plant by equipment ID without the drifts that other machines show too.

    A drift is shared when sensors of that measurement drift at the same time on two other machines at least, and on a
    quarter of all: that is the weather or the supply, not a sensor.
    """
    least = max(_SHARED_MACHINES, len(events) * _SHARED_SHARE)

    def shared(name: str, event: Event) -> bool:
        if event.kind != "sensor_drift":
            return False
        others = [any(same_event(event, other) for other in own) for machine, own in events.items() if machine != name]
        return sum(others) >= least

    return {name: [event for event in own if not shared(name, event)] for name, own in events.items()}


def without_doubles(unusual: Sequence[Event], special: Sequence[Event]) -> list[Event]:
    """Join `unusual` events of one measurement that overlap, and leave out those that an event of a kind explains.

    Such an event has the same measurement, overlaps, and does not begin much later: what follows is no explanation.
    """
    joined: list[Event] = []
    for event in by_start(unusual):
        double = next((old for old in joined if same_event(old, event)), None)
        if double is not None:
            joined.remove(double)
            event = _both(double, event)
        joined.append(event)
    return [event for event in joined if not any(_explains(other, event) for other in special)]


def _explains(special: Event, unusual: Event) -> bool:
    is_same = special.measurement == unusual.measurement and _overlap(special, unusual)
    return is_same and special.start - unusual.start <= _NOT_LATER


def without_explained(special: Sequence[Event], unusual: Sequence[Event]) -> list[Event]:
    """Return events without the drifts at the time of an `unusual` event, which names the measurement that leads."""
    return [event for event in special if event.kind != "sensor_drift" or not any(_overlap(event, u) for u in unusual)]


def _overlap(one: Event, other: Event) -> bool:
    first, second = sorted((one, other), key=lambda event: event.start)
    return first.end is None or second.start <= first.end


def _both(one: Event, other: Event) -> Event:
    """Return the worse of two events, over the time of both."""
    worse = max(one, other, key=lambda event: SEVERITIES.index(event.severity))
    end = None if one.end is None or other.end is None else max(one.end, other.end)
    return replace(worse, start=min(one.start, other.start), end=end)


def same_event(one: Event, other: Event) -> bool:
    """Return whether two events are of one kind and measurement, and overlap."""
    if (one.kind, one.measurement) != (other.kind, other.measurement):
        return False
    return _overlap(one, other)
