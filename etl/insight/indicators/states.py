"""The state of a machine by its power, the zone of its vibration, the frequency of its grid."""

import numpy as np

from etl.insight.indicators.readings import Floats
from etl.insight.limits import Limits, default_limits, vibration_zones
from etl.model.catalogue import Machine


def state_of(share: float, limits: Limits | None = None) -> str:
    """Return the state at this active power, a share of the rated apparent power."""
    states = (limits or default_limits()).states
    return "off" if share < states.off_below else "idle" if share < states.idle_below else "running"


def zone(vibration: float | None, machine: Machine, limits: Limits | None = None) -> str | None:
    """Return the zone of a vibration in mm/s: A as new, B good for long, C for a while, D does damage."""
    if vibration is None:
        return None
    return "ABCD"[int(np.searchsorted(vibration_zones(machine, limits), vibration, side="right"))]


def nominal_frequency(frequencies: Floats, limits: Limits | None = None) -> float:
    """Return the nominal frequency in Hz that is nearest to the median; the first one where nothing is measured."""
    limits = limits or default_limits()
    known = frequencies[np.isfinite(frequencies)]
    middle = float(np.median(known)) if len(known) else limits.supply.nominal_frequencies[0]
    return min(limits.supply.nominal_frequencies, key=lambda nominal: abs(nominal - middle))
