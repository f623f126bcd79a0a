"""The notes of a release, and that this version has some."""

import tomllib

import pytest

from docs.release_notes import ROOT, release_notes

CHANGELOG = """# Changelog

## [Unreleased]

## [1.1.0] - 2026-02-01

### Added

- Pumps.

## [1.0.0] - 2026-01-01

- Fans.

## [0.9.0]

- No date.

## [0.8.0] - 2025-01-01
"""


@pytest.mark.parametrize(("version", "notes"), [("1.1.0", "### Added\n\n- Pumps."), ("1.0.0", "- Fans.")])
def test_notes_are_those_of_the_version_when_there_are_others(version: str, notes: str) -> None:
    assert release_notes(CHANGELOG, version) == notes


@pytest.mark.parametrize("version", ["1.2.0", "1.1", "0.9.0", "0.8.0", "Unreleased"])
def test_error_names_the_heading_when_a_version_has_no_notes(version: str) -> None:
    with pytest.raises(ValueError, match=rf"`## \[{version}\] - <date>`"):
        release_notes(CHANGELOG, version)


def test_this_version_has_notes() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert release_notes((ROOT / "CHANGELOG.md").read_text(), version)
