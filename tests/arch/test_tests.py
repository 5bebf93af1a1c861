"""The tests that need a kernel, an API server or a machine of their own can be imported without: who moves a name sees
at once who had it from there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTED = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"


def test_every_module_of_the_tests_can_be_imported() -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "tests").rglob("*.py"))]
    assert len(names) > 300
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
