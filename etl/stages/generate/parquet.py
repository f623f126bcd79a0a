"""Recorded readings from a Parquet file."""

import json
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.errors import SettingsError
from etl.mapping.ids import Column
from etl.mapping.language import ColumnMapping
from etl.model.measurements import Measurements
from etl.stages.generate.cells import BrokenLine, Cells, Parsed
from etl.stages.generate.layout import check_columns


def parquet_rows(
    file: BinaryIO, mapping: ColumnMapping, measurements: Measurements, name: str, most_rows: int
) -> Iterator[Parsed]:
    """Yield the rows of a Parquet file in blocks of at most `most_rows`.

    Raises:
        SettingsError: the file is damaged, or a column is missing or has a type that does not fit its mapping.
    """
    try:
        # INT96 of Spark would overflow in nanoseconds.
        parquet = pq.ParquetFile(file, page_checksum_verification=True, coerce_int96_timestamp_unit="us")
        check_columns(mapping, list(_paths(parquet.schema_arrow)), name)
        _check_types(mapping, measurements, parquet.schema_arrow, name)
        number = 1
        for batch in parquet.iter_batches(batch_size=most_rows, columns=mapping.columns):
            batch = pa.RecordBatch.from_pydict({column: _decoded(_column(batch, column)) for column in mapping.columns})
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


def _paths(fields: pa.Schema | pa.StructType, before: str = "") -> Iterator[str]:
    """Yield the names of columns, and the paths of nested ones, such as values.voltage."""
    for field in fields:
        yield before + field.name
        if pa.types.is_struct(field.type):
            yield from _paths(field.type, f"{before}{field.name}.")


def _column(batch: pa.RecordBatch, column: str) -> pa.Array:
    if column in batch.schema.names:
        return batch[column]
    first, steps = _steps(batch.schema, column)
    return pc.struct_field(batch[first], steps)


def _steps(schema: pa.Schema, column: str) -> tuple[str, list[str]]:
    """Return the name of the outer column and the names within; any of them may contain a point."""
    for name in schema.names:
        if column.startswith(f"{name}.") and pa.types.is_struct(schema.field(name).type):
            rest = column.removeprefix(f"{name}.")
            inner = schema.field(name).type
            if inner.get_field_index(rest) >= 0:
                return name, [rest]
            if rest in _paths(inner):
                within, steps = _steps(pa.schema(list(inner)), rest)
                return name, [within, *steps]
    raise KeyError(column)


def _type(schema: pa.Schema, column: str) -> pa.DataType:
    if column in schema.names:
        return schema.field(column).type
    first, steps = _steps(schema, column)
    found = schema.field(first).type
    for step in steps:
        found = found.field(step).type
    return found


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
    is_text: list[Callable[[pa.DataType], bool]] = [of.is_string, of.is_large_string, of.is_binary, of.is_null]
    is_key = [*is_text, of.is_integer]
    is_number = [*is_key, of.is_floating, of.is_decimal]
    types = {measurement.name: measurement.type for measurement in measurements.declared}
    is_time = [*is_number, of.is_timestamp, of.is_date]
    names = mapping.timestamp.names
    wanted = dict.fromkeys(names, is_time if len(names) == 1 else [*is_time, of.is_time])
    wanted |= {column: [*is_key, of.is_floating] for column in mapping.equipment.columns}
    if mapping.tag and mapping.value:
        wanted |= {mapping.tag.column: is_key, **dict.fromkeys(mapping.value, is_number)}
    else:
        is_value = [*is_number, of.is_boolean]
        wanted |= {e.column: is_value if types[m] == "double" else is_text for m, e in mapping.measurements.items()}
    for column, checks in wanted.items():
        found = _type(schema, column)
        plain = found.value_type if of.is_dictionary(found) else found
        if not any(check(plain) for check in checks):
            raise SettingsError(
                f"recorded file {name}: column {column!r} of type {found} cannot be what it is mapped to"
            )


def _decoded(column: pa.Array) -> pa.Array:
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if pa.types.is_binary(plain.type):
        return plain.view(pa.string())  # a writer without logical types, such as an old Spark
    return plain.cast(pa.string()) if pa.types.is_large_string(plain.type) else plain


def _row(batch: pa.RecordBatch, row: int) -> bytes:
    cells = {name: batch[name][row] for name in batch.schema.names}
    return json.dumps({name: _cell(cell) for name, cell in cells.items()}, default=str).encode()


def _cell(cell: pa.Scalar) -> object:
    if pa.types.is_string(cell.type) and cell.is_valid:
        return cell.as_buffer().to_pybytes().decode(errors="backslashreplace")
    return cell.as_py()
