"""The two programs that serve: how each is started, found again, told of an edit, and made to free an address."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from windrow.dhcp import dnsmasq as dnsmasq_texts
from windrow.dhcp import kea as kea_texts
from windrow.model.pools import Program, Scope
from windrow.model.problems import WindrowError
from windrow.model.processes import Process
from windrow.model.values import Mac
from windrow.services import dhcprelease, dnsmasq, kea
from windrow.store import records
from windrow.store.errors import explained

Given = frozenset[tuple[Mac, str]]
"""Who has which address."""


class Driver(Protocol):
    """`directory`: where all files of the server of one link are, and nobody else's."""

    def fixed(self, scopes: Sequence[Scope], directory: Path) -> str:
        """What only a restart changes, as a text."""

    def start(self, scopes: Sequence[Scope], directory: Path) -> Process:
        """It serves when this returns. Raises WindrowError."""

    def running(self, directory: Path) -> Process | None: ...

    def tell(self, server: Process, scopes: Sequence[Scope], directory: Path) -> None:
        """Serve these from now on; no lease is lost. Raises WindrowError."""

    def free(self, scopes: Sequence[Scope], directory: Path, gone: Given) -> None:
        """The leases of these end now, so that their addresses may be given at once. One that does not runs out."""


class Dnsmasq:
    def fixed(self, scopes: Sequence[Scope], directory: Path) -> str:
        return dnsmasq_texts.main(scopes, str(directory), str(directory / "pid"))

    def start(self, scopes: Sequence[Scope], directory: Path) -> Process:
        self._write(scopes, directory)
        put(directory / "main", self.fixed(scopes, directory))
        return dnsmasq.start(directory / "main", directory / "pid")

    def running(self, directory: Path) -> Process | None:
        return dnsmasq.running(directory / "pid")

    def tell(self, server: Process, scopes: Sequence[Scope], directory: Path) -> None:
        self._write(scopes, directory)
        dnsmasq.reload(server)

    def free(self, scopes: Sequence[Scope], directory: Path, gone: Given) -> None:
        for mac, address in sorted(gone):
            with contextlib.suppress(OSError):
                dhcprelease.release(scopes[0].link, scopes[0].server, mac, address)

    def _write(self, scopes: Sequence[Scope], directory: Path) -> None:
        put(directory / "hosts", dnsmasq_texts.hosts(scopes))
        put(directory / "options", dnsmasq_texts.options(scopes))


class Kea:
    def fixed(self, scopes: Sequence[Scope], directory: Path) -> str:
        """All but the subnets; a subnet that changes is a new pool, for it cannot."""
        document = self._document(scopes, directory)
        return json.dumps({**document["Dhcp4"], "subnet4": []})

    def start(self, scopes: Sequence[Scope], directory: Path) -> Process:
        put(directory / "kea.json", json.dumps(self._document(scopes, directory)))
        return kea.start(directory, scopes[0].link)

    def running(self, directory: Path) -> Process | None:
        return kea.running(directory)

    def tell(self, server: Process, scopes: Sequence[Scope], directory: Path) -> None:
        wanted, good = self._document(scopes, directory), json.loads(read(directory / "kea.json") or "null")
        kea.configure(directory, wanted, good)
        put(directory / "kea.json", json.dumps(wanted))

    def free(self, scopes: Sequence[Scope], directory: Path, gone: Given) -> None:
        for _, address in sorted(gone):
            with contextlib.suppress(WindrowError, OSError):
                kea.forget(directory, address)

    def _document(self, scopes: Sequence[Scope], directory: Path) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = kea_texts.document(
            scopes,
            interfaces=(scopes[0].link,),
            leases=str(directory / "leases"),
            control=str(directory / "control"),
            hook=kea.hook(),
        )
        return found


DRIVERS: dict[Program, Driver] = {Program.DNSMASQ: Dnsmasq(), Program.KEA: Kea()}


def put(path: Path, text: str) -> None:
    """For the eyes of the server, which is nobody special while it serves. Raises StoreError."""
    with explained(path, "write what a DHCP server is told"):
        records.write(path, text.encode(), mode=records.SHARED, flush="nothing")


def read(path: Path) -> str:
    """Empty where it is not there."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
