"""Grade the values of a historian by their status.

Codes of OPC DA have their grade in bits 6 and 7 (OPC DA 2.05a, 6.8), status codes of OPC UA in bits 30 and 31
(https://reference.opcfoundation.org/Core/Part4/v105/docs/7.39).
"""

import re
from typing import NamedTuple

from etl.mapping.language import QualityColumn

GOOD, UNCERTAIN, BAD = 0, 1, 2
_WORDS = {"good": GOOD, "uncertain": UNCERTAIN, "bad": BAD, "error": BAD}
_WORD = re.compile("|".join(_WORDS))
# A status code of OPC UA in JSON is a number, or an object with one of these; an object without is good:
# https://reference.opcfoundation.org/Core/Part6/v105/docs/5.4.2.12
_CODES = ("Code", "code", "Symbol", "symbol")
_OPC_DA = {0b11: GOOD, 0b01: UNCERTAIN, 0b00: BAD}
_OPC_UA = {0b00: GOOD, 0b01: UNCERTAIN, 0b10: BAD}
_LONGEST = 40
# These separate and introduce notes in the column `quality`.
_RESERVED = re.compile(r"[,=\s\x00-\x1f]+")


class Grade(NamedTuple):
    """The grade of a value, and the status in words."""

    grade: int
    word: str


def grade_of(status: object, entry: QualityColumn) -> Grade:
    """Return the grade of a status; a value without a status is good, and one with an unknown status is uncertain."""
    if isinstance(status, dict):
        status = next((status[name] for name in _CODES if name in status), status or None)
    word = note_word(status)
    if status is None or status == "":
        return Grade(GOOD, word)
    for grade, listed in ((GOOD, entry.good), (UNCERTAIN, entry.uncertain), (BAD, entry.bad)):
        if any(_same(status, each) for each in listed):
            return Grade(grade, word)
    # Some programs write a status in words with its code, such as "OK (0x0)".
    number = _whole(status.rpartition("(")[2].rstrip(") ") if isinstance(status, str) else status)
    if entry.codes and number is not None:
        if entry.codes == "opc-da":
            return Grade(UNCERTAIN if number < 0 else _OPC_DA.get(number >> 6 & 0b11, UNCERTAIN), word)
        return Grade(_OPC_UA.get(number >> 30 & 0b11, UNCERTAIN), word)
    found = _WORD.match(status.strip().lower()) if isinstance(status, str) else None
    return Grade(_WORDS[found[0]] if found else UNCERTAIN, word)


def note_word(cell: object) -> str:
    """Return a cell as a short word for the column `quality`."""
    return _RESERVED.sub(" ", str(cell)).strip()[:_LONGEST] or "?"


def _same(status: object, listed: object) -> bool:
    if isinstance(status, str) and not isinstance(listed, str):
        number = _whole(status)
        return number is not None and not isinstance(listed, bool) and number == listed
    if isinstance(status, str) and isinstance(listed, str):
        return status.strip().lower() == listed.strip().lower()
    return type(status) is type(listed) and status == listed


def _whole(status: object) -> int | None:
    if isinstance(status, bool):
        return None
    if isinstance(status, int):
        return status
    if isinstance(status, float):
        return int(status) if status.is_integer() else None
    text = str(status).strip()
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", text):
        return int(text, 16)
    # Codes of OPC UA may be signed.
    return int(text) if re.fullmatch(r"-?\d{1,10}", text) else None
