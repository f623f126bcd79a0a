"""The catalogue of machines: a YAML file, or a synthetic plant of any size.

A catalogue file holds a list under `machines:`, one mapping per machine:

    machines:
      - {equipment_id: press-01, name: Hydraulic press, nominal_voltage: 400, rated_current: 63, phases: 3,
         interval_seconds: 1}

`nominal_voltage` is in V (between phases if there are three) and `rated_current` in A. `interval_seconds` is the
expected time between two readings. A machine without mains has no nominal voltage: it is left out, or null.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from etl.errors import SettingsError
from etl.model.equipment import equipment_id
from etl.model.yaml_file import first_problem, read_document

# Assumed if a value is needed and not known.
ASSUMED_VOLTAGE, ASSUMED_CURRENT = 400.0, 16.0
_KINDS_FILE = Path(__file__).with_name("catalogue.yaml")


EquipmentId = Annotated[str, AfterValidator(equipment_id)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Machine(BaseModel):
    """One machine; voltages in V, currents in A, the expected interval between readings in seconds.

    Without a nominal voltage the ratings are unknown, unless a rated current is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    equipment_id: EquipmentId
    name: str = ""
    nominal_voltage: Positive | None = None
    rated_current: Positive | None = None
    phases: Literal[1, 3] = 3
    interval_seconds: Annotated[float, Field(ge=0.001, le=31_536_000)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _rated(cls, entry: Any) -> Any:
        """Assume a rated current for a machine on the mains without one."""
        if isinstance(entry, dict) and entry.get("nominal_voltage") is not None and "rated_current" not in entry:
            return {**entry, "rated_current": ASSUMED_CURRENT}
        return entry


def as_stored(equipment_id: str, **known: Any) -> Machine:
    """Return a machine with the ID as stored in the tables. Earlier versions did not remove padding from IDs."""
    return Machine(equipment_id="?", **known).model_copy(update={"equipment_id": equipment_id})


def synthetic_machines(count: int) -> list[Machine]:
    """Return a synthetic plant of `count` machines; a larger plant begins with the same machines as a smaller one."""
    kinds = list(yaml.safe_load(_KINDS_FILE.read_text(encoding="utf-8"))["kinds"].items())
    machines = []
    for index in range(count):
        number, position = divmod(index, len(kinds))
        kind, traits = kinds[position]
        currents = traits["rated_current"]
        machines.append(
            Machine(
                equipment_id=f"{kind}-{number + 1:04d}",
                name=f"{traits['name']} {number + 1}",
                nominal_voltage=traits["nominal_voltage"],
                rated_current=currents[number % len(currents)],
                phases=traits["phases"],
            )
        )
    return machines


def read_catalogue(path: Path) -> list[Machine]:
    """Read a catalogue file.

    Raises:
        SettingsError: the file cannot be read or an entry is wrong; the message names file and entry in one line.
    """
    document = read_document(path, "catalogue")
    entries = document.get("machines") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SettingsError(f"catalogue file {path}: expected a list `machines:` with at least one entry")
    machines = [_machine(path, number, entry) for number, entry in enumerate(entries, 1)]
    twice, times = Counter(machine.equipment_id for machine in machines).most_common(1)[0]
    if times > 1:
        raise SettingsError(f"catalogue file {path}: equipment_id {twice!r} is there {times} times")
    return machines


def _machine(path: Path, number: int, entry: object) -> Machine:
    try:
        return Machine.model_validate(entry)
    except ValidationError as error:
        place, message = first_problem(error)
        name = f" ({entry['equipment_id']!r})" if isinstance(entry, dict) and "equipment_id" in entry else ""
        where = "".join(f" {part}:" for part in place)
        raise SettingsError(f"catalogue file {path}: machine {number}{name}:{where} {message}") from error
