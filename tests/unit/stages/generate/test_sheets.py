"""Workbooks: a sheet by name, dates and numbers as a spreadsheet has them."""

import io
import sys
import zipfile
from xml.sax.saxutils import escape

import pytest

from etl.errors import SettingsError
from tests.unit.stages.generate.conftest import MAPPING

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
DATED = 1  # the style of a date


def _cell(cell):
    if isinstance(cell, str):
        return f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
    if isinstance(cell, tuple):
        return f'<c s="{DATED}"><v>{cell[0]}</v></c>'
    return "<c/>" if cell is None else f"<c><v>{cell}</v></c>"


def workbook(**sheets):
    """Return an xlsx file; a date is a tuple of its serial number."""
    file = io.BytesIO()
    numbers = range(1, len(sheets) + 1)
    names = "".join(f'<sheet name="{name}" sheetId="{at}" r:id="r{at}"/>' for at, name in enumerate(sheets, 1))
    parts = "".join(f'<Override PartName="/xl/s{at}.xml" ContentType="application/xml"/>' for at in numbers)
    links = "".join(f'<Relationship Id="r{at}" Type="{_RELATIONS}/worksheet" Target="s{at}.xml"/>' for at in numbers)
    styles = f'<styleSheet xmlns="{_MAIN}"><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs></styleSheet>'
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{_PACKAGE}/content-types">{parts}</Types>')
        office = f'<Relationship Id="r1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/>'
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{_PACKAGE}/relationships">{office}</Relationships>')
        links += f'<Relationship Id="r0" Type="{_RELATIONS}/styles" Target="styles.xml"/>'
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{_PACKAGE}/relationships">{links}</Relationships>'
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>{names}</sheets></workbook>',
        )
        archive.writestr("xl/styles.xml", styles)
        for at, rows in zip(numbers, sheets.values(), strict=True):
            data = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
            archive.writestr(f"xl/s{at}.xml", f'<worksheet xmlns="{_MAIN}"><sheetData>{data}</sheetData></worksheet>')
    return file.getvalue()


NAMES = ["time", "machine", "U"]
ROW = [(46027 + 8 / 24,), "p", 230.5]
FOUND = ("p", "2026-01-05 08:00:00", 230.5)


@pytest.mark.parametrize("above", [[], [["Report"], [None], ["a", "b"]]])
def test_rows_are_readings_when_they_are_in_a_sheet(rows_of, above):
    rows = [*above, NAMES, [None, None, "kV"], ROW, ["2026-01-05 09:00", 7, None], [None], NAMES, ["x", "p", 1], [7]]
    readings, letters = rows_of(workbook(one=rows), name="file.xlsx")
    assert readings == [FOUND]
    first = len(above) + 4
    assert [(line, reason) for line, reason, _ in letters] == [
        (first, "no-measurement"),
        (first + 3, "timestamp"),
        (first + 4, "missing-key"),
    ]
    assert letters[1][2] == b'{"time": "x", "machine": "p", "U": 1}'


def test_a_serial_number_is_a_time_when_the_format_says_so(rows_of):
    mapping = MAPPING.replace(": time", ": {column: time, format: excel}")
    assert rows_of(workbook(one=[NAMES, [46027.5, 7, 1]]), mapping, "file.xlsx")[0] == [("7", "2026-01-05 12:00:00", 1)]


def test_date_and_time_are_joined_when_they_are_two_columns(rows_of):
    book = workbook(one=[["day", "time", "machine", "U"], [(46027,), (8 / 24,), "p", 230.5]])
    mapping = MAPPING.replace(": time", ": {columns: [day, time]}")
    assert rows_of(book, mapping, "file.xlsx") == ([FOUND], [])


def test_the_sheet_is_that_of_the_mapping_when_there_are_several(rows_of):
    book = workbook(cover=[["Hello"]], data=[NAMES, ROW])
    assert rows_of(book, MAPPING + "sheet: data", "file.xlsx")[0] == [FOUND]
    with pytest.raises(SettingsError, match="has no column 'time'; it has Hello"):
        rows_of(book, name="file.xlsx")
    with pytest.raises(SettingsError, match="has no sheet 'x'; it has cover, data"):
        rows_of(book, MAPPING + "sheet: x", "file.xlsx")


def test_a_workbook_is_one_clear_line_when_it_cannot_be_read(rows_of, monkeypatch):
    with pytest.raises(SettingsError, match="is no good workbook"):
        rows_of(b"PK no", name="file.xlsx")
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(SettingsError, match=r"install sensor-etl\[excel\], or save it as CSV"):
        rows_of(workbook(one=[NAMES, ROW]), name="file.xlsx")
