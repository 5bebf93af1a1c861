"""Who holds the host's lock: the process and its command, from /proc/locks."""

from __future__ import annotations

import os
from pathlib import Path

from windrow.store.paths import Paths


def holder_of(paths: Paths) -> str:
    """`windrow apply (pid 4711)`; empty where nobody does any more, or it cannot be told."""
    inodes = {inode for path in (paths.turn, paths.lock) if (inode := _inode(path))}
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    for fields in map(str.split, lines):
        # 1: FLOCK  ADVISORY  WRITE 4711 00:1a:1234 0 EOF; a waiting one has `->` after its number
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] in inodes:
            pid = fields[4]
            return f"{_command(pid)} (pid {pid})" if int(pid) != os.getpid() else ""
    return ""


def _inode(path: Path) -> str:
    try:
        return str(path.stat().st_ino)
    except OSError:
        return ""


def _command(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "a process"
    return " ".join([os.path.basename(word) if n < 2 else word for n, word in enumerate(words) if word])[:120]
