"""Small C programs that are compiled where they are needed, since they know a place or a processor: finding a compiler,
compiling, and a cache of what was compiled.

A compiler is never required: `CompileError` says what is missing, and who asked goes another way or says what to do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from windrow.services.errors import ServiceError

COMPILERS = ("cc", "gcc", "clang")
"""The first that is there is taken."""
_LIMIT_S = 120


class CompileError(ServiceError):
    """There is no compiler, or it refuses; `reason` is its first line."""


def compile_c(source: Path, target: Path, ways: Sequence[Sequence[str]], defines: Mapping[str, str] = {}) -> None:
    """Compile one file in the first of the `ways` (options) that works; `defines` become string literals.

    Raises CompileError.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        names = ", ".join(COMPILERS)
        raise CompileError("C compiler", f"there is none ({names})", "apt-get install gcc libc6-dev")
    given = [f"-D{name}={c_string(value)}" for name, value in defines.items()]
    why = ""
    for way in ways:
        command = [compiler, "-std=gnu11", "-O2", *way, *given, "-o", str(target), str(source)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(compiler, str(error)) from error
        if done.returncode == 0:
            return
        why = (done.stderr.strip() or f"exit code {done.returncode}, without a word").splitlines()[0]
    raise CompileError(compiler, why, "apt-get install gcc libc6-dev")


def cached(source: Path, ways: Sequence[Sequence[str]], directory: Path) -> Path:
    """What `source` compiles to, from `directory` if it is there. Two that compile at once do not disturb each other.

    Its name carries the source, the options and the machine: another one of these is another file, so nothing is ever
    out of date, and a home directory may be shared by machines. Raises CompileError, OSError.
    """
    identity = [source.read_bytes(), repr(ways).encode(), os.uname().machine.encode()]
    digest = hashlib.sha256(b"\0".join(identity)).hexdigest()[:16]
    target = directory / f"{source.stem}-{digest}"
    if target.exists():
        return target
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{source.stem}-", dir=directory) as work:
        made = Path(work) / source.stem
        compile_c(source, made, ways)
        os.replace(made, target)
    return target


def c_string(text: str) -> str:
    """A string literal; whatever is no plain character, in octal (C11 6.4.4.4: at most three digits)."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in os.fsencode(text)) + '"'
