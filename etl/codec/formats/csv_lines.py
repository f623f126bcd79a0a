"""Records that are lines of CSV, with the names of the columns in the mapping.

A record of one line is one object of texts, and a record of several lines is a list of them. A line that repeats the
names is skipped, because some programs send a header with each message.
"""

import csv
import io
from typing import Any

from etl.codec.formats import Parser
from etl.mapping.record_format import RecordFormat

_BOM = "\ufeff"


def open_parser(format: RecordFormat) -> Parser:  # noqa: A002
    """Return the parser of CSV lines."""
    names = list(format.names)
    quoting = csv.QUOTE_MINIMAL if format.quote else csv.QUOTE_NONE
    options: dict[str, Any] = {"delimiter": format.delimiter, "quotechar": format.quote, "quoting": quoting}

    def parse(value: bytes) -> Any:
        try:
            text = value.decode().removeprefix(_BOM)
            lines = [line for line in csv.reader(io.StringIO(text, newline=None), strict=True, **options) if line]
            found = [_object(names, line) for line in lines if [cell.strip() for cell in line] != names]
        except UnicodeDecodeError as error:
            return ValueError(f"the line is not UTF-8: {error.reason} at byte {error.start}")
        except (ValueError, csv.Error) as error:
            return error if isinstance(error, ValueError) else ValueError(f"no CSV: {error}")
        if not lines:
            return ValueError("the record has no line")
        return found[0] if len(found) == 1 else found

    return Parser(lambda records: [parse(value or b"") for value in records.values])


def _object(names: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) == len(names) + 1 and not cells[-1].strip():
        cells = cells[:-1]  # a delimiter at the end
    if len(cells) != len(names):
        raise ValueError(f"the line has {len(cells)} cells, but {len(names)} names are declared")
    return dict(zip(names, cells, strict=True))
