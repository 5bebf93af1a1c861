"""The rooms that decide: compile and plan, on objects in memory."""

from __future__ import annotations

from dataclasses import replace

from bench.measure import Group, Way, compare
from windrow.compile.node import compile_node
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.facts import Nic, NodeFacts
from windrow.model.host import OWNER_GROUP, Bond, HostState, Link, Observed, Other, PortVlans, Runtime
from windrow.model.meta import Meta
from windrow.model.objects import (
    AddressMode,
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    NetworkAttachmentDefinition,
    NetworkType,
    NicIdentity,
    NicSelector,
    Uplink,
    VlanConfig,
)
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.model.wire import load_documents
from windrow.plan.planner import make_plan

NODE = "node1"
NETWORKS = 8
NADS = 500
LINKS = 2048
RUNS = 21


def groups() -> list[Group]:
    return [compiling(), planning()]


def compiling() -> Group:
    facts = facts_of(NETWORKS)
    one, eight = Cluster.of(objects(1)), Cluster.of(objects(NETWORKS))
    text = "\n---\n".join(nad_text(n) for n in range(NADS))
    assert not compile_node(eight, facts).problems
    assert len(load_documents(text).objects) == NADS
    ways = [
        Way(what=f"compile a node, {NADS} NADs on one cluster network", run=lambda: compile_node(one, facts)),
        Way(
            what=f"compile a node, {NETWORKS} cluster networks with {NADS} NADs each",
            run=lambda: compile_node(eight, facts),
            anchor="0.42 ms",
        ),
        Way(
            what="the same from a new snapshot, whose indexes are not made yet",
            run=lambda: compile_node(Cluster(eight.objects), facts),
        ),
    ]
    loading = Way(what=f"for scale: load {NADS} NADs from YAML", run=lambda: load_documents(text))
    rows = (*compare(RUNS, ways), *compare(3, [loading]))
    return Group(title=f"Compile {NADS} NADs", where="On this machine", rows=rows)


def planning() -> Group:
    facts = facts_of(NETWORKS)
    want = compile_node(Cluster.of(objects(NETWORKS)), facts).state
    have = converged(want)
    every = HostState(links=have.state.links, sysctls=want.sysctls)
    assert len(have.state.links) == LINKS
    assert make_plan(want, have).empty
    all_ours = Observed(state=have.state, runtime=dict.fromkeys(have.state.links, OURS))
    assert make_plan(every, all_ours).empty
    ways = [
        Way(
            what=f"{len(want.links)} wanted links among {LINKS}",
            run=lambda: make_plan(want, have),
            anchor="0.81 ms",
        ),
        Way(what=f"{LINKS} wanted links among {LINKS}, each compared", run=lambda: make_plan(every, all_ours)),
    ]
    return Group(title=f"The empty plan on {LINKS:,} links", where="On this machine", rows=compare(RUNS, ways))


OURS = Runtime(ifindex=1, group=OWNER_GROUP)


def converged(want: HostState) -> Observed:
    """A host that is as wanted, and full of machines' ports besides."""
    links = {name: observed(link) for name, link in want.links.items()}
    runtime = {name: OURS for name, link in links.items() if not isinstance(link.spec, Other)}
    bridges = [name for name, link in links.items() if link.kind == "bridge"]
    for number in range(LINKS - len(links)):
        name = IfName(f"tap{number}")
        links[name] = Link(
            name=name,
            spec=Other(kind="tun"),
            up=True,
            mtu=1500,
            mac=Mac(f"fe:54:00:00:{number >> 8:02x}:{number & 255:02x}"),
            txqlen=1000,
            promisc=False,
            master=bridges[number % len(bridges)],
            vlans=PortVlans(pvid=100, untagged=VidSet.of([100])),
            addrs=frozenset(),
        )
        runtime[name] = Runtime(ifindex=10_000 + number)
    state = HostState(links=links, sysctls=want.sysctls)
    return Observed(state=state, runtime={name: runtime.get(name, Runtime(ifindex=2)) for name in links})


def observed(link: Link) -> Link:
    """The wanted link as the kernel would show it: what is wanted, and nothing is left unsaid."""
    return replace(
        link,
        up=link.up if link.up is not None else True,
        mtu=link.mtu or 1500,
        mac=link.mac or Mac("52:54:00:00:00:01"),
        txqlen=link.txqlen or 1000,
        promisc=bool(link.promisc),
        master=link.master or "",
        addrs=link.addrs if link.addrs is not None else frozenset(),
    )


def objects(networks: int) -> list[AnyObject]:
    found: list[AnyObject] = []
    for n in range(networks):
        cn = f"net{n}"
        found.append(ClusterNetwork(meta=Meta(name=cn)))
        nics = tuple(NicSelector(by=NicIdentity.NAME, value=f"eth{2 * n + i}") for i in (0, 1))
        found.append(VlanConfig(meta=Meta(name=cn), cluster_network=cn, uplink=Uplink(nics=nics, bond=Bond())))
        found += [host_network(cn, n, 3000 + k) for k in range(4)]
        found += [nad(cn, vid) for vid in range(2, 2 + NADS)]
    return found


def host_network(cn: str, n: int, vid: int) -> HostNetworkConfig:
    return HostNetworkConfig(
        meta=Meta(name=f"{cn}-{vid}"),
        cluster_network=cn,
        vid=vid,
        mode=AddressMode.STATIC,
        ips={NODE: (Cidr(f"10.{n}.{vid - 3000}.1/24"),)},
    )


def nad(cn: str, vid: int) -> NetworkAttachmentDefinition:
    return NetworkAttachmentDefinition(
        meta=Meta(name=f"{cn}-vlan{vid}", namespace="default"),
        config={},
        type=NetworkType.VLAN,
        bridge=names.bridge_of(cn),
        vid=vid,
    )


def nad_text(number: int) -> str:
    return f"""\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: vlan{number + 2}
  namespace: default
  labels:
    network.harvesterhci.io/clusternetwork: net0
    network.harvesterhci.io/type: L2VlanNetwork
    network.harvesterhci.io/vlan-id: "{number + 2}"
spec:
  config: '{{"cniVersion":"0.3.1","name":"vlan{number + 2}","type":"bridge","bridge":"net0-br","promiscMode":true,
    "vlan":{number + 2},"ipam":{{}}}}'
"""


def facts_of(networks: int) -> NodeFacts:
    found = [IfName(f"eth{n}") for n in range(2 * networks)]
    nics = {name: Nic(name=name, mac=Mac(f"52:54:00:00:00:{n + 16:02x}")) for n, name in enumerate(found)}
    return NodeFacts(node=NODE, nics=nics, links=frozenset(found))
