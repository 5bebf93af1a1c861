"""nft and iptables, run once for each thing to do, in the calling thread's network namespace.

What is in the kernel decides which of them works, not which is installed; so it is tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from windrow.model.filters import DIRECTORIES
from windrow.services import child
from windrow.services.errors import ServiceError

TIMEOUT_S = 20.0
TRIES = 2
_PAUSE_S = 0.02
_INPUT = "/proc/self/fd/0"
"""nft opens /dev/stdin for `-f -`, and a small system has none."""
SYSTEM, LEGACY = "", "-legacy"
"""iptables as the system wants it, and the one that needs no nftables in the kernel."""
VERSIONS = ("4", "6")
_COMMANDS = {"4": "iptables{}", "6": "ip6tables{}"}
_TABLES = {"4": "/proc/thread-self/net/ip_tables_names", "6": "/proc/thread-self/net/ip6_tables_names"}


class Firewall:
    """`path`: where programs are looked for, before DIRECTORIES; `holding`: see `child.run`. All methods raise
    ServiceError."""

    def __init__(self, path: str = "", holding: int | None = None) -> None:
        self._path = [*path.split(":"), *DIRECTORIES] if path else list(DIRECTORIES)
        self._holding = holding

    def load(self, program: str, *, as_json: bool = False, tries: int = TRIES) -> None:
        """`nft -f`: all of it, or nothing.

        Tried again when another one changed the rules between nft's look at them and its commit (`nfnetlink_rcv_batch`
        refuses an old generation).
        """
        options = ["-j", "-f", _INPUT] if as_json else ["-f", _INPUT]
        for left in reversed(range(tries)):
            try:
                self._run("nft", options, program)
                return
            except ServiceError:
                if not left:
                    raise
            time.sleep(_PAUSE_S)

    def chain(self, chain: Sequence[str]) -> str | None:
        """`nft -j list chain`; None where there is none, or no nftables."""
        try:
            return self._run("nft", ["-j", "list", "chain", *chain])
        except ServiceError:
            return None

    def table(self, family: str, name: str) -> str:
        """`nft -j list table`; empty where there is no such table."""
        try:
            return self._run("nft", ["-j", "list", "table", family, name])
        except ServiceError as error:
            if "No such file or directory" in error.reason:  # ENOENT, by nft in the locale C
                return ""
            raise

    def restore(self, programs: Mapping[str, str]) -> str:
        """`iptables-restore --noflush`, by version of IP (`4`, `6`); by the first variant that takes all of it, and
        which that is. What another one has taken by then is still there."""
        failures: list[ServiceError] = []
        for variant in (SYSTEM, LEGACY):
            try:
                for version, program in programs.items():
                    self.restore_by(variant, version, program)
                return variant
            except ServiceError as error:
                failures.append(error)
        raise failures[0]

    def restore_by(self, variant: str, version: str, program: str) -> None:
        self._run(f"{_COMMANDS[version].format(variant)}-restore", ["--noflush", "--wait"], program)

    def saved(self, variant: str, version: str) -> str:
        """`iptables-save -t nat`; empty where that variant does not work here, or was never used.

        The legacy one would load its modules only to find nothing: the kernel says which tables there are.
        """
        try:
            return self.nat(variant, version)
        except ServiceError:
            return ""

    def nat(self, variant: str, version: str) -> str:
        """The same, but that a program which does not work is an error."""
        if variant == LEGACY and "nat" not in _tables(_TABLES[version]):
            return ""
        return self._run(f"{_COMMANDS[version].format(variant)}-save", ["-t", "nat"])

    def has_table(self, table: str) -> bool:
        """Whether legacy iptables has it, of either version; nobody's modules are loaded by asking."""
        return any(table in _tables(path) for path in _TABLES.values())

    def is_there(self, variant: str) -> bool:
        """Whether this variant of iptables is installed."""
        return child.find(f"{_COMMANDS['4'].format(variant)}-restore", self._path) is not None

    def listed(self, variant: str, version: str, table: str) -> str:
        """`iptables-save -c -t TABLE`."""
        return self._run(f"{_COMMANDS[version].format(variant)}-save", ["-c", "-t", table])

    def sets(self) -> str:
        """`ipset save`."""
        return self._run("ipset", ["save"])

    def restore_sets(self, program: str) -> None:
        """`ipset restore`: line by line, up to the first that is refused."""
        self._run("ipset", ["restore"], program)

    def _run(self, program: str, options: Sequence[str], stdin: str = "") -> str:
        path = child.find(program, self._path)
        if path is None:
            raise ServiceError(program, "is not installed", f"install it, or add its directory to {self._path[0]}")
        env = {"PATH": ":".join(self._path), "LC_ALL": "C"}
        try:
            ended = child.run(
                [path, *options], env=env, stdin=os.fsencode(stdin), timeout_s=TIMEOUT_S, holding=self._holding
            )
        except OSError as error:
            raise ServiceError(program, f"cannot be run: {error.strerror}") from error
        if ended.exit != 0:
            said = " ".join(ended.stderr.decode(errors="replace").split())[:500]
            raise ServiceError(program, said or f"it ended with exit code {ended.exit} and said nothing")
        return ended.stdout.decode(errors="replace")


def _tables(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []
