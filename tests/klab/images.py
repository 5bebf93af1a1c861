"""Windrow's image, for kubelets of a lab."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "image"
"""Not in /tmp: a lab has one of its own."""


def make() -> Path:
    """As the chart asks for it, of this checkout."""
    command = [sys.executable, str(ROOT / "scripts" / "image"), "--into", str(PLACE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    return PLACE / "windrow.tar"
