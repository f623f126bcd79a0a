"""Readings that do not fit what is usual for the machine, whatever it measures.

`watch` goes through readings once, in the order of time, and keeps all that it knows in a `Watch`: the result is the
same in whatever pieces the readings come. A reading raises the alarm if the smoothed residual of a measurement exceeds
its limit, both as it is and less its slow baseline (with one measurement: the second), or if the squared residuals of
the loudest measurements do. Readings without an alarm become part of the reference.

A regime is a way to operate, such as another product. What lasts long enough is learned as a new regime, and a reading
that a known regime explains raises no alarm.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from etl.insight.detection.events import make_event
from etl.insight.detection.inputs import LATE_STEPS, Minutes
from etl.insight.detection.reference import Reference, fit_reference, loudness
from etl.insight.detection.spans import Flags, Floats, Integers
from etl.insight.detection.watches import Episode, Regime, Watch
from etl.insight.limits import Unusual
from etl.model.events import Event
from etl.model.schemas import DAY_MS

# Another regime explains a reading if no residual exceeds this multiple of the usual one.
_EXPLAINED = 4.0
# Episodes that ended this long ago are forgotten.
_REMEMBERED = 7 * DAY_MS
# Share of the readings after which a reference is fitted again.
_REFIT_SHARE = 0.1
# Smallest divisor, so that nothing is divided by zero.
_LEAST = 1e-12
# Fewer alarms are no event.
_SHORTEST = 5
# Most contributions that the evidence lists, and the smallest of them.
_SHOWN, _LEAST_SHOWN = 4, 0.05


def watch(known: Watch, times: Integers, readings: Floats, settings: Unusual) -> Watch:
    """Go through readings (n, p) of ascending times (n,) in ms, and return what is known afterwards.

    Readings before `known.at` are passed over. NaN is a missing value.
    """
    state = replace(
        known,
        regimes=[
            replace(regime, readings=list(regime.readings), recurring=list(regime.recurring))
            for regime in known.regimes
        ],
        episodes=[replace(episode) for episode in known.episodes],
        alarmed=list(known.alarmed),
    )
    for row in range(int(np.searchsorted(times, state.at)), len(times)):
        _step(state, int(times[row]), readings[row], settings)
    return state


def _step(state: Watch, time: int, reading: Floats, settings: Unusual) -> None:
    state.first = state.first or time
    state.at = time + 1
    seen = np.isfinite(reading)
    state.age = np.where(seen, 0.0, state.age + 1.0)
    state.held = np.where(seen, reading, state.held)
    filled = np.where(state.age <= settings.smooth, state.held, np.nan)
    reference = state.regimes[0].reference
    if reference is None:
        _accept(state, filled, settings)
        return
    multiples = _judge(state, reference, filled, seen, settings)
    if multiples.max() <= 1.0:
        _quiet(state, settings)
        _accept(state, filled, settings)
    elif not _is_known_regime(state, filled, settings):
        _alarm(state, reference, time, filled, multiples, settings)


def _judge(state: Watch, reference: Reference, filled: Floats, seen: Flags, settings: Unusual) -> Floats:
    """Move the averages by one reading, and return each measurement's multiple of its limit; above 1: alarm."""
    share, slow = 2.0 / (settings.smooth + 1.0), 2.0 / (settings.slow + 1.0)
    residual = reference.residuals(filled)
    state.smooth = np.where(seen, state.smooth + share * (residual - state.smooth), state.smooth)
    state.loud = np.where(seen, state.loud + share * ((residual / reference.single) ** 2 - state.loud), state.loud)
    less_slow = np.abs(state.smooth - state.slow) / reference.smooth
    both = less_slow
    if len(filled) > 1:
        both = np.minimum(less_slow, np.abs(state.smooth) / reference.smooth)
    # A baseline that learned during an event would hide it.
    learns = less_slow < settings.limit
    state.slow = np.where(learns, state.slow + slow * (state.smooth - state.slow), state.slow)
    multiples = np.maximum(both / settings.limit, _energies(state, reference, settings))
    takes_part = (state.age <= settings.smooth) & np.isfinite(reference.scale)
    return np.where(takes_part, multiples, 0.0)


def _energies(state: Watch, reference: Reference, settings: Unusual) -> Floats:
    """Return the energy as a multiple of its limit for the loudest measurements, 0 for the others; shape (p,)."""
    if len(state.loud) == 1:
        return np.zeros(1)
    energy = loudness(state.loud, settings.loudest) / reference.energy / settings.energy
    loudest = (state.loud >= np.sort(state.loud)[-settings.loudest :][0]) & (state.loud > 0.0)
    return np.where(loudest, np.sqrt(energy * state.loud / max(_LEAST, state.loud.max())), 0.0)


def _accept(state: Watch, filled: Floats, settings: Unusual) -> None:
    """Make a reading part of the reference, which is fitted again from time to time."""
    regime = state.regimes[0]
    regime.readings.append(filled.astype(np.float32))
    regime.fresh += 1
    count = len(regime.readings)
    if count < settings.fewest:
        return
    if regime.reference is None or regime.fresh >= max(settings.refit, _REFIT_SHARE * count):
        regime.readings = regime.readings[-settings.most :]
        _fit(regime, settings)


