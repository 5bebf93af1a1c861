"""`windrow cni check` and `windrow cni gc` on a real kernel."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from windrow.netlink import netns
from windrow.netlink.links import rename, set_link
from windrow.netlink.sock import Rtnl
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords


@pytest.fixture
def pod(node: Any) -> str:
    return str(node.pod())


def port(node: Any) -> str:
    (found,) = node.ports()
    return str(found)


def check(node: Any, *, fails: bool) -> str:
    done = node.run("cni", "check")
    assert done.returncode == (1 if fails else 0), done
    return str(done.stdout)


# CHECK --------------------------------------------------------------------------------------------


def test_ports_that_are_as_they_were_made(node: Any, pod: str) -> None:
    assert check(node, fails=False) == "0 ports: all as they were made\n"
    old = json.dumps({**json.loads(node.config()), "cniVersion": "0.3.1"}).encode()
    node.call("ADD", pod, node.addressed())
    node.call("ADD", node.pod(), old, cid="c2")
    assert check(node, fails=False) == "2 ports: all as they were made\n"


def test_a_port_that_has_left_its_bridge(node: Any, pod: str) -> None:
    node.call("ADD", pod, node.config())
    node.inside(["ip", "link", "set", port(node), "nomaster"])
    said = check(node, fails=True)
    assert f"FAIL  port {port(node)} on br0: eth0 of container c1" in said
    assert "is not attached to bridge br0" in said
    assert "1 port: 1 not as made" in said


def test_a_port_in_another_vlan(node: Any, pod: str) -> None:
    node.call("ADD", pod, node.config())
    node.inside(["bridge", "vlan", "add", "dev", port(node), "vid", "7"])
    assert "VLANs" in check(node, fails=True)


def test_a_port_that_is_gone(node: Any, pod: str) -> None:
    node.call("ADD", pod, node.config())
    node.inside(["ip", "link", "del", port(node)])
    assert "is not there" in check(node, fails=True)


def test_a_lease_that_is_gone(node: Any, pod: str) -> None:
    node.call("ADD", pod, node.addressed())
    (node.root / "leases" / "net" / node.leases()[0]).unlink()
    assert "host-local" in check(node, fails=True)


def test_the_port_of_a_machine(node: Any, pod: str) -> None:
    """What binds it to the guest gives the pod's end another name, and takes its address away."""
    node.call("ADD", pod, node.addressed())

    def bind() -> None:
        with Rtnl() as rtnl:
            index = rtnl.index("eth0")
            rtnl.run(set_link("eth0", up=False), rename(index, "eth0", "eth0-nic"), set_link("eth0-nic", up=True))

    netns.opened_in(node.pods[-1], bind)
    assert check(node, fails=False) == "1 port: all as they were made\n"
    node.inside(["ip", "link", "set", port(node), "down"])
    assert "is down" in check(node, fails=True)


# GC -----------------------------------------------------------------------------------------------


def close(node: Any) -> None:
    """The runtime has taken the newest pod's namespace away, and has forgotten to say DEL."""
    os.close(node.pods.pop())


def test_what_has_no_namespace_is_removed(node: Any, pod: str) -> None:
    node.call("ADD", pod, node.addressed())
    stays = node.pod()
    node.call("ADD", stays, node.addressed(), cid="stays")
    gone = node.pod()
    node.call("ADD", gone, node.addressed(), cid="gone")
    close(node)
    name = next(r.host for r in PortRecords(Paths(node.root)).all() if r.container_id == "gone")
    words = f"port {name} on br0: eth0 of container gone, namespace {gone}"
    assert node.windrow("cni", "gc", "--dry-run") == f"would remove  {words}\n"
    assert len(node.leases()) == 3
    assert node.windrow("cni", "gc") == f"removed  {words}\n"
    assert (len(node.ports()), len(node.leases())) == (2, 2)
    assert node.windrow("cni", "gc") == "nothing is left over\n"


def test_a_namespace_that_has_only_lost_its_name_is_left(node: Any) -> None:
    """Somebody still lives in it: a file that cannot be seen is no proof of the contrary."""
    path = node.root / "pod"
    path.symlink_to(node.pod())
    node.call("ADD", str(path), node.addressed())
    path.unlink()
    assert "but lives (--force removes it)" in node.windrow("cni", "gc")
    assert len(node.ports()) == 1
    assert "removed" in node.windrow("cni", "gc", "--force")
    assert node.clean()


def test_an_empty_file_is_no_namespace(node: Any) -> None:
    """What is left of `/run/netns/NAME` when its mount is gone."""
    path = node.root / "pod"
    path.symlink_to(node.pod())
    node.call("ADD", str(path), node.addressed())
    path.unlink()
    path.touch()
    close(node)
    assert "removed" in node.windrow("cni", "gc")
    assert node.clean()


def test_all_networks_of_a_pod(node: Any, pod: str) -> None:
    meta = {"cniVersion": "1.0.0", "name": "pods", "type": "windrow", "delegates": [json.loads(node.addressed())]}
    assert "code" not in node.call("ADD", pod, json.dumps(meta).encode())
    assert node.leases()
    assert list(Paths(node.root).attachments.iterdir())
    close(node)
    assert "removed  1 network of c1" in node.windrow("cni", "gc")
    assert list(Paths(node.root).attachments.iterdir()) == []
    assert node.clean()


def test_a_lease_that_cannot_be_freed_is_told(node: Any, pod: str) -> None:
    node.call("ADD", pod, node.addressed("slow-local"))
    close(node)
    (node.slow / "slow-local").unlink()
    done = node.run("cni", "gc")
    assert done.returncode == 1
    assert "FAIL" in done.stdout and "slow-local" in done.stdout
    assert len(PortRecords(Paths(node.root)).all()) == 1
