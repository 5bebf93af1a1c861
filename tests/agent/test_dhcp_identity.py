"""Who a DHCP server takes this host for: real clients, and dnsmasq, which goes by the client identifier."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agent.test_dhcp_leases import BASE, CONFIG, Host, cluster, living, until

from windrow.model.cluster import Cluster
from windrow.model.problems import errors
from windrow.model.wire import load_documents
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.testing.dhcpserver import DISCOVER, REQUEST

CLIENT_ID = 61
DUID = "ff:c2:72:f6:09:00:02:00:00:ab:11:01:02:03:04:05:06:07:08"
LEASED = "10.7.0.77"


def known_as(client_id: str, vid: int) -> Cluster:
    config = CONFIG.format(vid=vid, more="mode: dhcp")
    named = f"metadata: {{name: h{vid}, annotations: {{windrow.io/dhcp-client-id: '{client_id}'}}}}"
    loaded = load_documents(BASE + config.replace(f"metadata: {{name: h{vid}}}", named))
    assert not errors(loaded.problems), loaded.problems
    return Cluster.of(loaded.objects)


@contextmanager
def dnsmasq(host: Host, tmp_path: Path) -> Iterator[None]:
    """It gave LEASED to whoever said DUID."""
    with Kernel(host.far) as far:
        far.rtnl.run(links.add_addr(far.rtnl.index("port"), "10.7.0.1/24"))
    leases = tmp_path / "dnsmasq.leases"
    leases.write_text(f"{int(time.time()) + 3600} 02:00:00:00:00:99 {LEASED} * {DUID}\n")
    leases.chmod(0o666)
    argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"]
    argv += ["--interface=port", "--bind-interfaces", f"--dhcp-leasefile={leases}", "--dhcp-authoritative"]
    argv += ["--dhcp-range=10.7.0.50,10.7.0.99,2m", f"--pid-file={tmp_path / 'dnsmasq.pid'}"]
    server = netns.opened_in(host.far, lambda: subprocess.Popen(argv, stdin=subprocess.DEVNULL))
    try:
        yield
    finally:
        server.terminate()
        server.wait(20)


def address(host: Host) -> str:
    return next(iter(host.addresses("oob-br")), "").partition("/")[0]


@pytest.mark.parametrize(("wanted", "same"), [(known_as(DUID, 0), True), (cluster(v0="mode: dhcp"), False)])
def test_who_says_the_same_gets_the_same_address(tmp_path: Path, wanted: Cluster, same: bool) -> None:
    with living(tmp_path, [], cluster()) as host, dnsmasq(host, tmp_path):
        host.change(wanted)
        until("an address", lambda: address(host))
        assert (address(host) == LEASED) is same
        host.change(cluster())
        until("it is given back", lambda: not address(host))


@pytest.mark.parametrize(("said", "sent"), [(DUID, bytes.fromhex(DUID.replace(":", ""))), ("none", None)])
def test_the_client_says_it_each_time_and_nothing_else(tmp_path: Path, said: str, sent: bytes | None) -> None:
    with living(tmp_path, [100], known_as(said, 100)) as host:
        until("an address", lambda: host.addresses("oob-br.100") == {"10.7.100.50/24"})
        heard = [h for kind in (DISCOVER, REQUEST) for h in host.servers[100].kinds(kind)]
        assert len(heard) >= 2 and {h.options.get(CLIENT_ID) for h in heard} == {sent}
