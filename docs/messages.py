"""Read the messages with which `etl` ends from its code: docs/troubleshooting.md has an entry for each.

A message is the first argument of an error of `etl/errors.py`. Messages of a `ValueError` count in the modules below,
because `etl` puts the name of the setting or of the file before them and ends with exit code 2.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from etl import errors

ROOT = Path(__file__).parents[1]
GAP = "…"  # in place of a name, a number or a reason
_CHECKED_VALUES = ("etl/settings.py", "etl/mapping/", "etl/model/measurements.py")
CODES: dict[str, int] = {
    name: kind.exit_code
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.EtlError)
}


@dataclass(frozen=True)
class Message:
    """A message with gaps, the exit code that it ends with, and its place in the code."""

    text: str
    exit_code: int
    place: str


@dataclass(frozen=True)
class _Module:
    path: str
    tree: ast.Module
    functions: dict[str, ast.FunctionDef]


def messages() -> Iterator[Message]:
    """Yield each message of the code; a message with several texts is yielded once for each."""
    modules = [_read(path) for path in sorted(ROOT.glob("etl/**/*.py"))]
    functions = {name: (module, found) for module in modules for name, found in module.functions.items()}
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and node.args and (codes := _codes(module, node.func)):
                for code, text in product(codes, _texts(node.args[0], module, functions)):
                    yield Message(text, code, f"{module.path}:{node.lineno}")


def _read(path: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return _Module(str(path.relative_to(ROOT)), tree, {function.name: function for function in found})


def _codes(module: _Module, called: ast.expr) -> list[int]:
    """Return the exit codes of what a call makes; none if it makes no error."""
    match called:
        case ast.Name(id=name) if name in CODES:
            return [CODES[name]]
        case ast.Name(id="ValueError") if module.path.startswith(_CHECKED_VALUES):
            return [errors.SettingsError.exit_code]
        case ast.IfExp(body=one, orelse=other):
            return [*_codes(module, one), *_codes(module, other)]
    return []


_Functions = dict[str, tuple[_Module, ast.FunctionDef]]


def _texts(node: ast.expr, module: _Module, functions: _Functions) -> Iterator[str]:
    """Yield the texts of an expression: of constants, of names assigned in the module, and of functions' results."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in parts)
        case ast.IfExp(body=one, orelse=other):
            yield from _texts(one, module, functions)
            yield from _texts(other, module, functions)
        case ast.Name(id=name) if values := _assigned(module, name):
            for value in values:
                yield from _texts(value, module, functions)
        case ast.Call(func=ast.Attribute(value=template, attr="format")):
            for text in _texts(template, module, functions):
                yield re.sub(r"{\w*}", GAP, text)
        case ast.Call(func=ast.Name(id=name)) if name in functions:
            where, function = functions[name]
            for result in ast.walk(function):
                if isinstance(result, ast.Return) and result.value:
                    yield from _texts(result.value, where, functions)
        case _:
            yield GAP


def _assigned(module: _Module, name: str) -> list[ast.expr]:
    return [
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]
    ]
