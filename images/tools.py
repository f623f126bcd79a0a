"""helm, kubectl and kind, in versions that this project is tested with.

A tool on the PATH is used if its version fits; otherwise it is built from its Go module. Either way
`.cache/tools/bin` has it.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from images.command import run
from images.errors import CommandError
from images.paths import CACHE
from images.without_registry import programs

BIN = CACHE / "tools" / "bin"


@dataclass(frozen=True)
class Tool:
    """A program for the cluster.

    `version` are the arguments with which it prints its version. `fits` returns whether major and minor number fit.
    """

    version: tuple[str, ...]
    fits: Callable[[int, int], bool]


# The order of builds: the chart tests need only the first, and run while the others are built.
TOOLS = {
    "helm": Tool(("version", "--short"), lambda major, minor: (major, minor) >= (3, 14)),
    "kubectl": Tool(("version", "--client"), lambda major, minor: major == 1 and abs(minor - 34) <= 1),
    "kind": Tool(("version",), lambda major, minor: (major, minor) == (0, 30)),
}


def tool(name: str) -> Path:
    """Return the path of `helm`, `kubectl` or `kind`; a first build takes minutes.

    Raises:
        PrerequisiteError: The PATH has none that fits, and Go to build it is missing.
        CommandError: It could not be built.
    """
    found = shutil.which(name)
    if found and Path(found).parent != BIN and _fits(Path(found), TOOLS[name]):
        return _link(Path(found), BIN / name)
    return programs.build_tool(name, BIN)


def _fits(path: Path, tool: Tool) -> bool:
    try:
        version = re.search(r"v(\d+)\.(\d+)\.", run(path, *tool.version))
    except CommandError:
        return False
    return version is not None and tool.fits(int(version[1]), int(version[2]))


def _link(found: Path, link: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or link.readlink() != found:
        link.unlink(missing_ok=True)
        link.symlink_to(found)
    return link
