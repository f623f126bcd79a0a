"""The dead letters of transform."""

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow as pa

from etl.codec.columns import READING
from etl.codec.originals import originals
from etl.model.schemas import PARTITIONS, dead_letter_table
from etl.run.runner import Work
from etl.run.workspace import topics_of


def letters_of(work: Work, readings: pa.Table, records: pa.Table, reasons: pa.Array, details: pa.Array) -> pa.Table:
    """Return dead letters of readings, each with original bytes and origin."""
    values, keys, content_types, headers = originals(readings, records, work.measurements)
    letters: dict[str, object] = {
        "value": values,
        "key": keys,
        "content_type": content_types,
        "headers": headers,
        "reason": reasons,
        "detail": details,
        "stage": "transform",
        **_places(work, readings["partition"].to_numpy()),
        **{name: readings[name] for name in ("offset", "index", "record_time", "replays")},
    }
    return dead_letter_table(len(values), letters)


def superseded_letters(
    work: Work, machines: list[str], stored: pd.DataFrame, winners: pd.DataFrame, detail: str
) -> pa.Table:
    """Return superseded rows, or values of rows, as JSON; their origin is the reading that replaces them.

    Args:
        work: the run.
        machines: the equipment IDs by number.
        stored: `equipment` (number), `timestamp` (ms), and what the letters hold if it is not missing.
        winners: the readings that replace them, one each.
        detail: the text that says why.
    """
    moments = stored["timestamp"].to_numpy().astype("datetime64[ms]")
    own = [name for name in stored if name not in ("equipment", "timestamp")]
    columns = [np.datetime_as_string(moments, unit="ms", timezone="UTC").tolist(), *(stored[n].tolist() for n in own)]
    values = [
        orjson.dumps({name: value for name, value in zip(("timestamp", *own), row, strict=True) if not pd.isna(value)})
        for row in zip(*columns, strict=True)
    ]
    letters: dict[str, object] = {
        "value": values,
        "key": [machines[code].encode() for code in stored["equipment"]],
        "content_type": READING,
        "reason": "superseded",
        "detail": detail,
        "stage": "transform",
        **_places(work, winners["partition"].to_numpy()),
        **{name: winners[name].to_numpy() for name in ("offset", "index", "record_time")},
        "replays": 0,
    }
    return dead_letter_table(len(values), letters)


def _places(work: Work, numbers: npt.NDArray[np.int32]) -> dict[str, object]:
    """Return topic and partition of readings, by the partition numbers of the files."""
    topics = pa.array(topics_of(work.input.manifest.summary.offsets), pa.string())
    return {"topic": topics.take(pa.array(numbers // PARTITIONS)), "partition": numbers % PARTITIONS}
