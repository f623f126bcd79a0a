"""Stage 1: generate synthetic readings or read recorded ones; do nothing if gateways fill the topic.

A shard generates the readings of its own machines. Only the first shard reads a recorded file.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import structlog

from etl.errors import SettingsError
from etl.mapping.language import read_mapping
from etl.model.catalogue import Machine, read_catalogue, synthetic_machines
from etl.model.schemas import CHUNK_BYTES, CHUNK_ROWS
from etl.run.rejected import all_rejected, any_usable
from etl.run.runner import Outcome, Work
from etl.settings import GenerateSettings
from etl.stages.generate.files import recorded_readings
from etl.stages.generate.transport import Transport, fault_labels, synthetic_readings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

log = structlog.get_logger("etl.generate")


def generate(work: Work, settings: GenerateSettings) -> Outcome:
    """Write `readings` in the order of sending, `dead-letters` of lines that are not readings, and `labels` of faults.

    Raises:
        SettingsError: catalogue, mapping or recorded file cannot be used; nothing has been written.
    """
    counts: Counter[str] = Counter(generated=0, rejected=0)
    if settings.source == "synthetic":
        _synthetic(work, settings, counts)
    elif settings.source == "recorded" and work.workspace.shard.index == 0:
        _recorded(work, settings, counts)
    return Outcome(dict(counts))


def _synthetic(work: Work, settings: GenerateSettings, counts: Counter[str]) -> None:
    if settings.late_rate and settings.late_by < _MS:
        raise SettingsError("ETL_GENERATE_LATE_BY: must be at least a millisecond")
    start = (settings.start - _EPOCH) // _MS
    transport = Transport(
        dropout=settings.dropout_rate,
        duplicate=settings.duplicate_rate,
        late=settings.late_rate,
        late_by=settings.late_by // _MS,
        out_of_order=settings.out_of_order_rate,
    )
    shard = work.workspace.shard
    machines = [machine for place, machine in enumerate(_machines(settings)) if shard.has(place)]
    if not machines:
        return
    interval = None if settings.interval is None else max(1, round(settings.interval * 1000))
    end = start + settings.duration // _MS
    if settings.fault_rate:
        work.output.write("labels", fault_labels(machines, settings.seed, settings.fault_rate, start, end))
    tables = synthetic_readings(
        machines,
        settings.seed,
        work.measurements,
        start,
        end,
        interval=interval,
        transport=transport,
        fault_rate=settings.fault_rate,
        counts=counts,
    )
    for table in tables:
        work.output.write("readings", table)


def _recorded(work: Work, settings: GenerateSettings, counts: Counter[str]) -> None:
    if settings.mapping_file is None or settings.recorded_url is None:
        raise SettingsError("source recorded needs ETL_GENERATE_RECORDED_URL and ETL_GENERATE_MAPPING_FILE")
    mapping = read_mapping(settings.mapping_file, work.measurements)
    waiting: dict[str, list[pa.Table]] = {"readings": [], "dead-letters": []}
    oldest = (settings.oldest - _EPOCH) // _MS
    usable = False
    for block in recorded_readings(settings.recorded_url, mapping, work.measurements, oldest):
        usable = usable or any_usable(block.readings, work.measurements)
        counts["generated"] += len(block.readings)
        counts["rejected"] += len(block.dead_letters)
        for kind, table in (("readings", block.readings), ("dead-letters", block.dead_letters)):
            if not _fits(waiting[kind], table):
                _flush(work, kind, waiting[kind])
            if len(table):
                waiting[kind].append(table)
    if not usable and (counts["generated"] or counts["rejected"]):
        # Produce ends with the exit code, once it has published the dead letters.
        log.warning(all_rejected(counts["generated"], waiting["dead-letters"]))
    for kind, tables in waiting.items():
        _flush(work, kind, tables)


def _fits(tables: list[pa.Table], more: pa.Table) -> bool:
    rows, size = sum(map(len, [*tables, more])), sum(table.nbytes for table in [*tables, more])
    return bool(rows <= CHUNK_ROWS and size <= CHUNK_BYTES)


def _flush(work: Work, kind: str, tables: list[pa.Table]) -> None:
    if tables:
        work.output.write(kind, pa.concat_tables(tables))
    tables.clear()


def _machines(settings: GenerateSettings) -> list[Machine]:
    if settings.catalogue_file is None:
        return synthetic_machines(settings.machines)
    machines = read_catalogue(settings.catalogue_file)
    if "machines" not in settings.model_fields_set:
        return machines
    if settings.machines > len(machines):
        raise SettingsError(
            f"ETL_GENERATE_MACHINES: {settings.machines} machines, but {settings.catalogue_file} has {len(machines)}"
        )
    return machines[: settings.machines]
