"""Whether User-Mode Linux needs help with this processor's registers, and the help: `xstate.c` says what it is about.

What counts is the size of the XSAVE area as the kernel tells it, not the processor's model: the next extension will do
the same as AMX. Where it is not needed, nothing is compiled and nothing is loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from windrow.lab.errors import LabError
from windrow.lab.kernel.cache import directory
from windrow.lab.kernel.traced import KEPT
from windrow.services.compiler import CompileError, cached

SOURCE = Path(__file__).with_name("xstate.c")
WAYS = (("-shared", "-fPIC"),)
_TRACED = Path(__file__).with_name("traced.py")


class PtraceError(LabError):
    """No child of this process can be traced; the text is the kernel's."""


@cache
def area_size() -> int:
    """Bytes of the XSAVE area; 0 where the processor has none. It takes 20 ms. Raises PtraceError."""
    command = [sys.executable, "-I", "-S", str(_TRACED)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    except OSError as error:
        raise PtraceError(str(error)) from error
    said = json.loads(done.stdout or "{}")
    if "size" in said:
        return int(said["size"])
    raise PtraceError(said.get("error") or f"PTRACE_TRACEME: {done.stderr.strip() or f'exit {done.returncode}'}")


def needed() -> bool:
    """Raises PtraceError."""
    return area_size() > KEPT


def preload() -> Mapping[str, str]:
    """What linux.uml needs in its environment, to begin with a file that is compiled once. Raises LabError."""
    try:
        return {"LD_PRELOAD": str(cached(SOURCE, WAYS, directory()))}
    except (CompileError, OSError) as error:
        why = error.reason if isinstance(error, CompileError) else str(error)
        raise LabError(
            f"User-Mode Linux cannot set all registers of this processor, and what helps cannot be compiled: {why}",
            hint="apt-get install gcc libc6-dev",
        ) from error
