"""Recorded readings from a Parquet file."""

import json
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from etl.errors import SettingsError
from etl.mapping.ids import Column
from etl.mapping.language import ColumnMapping
from etl.model.measurements import Measurements
from etl.stages.generate.cells import BrokenLine, Cells, Parsed, check_columns


def parquet_rows(
    file: BinaryIO, mapping: ColumnMapping, measurements: Measurements, name: str, most_rows: int
) -> Iterator[Parsed]:
    """Yield the rows of a Parquet file in blocks of at most `most_rows`.

    Raises:
        SettingsError: the file is damaged, or a column is missing or has a type that does not fit its mapping.
    """
    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        check_columns(mapping, parquet.schema_arrow.names, name)
        _check_types(mapping, measurements, parquet.schema_arrow, name)
        number = 1
        for batch in parquet.iter_batches(batch_size=most_rows, columns=mapping.columns):
            batch = pa.RecordBatch.from_pydict({column: _decoded(batch[column]) for column in mapping.columns})
            lines = np.arange(number, number + len(batch))
            number += len(batch)
            good = _texts_good(batch)
            letters = [
                BrokenLine(int(lines[row]), _row(batch, row), "undecodable", "a text that is not utf-8")
                for row in np.flatnonzero(~good).tolist()
            ]
            batch, lines = batch.filter(pa.array(good)), lines[good]
            columns: dict[str, Column] = {column: batch[column] for column in mapping.columns}
            yield Cells(columns, lines, lambda row, batch=batch: _row(batch, row)), letters  # type: ignore[misc]
    # The names of columns may be no UTF-8.
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise SettingsError(f"recorded file {name} is no good Parquet: {' '.join(str(error).split())}") from error


def _texts_good(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Return the rows whose texts are UTF-8. Parquet requires it, but not every writer complies."""
    good = np.ones(len(batch), dtype=bool)
    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            for row, value in enumerate(column.cast(pa.binary()).to_pylist()):
                try:
                    (value or b"").decode()
                except UnicodeDecodeError:
                    good[row] = False
    return good


def _check_types(mapping: ColumnMapping, measurements: Measurements, schema: pa.Schema, name: str) -> None:
    of = pa.types
    is_text: list[Callable[[pa.DataType], bool]] = [of.is_string, of.is_large_string, of.is_null]
    is_key = [*is_text, of.is_integer]
    is_number = [*is_key, of.is_floating, of.is_decimal]
    types = {measurement.name: measurement.type for measurement in measurements.declared}
    wanted = {mapping.timestamp.column: [*is_number, of.is_timestamp]}
    if mapping.equipment.column:
        wanted[mapping.equipment.column] = is_key
    wanted |= {e.column: is_number if types[m] == "double" else is_text for m, e in mapping.measurements.items()}
    for column, checks in wanted.items():
        found = schema.field(column).type
        plain = found.value_type if of.is_dictionary(found) else found
        if not any(check(plain) for check in checks):
            raise SettingsError(
                f"recorded file {name}: column {column!r} of type {found} cannot be what it is mapped to"
            )


def _decoded(column: pa.Array) -> pa.Array:
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return plain.cast(pa.string()) if pa.types.is_large_string(plain.type) else plain


def _row(batch: pa.RecordBatch, row: int) -> bytes:
    cells = {name: batch[name][row] for name in batch.schema.names}
    return json.dumps({name: _cell(cell) for name, cell in cells.items()}, default=str).encode()


def _cell(cell: pa.Scalar) -> object:
    if pa.types.is_string(cell.type) and cell.is_valid:
        return cell.as_buffer().to_pybytes().decode(errors="backslashreplace")
    return cell.as_py()
