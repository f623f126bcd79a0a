"""Convert units by name, with the units library Pint: https://pint.readthedocs.io."""

import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

# Names that Pint does not know, or takes for another unit; tried if the name itself does not fit.
_ALIKE = {
    "1": "dimensionless",
    "": "dimensionless",
    "/": "dimensionless",
    "%": "percent",
    "volt": "V",
    "volts": "V",
    "amp": "A",
    "amps": "A",
    "c": "degC",
    "f": "degF",
    "ampere": "A",
    "amperes": "A",
    "deg c": "degC",
    "deg f": "degF",
    **dict.fromkeys(("℃", "ºc", "cel", "celsius", "deg. c", "grad c"), "degC"),
    **dict.fromkeys(("℉", "ºf", "fahrenheit", "deg. f"), "degF"),
    "kelvin": "K",
    "vac": "V",
    "vdc": "V",
    "psi": "psi",
    "torr": "torr",
    "hertz": "Hz",
    "%rh": "percent",
    "% rh": "percent",
    "%rf": "percent",
    "% rf": "percent",
    "u/min": "rpm",
    "min-1": "rpm",
    "nm": "N*m",
    "var": "var",
    "kvar": "kvar",
}
# A revolution of Pint is an angle, but speeds of machines and frequencies are counts per time.
_DEFINED = ("var = volt * ampere", "rpm = 1 / minute = _ = revolutions_per_minute = RPM")
# Pint calculates with numbers in a name, so that 9**9**9 would take forever. Exponents of units have one digit.
_CALCULATES = re.compile(r"\d{2}|\d[\s)]*(?:\*|\^|\()|[eE]\d")
_LONGEST = 32
_POWER = re.compile(r"(?<=[A-Za-z])([23])(?![\w.])")


@cache
def _registry() -> Any:
    import pint  # its import takes a third of a second, and most mappings name no unit

    # Fractions keep factors such as 1000 and 5/9 exact.
    registry: Any = pint.UnitRegistry(non_int_type=Fraction)
    # Pint warns of each definition that replaces its own.
    pint_log = logging.getLogger("pint.util")
    before, pint_log.disabled = pint_log.disabled, True
    for definition in _DEFINED:
        registry.define(definition)
    pint_log.disabled = before
    return registry


@cache
def conversion(given: str, declared: str) -> tuple[float, float]:
    """Return scale and offset that convert a value: value * scale + offset.

    Raises:
        ValueError: a unit is not known, or the units do not fit together.
    """
    if given == declared:
        return 1.0, 0.0
    for source in _spellings(given):
        for target in _spellings(declared):
            found = _factors(source, target)
            if found:
                return found
    raise ValueError(f"unit {given[:_LONGEST]!r} is not known, or does not fit the declared unit {declared!r}")


def _spellings(unit: str) -> Iterator[str]:
    if len(unit) > _LONGEST or _CALCULATES.search(unit):
        return
    yield unit
    if unit.lower() in _ALIKE:
        yield _ALIKE[unit.lower()]
    powers = _POWER.sub(r"**\1", unit)
    if powers != unit:
        yield powers


def _factors(source: str, target: str) -> tuple[float, float] | None:
    registry = _registry()
    try:
        units = [registry.Unit(name) for name in (source, target)]
        angles = [
            registry.Quantity(1, registry.get_base_units(unit)[1]).units._units.get("radian", 0) for unit in units
        ]
        # Pint takes an angle for a number, and radians per second for hertz.
        if angles[0] != angles[1]:
            return None
        zero, one = (registry.Quantity(Fraction(number), units[0]).to(units[1]).magnitude for number in (0, 1))
        return float(one - zero), float(zero)
    # Pint raises errors of its parser, of Python's tokenizer, and of its own.
    except Exception:
        return None