def _fit(regime: Regime, settings: Unusual) -> None:
    readings, recurring = (np.array(each, np.float64) for each in (regime.readings, regime.recurring))
    regime.reference = fit_reference(readings, settings, recurring if len(recurring) else None)
    regime.fresh = 0


def _forget_averages(state: Watch) -> None:
    state.smooth, state.slow, state.loud = (np.zeros(len(state.names)) for _ in range(3))


def _quiet(state: Watch, settings: Unusual) -> None:
    """Count a reading without an alarm; the episode ends when there are as many as are averaged."""
    state.explained, state.calm = 0, state.calm + 1
    if state.calm > settings.smooth:
        _learn_what_recurs(state, settings)
        _end_episode(state)


def _end_episode(state: Watch) -> None:
    """End the current episode, if there is one, with its last alarm."""
    state.alarmed = []
    if state.episodes and state.episodes[-1].end is None:
        state.episodes[-1].end = state.episodes[-1].last


def _learn_what_recurs(state: Watch, settings: Unusual) -> None:
    """Learn the readings of an episode that ends, if its measurement has raised several alarms within a week."""
    if not state.alarmed:
        return
    leader = state.episodes[-1].leader
    if sum(each.leader == leader and each.count >= _SHORTEST for each in state.episodes) < settings.recurring:
        return
    regime = state.regimes[0]
    regime.recurring += state.alarmed
    while len(regime.recurring) > settings.most // 2:
        regime.recurring = regime.recurring[::2]
    _fit(regime, settings)


def _alarm(
    state: Watch, reference: Reference, time: int, reading: Floats, multiples: Floats, settings: Unusual
) -> None:
    """Add a reading that fits no regime to the current episode, or begin one."""
    state.explained = state.calm = 0
    if not state.episodes or state.episodes[-1].end is not None:
        kept = [each for each in state.episodes if each.last > time - _REMEMBERED]
        state.episodes = [*kept, Episode(time, time, int(multiples.argmax()), np.zeros(len(multiples)))]
    episode = state.episodes[-1]
    episode.last = time
    episode.count += 1
    episode.shares = episode.shares + multiples**2
    if multiples.max() > episode.peak:
        off = float(reference.residuals(reading)[episode.leader] * reference.scale[episode.leader])
        episode.peak, episode.observed = float(multiples.max()), float(state.held[episode.leader])
        episode.expected = episode.observed - off
    state.alarmed = [*state.alarmed[-settings.most + 1 :], reading.astype(np.float32)]
    _learn_what_stays(state, time, settings)


def _learn_what_stays(state: Watch, time: int, settings: Unusual) -> None:
    """End an episode that has lasted longer than all that was known before, and learn its readings as a regime."""
    start = state.episodes[-1].start
    needed = min(settings.learn_after * (start - state.first), settings.learn_days * DAY_MS)
    if time - start <= needed or len(state.alarmed) < settings.fewest:
        return
    state.regimes[0].readings = state.regimes[0].readings[-settings.fewest :]
    regime = Regime(state.alarmed)
    _fit(regime, settings)
    state.regimes = [regime, *state.regimes][: settings.regimes]
    _forget_averages(state)
    _end_episode(state)


def _is_known_regime(state: Watch, reading: Floats, settings: Unusual) -> bool:
    """Return whether another regime explains the reading; it becomes the current one when that lasts."""
    found = next((regime for regime in state.regimes[1:] if _explains(regime, reading)), None)
    if found is None:
        return False
    state.explained += 1
    if state.explained >= settings.smooth:
        state.regimes = [found, *(regime for regime in state.regimes if regime is not found)]
        _forget_averages(state)
        state.explained = state.calm = 0
        _end_episode(state)
    return True


def _explains(regime: Regime, reading: Floats) -> bool:
    reference = regime.reference
    return reference is not None and bool((np.abs(reference.residuals(reading)) <= _EXPLAINED * reference.single).all())


def find_unusual(minutes: Minutes, watched: Watch) -> Iterator[Event]:
    """Return the events of the readings watched, with the contribution of each measurement."""
    interval = minutes.machine.interval_seconds * 1000.0
    steps, late = minutes.limits.detection.unusual, (minutes.limits.unusual.smooth + LATE_STEPS) * interval
    for episode in watched.episodes:
        if episode.count >= _SHORTEST:
            lasts = episode.end is None and minutes.until - episode.last <= late
            yield make_event(
                "unusual",
                steps.severity(episode.peak),
                watched.names[episode.leader],
                (episode.start, None if lasts else episode.last + interval),
                (episode.observed, episode.expected),
                _evidence(minutes, watched, episode),
            )


def _evidence(minutes: Minutes, watched: Watch, episode: Episode) -> str:
    name = watched.names[episode.leader]
    values = f"{minutes.text(episode.observed, name)} instead of {minutes.text(episode.expected, name)}"
    if len(watched.names) == 1:
        return f"{name} is {values}"
    shares = episode.shares / episode.shares.sum()
    largest = [place for place in np.argsort(-shares)[:_SHOWN] if shares[place] >= _LEAST_SHOWN]
    listed = ", ".join(f"{watched.names[place]} {shares[place]:.0%}" for place in largest)
    return f"{name} is {values}, as the other measurements predict; contributions: {listed}"
