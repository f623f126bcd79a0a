"""The base image from Debian packages."""

import shutil
import tempfile
from pathlib import Path

from images.command import Report, follow, run
from images.errors import PrerequisiteError

# As in Debian's own slim images. The paths also stay excluded for packages that are installed on top.
SLIM = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "groff", "info", "lintian", "locale", "man")]
SLIM.append("--dpkgopt=path-include=/usr/share/doc/*/copyright")
# Without this, the folders are merged by a package that needs all of Perl.
MERGED = ("--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")


def make_image(tag: str, label: str, report: Report) -> None:
    """Make a Debian 12 image with the certificates of the public authorities.

    Args:
        tag: Name and tag of the image.
        label: Its label, as `key=value`.
        report: Called with each line of output, as progress.

    Raises:
        PrerequisiteError: mmdebstrap is missing.
        CommandError: The image could not be made.
    """
    if not shutil.which("mmdebstrap"):
        raise PrerequisiteError("no registry answers: install mmdebstrap, or name a base image by BASE")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        options = ("--variant=minbase", "--include=ca-certificates", *MERGED, *SLIM)
        follow("mmdebstrap", *options, "bookworm", archive, report=report)
        changes = (f"LABEL {label}", 'CMD ["bash"]')
        run("docker", "import", *(f"--change={change}" for change in changes), archive, tag)
