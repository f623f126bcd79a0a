"""Folders that several modules use."""

from pathlib import Path

IMAGES = Path(__file__).parent
ROOT = IMAGES.parent
CACHE = ROOT / ".cache"
