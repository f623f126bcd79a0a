"""The entry of a mapping that names the format of the records on a topic.

record: senml                     # the same as {format: senml}
record: {format: csv, names: [timestamp, voltage, current], delimiter: ";"}
record: {format: avro, schema_file: reading.avsc}       # relative to the mapping file
record: {format: protobuf, schema_file: reading.desc, message: plant.Reading}
record: registry                  # Avro, Protobuf or JSON Schema, as the registry says (ETL_REGISTRY_URL)
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

# YAML keeps \t in single quotes, or without quotes, as two characters.
Delimiter = Annotated[
    str,
    BeforeValidator(lambda given: "\t" if given == r"\t" else given),
    Field(pattern=r"^[\t !#-~]$"),
]
# The options of each format, and those that it needs.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "avro": ("schema_file",),
    "protobuf": ("schema_file", "message"),
    "csv": ("names", "delimiter", "quote"),
}
_NEEDED: dict[str, tuple[str, ...]] = {"protobuf": ("schema_file", "message"), "csv": ("names",)}


class RecordFormat(BaseModel):
    """The format of records, with the options of that format."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["json", "registry", "avro", "protobuf", "csv", "sparkplug", "senml"] = "json"
    schema_file: Annotated[str, Field(min_length=1)] | None = None
    message: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")] | None = None
    names: Annotated[
        tuple[str, ...], BeforeValidator(lambda given: tuple(given) if type(given) is list else given)
    ] = ()
    delimiter: Delimiter = ","
    quote: Literal['"', "'"] | None = '"'

    @model_validator(mode="after")
    def _own_options(self) -> "RecordFormat":
        allowed = _OPTIONS.get(self.format, ())
        for name in sorted(self.model_fields_set - {"format"}):
            if name not in allowed:
                raise ValueError(f"format {self.format} has no {name}")
        for name in _NEEDED.get(self.format, ()):
            if not getattr(self, name):
                raise ValueError(f"format {self.format} needs {name}")
        if len(set(self.names)) < len(self.names):
            raise ValueError("names has a name twice")
        return self


def _short(entry: object) -> object:
    return {"format": entry} if isinstance(entry, str) else entry


# The type of the entry in a mapping.
RecordFormatEntry = Annotated[RecordFormat, BeforeValidator(_short)]
