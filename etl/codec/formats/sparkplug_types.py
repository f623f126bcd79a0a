"""The messages of Sparkplug B 3.0 as Protobuf descriptors: https://sparkplug.eclipse.org/specification/ (chapter 6)."""

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

_PACKAGE = "sparkplug"
_VALUES = ("uint32 int_value", "uint64 long_value", "float float_value", "double double_value")
# Message: its fields in order of their numbers. `oneof` begins the fields of which only one is set.
_MESSAGES: dict[str, tuple[str, ...]] = {
    "Payload": ("uint64 timestamp", "repeated Metric metrics", "uint64 seq", "string uuid", "bytes body"),
    "Metric": (
        *("string name", "uint64 alias", "uint64 timestamp", "uint32 datatype", "bool is_historical"),
        *("bool is_transient", "bool is_null", "MetaData metadata", "PropertySet properties", "oneof"),
        *(*_VALUES, "bool boolean_value", "string string_value", "bytes bytes_value"),
        *("DataSet dataset_value", "Template template_value"),
    ),
    "MetaData": (
        *("bool is_multi_part", "string content_type", "uint64 size", "uint64 seq", "string file_name"),
        *("string file_type", "string md5", "string description"),
    ),
    "PropertySet": ("repeated string keys", "repeated PropertyValue values"),
    "PropertyValue": (
        *("uint32 type", "bool is_null", "oneof", *_VALUES, "bool boolean_value", "string string_value"),
        *("PropertySet propertyset_value", "PropertySetList propertysets_value"),
    ),
    "PropertySetList": ("repeated PropertySet propertyset",),
    "DataSet": ("uint64 num_of_columns", "repeated string columns", "repeated uint32 types", "repeated Row rows"),
    "Row": ("repeated DataSetValue elements",),
    "DataSetValue": ("oneof", *_VALUES, "bool boolean_value", "string string_value"),
    "Template": (
        *("string version", "repeated Metric metrics", "repeated Parameter parameters", "string template_ref"),
        "bool is_definition",
    ),
    "Parameter": ("string name", "uint32 type", "oneof", *_VALUES, "bool boolean_value", "string string_value"),
}


def payload() -> Descriptor:
    """Return the type of the payloads."""
    # The specification has proto2, with the same bytes; but proto3 refuses texts that are not UTF-8.
    file = FileDescriptorProto(name="sparkplug.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        _add(file.message_type.add(name=name), fields)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindMessageTypeByName(f"{_PACKAGE}.Payload")


def _add(message: DescriptorProto, fields: tuple[str, ...]) -> None:
    if "oneof" in fields:
        message.oneof_decl.add(name="value")
    within, number = False, 0
    for text in fields:
        if text == "oneof":
            within = True
            continue
        number += 1
        *repeated, kind, name = text.split()
        label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, label=label)
        if kind in _MESSAGES:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
        else:
            field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        if within:
            field.oneof_index = 0
        elif not repeated:  # each optional field is the only one of a group, in proto3
            field.oneof_index, field.proto3_optional = len(message.oneof_decl), True
            message.oneof_decl.add(name=f"_{name}")
