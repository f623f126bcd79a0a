"""Units of measurements, and figures as the evidence of events writes them."""

import re
from collections.abc import Mapping

import numpy as np

# Of the measurements that come with the project; the file of measurements names those of others.
UNITS = {
    "voltage": "V",
    "current": "A",
    "frequency": "Hz",
    "temperature": "°C",
    "vibration": "mm/s",
    "pressure": "bar",
    "humidity": "%",
}
# Units of temperature by how many of them a kelvin is: their zero is arbitrary or far away, so no share of such a
# value means anything.
_PER_KELVIN = {"c": 1.0, "cel": 1.0, "celsius": 1.0, "f": 1.8, "fahrenheit": 1.8, "k": 1.0, "kelvin": 1.0}
_DEGREES = re.compile(r"degrees?|deg|[\s°º_.\[\]]")


def figure(value: float, digits: int = 4) -> str:
    """Write a number with some significant digits, all of its whole ones at least, and without an exponent."""
    if not value:
        return "0"
    places = min(max(0, digits - 1 - int(np.floor(np.log10(abs(value))))), 9)
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def per_kelvin(name: str, units: Mapping[str, str]) -> float | None:
    """Return how many of its units a kelvin is, if a measurement is a temperature; else None."""
    unit = _plain(units.get(name, ""))
    return 1.0 if not unit and "temperature" in name else _PER_KELVIN.get(unit)


def same_unit(declared: str, own: str) -> bool:
    """Return whether a declared unit is a limit's own, however it is written; one that is not declared is."""
    plain, wanted = _plain(declared), _plain(own)
    # Of mm/s², which is not mm/s, only the beginning is the same.
    rest = plain.removeprefix(wanted)
    return plain in ("", "1") or bool(wanted and plain.startswith(wanted) and rest[:1] not in tuple("²³23^/*·"))


def _plain(unit: str) -> str:
    return _DEGREES.sub("", unit.replace("\u2103", "c").replace("\u2109", "f").lower())
