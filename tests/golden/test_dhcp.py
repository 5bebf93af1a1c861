"""Given manifests with pools: what each DHCP server is told, word for word. `tests/dhcp` asks the servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from windrow.apps.cli.dhcp import FORMATS
from windrow.compile.pools import scopes
from windrow.dhcp import dnsmasq
from windrow.model.cluster import Cluster
from windrow.model.pools import Scope
from windrow.model.problems import errors
from windrow.model.wire import load_documents
from windrow.rules import changes_to, check

CASES = sorted(p.parent for p in Path(__file__).parent.glob("dhcp/*/manifests.yaml"))
FILES = {"dnsmasq": "dnsmasq.conf", "kea": "kea.json", "isc": "dhcpd.conf"}


def scopes_of(case: Path) -> tuple[Scope, ...]:
    loaded = load_documents((case / "manifests.yaml").read_text(), "manifests.yaml")
    builtin = Cluster.of(())
    assert not errors((*loaded.problems, *check(builtin, changes_to(builtin, loaded.objects))))
    return scopes(Cluster.of(loaded.objects), {})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_for_a_server_of_somebody_else(case: Path, name: str, golden: Callable[[Path, str], None]) -> None:
    golden(case / FILES[name], FORMATS[name](scopes_of(case)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_for_our_own(case: Path, golden: Callable[[Path, str], None]) -> None:
    """A server for each VLAN: the main file, the hosts, the options."""
    found = scopes_of(case)
    texts = []
    for scope in found:
        main = dnsmasq.main([scope], "/run/d", "/run/d/pid")
        texts += [main, "# hosts\n", dnsmasq.hosts([scope]), "# options\n", dnsmasq.options([scope])]
    golden(case / "own-dnsmasq.conf", "".join(texts))
