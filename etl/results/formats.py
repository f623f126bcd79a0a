"""Format values for people: numbers with units and sensible digits, times with their zone."""

from datetime import date, datetime, timedelta
from math import isfinite

NONE = "\u2013"
_THIN = "\u202f"
KIND_NAMES = {
    "voltage_sag": "voltage sag",
    "voltage_swell": "voltage swell",
    "frequency_excursion": "frequency excursion",
    "phase_imbalance": "phase imbalance",
    "overheating": "overheating",
    "bearing_wear": "bearing wear",
    "power_factor_decay": "power factor decay",
    "idle_waste": "idle running",
    "sensor_stuck": "stuck sensor",
    "sensor_drift": "drifting sensor",
    "dropout": "no readings",
    "limit": "beyond a limit",
    "unusual": "unusual readings",
}


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Return a number with a number of significant digits, never fewer than its whole ones."""
    if value is None or not isfinite(value):
        return NONE
    places = max(0, digits - len(str(int(abs(value)))) if abs(value) >= 1 else digits - 1)
    text = f"{value:,.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    text = "0" if text == "-0" else text.replace("-", "\u2212")
    return f"{text}{_THIN}{unit}" if unit and unit != "1" else text


def count(how_many: int, what: str) -> str:
    """Return a count with its noun."""
    return f"{how_many:,} {what}{'' if how_many == 1 else 's'}"


def share(value: float | None) -> str:
    """Return a share from 0 to 1 in percent."""
    if value is None or not isfinite(value):
        return NONE
    percent = 100 * value
    if 0 < percent < 0.1:
        return f"<{_THIN}0.1{_THIN}%"
    return f"{percent:.1f}{_THIN}%" if percent < 10 and round(percent, 1) % 1 else f"{percent:.0f}{_THIN}%"


def energy(kwh: float | None) -> str:
    """Return an energy in kWh, or in MWh if that is shorter."""
    return number(kwh / 1000, "MWh") if kwh is not None and kwh >= 10_000 else number(kwh, "kWh")


def length(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None or not isfinite(seconds):
        return NONE
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{whole} s"


def lasted(start: datetime, end: datetime | None) -> str:
    """Return how long an event lasted, or that it still does."""
    return "still lasting" if end is None else length((end - start).total_seconds())


def moment(time: datetime | None) -> str:
    """Return a time to the minute, with its zone."""
    return NONE if time is None else f"{time:%-d %b %Y %H:%M} UTC"


def clock(time: datetime | None, beside: date) -> str:
    """Return a time, without the day if it is the given day."""
    if time is None:
        return NONE
    return f"{time:%H:%M} UTC" if time.date() == beside else f"{time:%-d %b %H:%M} UTC"


def calendar_day(day: date) -> str:
    """Return a day with its weekday."""
    return f"{day:%a %-d %b %Y}"


def kind(name: str | None) -> str:
    """Return the name of a kind of event."""
    return KIND_NAMES.get(name or "", (name or "").replace("_", " ")) or NONE


def measurement(name: str) -> str:
    """Return the name of a measurement."""
    return name.replace("_", " ")


def ahead(reached: datetime | None, now: datetime) -> str:
    """Return in how many days a time comes, as text."""
    if reached is None:
        return NONE
    days = (reached - now) / timedelta(days=1)
    return "by now" if days <= 0 else "within a day" if days < 1 else f"in about {days:.0f} days"
