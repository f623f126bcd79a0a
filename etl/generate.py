"""Stage 1: make up readings, or read recorded ones; or nothing, where gateways fill the topic."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from etl.catalogue import Machine, made_up, read_catalogue
from etl.errors import SettingsError
from etl.settings import GenerateSettings
from etl.stage import Outcome, Work
from etl.synthetic import Faults, synthetic_readings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def generate(work: Work, settings: GenerateSettings) -> Outcome:
    """Write `readings` in the order to be produced, and `dead-letters` for what is no reading.

    Raises:
        SettingsError: catalogue, mapping or recorded file cannot be used; nothing has been written.
    """
    counts: Counter[str] = Counter(generated=0, rejected=0)
    if settings.source == "synthetic":
        _synthetic(work, settings, counts)
    return Outcome(dict(counts))


def _synthetic(work: Work, settings: GenerateSettings, counts: Counter[str]) -> None:
    start = (settings.start - _EPOCH) // _MS
    faults = Faults(
        dropout=settings.dropout_rate,
        duplicate=settings.duplicate_rate,
        late=settings.late_rate,
        late_by=settings.late_by // _MS,
        out_of_order=settings.out_of_order_rate,
    )
    interval = None if settings.interval is None else max(1, round(settings.interval * 1000))
    tables = synthetic_readings(
        _machines(settings),
        settings.seed,
        work.measurements,
        start,
        start + settings.duration // _MS,
        interval=interval,
        faults=faults,
        counts=counts,
    )
    for table in tables:
        work.output.write("readings", table)


def _machines(settings: GenerateSettings) -> list[Machine]:
    if settings.catalogue_file is None:
        return made_up(settings.machines)
    machines = read_catalogue(settings.catalogue_file)
    if "machines" not in settings.model_fields_set:
        return machines
    if settings.machines > len(machines):
        raise SettingsError(
            f"ETL_GENERATE_MACHINES: {settings.machines} machines, but {settings.catalogue_file} has {len(machines)}"
        )
    return machines[: settings.machines]
