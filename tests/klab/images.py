"""Windrow's image, for kubelets of a lab."""

from __future__ import annotations

from pathlib import Path

from tests.image import making

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "image"
"""Not in /tmp: a lab has one of its own."""


def make() -> Path:
    """As the chart asks for it, of this checkout."""
    making.make(PLACE)
    return PLACE / "windrow.tar"
