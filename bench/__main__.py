"""Measure, and write docs/benchmarks.md.

python -m bench             everything
python -m bench PART…       only these; the rest of the page stays as it was measured (PARTS names them)
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import frames, imports, kernels, kube, outside, pure, start
from bench.measure import MARK, Group, decode
from bench.report import machine, page, replaced

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "benchmarks.md"
NATIVE = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m"]
"""What is measured in this machine's own kernel, in a namespace of an ordinary user: then the module."""

OWN_RUN = 'mount -t tmpfs run /run && exec "$0" -m "$@"'
AS_ROOT = ["unshare", "--net", "--mount", "sh", "-c", OWN_RUN, sys.executable]
"""For what starts a dnsmasq, which becomes another user; with a /run of its own, where pods' namespaces have names."""


def main() -> None:
    head = machine()
    began = time.monotonic()
    names = sys.argv[1:]
    if unknown := [name for name in names if name not in PARTS]:
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    groups: list[Group] = []
    failed: list[str] = []
    for name, (title, measure) in PARTS.items():
        if names and name not in names:
            continue
        print(f"bench: {title} …", flush=True)
        try:
            measured = measure()
        except Exception:  # noqa: BLE001 - minutes of measuring are not lost for one part
            traceback.print_exc()
            failed.append(name)
        else:
            groups += measured
            RESULT.write_text(replaced(RESULT.read_text(), measured))
        print(f"bench:   done ({time.monotonic() - began:.0f} s so far)", flush=True)
    whole = not names and not failed
    if whole:
        RESULT.write_text(page(head, together(groups)))
    print(f"\n{RESULT.read_text()}\nwritten to {RESULT.relative_to(ROOT)}")
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}; the page keeps what it had of them")


def together(groups: Sequence[Group]) -> list[Group]:
    """Those whose titles begin with the same word side by side: the same on two grounds, then what is near it."""
    words = list(dict.fromkeys(_subject(group) for group in groups))
    return sorted(groups, key=lambda group: words.index(_subject(group)))


def _subject(group: Group) -> str:
    return group.title.split()[0]


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


def policing() -> Iterator[Group]:
    return printed([*NATIVE, "bench.policies", "In this machine's own kernel"])


def dhcp() -> list[Group]:
    """Only as root: servers bind port 67. Kea is measured where it is installed (`make test-dhcp`)."""
    if os.geteuid() != 0:
        return []
    return list(printed([sys.executable, "-m", "bench.dhcp", "In this machine's own kernel"]))


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


PARTS: Mapping[str, tuple[str, Callable[[], list[Group]]]] = {
    "lab": ("in the lab kernel, booted once", start.in_lab),
    "policies": ("network policies", lambda: [*start.in_lab(["policies"]), *policing()]),
    "check": ("faults of switches", lambda: start.in_lab(["detection"])),
    "native": ("in this machine's own kernel", native),
    "overlay": ("the overlay", lambda: list(printed([*NATIVE, "bench.overlay", "In this machine's own kernel"]))),
    "pure": ("compile and plan", pure.groups),
    "frames": ("frames of switches", frames.groups),
    "outside": ("diagnosis of a whole cluster", outside.groups),
    "kube": ("a cluster's objects, from a real API server", kube.groups),
    "dhcp": ("DHCP servers of pools", dhcp),
    "start": ("starting windrow", lambda: [start.starting(), imports.measure("On this machine")]),
    "boot": ("booting the lab kernel", lambda: [start.booting()]),
    "links": ("a scenario in each kernel of the lab", kernels.links),
    "modes": ("the bond modes in each kernel of the lab", kernels.modes),
    "tests": ("tests in each kernel of the lab", kernels.tests),
}


if __name__ == "__main__":
    main()
