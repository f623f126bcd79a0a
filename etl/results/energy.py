"""Energy of machines over several days, and the idle energy in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from etl.results.rows import FleetDay
from etl.results.sums import quotient, total


@dataclass(frozen=True)
class EnergyUse:
    """The energy of a machine over some days; None: not measured."""

    equipment_id: str
    name: str
    kwh: float | None
    idle_kwh: float | None
    idle_seconds: float | None
    running_seconds: float | None

    @property
    def idle_share(self) -> float | None:
        """The share of idle energy in its energy."""
        return quotient(self.idle_kwh, self.kwh)


def uses(rows: Iterable[FleetDay]) -> list[EnergyUse]:
    """Sum up the days of each machine; machines with the most idle energy first, unmeasured ones last."""
    days: dict[str, list[FleetDay]] = {}
    for row in rows:
        days.setdefault(row["equipment_id"], []).append(row)
    names = ("energy_kwh", "idle_energy_kwh", "idle_seconds", "running_seconds")
    found = [EnergyUse(key, own[0]["name"] or key, *(total(own, name) for name in names)) for key, own in days.items()]
    return sorted(found, key=lambda use: (use.kwh is None, -(use.idle_kwh or 0.0), use.equipment_id))


def by_day(rows: Iterable[FleetDay], days: Sequence[date]) -> dict[date, tuple[float | None, float | None]]:
    """Return the useful and the idle energy of all machines by day; None if no machine measures it."""
    of_day: dict[date, list[FleetDay]] = {day: [] for day in days}
    for row in rows:
        of_day[row["day"]].append(row)
    sums = {}
    for day, own in of_day.items():
        kwh, idle = total(own, "energy_kwh"), total(own, "idle_energy_kwh")
        sums[day] = (None if kwh is None else kwh - (idle or 0.0), idle)
    return sums
