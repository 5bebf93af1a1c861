"""The overlay on FakeKernel: from any start to any set of nodes, past any damage, and back."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from windrow.apps.engine import converge, execute
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Observed, Vxlan
from windrow.model.names import ANNOTATION_MANAGED, ANNOTATION_OVERLAY
from windrow.model.objects import AnyObject, Node
from windrow.model.overlay import FAMILIES
from windrow.model.steps import DelRoute, DropPeer, PutPeer, Step
from windrow.model.values import OWNER_PROTOCOL, Cidr, IfName
from windrow.plan import make_plan, normalise
from windrow.testing import builders, generate
from windrow.testing.builders import step
from windrow.testing.fake import Crashed, FakeKernel
from windrow.testing.machine import OWN_KEY

CASES = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
SEEDS = st.integers(min_value=0, max_value=2**32)
NODE = "n0"
CONF = '{"Network": "10.52.0.0/16", "EnableIPv6": true, "IPv6Network": "fd52::/48", "Backend": {"DirectRouting": %s}}'
DEVICES = (IfName("flannel.1"), IfName("flannel-v6.1"))


def random_cluster(dice: Random) -> Cluster:
    """Up to seven nodes; some lack something, some have what another one has, some are in another segment."""
    mgmt = builders.cluster_network("mgmt")
    conf = CONF % dice.choice(("true", "false"))
    if dice.random() < 0.9:
        mgmt = replace(mgmt, meta=replace(mgmt.meta, annotations={ANNOTATION_OVERLAY: conf}))
    uplink = builders.vlan_config("mgmt", ["eth1"], mtu=dice.choice((0, 1400, 9000)))
    uplink = replace(uplink, meta=replace(uplink.meta, annotations={ANNOTATION_MANAGED: "true"}))
    nodes = [random_node(dice, number) for number in range(dice.randint(1, 7))]
    address = f"10.50.0.{dice.choice((1, 1, 1, 77))}/24,2001:db8::1/64"
    host = builders.host_network("mgmt", dice.choice((0, 50, 50)), {NODE: address})
    return builders.cluster(mgmt, uplink, host, *nodes)


def random_node(dice: Random, number: int) -> Node:
    v4, v6 = FAMILIES
    other = dice.choice((number, number, number, number, 0, 1))
    said = {v4.address: f"10.{dice.choice((50, 50, 60))}.0.{other + 1}", v6.address: f"2001:db8::{other + 1:x}"}
    if dice.random() < 0.3:
        said[v4.data] = f'{{"VNI":1,"VtepMAC":"02:00:00:00:0a:{dice.choice((number, other)):02x}"}}'
    cidrs = (Cidr(f"10.52.{dice.choice((number, number, other))}.0/24"), Cidr(f"fd52:0:0:{number:x}::/64"))
    lacks = dice.random()
    node = builders.node(f"n{number}")
    meta = replace(node.meta, annotations={} if 0.1 < lacks < 0.2 and number else said)
    return replace(node, meta=meta, pod_cidrs=() if lacks < 0.1 and number else cidrs)


def random_damage(dice: Random, observed: Observed) -> list[Step]:
    """To what is ours, the ways over the devices among it."""
    routes = [r for r in observed.state.routes if r.dev in DEVICES and r.protocol == OWNER_PROTOCOL]
    routes.sort(key=lambda r: r.dst)
    lost = [step(str(r.dev), DelRoute(r)) for r in dice.sample(routes, dice.randint(0, min(2, len(routes))))]
    return [*lost, *generate.random_sabotage(dice, observed, dice.choice((0, 1, 3, 8)))]


def of_overlay(observed: Observed) -> tuple[object, ...]:
    there = {name: observed.state.links.get(name) for name in DEVICES}
    ours = {r for r in observed.state.routes if r.protocol == OWNER_PROTOCOL}
    return there, ours


@given(seed=SEEDS)
@CASES
def test_one_plan_leads_from_any_cluster_to_any_other_past_any_damage(seed: int) -> None:
    dice, kernel = Random(seed), FakeKernel().add_nic("eth1")
    known = Known()
    for _ in range(3):
        target = random_cluster(dice)
        report = converge(target, kernel, NODE, knowing=lambda: known, consent=True)  # noqa: B023
        assert report.ok, report.left
        known = Known(memory=report.memory)
        whole = of_overlay(kernel.observe())
        _consistent(kernel.observe())
        for one in random_damage(dice, kernel.observe()):
            kernel.run([one])
        report = converge(target, kernel, NODE, knowing=lambda: known, consent=True)  # noqa: B023
        assert report.ok, report.left
        assert of_overlay(kernel.observe()) == whole


def _consistent(observed: Observed) -> None:
    """Each way has its neighbour, each neighbour its far end, and none of them leads to two."""
    for name in DEVICES:
        link = observed.state.links.get(name)
        if link is None:
            continue
        ways = {r.gateway for r in observed.state.routes if r.dev == name and r.protocol == OWNER_PROTOCOL}
        assert ways == {n.address for n in link.neighbours}
        ends = {e.mac: e.dst for e in link.fdb or ()}
        assert ends.keys() == {n.mac for n in link.neighbours}
        assert len(set(ends.values())) == len(ends) == len(link.neighbours)
        assert isinstance(link.spec, Vxlan)
        assert link.mac not in ends and link.spec.local not in ends.values()


@given(seed=SEEDS)
@CASES
def test_a_plan_that_is_cut_off_is_followed_by_another_one(seed: int) -> None:
    """Never a way without its far end: what leads somewhere is there before the route to it, and goes after it. But for
    another MAC address of this node's device, with which the kernel forgets all neighbours: that is priced."""
    dice, kernel = Random(seed), FakeKernel().add_nic("eth1")
    first = converge(random_cluster(dice), kernel, NODE, consent=True)
    known, target = Known(memory=first.memory), random_cluster(dice)
    before = {name: link.mac for name, link in kernel.observe().state.links.items()}
    kernel.crash_after(dice.randint(0, 40))
    with suppress(Crashed):
        converge(target, kernel, NODE, knowing=lambda: known, consent=True)
    kernel.recover()
    seen = kernel.observe()
    for route in seen.state.routes:
        if route.dev in DEVICES and route.protocol == OWNER_PROTOCOL:
            link = seen.state.links[IfName(str(route.dev))]
            macs = {n.mac for n in link.neighbours if n.address == route.gateway}
            assert macs <= {entry.mac for entry in link.fdb or ()}
            assert macs or link.mac != before.get(link.name)
    assert converge(target, kernel, NODE, knowing=lambda: known, consent=True).ok


