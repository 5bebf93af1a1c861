"""Addresses of IPPools on a real API server: given once each, whoever leads, and heard of by the nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.kube.cluster import CONFIGS, MACHINES, PATHS, POOLS, Api, document, nad, uplink, wait
from tests.kube.installed import ACCOUNTS, NAMESPACE, definitions, namespace, rendered, store, token
from tests.kube.test_installation import OTHERS, WITH_POOLS
from tests.kube.test_manager import Replica
from tests.unit.test_manager_pools import NET, machine, pool

from windrow.compile.pools import scopes
from windrow.kube.access import Access
from windrow.kube.api import MERGE
from windrow.kube.crds import crds
from windrow.kube.mirror import OF_AGENTS, Mirror
from windrow.kube.resources import OF_POOLS
from windrow.model.cluster import Cluster
from windrow.model.pools import IPPool
from windrow.services.kubernetes.controlplane import ControlPlane

COUNT = 12


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), print) as found:
        definitions(found, [*crds(), *OTHERS])
        Api(found).make(document("Node", "n1"), document("ClusterNetwork", "oob"), uplink(), nad("web", 100))
        found.request("POST", POOLS, pool())
        yield found


@contextmanager
def leader(plane: ControlPlane, name: str) -> Iterator[Replica]:
    """By a Lease of its own: two of them write at the same time, as never should be."""
    found = Replica(plane, name, lease=("default", f"pools-{name}"), pools=True)
    try:
        wait(lambda: found.manager.leads, found.words)
        yield found
    finally:
        found.stop()


def given(plane: ControlPlane) -> dict[str, str]:
    """MAC -> address, of all machines; one that has two is a mistake."""
    status = plane.request("GET", f"{POOLS}/p").get("status") or {}
    pairs = [(mac, ip) for ip, mac in (status.get("ipv4", {}).get("allocated") or {}).items() if ":" in mac]
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def test_two_leaders_give_no_address_twice(plane: ControlPlane) -> None:
    """Each writes the record only as it has read it."""
    seen: dict[str, set[str]] = {}
    with leader(plane, "one") as one, leader(plane, "other") as other:
        for number in range(COUNT):
            plane.request("POST", MACHINES, machine(f"m{number:02}", f"02:00:00:00:00:{number:02x}"))
            for mac, address in given(plane).items():
                seen.setdefault(mac, set()).add(address)
        wait(lambda: len(given(plane)) == COUNT, lambda: one.words() + other.words())
        for mac, address in given(plane).items():
            seen.setdefault(mac, set()).add(address)
        assert len(set(given(plane).values())) == COUNT
        assert all(len(addresses) == 1 for addresses in seen.values()), "what was given stays"

        def allocated() -> list[str]:
            found = plane.request("GET", CONFIGS)["items"]
            states = [state for one in found for state in (one.get("status") or {}).get("networkConfigs", ())]
            return [state["allocatedIPAddress"] for state in states if state["state"] == "Allocated"]

        wait(lambda: sorted(allocated()) == sorted(given(plane).values()), one.words)


def test_at_rest_nothing_is_written(plane: ControlPlane) -> None:
    def versions() -> list[str]:
        found = [one for path in (POOLS, CONFIGS) for one in plane.request("GET", path)["items"]]
        return [one["metadata"]["resourceVersion"] for one in found]

    with leader(plane, "one"):
        time.sleep(1.0)
        before = versions()
        time.sleep(3.0)
        assert versions() == before


def test_a_node_serves_what_the_status_says(plane: ControlPlane) -> None:
    """It hears of a machine that comes or goes; a host of the pool's own list has to be given an address, too."""
    mirror = Mirror(Access(kubeconfig=str(plane.kubeconfig())), "n1", lambda *_: None, (*OF_AGENTS, IPPool.KIND))
    mirror.start()

    def served() -> dict[str, str]:
        found = scopes(Cluster.of(mirror.found().loaded.objects), {})
        return {str(one.mac): one.address for scope in found for one in scope.reservations}

    try:
        wait(lambda: served() == given(plane) != {}, lambda: str(served()))
        with leader(plane, "one") as one:
            hosts: list[dict[str, Any]] = [{"macAddress": "02:00:00:00:00:77"}]
            plane.request("PATCH", f"{POOLS}/p", {"spec": {"hosts": hosts}}, kind=MERGE)
            wait(lambda: "02:00:00:00:00:77" in served(), one.words)
            for path in (MACHINES, CONFIGS):  # no controller takes the second away here, with the first
                plane.request("DELETE", f"{path}/m03")
            wait(lambda: "02:00:00:00:00:03" not in served(), one.words)
            assert served() == given(plane) and len(served()) == COUNT
    finally:
        mirror.close()
    labels = plane.request("GET", f"{PATHS['NetworkAttachmentDefinition']}/web")["metadata"]["labels"]
    assert labels["network.harvesterhci.io/ippool-name"] == "p" and NET == "default/web"


def test_a_manager_without_the_rights_for_pools_says_so_and_does_the_rest(plane: ControlPlane) -> None:
    """And gives addresses from when it has them."""
    namespace(plane)
    store(plane, (one for one in rendered() if one["kind"] in ACCOUNTS))
    plane.request("POST", MACHINES, machine("late", "02:00:00:00:00:88"))
    more = {"lease": (NAMESPACE, "windrow-manager"), "pools": True}
    found = Replica(plane, "closed", token=token(plane, "manager"), **more)
    try:
        Api(plane).make(document("ClusterNetwork", "dmz"), nad("apart", 300, "dmz"))
        wait(lambda: "apart" in labelled(plane), found.words)
        wait(lambda: found.words().count("no pool gives an address") == 3, found.words)
        assert 'cannot list resource "ippools"' in found.words()
        assert "02:00:00:00:00:88" not in given(plane)
        (role,) = (one for one in rendered(*WITH_POOLS) if manager_role(one))
        path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{role['metadata']['name']}"
        plane.request("PATCH", path, {"rules": role["rules"]}, kind=MERGE)
        wait(lambda: "02:00:00:00:00:88" in given(plane), found.words)
        assert all(f"{kind}: well again" in found.said for kind in OF_POOLS), found.words()
    finally:
        found.stop()


def labelled(plane: ControlPlane) -> set[str]:
    """The networks that a manager has been at."""
    found = [one["metadata"] for one in plane.request("GET", PATHS["NetworkAttachmentDefinition"])["items"]]
    return {meta["name"] for meta in found if "network.harvesterhci.io/vlan-id" in (meta.get("labels") or {})}


def manager_role(one: dict[str, Any]) -> bool:
    return bool(one["kind"] == "ClusterRole" and one["metadata"]["name"] == "windrow-manager")
