"""Builds of programs from Go modules, whose versions and checksums this project pins in `go.mod` and `go.sum`."""

import hashlib
import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

from images.command import Report, exclusive, follow, step
from images.errors import PrerequisiteError

ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
    "GOWORK": "off",
}


def build(
    module: Path, packages: Mapping[str, str], out: Path, *, variables: Mapping[str, str] | None = None
) -> list[Path]:
    """Build programs of a module into a folder, unless that folder has the same builds already.

    Args:
        module: Folder with `go.mod` and `go.sum`.
        packages: Import path by name of the program. If there are several, each path ends in the name.
        out: Folder for the programs.
        variables: Values of Go variables, which the linker sets.

    Returns:
        Paths of the programs, in the order of `packages`.

    Raises:
        PrerequisiteError: Go is missing.
        CommandError: The build failed, for example because Go is too old.
    """
    out.mkdir(parents=True, exist_ok=True)
    linker = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in (variables or {}).items())])
    # Several commands of this project may need the same programs at the same time.
    with exclusive(out / ".lock", f"build {', '.join(packages)}"):
        fingerprints = {name: _fingerprint(module, package, linker) for name, package in packages.items()}
        missing = [name for name, fingerprint in fingerprints.items() if not _is_built(out / name, fingerprint)]
        if missing:
            _compile(module, {name: packages[name] for name in missing}, out, linker)
        for name in missing:
            _stamp(out / name).write_text(fingerprints[name])
    return [out / name for name in packages]


def _compile(module: Path, packages: Mapping[str, str], out: Path, linker: str) -> None:
    names = ", ".join(packages)
    if not shutil.which("go"):
        raise PrerequisiteError(f"Go 1.26 or newer is needed to build {names}: install it, or put go on the PATH")
    # One build for all: shared packages are compiled once, and one program is linked while another is compiled.
    target = out if len(packages) > 1 else out / names
    with step(f"build {names}") as report:
        needed: list[str] = []
        follow(
            *("go", "list", "-deps", *packages.values()),
            # Lines about downloads are progress; the others are the packages.
            report=lambda line: report(line) if line.startswith("go: ") else needed.append(line),
            cwd=module,
            environment=ENVIRONMENT,
        )
        command = ["go", "build", "-v", "-ldflags", linker, "-o", str(target), *packages.values()]
        follow(*command, report=_counted(report, len(needed)), cwd=module, environment=ENVIRONMENT)


def _counted(report: Report, needed: int) -> Report:
    numbers = itertools.count(1)
    return lambda line: report(f"package {next(numbers)} of at most {needed}: {line}")


def _fingerprint(module: Path, package: str, linker: str) -> str:
    digest = hashlib.sha256(f"{package} {linker}".encode())
    for file in sorted(module.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _stamp(executable: Path) -> Path:
    return executable.with_name(f".{executable.name}.built")


def _is_built(executable: Path, fingerprint: str) -> bool:
    stamp = _stamp(executable)
    return executable.exists() and stamp.exists() and stamp.read_text() == fingerprint
