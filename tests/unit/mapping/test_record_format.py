"""The entry of a mapping that names the format of records."""

import pytest
from pydantic import TypeAdapter, ValidationError

from etl.mapping.record_format import RecordFormat, RecordFormatEntry
from etl.model.yaml_file import first_problem

ENTRY: TypeAdapter[RecordFormat] = TypeAdapter(RecordFormatEntry)


def test_format_is_enough_when_it_needs_no_option() -> None:
    assert ENTRY.validate_python("senml") == RecordFormat(format="senml")
    assert ENTRY.validate_python({"format": "csv", "names": ["a", "b"]}).names == ("a", "b")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("avr", "Input should be 'json', 'registry', "),
        ({"format": "csv"}, "format csv needs names"),
        ({"format": "csv", "names": ["a", "a"]}, "names has a name twice"),
        ({"format": "csv", "names": "a"}, "Input should be a valid tuple"),
        ({"format": "csv", "names": ["a"], "delimiter": ";;"}, "String should match"),
        ({"format": "protobuf", "schema_file": "a.desc"}, "format protobuf needs message"),
        ({"format": "avro", "message": "a.B"}, "format avro has no message"),
        ({"format": "senml", "delimiter": ","}, "format senml has no delimiter"),
        ({"format": "avro", "schema": "x"}, "Extra inputs are not permitted"),
        ({"format": "protobuf", "schema_file": "a", "message": "1"}, "String should match"),
    ],
)
def test_entry_is_refused_in_one_line_when_an_option_does_not_fit(entry: object, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ENTRY.validate_python(entry)
    assert problem in first_problem(caught.value)[1]
