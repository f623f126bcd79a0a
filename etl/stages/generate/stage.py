"""Stage 1: generate synthetic readings or read recorded ones; do nothing if gateways fill the topic.

A shard generates the readings of its own machines. If there are many recorded files, a shard reads those whose names
have its number; only the first shard reads a single one.
"""

import hashlib
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import structlog

from etl.errors import SettingsError
from etl.mapping.language import ColumnMapping, read_mapping
from etl.model.catalogue import Machine, read_catalogue, synthetic_machines
from etl.model.measurements import Measurements
from etl.model.schemas import CHUNK_ROWS
from etl.run.rejected import all_rejected, any_usable
from etl.run.runner import Outcome, Work
from etl.settings import GenerateSettings
from etl.stages.generate.files import file_readings
from etl.stages.generate.listing import list_files
from etl.stages.generate.opening import Found
from etl.stages.generate.progress import Progress, add, finish_file, resume, tell_earlier_runs, undone
from etl.stages.generate.transport import Transport, fault_labels, synthetic_readings
from etl.urls import shown

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
    elif settings.source == "recorded":
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
    listing = list_files(settings.recorded_url, mapping)
    shard = work.workspace.shard
    # By name, not by position: a file that appears meanwhile does not move others to another shard.
    own = [each for each in listing.files if shard.has(zlib.crc32(each.name.encode()) if listing.many else 0)]
    if not own:
        return
    oldest = (settings.oldest - _EPOCH) // _MS
    progress = resume(work.workspace, _inputs(settings, work.measurements), own)
    tell_earlier_runs(work.workspace, own)
    done = progress.done
    rest = [each for each in own if each.name not in done]
    with undone(progress):
        for found in rest:
            read = _read(progress, found, mapping, work.measurements, oldest)
            finish_file(progress, found, read, last=found is rest[-1])
    counts.update(progress.total)
    if len(own) > 1:
        log.info("recorded files read", files=len(own), by_this_try=len(rest))
    work.output.files.extend(progress.output.files)


def _inputs(settings: GenerateSettings, measurements: Measurements) -> str:
    """Return a hash of all that determines the readings of a file besides its content."""
    mapping = settings.mapping_file.read_bytes() if settings.mapping_file else b""
    others = f"{shown(settings.recorded_url or '')} {measurements.sha256} {settings.oldest}"
    return hashlib.sha256(mapping + others.encode()).hexdigest()


def _read(
    progress: Progress, found: Found, mapping: ColumnMapping, measurements: Measurements, oldest: int
) -> Counter[str]:
    counts: Counter[str] = Counter()
    refused: list[pa.Table] = []
    usable = False
    for block in file_readings(found, mapping, measurements, oldest):
        usable = usable or any_usable(block.readings, measurements)
        counts.update(generated=len(block.readings), rejected=len(block.dead_letters))
        add(progress, "readings", block.readings)
        add(progress, "dead-letters", block.dead_letters)
        if not usable and counts["rejected"] <= CHUNK_ROWS:
            refused.append(block.dead_letters)
    if not usable and counts.total():
        # Produce ends with the exit code if no file is usable, once it has published the dead letters.
        log.warning(all_rejected(counts["generated"], refused))
    return counts


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