@given(seed=SEEDS)
@CASES
def test_undo_is_a_plan_back_to_what_was(seed: int) -> None:
    dice, kernel = Random(seed), FakeKernel().add_nic("eth1")
    first = converge(random_cluster(dice), kernel, NODE, consent=True)
    assert first.ok, first.left
    before = kernel.observe()
    known = Known(memory=first.memory)
    assert converge(random_cluster(dice), kernel, NODE, knowing=lambda: known, consent=True).ok
    plan = make_plan(normalise(before, frozenset({IfName("eth1")})), kernel.observe(), consent=True)
    outcome = execute(plan, kernel)
    assert outcome.ok, outcome
    assert of_overlay(kernel.observe()) == of_overlay(before)


# Encrypted ------------------------------------------------------------------------------------------------------------


def random_encrypted(dice: Random) -> Cluster:
    """The same clusters with keys; some nodes have none, and some that of another one. Or without encryption."""
    found = random_cluster(dice)
    if dice.random() < 0.2:
        return found
    mgmt = found.cluster_network("mgmt")
    assert mgmt is not None
    conf = CONF_ENCRYPTED if ANNOTATION_OVERLAY in mgmt.meta.annotations else None
    changed: list[AnyObject] = []
    if conf:
        changed.append(replace(mgmt, meta=replace(mgmt.meta, annotations={ANNOTATION_OVERLAY: conf})))
    for number, node in enumerate(found.nodes()):
        key = b64encode(bytes([dice.choice((number, number, number, 1)) + 1]) * 32).decode()
        said = {} if dice.random() < 0.1 else {one.data: f'{{"PublicKey": "{key}"}}' for one in FAMILIES}
        rest = {k: v for k, v in node.meta.annotations.items() if k not in {one.data for one in FAMILIES}}
        changed.append(replace(node, meta=replace(node.meta, annotations=rest | said)))
    return found.replace(changed)


CONF_ENCRYPTED = (
    '{"Network": "10.52.0.0/16", "EnableIPv6": true, "IPv6Network": "fd52::/48", "Backend": {"Type": "wireguard"}}'
)
ENCRYPTED = (IfName("flannel-wg"), IfName("flannel-wg-v6"))


def of_encrypted(observed: Observed) -> tuple[object, ...]:
    return {name: observed.state.links.get(name) for name in (*ENCRYPTED, *DEVICES)}, of_overlay(observed)[1]


def random_trouble(dice: Random, observed: Observed) -> Iterator[Step]:
    for name in ENCRYPTED:
        link = observed.state.links.get(name)
        for peer in sorted(link.peers or ()) if link is not None else ():
            if dice.random() < 0.3:
                yield step(name, dice.choice((DropPeer(peer), PutPeer(replace(peer, port=peer.port + 1)))))
    yield from random_damage(dice, observed)


@given(seed=SEEDS)
@CASES
def test_an_encrypted_overlay_comes_past_any_damage_and_goes_by_an_undo(seed: int) -> None:
    dice, kernel = Random(seed), FakeKernel().add_nic("eth1")
    known = Known(wireguard_key=OWN_KEY)
    before = kernel.observe()
    for _ in range(3):
        target = random_encrypted(dice)
        report = converge(target, kernel, NODE, knowing=lambda: known, consent=True)  # noqa: B023
        assert report.ok, report.left
        known = Known(memory=report.memory, wireguard_key=OWN_KEY)
        whole = of_encrypted(kernel.observe())
        for one in random_trouble(dice, kernel.observe()):
            kernel.run([one])
        report = converge(target, kernel, NODE, knowing=lambda: known, consent=True)  # noqa: B023
        assert report.ok, report.left
        assert of_encrypted(kernel.observe()) == whole
        plan = make_plan(normalise(before, frozenset({IfName("eth1")})), kernel.observe(), consent=True)
        assert execute(plan, kernel).ok
        assert of_encrypted(kernel.observe()) == of_encrypted(before)
        assert converge(target, kernel, NODE, knowing=lambda: known, consent=True).ok  # noqa: B023
        before = kernel.observe()
