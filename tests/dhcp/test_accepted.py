"""What is written for DHCP servers, asked of the servers themselves: dnsmasq, Kea, ISC dhcpd.

Outside `make test`, because two of them are 60 MB of packages: `make test-dhcp` installs them, and here they must be.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from windrow.apps.cli.dhcp import FORMATS
from windrow.compile.pools import scopes
from windrow.model.cluster import Cluster
from windrow.model.meta import Meta
from windrow.model.pools import IPPool, PoolRoute
from windrow.testing.builders import cluster_network, nad, vlan_config

NAMES = {"dnsmasq.conf": "dnsmasq", "kea.json": "kea", "dhcpd.conf": "isc"}
GOLDEN = Path(__file__).parents[1] / "golden" / "dhcp"
CASES = sorted(p.parent for p in GOLDEN.glob("*/manifests.yaml"))
CHECKS = {
    "dnsmasq.conf": ["dnsmasq", "--test", "-C"],
    "kea.json": ["kea-dhcp4", "-t"],
    "dhcpd.conf": ["dhcpd", "-t", "-lf", "/dev/null", "-cf"],
}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_takes_it(case: Path, name: str) -> None:
    done = subprocess.run([*CHECKS[name], str(case / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("count", [27, 28])
def test_the_longest_lists_that_admission_lets_in(name: str, count: int, tmp_path: Path) -> None:
    """And what it does not let in, dnsmasq would not take."""
    pool = IPPool(
        meta=Meta(name="p", namespace="default"),
        network="default/n",
        cidr="10.1.0.0/24",
        router="10.1.0.1",
        routes=tuple(PoolRoute(to=f"172.16.100.{100 + n}/32", via="10.1.0.253") for n in range(count)),
        search=tuple(f"sub{n}-abcdefg.example.com" for n in range(10, 25)),
    )
    network = (cluster_network("oob"), vlan_config("oob", ["eth1"]), nad("n", "oob", 100))
    found = scopes(Cluster.of([*network, pool]), {})
    (tmp_path / name).write_text(FORMATS[NAMES[name]](found))
    done = subprocess.run([*CHECKS[name], str(tmp_path / name)], capture_output=True, text=True, check=False)
    taken = done.returncode == 0
    assert taken is (count == 27 or name != "dnsmasq.conf"), done.stdout + done.stderr


@pytest.mark.parametrize("name", CHECKS)
def test_the_server_refuses_what_is_wrong(name: str, tmp_path: Path) -> None:
    """The check can fail: the same file with addresses that are none."""
    broken = tmp_path / name
    broken.write_text((GOLDEN / "several" / name).read_text().replace("10.1.0.", "10.x.0."))
    done = subprocess.run([*CHECKS[name], str(broken)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
