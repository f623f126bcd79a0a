"""Who may touch what, as data: `access.yaml`."""

from pathlib import Path

import yaml

Access = dict[str, dict[str, dict[str, list[str]]]]


def read_access() -> Access:
    """Return rights by stage, then by service (`kafka`, `cassandra`), then by what they are on."""
    access: Access = yaml.safe_load(Path(__file__).with_name("access.yaml").read_text(encoding="utf-8"))
    return access
