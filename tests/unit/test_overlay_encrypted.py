"""The encrypted overlay: its configuration, what each node is told, what is wrong with one, and bytes."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.test_overlay import BOTH, FACTS, codes, compiled, mgmt, node

from windrow.apps.encryption import own_keys
from windrow.compile.node import compile_node
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures
from windrow.model.host import FOR_ROOT, HostState, Observed, Peer, Runtime, Wireguard
from windrow.model.overlay import FAMILIES, Start, parse_public_key, read_net_conf
from windrow.model.steps import Impact, Phase, SetWireguard, Step
from windrow.model.values import OWNER_GROUP, Cidr, IfName, Ref
from windrow.model.wire import load_documents
from windrow.netlink import addresses, execute, neighbours, observe, routes, wireguard
from windrow.netlink.codec import pack_attr
from windrow.netlink.errors import NoPermission
from windrow.netlink.sock import Rtnl
from windrow.status.overlay import tunnel_end
from windrow.status.report import NodeReport
from windrow.store.errors import StoreError
from windrow.store.keys import Keys, read_keys, write_keys
from windrow.store.paths import Paths

DEVICE, DEVICE6 = IfName("flannel-wg"), IfName("flannel-wg-v6")
PLAIN = {"Network": "10.52.0.0/16", "Backend": {"Type": "wireguard"}}
DUAL = {**BOTH, "Backend": {"Type": "wireguard", "PersistentKeepaliveInterval": 25}}
KEYS = {name: b64encode(name.encode() * 32).decode() for name in "abc"}
OURS = replace(FACTS, wireguard_key=KEYS["a"])


def said(name: str, port: object = None) -> str:
    """Older flannels say no port."""
    return json.dumps({"PublicKey": KEYS[name], **({} if port is None else {"Port": port})})


def encrypted(name: str, number: int, **more: str) -> str:
    data = {"backend_data": said(name), "backend_v6_data": said(name), "backend_type": "wireguard", **more}
    cidrs = f"10.52.{number}.0/24,fd52:0:0:{number}::/64"
    return node(name, cidrs, f"192.0.2.{number + 1}", public_ipv6=f"2001:db8::{number + 1}", **data)


A, B, C = (encrypted(name, number) for number, name in enumerate("abc"))


# -- the configuration -------------------------------------------------------------------------------------------------


def test_what_flannel_leaves_out_is_as_in_flannel() -> None:
    conf, faults = read_net_conf(json.dumps(DUAL))
    assert not faults and conf.encrypted
    assert [conf.device(family) for family in conf.families] == [DEVICE, DEVICE6]
    assert [conf.port_of(family) for family in FAMILIES] == [51820, 51821]
    assert [conf.overhead(family) for family in FAMILIES] == [80, 80] and conf.keepalive == 25


@pytest.mark.parametrize(
    ("backend", "place"),
    [
        ({"PSK": "c2VjcmV0"}, "Backend.PSK"),
        ({"Mode": "auto"}, "Backend.Mode"),
        ({"MTU": 1400}, "Backend.MTU"),
        ({"VNI": 1}, "Backend.VNI"),
        ({"ListenPort": 0}, "Backend.ListenPort"),
        ({"PersistentKeepaliveInterval": "25s"}, "Backend.PersistentKeepaliveInterval"),
    ],
)
def test_what_is_not_made_is_refused_with_its_place(backend: dict[str, Any], place: str) -> None:
    (fault,) = read_net_conf(json.dumps({**PLAIN, "Backend": {"Type": "wireguard", **backend}}))[1]
    assert fault.startswith(f"{place}: ")


def test_two_devices_want_two_ports_and_one_may_have_any() -> None:
    backend = {"Type": "wireguard", "ListenPort": 51821}
    (fault,) = read_net_conf(json.dumps({**DUAL, "Backend": backend}))[1]
    assert fault.startswith("Backend.ListenPortV6: ")
    conf, faults = read_net_conf(json.dumps({**PLAIN, "Backend": backend}))
    assert not faults and conf.port_of(FAMILIES[0]) == 51821


@pytest.mark.parametrize("text", ["", "AAAA", "x" * 44, b64encode(bytes(32)).decode(), KEYS["a"] + "="])
def test_what_is_no_public_key(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes in base64"):
        parse_public_key(text)


# -- what a node is told -----------------------------------------------------------------------------------------------


def test_every_other_node_is_a_peer_and_one_route_leads_to_all_pods() -> None:
    found = compiled(mgmt(PLAIN), A, B, C, facts=OURS)
    link = found.state.links[DEVICE]
    assert link.spec == Wireguard(port=51820, key=KEYS["a"])
    assert (link.mtu, link.addrs) == (1420, {"10.52.0.0/32"})
    assert link.peers == {
        Peer(key=KEYS["b"], address="192.0.2.2", port=51820, allowed=(Cidr("10.52.1.0/24"),)),
        Peer(key=KEYS["c"], address="192.0.2.3", port=51820, allowed=(Cidr("10.52.2.0/24"),)),
    }
    assert {(r.dst, r.dev, r.gateway) for r in found.state.routes} == {("10.52.0.0/16", DEVICE, None)}
    assert codes(found) == []


def test_a_node_that_listens_elsewhere_is_a_peer_there() -> None:
    found = compiled(mgmt(PLAIN), A, encrypted("b", 1, backend_data=said("b", 51999)), C, facts=OURS)
    assert {peer.port for peer in found.state.links[DEVICE].peers or ()} == {51999, 51820}
    assert found.state.links[DEVICE].spec == Wireguard(port=51820, key=KEYS["a"])


def test_a_node_without_a_key_of_its_own_makes_the_device_first() -> None:
    """The key is made with the device; from then on it is known, and wanted."""
    found = compiled(mgmt(PLAIN), node("a", "10.52.0.0/24", "192.0.2.1"), B, facts=FACTS)
    assert found.state.links[DEVICE].spec == Wireguard(port=51820, key=None)
    assert found.tunnel_start == {4: Start(address="192.0.2.1", port=51820, key="")}


def test_what_is_wrong_with_another_node_costs_the_way_to_it_alone() -> None:
    silent = node("c", "10.52.2.0/24", "192.0.2.3")
    found = compiled(mgmt(PLAIN), A, B, silent, facts=OURS)
    assert [peer.address for peer in found.state.links[DEVICE].peers or ()] == ["192.0.2.2"]
    assert codes(found) == [("overlay-key-unknown", "c")]
    for bad, code in (
        (encrypted("c", 2, backend_data='{"PublicKey": "x"}'), "overlay-annotation"),
        (encrypted("c", 2, backend_data=said("c", 65536)), "overlay-annotation"),
        (encrypted("c", 2, backend_data=said("c", "51820")), "overlay-annotation"),
        (encrypted("c", 2, backend_data='{"VNI": 1, "VtepMAC": "02:00:00:00:00:01"}'), "overlay-annotation"),
        (encrypted("c", 2, backend_type="vxlan"), "overlay-annotation"),
        (encrypted("c", 2, backend_data=said("b")), "vtep-twice"),
        (encrypted("c", 2, backend_data=said("a")), "vtep-twice"),
    ):
        found = compiled(mgmt(PLAIN), A, B, bad, facts=OURS)
        assert codes(found) == [(code, "c")], bad
        assert len(found.state.links[DEVICE].peers or ()) == 1


def test_a_kernel_without_wireguard_says_which_module() -> None:
    found = compiled(mgmt(PLAIN), A, B, facts=replace(OURS, features=KernelFeatures(wireguard=False)))
    assert DEVICE in found.held and DEVICE not in found.state.links
    (problem,) = found.problems
    assert problem.code == "kernel-feature" and "modprobe wireguard" in problem.hint


def test_somebody_elses_device_is_left_alone() -> None:
    found = compiled(mgmt(PLAIN), A, B, facts=replace(OURS, links=OURS.links | {DEVICE}))
    (problem,) = found.problems
    assert problem.code == "overlay-of-others" and "end flanneld" in problem.hint and DEVICE in found.held
    assert f"{DEVICE} along (one that was killed does not: delete it)" in problem.hint


def test_an_ordinary_user_is_told_all_but_the_secret_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says to root alone what a device of WireGuard was told; `windrow status` needs no root."""
    attrs = {"name": DEVICE, "group": OWNER_GROUP, "mtu": 1420}
    raws = [
        observe.Raw(1, 772, 1, {"name": "lo", "mtu": 65536}, observe.DEVICE),
        observe.Raw(7, 65534, 1, attrs, "wireguard"),
    ]
    monkeypatch.setattr(observe, "dump_links", lambda *_: raws)
    for module, name, found in (
        (addresses, "dump_addresses", addresses.Addresses({}, {})),
        (routes, "dump_routes", frozenset()),
        (routes, "dump_rules", frozenset()),
        (neighbours, "dump_neighbours", {}),
    ):
        monkeypatch.setattr(module, name, lambda *_, found=found: found)

    def refused(indexes: Sequence[int]) -> observe.Encrypted:
        raise NoPermission(1, f"read WireGuard device {indexes[0]}")

    seen = observe.observe(cast(Rtnl, SimpleNamespace(fileno=lambda: -1)), encrypted=refused)
    assert seen.state.links.keys() == {"lo"} and seen.unreadable == {DEVICE: FOR_ROOT}
    facts = replace(OURS, unreadable=seen.unreadable)
    (problem,) = (p for p in compile_node(Cluster(), facts).problems if p.code == "link-unreadable")
    assert problem.hint == "run it as root"


