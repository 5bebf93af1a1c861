"""`scripts/image`, of this checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(place: Path) -> str:
    """What it says of it."""
    command = [sys.executable, str(ROOT / "scripts" / "image"), "--into", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
