"""What a process has used, as the kernel counts it (proc(5))."""

from __future__ import annotations

from pathlib import Path


def cpu_s(pid: int) -> float:
    """Of a processor, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def mb(pid: int) -> float:
    """Of memory, resident."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in x)
    return int(line.split()[1]) / 1024
