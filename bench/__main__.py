"""python -m bench: measure everything and write docs/benchmarks.md."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import imports, pure, start
from bench.inside import MARK
from bench.measure import Group, decode
from bench.report import machine, page

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "benchmarks.md"
NATIVE = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m"]
"""What is measured in this machine's own kernel, in a namespace of an ordinary user: then the module."""

OWN_RUN = 'mount -t tmpfs run /run && exec "$0" -m "$@"'
AS_ROOT = ["unshare", "--net", "--mount", "sh", "-c", OWN_RUN, sys.executable]
"""For what starts a dnsmasq, which becomes another user; with a /run of its own, where pods' namespaces have names."""

ORDER = ("Agent:", "CNI", "VM", "Observe", "Dump", "Compile", "The", "VLANs", "Start", "Boot")
"""By the first words of the titles."""


def main() -> None:
    head = machine()
    began = time.monotonic()
    groups: list[Group] = []
    for title, measure in (
        ("in the lab kernel, booted once", start.in_lab),
        ("in this machine's own kernel", native),
        ("compile and plan", pure.groups),
        ("starting windrow", lambda: [start.starting(), imports.measure("On this machine")]),
        ("booting the lab kernel", lambda: [start.booting()]),
    ):
        print(f"bench: {title} …", flush=True)
        groups += measure()
        print(f"bench:   done ({time.monotonic() - began:.0f} s so far)", flush=True)
    text = page(head, sorted(groups, key=lambda group: ORDER.index(group.title.split()[0])))
    RESULT.write_text(text)
    print(f"\n{text}\nwritten to {RESULT.relative_to(ROOT)}")


def native() -> list[Group]:
    """Only where an ordinary user may have a namespace of their own; the page then lacks this group, and says why."""
    try:
        where = "In this machine's own kernel"
        ways = [[*NATIVE, "bench.cni"], [*NATIVE, "bench.inside"]]
        ways += [[*AS_ROOT, "bench.vm"]] if os.geteuid() == 0 else []
        return [group for way in ways for group in printed([*way, where])]
    except subprocess.CalledProcessError as error:
        print(f"bench:   not possible here: {error}", flush=True)
        return []


def printed(command: list[str]) -> Iterator[Group]:
    """The groups that a command prints after the mark."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout[-4000:], flush=True)
        raise subprocess.CalledProcessError(done.returncode, command[0])
    for line in done.stdout.splitlines():
        _, mark, text = line.partition(MARK)
        if mark:
            yield decode(text)


if __name__ == "__main__":
    main()