def test_a_node_says_its_key_as_flannel_does() -> None:
    there = Cluster.of(load_documents(mgmt(PLAIN) + A).objects)
    found = compiled(mgmt(PLAIN), A, facts=OURS)
    drifted = replace(found.state.links[DEVICE], spec=Wireguard(port=51820, key=KEYS["c"]))
    observed = Observed(
        state=HostState(links={DEVICE: drifted}), runtime={DEVICE: Runtime(ifindex=1, group=OWNER_GROUP)}
    )
    report = NodeReport(node="a", observed=observed, tunnel_start=found.tunnel_start)
    prefix = "flannel.alpha.coreos.com"
    assert tunnel_end(there.node("a"), there, report) == {
        f"{prefix}/kube-subnet-manager": "true",
        f"{prefix}/backend-type": "wireguard",
        f"{prefix}/backend-data": json.dumps({"PublicKey": KEYS["a"], "Port": 51820}, separators=(",", ":")),
        f"{prefix}/public-ip": "192.0.2.1",
    }, "what a hand made of the device is nobody's key"
    assert tunnel_end(there.node("a"), there, replace(report, tunnel_start={})) == {}


# -- the key on the disk -----------------------------------------------------------------------------------------------


def test_keys_are_kept_for_root_alone(tmp_path: Path) -> None:
    paths, keys = Paths(tmp_path), Keys(private=b"p" * 32, public=KEYS["a"])
    assert read_keys(paths) is None
    write_keys(paths, keys)
    assert read_keys(paths) == keys and paths.wireguard_key.stat().st_mode & 0o777 == 0o600
    assert "p" * 8 not in repr(keys)
    paths.wireguard_key.chmod(0o644)  # as some backup brought it back
    assert read_keys(paths) == keys and paths.wireguard_key.stat().st_mode & 0o777 == 0o600
    for broken in ("", "{", "[]", '{"private": "AAAA", "public": "AAAA"}', '{"private": 1}'):
        paths.wireguard_key.write_text(broken)
        assert read_keys(paths) is None


