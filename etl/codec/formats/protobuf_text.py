"""Compile the text of Protobuf schemas, as a schema registry holds them, with protoc.

protoc runs in a process of its own, so that its messages, which name the error, can be read.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from etl.codec.formats.protobuf import descriptors

_MAIN = "etl-record.proto"
_SECONDS = 60
_ERROR = re.compile(r"\S+\.proto:(?!.*warning:)")
# Registries know this file without a reference; schemas use it for documentation.
_META = """syntax = "proto3";
package confluent;
import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
"""
_DECIMAL = """syntax = "proto3";
package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }
"""
_BUILT_IN = {"confluent/meta.proto": _META, "confluent/type/decimal.proto": _DECIMAL}


class Messages:
    """The types of messages of one schema, by their positions in it; `serialized` is their descriptor set."""

    def __init__(self, text: str, references: Mapping[str, str]) -> None:
        """Compile a schema.

        Args:
            text: the schema.
            references: the texts that it imports, by the names of the imports.

        Raises:
            ValueError: it is no schema; the message has one line.
        """
        self.serialized = _compiled({**_BUILT_IN, **references, _MAIN: text})
        self._pool = descriptors(self.serialized)
        self._file = next(file for file in FileDescriptorSet.FromString(self.serialized).file if file.name == _MAIN)

    def at(self, indexes: tuple[int, ...]) -> Descriptor:
        """Return the type at these positions: that of a message in the file, then that of a message in it, and so on.

        Raises:
            ValueError: there is none.
        """
        return self._pool.FindMessageTypeByName(_name(self._file, indexes))


def _name(file: FileDescriptorProto, indexes: tuple[int, ...]) -> str:
    names, messages = ([file.package] if file.package else []), file.message_type
    for index in indexes:
        if not 0 <= index < len(messages):
            raise ValueError(f"the schema has no message at position {'.'.join(map(str, indexes))[:100]}")
        names.append(messages[index].name)
        messages = messages[index].nested_type
    return ".".join(names)


def _compiled(files: Mapping[str, str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        sources, result = Path(folder, "sources"), Path(folder, "result")
        for name, text in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\0" in name or len(name) > 200:
                raise ValueError(f"the schema imports {name[:100]!r}, which is no name of a file")
            Path(sources, path).parent.mkdir(parents=True, exist_ok=True)
            Path(sources, path).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{sources}", *_included()]
        done = subprocess.run(
            [*command, "--include_imports", f"--descriptor_set_out={result}", _MAIN],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if _ERROR.match(line)), "protoc failed")
            reason = " ".join(reason.replace(f"{sources}/", "").replace(_MAIN, "schema").split())
            raise ValueError(f"no Protobuf schema: {reason[:300]}")
        return result.read_bytes()


def _included() -> list[str]:
    """Return arguments for the types of Google that protoc itself lacks, such as google/type/date.proto."""
    spec = find_spec("google.type")
    return [f"-I{Path(place).parents[1]}" for place in spec.submodule_search_locations or ()] if spec else []
