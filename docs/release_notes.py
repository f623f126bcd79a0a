"""Print the notes of this version, a part of CHANGELOG.md: `python -m docs.release_notes`."""

import re
import sys

from images.build import VERSION
from images.paths import ROOT


def release_notes(changelog: str, version: str) -> str:
    """Return the text below the heading of a version.

    Raises:
        ValueError: The changelog has no such heading with a date, or nothing below it.
    """
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.DOTALL | re.MULTILINE)
    if not found or not found[1].strip():
        raise ValueError(f"CHANGELOG.md needs text below the heading `## [{version}] - <date>`")
    return found[1].strip()


def main() -> None:
    """Print the notes; without them, print the reason and exit with 2."""
    try:
        print(release_notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), VERSION))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