@pytest.mark.parametrize("broken", ["", "{", '{"schema": 99, "private": "x", "public": "y"}', "a link to nothing"])
def test_no_new_key_takes_the_place_of_one_that_cannot_be_read(tmp_path: Path, broken: str) -> None:
    """The other nodes know the old one, and without an API nobody tells them another."""
    paths = Paths(tmp_path)
    paths.wireguard_key.parent.mkdir(parents=True)
    if broken.startswith("a link"):
        paths.wireguard_key.symlink_to(tmp_path / "backup")
    else:
        paths.wireguard_key.write_text(broken)
    with pytest.raises(StoreError, match="says no key that this version") as refused:
        own_keys(paths)
    assert "restore it; or delete it" in refused.value.hint
    assert paths.wireguard_key.is_symlink() or paths.wireguard_key.read_text() == broken


def test_a_key_that_cannot_be_kept_is_the_failure_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of nothing else: whoever carries out a plan undoes it, and says why."""

    def full() -> bytes:
        raise StoreError(Paths(Path("/")).wireguard_key, "No space left on device")

    monkeypatch.setattr(wireguard, "Devices", lambda: nullcontext(SimpleNamespace(set=None)))
    action, why = SetWireguard(port=51820), Ref("ClusterNetwork", "mgmt")
    step = Step(phase=Phase.OPTIONS, link=DEVICE, action=action, why=why, impact=Impact.HITLESS)
    failure = execute.run(cast(Rtnl, SimpleNamespace(index=lambda _: 7)), [step], own_key=full)
    assert failure is not None and failure.step is step and "No space left" in failure.reason


# -- bytes -------------------------------------------------------------------------------------------------------------


PEER4 = Peer(key=KEYS["b"], address="192.0.2.2", port=51820, allowed=(Cidr("10.52.1.0/24"),), keepalive=25)
PEER6 = Peer(key=KEYS["c"], address="2001:db8::3", port=51821, allowed=(Cidr("fd52:0:0:2::/64"),))


def dumped(*peers: Peer, head: bytes = b"") -> bytes:
    entries = b"".join(pack_attr(0x8000, wireguard.write_peer(peer)) for peer in peers)
    return head + pack_attr(0x8008, entries)


def test_a_peer_is_read_as_it_was_written() -> None:
    head = pack_attr(4, b"a" * 32) + pack_attr(6, (51820).to_bytes(2, "little"))
    found = wireguard.read_device(iter([dumped(PEER4, PEER6, head=head)]))
    assert found == (Wireguard(port=51820, key=KEYS["a"]), {PEER4, PEER6})


def test_a_peer_goes_on_in_the_next_message() -> None:
    more = replace(PEER4, allowed=(Cidr("10.52.9.0/24"),))
    _, peers = wireguard.read_device(iter([dumped(PEER4), dumped(more)]))
    assert peers == {replace(PEER4, allowed=(Cidr("10.52.1.0/24"), Cidr("10.52.9.0/24")))}


def test_a_peer_without_an_end() -> None:
    bare = pack_attr(0x8008, pack_attr(0x8000, pack_attr(1, b"b" * 32)))
    _, peers = wireguard.read_device(iter([bare]))
    assert peers == {Peer(key=KEYS["b"], address="", port=0, allowed=())}
