"""The efficiency index of a day, and what lowers it."""

from collections.abc import Iterator, Mapping
from typing import Any

from etl.insight.limits import Limits, default_limits
from etl.model.catalogue import Machine

# Losses of fewer points are neither counted nor named: the index is shown without decimals.
_LEAST_POINTS = 0.5


def efficiency(
    row: Mapping[str, Any], machine: Machine, limits: Limits | None = None
) -> tuple[float | None, list[str]]:
    """Return the efficiency index of a day, 0 to 100, and what lowers it, the costliest first.

    100 minus, with the points of `limits.yaml` (a convention of this project, as no standard has one):
    idle * idle time / (idle + running time); missing * (1 - availability); power_factor * (1 - cos phi / bound), if
    below the bound; overload * overload time / running time; supply * time with voltage or frequency outside of their
    limits / 24 h; zone_c or zone_d where vibration is in that zone; heat where the temperature limit was passed.
    What else is not measured costs nothing. None: nothing was received, power or what the machine is rated for is not
    known, or it was off all the time.
    """
    limits = limits or default_limits()
    on = (row["idle_seconds"] or 0.0) + (row["running_seconds"] or 0.0)
    if not row["received"] or not on:
        return None, []
    lost = sorted((entry for entry in _losses(row, machine, limits) if entry[0] >= _LEAST_POINTS), reverse=True)
    return max(0.0, 100.0 - sum(points for points, _ in lost)), [reason for _, reason in lost]


def _losses(row: Mapping[str, Any], machine: Machine, limits: Limits) -> Iterator[tuple[float, str]]:
    points = limits.efficiency
    idle, running = row["idle_seconds"], row["running_seconds"]
    if idle:
        spent = f": {row['idle_energy_kwh']:.3g} kWh" if row["idle_energy_kwh"] else ""
        yield points.idle * idle / (idle + (running or 0.0)), f"idle for {idle / 3600:.1f} h{spent}"
    if row["availability"] is not None and row["availability"] < 1:
        missing = row["expected"] - row["received"]
        yield (
            points.missing * (1 - row["availability"]),
            f"{missing:,} of {row['expected']:,} readings missing ({missing / row['expected']:.1%})",
        )
    factor = row["power_factor"]
    if factor is not None and factor < limits.power_factor:
        yield (
            points.power_factor * (1 - factor / limits.power_factor),
            f"power factor {factor:.2f} while running, below {limits.power_factor:g}",
        )
    if row["overload_seconds"] and running:
        over = row["overload_seconds"]
        yield (
            points.overload * min(1.0, over / running),
            f"overloaded for {over / 3600:.1f} h: above "
            f"{limits.states.overload_above * (machine.rated_current or 0.0):.1f} A",
        )
    outside = (row["voltage_outside_seconds"] or 0.0) + (row["frequency_outside_seconds"] or 0.0)
    if outside:
        yield points.supply * min(1.0, outside / 86_400), f"supply outside EN 50160 for {outside / 60:.0f} min"
    if row["vibration_zone"] in ("C", "D"):
        cost = points.zone_c if row["vibration_zone"] == "C" else points.zone_d
        yield cost, f"vibration {row['vibration']:.1f} mm/s, zone {row['vibration_zone']} of ISO 20816-3"
    if row["temperature_highest"] is not None and row["temperature_highest"] > limits.temperature:
        yield points.heat, f"{row['temperature_highest']:.0f} °C at the most, above {limits.temperature:.0f} °C"
