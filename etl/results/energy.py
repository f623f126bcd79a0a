"""Energy of machines over some days, and the part of it that they used while they ran idle."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from etl.results.ranking import Row
from etl.results.sums import quotient, total


@dataclass(frozen=True)
class EnergyUse:
    """What a machine used over some days; None is not measured."""

    equipment_id: str
    name: str
    kwh: float | None
    idle_kwh: float | None
    idle_seconds: float | None
    running_seconds: float | None

    @property
    def idle_share(self) -> float | None:
        """The part of its energy that went into running empty."""
        return quotient(self.idle_kwh, self.kwh)


def uses(rows: Iterable[Row]) -> list[EnergyUse]:
    """Add up the days of each machine; those that waste most come first, those that measure no energy last."""
    days: dict[str, list[Row]] = {}
    for row in rows:
        days.setdefault(row["equipment_id"], []).append(row)
    names = ("energy_kwh", "idle_energy_kwh", "idle_seconds", "running_seconds")
    found = [EnergyUse(key, own[0]["name"] or key, *(total(own, name) for name in names)) for key, own in days.items()]
    return sorted(found, key=lambda use: (use.kwh is None, -(use.idle_kwh or 0.0), use.equipment_id))


def by_day(rows: Iterable[Row], days: Sequence[date]) -> dict[date, tuple[float | None, float | None]]:
    """Add up useful and idle energy of all machines on each day; None where no machine measures it."""
    of_day: dict[date, list[Row]] = {day: [] for day in days}
    for row in rows:
        of_day[row["day"]].append(row)
    sums = {}
    for day, own in of_day.items():
        kwh, idle = total(own, "energy_kwh"), total(own, "idle_energy_kwh")
        sums[day] = (None if kwh is None else kwh - (idle or 0.0), idle)
    return sums
