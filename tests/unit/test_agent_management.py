"""The agent and a management network that is Windrow's: it follows the DHCP server, guarded; what is taken back or
fought about stops no repair of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.unit.test_agent_keeper import NAD, OOB, Host

from windrow.apps.round import guarded
from windrow.apps.site import Site
from windrow.model.checkpoint import Checkpoint
from windrow.model.connections import Connection, Sockets
from windrow.model.host import OWNER_PROTOCOL, RTPROT_KERNEL, HostState, Route, Rule
from windrow.model.leases import Lease, LeasedRoute
from windrow.model.manifests import Found
from windrow.model.processes import Process
from windrow.model.steps import Action, DelAddr, DeleteLink, DelNeighbour, DelRoute, DelRule, SetLink, SetVlans
from windrow.model.values import Cidr, IfName, Ref, VidSet
from windrow.model.wire import load_documents
from windrow.netlink.reach import Answers, Target, Way
from windrow.store.checkpoints import Checkpoints
from windrow.store.errors import StoreError
from windrow.store.lastgood import read_last_good
from windrow.store.leases import Leases, this_moment
from windrow.store.memory import read_memory
from windrow.store.origin import write_origin
from windrow.testing.builders import link, neighbour

BOTH = frozenset({Way.ARP, Way.PING})
HERE = Ref("Node", "n1")
MGMT = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: mgmt-vlanconfig-n1, annotations: {windrow.io/managed: "true"}}
spec:
  clusterNetwork: mgmt
  uplink: {nics: [eth1, eth2]}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {name: mgmt-n1}
spec: {clusterNetwork: mgmt, vlanID: 0, mode: MODE}
"""
BRIDGE = IfName("mgmt-br")


