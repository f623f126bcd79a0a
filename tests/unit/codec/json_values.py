"""Values of JSON of all kinds, good and bad ones, as their bytes."""

import json

from hypothesis import strategies as st

NUMBERS = [
    "0", "-0", "-0.0", "-0e5", "1", "-17", "1.5", "1E5", "1e+5", "1e400", "-1e400", "1e-400", "4.9e-324", "2.4e-324",
    "0.1000000000000000055511151231257827021181583404541015625", "2.2250738585072011e-308", "1.7976931348623157e308",
    "1.7976931348623159e308", "8.5e22", "1e23", "9007199254740993", "9007199254740993.0", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "1" * 30,
    "1" * 400, "1" * 5000, "01", "+1", "1.", ".5", "-", "1e", "NaN", "nan", "Infinity", "-inf", "1767592800000",
    "1767592800.5", "1767592800.50", "1e3",
]  # fmt: skip
TEXTS = [
    '""', '"12.5"', '"NaN"', '"a,b"', '"voltage=Bad"', '"voltage=Bad,x=?"', '"2026-01-05T06:00:00+01:00"', '"\\u00b0"',
    '"\\ud83d\\ude00"', '"\\ud800"', '"\\udc00x"', '"\\x"', '"\\u12"', '"}\\n{"', '"\ufffd°"', '"line\nbreak"', '"\t"',
    '"\x00"', '"\x7f"', '"unclosed', '"' + "x" * 5000 + '"',
]  # fmt: skip
OTHERS = ["null", "true", "false", "nul", "[]", "{}", '{"voltage":1}', "[1,{}]", "[" * 2000 + "]" * 2000, "[", "", " "]
CELLS = st.sampled_from([*NUMBERS, *TEXTS, *OTHERS]) | st.floats().map(json.dumps) | st.integers().map(str)
BLANKS = st.sampled_from(["", "", "", " ", "\n", "\r\n", "\t", "\v", "\xa0", "//"])


@st.composite
def objects(draw: st.DrawFn, names: list[str], cells: st.SearchStrategy[str] = CELLS) -> str:
    """Draw an object, or a value that is nearly one."""
    fields = draw(st.lists(st.tuples(BLANKS, st.sampled_from(names), BLANKS, cells, BLANKS), max_size=5))
    joined = ",".join(f'{before}"{name}":{between}{cell}{after}' for before, name, between, cell, after in fields)
    return f"{draw(BLANKS)}{{{joined}}}{draw(BLANKS)}"
