"""The reader of records that other programs define, as far as the decoder needs it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from etl.codec.columns import DeadRecord, Part
from etl.kafka.records import Records
from etl.model.measurements import Measurements


class ForeignPart(NamedTuple):
    """The readings of a block, and the number of elements by field that the mapping does not name."""

    part: Part | None
    unknown: Counter[str]


# Takes the values by position, their block, the cells of `$key` and `$topic`, the measurements, and a list for the
# records and elements that are no readings.
Read = Callable[
    [Mapping[int, bytes], Records, Mapping[str, Sequence[Any]], Measurements, list[DeadRecord]], ForeignPart
]


class Foreign(NamedTuple):
    """A reader of foreign records.

    `headers` are the headers that it uses, in lower case. `elements` is the path to the elements of a JSON record, None
    if a dead letter must hold the whole record.
    """

    headers: frozenset[str]
    elements: str | None
    read: Read