class Managed(Host):
    silent = False

    def ask(self, targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        return {t: frozenset() if self.silent else BOTH for t in targets}

    def watch(self, _site: object, _checkpoint: Checkpoint) -> Process:
        return Process(pid=2**22 - 1, started=1)

    def lease(self, address: str) -> None:
        routes = (LeasedRoute(to="default", gateway="10.0.0.1"),)
        found = Lease(interface=BRIDGE, address=Cidr(address), routes=routes, lease_s=3600)
        Leases(self.paths).adopt(found, this_moment())

    @property
    def addresses(self) -> frozenset[Cidr]:
        return self.kernel.observe().state.links[BRIDGE].addrs or frozenset()

    @property
    def routes(self) -> set[tuple[str, str | None]]:
        return {(r.dst, r.gateway) for r in self.kernel.observe().state.routes if r.dev == BRIDGE and r.gateway}

    def tagged(self, link: str) -> VidSet:
        vlans = self.kernel.observe().state.links[IfName(link)].vlans
        assert vlans is not None
        return vlans.all

    def take_vlan_1_off(self) -> None:
        self.harm("mgmt-bo", SetVlans(remove=VidSet.of([1])))
        assert 1 not in self.tagged("mgmt-bo")


@pytest.fixture
def leased(tmp_path: Path) -> Managed:
    host = Managed(tmp_path)
    host.lease("10.0.0.10/24")
    host.start(MGMT.replace("MODE", "dhcp"))
    assert (host.addresses, host.routes) == ({"10.0.0.10/24"}, {("default", "10.0.0.1")})
    return host


@pytest.fixture
def static(tmp_path: Path) -> Managed:
    host = Managed(tmp_path)
    host.start(MGMT.replace("MODE", "static, gateway: 10.0.0.1, ips: {n1: 10.0.0.10/24}"))
    assert (host.addresses, host.routes) == ({"10.0.0.10/24"}, {("default", "10.0.0.1")})
    return host


def test_another_address_from_the_server_is_followed_and_guarded(leased: Managed) -> None:
    leased.lease("10.0.0.20/24")
    leased.take_vlan_1_off()
    leased.round()
    assert leased.addresses == {"10.0.0.20/24"}
    assert 1 in leased.tagged("mgmt-bo")
    assert leased.told("ChangeKept")
    assert leased.keeper.well, leased.keeper.status


def test_where_the_gateway_does_not_answer_it_is_taken_back_and_the_rest_is_repaired(
    leased: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded._Guarded, "_going", lambda *_: False)  # a minute of asking is not the point here
    leased.lease("10.0.0.20/24")
    leased.silent = True
    monkey = leased.ask
    asked: list[int] = []

    def first_time_only(targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        asked.append(1)
        return dict.fromkeys(targets, BOTH) if len(asked) == 1 else monkey(targets, timeout_s, enough)

    leased.ask = first_time_only  # type: ignore[method-assign]
    leased.restart()  # it takes what is asked from the test anew
    assert leased.addresses == {"10.0.0.10/24"}, "taken back"
    assert leased.told("ChangeUndone")
    leased.take_vlan_1_off()
    leased.pass_time(2)
    leased.round()
    assert 1 in leased.tagged("mgmt-bo"), "drift is repaired all the same"
    assert leased.addresses == {"10.0.0.10/24"}
    found = leased.condition(HERE, "ChangeNotKept")
    assert found is not None and found.status is True and "does not answer" in found.message
    asked.clear()
    leased.pass_time(20)
    leased.round()
    assert not asked, "it is not tried again at once"
    leased.silent = False
    leased.pass_time(60)
    leased.round()
    assert leased.addresses == {"10.0.0.20/24"}
    assert leased.keeper.well


RULE = Rule(message=b"\2", iif="eth1", protocol=4)


def harm(static: Managed, what: str) -> Action:
    """Of what `init` made, or carried along."""
    match what:
        case "routes":
            return DelRoute(next(r for r in static.kernel.observe().state.routes if r.dev == BRIDGE and r.gateway))
        case "rules":
            return DelRule(RULE.moved({IfName("eth1"): BRIDGE}, OWNER_PROTOCOL))
        case "neighbours":
            return DelNeighbour(neighbour("10.0.0.7", "02:00:00:00:aa:07"))
    return SetLink(up=False)


@pytest.mark.parametrize("what", ["routes", "up", "rules", "neighbours"])
def test_a_contest_keeps_neither_the_address_nor_the_bridge_from_coming_back(tmp_path: Path, what: str) -> None:
    static = Managed(tmp_path)
    known = frozenset({neighbour("10.0.0.7", "02:00:00:00:aa:07")})
    before = link("eth1", addrs=frozenset({Cidr("10.0.0.10/24")}), neighbours=known)
    write_origin(static.paths, HostState(links={before.name: before}, rules=frozenset({RULE})))
    static.start(MGMT.replace("MODE", "static, gateway: 10.0.0.1, ips: {n1: 10.0.0.10/24}"))
    action = harm(static, what)
    for _ in range(4):
        static.pass_time(5)
        static.harm("mgmt-br", action)
        static.round()
    assert static.condition(Ref("VlanConfig", "mgmt-vlanconfig-n1"), "Contested") or static.keeper.status.contests
    static.pass_time(1)
    static.harm("mgmt-br", DelAddr(Cidr("10.0.0.10/24")))
    static.round()
    assert static.addresses == {"10.0.0.10/24"}
    static.pass_time(1)
    static.harm("mgmt-br", DeleteLink())
    static.round()
    assert static.addresses == {"10.0.0.10/24"}
    assert static.kernel.machine.get("mgmt-br").up


def test_a_host_that_comes_up_while_somebody_has_its_address_has_all_the_rest(static: Managed) -> None:
    """Nothing was there before it, so there is nothing to go back to; and it is asked for again within a minute."""
    static.restart(power_cut=True, taken={"10.0.0.10": "52:54:00:00:00:99"})
    static.round()
    links = static.kernel.observe().state.links
    assert links[IfName("mgmt-bo")].master == BRIDGE and static.addresses == frozenset()
    ref = Ref("HostNetworkConfig", "mgmt-n1")
    found = static.condition(ref, "ready")
    assert found is not None and (found.status, found.reason) == (False, "AddressInUse")
    for _ in range(10):
        static.pass_time(60)
        static.keeper.round(news=False)
    static.kernel.taken.clear()
    static.pass_time(61)
    static.keeper.round(news=False)
    assert (static.addresses, static.routes) == ({"10.0.0.10/24"}, {("default", "10.0.0.1")})


def test_a_new_address_that_somebody_has_is_taken_back(static: Managed) -> None:
    """A change of the management network that cannot be made whole is not made."""
    static.kernel.taken["10.0.0.20"] = "52:54:00:00:00:99"
    static.write(MGMT.replace("MODE", "static, gateway: 10.0.0.1, ips: {n1: 10.0.0.20/24}"))
    static.round()
    assert (static.addresses, static.routes) == ({"10.0.0.10/24"}, {("default", "10.0.0.1")})
    assert "somebody else has 10.0.0.20 (MAC 52:54:00:00:00:99)" in static.told("ChangeUndone")[0]


# -- what is taken back and still wanted -----------------------------------------------------------


class Api:
    """A cluster's objects: nothing on this host can put them back as they were."""

    trouble = ""

    def __init__(self, text: str, *, deleted: bool = False) -> None:
        self.text, self.deleted = text, deleted

    def found(self, now: float) -> Found:
        return Found(loaded=load_documents(self.text), deleted=self.deleted)

    def forget(self) -> None:
        pass


def falls_silent(host: Managed, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Who answered before the next change no longer does after it; when each change was asked about."""
    monkeypatch.setattr(guarded._Guarded, "_going", lambda *_: False)  # a minute of asking is not the point here
    asked: list[float] = []

    def first_time_only(targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        asked.append(host.mono)
        return dict.fromkeys(targets, BOTH if len(asked) % 2 else frozenset())

    host.ask = first_time_only  # type: ignore[method-assign]
    return asked


def test_what_a_cluster_wants_and_cuts_the_host_off_is_not_tried_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An undo puts files back. A cluster's objects stay as somebody made them: tried again each second, they would take
    the host away for good."""
    host, wanted = Managed(tmp_path), MGMT.replace("MODE", "static, gateway: 10.0.0.1, ips: {n1: 10.0.0.10/24}")
    host.source = api = Api(wanted)
    host.restart()
    assert host.addresses == {"10.0.0.10/24"}
    asked = falls_silent(host, monkeypatch)
    api.text = wanted.replace("10.0.0.10/24", "10.0.0.20/24")
    for _ in range(50):
        host.round()
        host.pass_time(1)
    assert host.addresses == {"10.0.0.10/24"} and len(host.told("ChangeUndone")) == 1
    assert len(asked) == 2, "once before the change, and once after it"
    found = host.condition(HERE, "ChangeNotKept")
    assert found is not None and found.status is True and "does not answer" in found.message
    assert not list(host.paths.manifests.iterdir()), "its objects are none of this host's"
    host.ask = Host.ask.__get__(host)  # type: ignore[method-assign]
    host.pass_time(60)
    host.round()
    assert host.addresses == {"10.0.0.20/24"} and host.condition(HERE, "ChangeNotKept") is None


def test_what_was_taken_back_of_a_cluster_leaves_the_addresses_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored on this host: what it is to remember after an undo is what its last good state says."""
    host, wanted = Managed(tmp_path), MGMT.replace("MODE", "static, gateway: 10.0.0.1, ips: {n1: 10.0.0.10/24}")
    host.source = api = Api(wanted)
    host.restart()
    before = read_memory(host.paths)
    falls_silent(host, monkeypatch)
    api.text = wanted.replace("10.0.0.10/24", "10.0.0.20/24")
    host.round()
    assert host.told("ChangeUndone") and before.given
    assert read_memory(host.paths).given == before.given


STORAGE = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {name: storage}
spec:
  {clusterNetwork: oob, vlanID: 300, mode: static, ips: {n1: 10.30.0.10/24},
   routes: [{to: 10.8.0.0/24, via: 10.30.0.1}]}
"""
ADMIN = Connection("10.0.0.10", 22, "10.8.0.9", 50001)


class Reached(Managed):
    """By eth0, over which somebody is logged in from behind the gateway. What answers him is the most exact route."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.kernel.machine.add_addr(self.kernel.machine.get("eth0"), "10.0.0.10/24")
        self.kernel.add_route(Route(dst="default", dev=IfName("eth0"), gateway="10.0.0.1", protocol=3))

    @property
    def site(self) -> Site:
        sockets = Sockets(listening=frozenset({22}), opened=frozenset({ADMIN}))
        return replace(super().site, sockets=lambda _: sockets, ways=lambda *_: frozenset({IfName("eth0")}))

    @property
    def taken(self) -> bool:
        return any(route.dst == "10.8.0.0/24" for route in self.kernel.observe().state.routes)

    def ask(self, targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        return {t: frozenset() if self.taken and t.address == ADMIN.peer else BOTH for t in targets}


def test_a_route_that_somebody_edits_is_probed_and_who_is_connected_must_still_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded._Guarded, "_going", lambda *_: False)
    host = Reached(tmp_path)
    host.start()
    host.write(STORAGE, "storage.yaml")
    for _ in range(30):
        host.round()
        host.pass_time(1)
    assert not host.taken
    (said,) = host.told("ChangeUndone")
    assert "who is connected: 10.8.0.9 no longer answers" in said
    good = read_last_good(host.paths)
    assert good is not None and "storage" not in {o.name for o in good.objects}, "it would come up from it"
    host.write(NAD.removeprefix("---\n").replace("100", "101"), "another.yaml")
    host.round()
    assert not host.taken and host.condition(HERE, "ChangeNotKept")
    assert (host.paths.manifests / "storage.yaml").read_text() == STORAGE
    host.write(STORAGE.replace("10.8.0.0/24", "10.9.0.0/24"), "storage.yaml")
    host.round()
    assert any(route.dst == "10.9.0.0/24" for route in host.kernel.observe().state.routes), "something else: at once"


def test_a_way_back_that_found_no_room_is_told_and_over_with_its_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps the management network up waits for no disk; and once all is written there is nothing to tell."""
    host = Reached(tmp_path)
    host.start()
    host.write(STORAGE.replace("10.8.0.0/24", "10.9.0.0/24"), "storage.yaml")
    full = StoreError(host.paths.checkpoint, "cannot write the checkpoint: No space left on device [ENOSPC]")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "put", Mock(side_effect=full))
        host.round()
    assert any(route.dst == "10.9.0.0/24" for route in host.kernel.observe().state.routes)
    told = host.condition(HERE, "StateNotWritten")
    assert told is not None and "No space left" in told.message
    host.round()
    assert host.condition(HERE, "StateNotWritten") is None


def test_what_only_drifted_comes_back_without_a_question(tmp_path: Path) -> None:
    host = Reached(tmp_path)
    host.write(STORAGE.replace("10.8.0.0/24", "10.9.0.0/24"), "storage.yaml")
    host.start()
    host.ask = None  # type: ignore[assignment]
    host.harm("oob-br.300", DelAddr(Cidr("10.30.0.10/24")))
    host.pass_time(1)
    host.round()
    assert host.kernel.observe().state.links[IfName("oob-br.300")].addrs == {"10.30.0.10/24"}


@pytest.mark.parametrize("left", ["", "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"])
def test_a_cluster_that_lost_its_store_takes_nothing_down(tmp_path: Path, left: str) -> None:
    """Its node is there again a moment later, and all that people made is not."""
    host = Managed(tmp_path)
    host.source = api = Api(OOB)
    host.restart()
    assert "oob-br" in host.links
    api.text = left
    host.round()
    host.restart()
    assert "oob-br" in host.links
    found = [c for c in host.keeper.status.conditions if "nobody was seen to delete them" in c.message]
    assert found and found[0].status is True
    api.deleted = True
    host.round()
    assert "oob-br" not in host.links


def test_the_way_to_the_network_of_an_address_comes_back(static: Managed) -> None:
    """The kernel makes it with the address, and not again: without it nobody in that network is reached."""
    (connected,) = [r for r in static.kernel.observe().state.routes if r.dev == BRIDGE and r.protocol == RTPROT_KERNEL]
    static.harm("mgmt-br", DelRoute(connected))
    assert connected not in static.kernel.observe().state.routes
    static.round()
    assert connected in static.kernel.observe().state.routes
    assert "repaired mgmt-br: routes" in static.told("Repaired")[-1]
