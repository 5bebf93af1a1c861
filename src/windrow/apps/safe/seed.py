"""The management network as two objects, from what a host has now and what its administrator says. Pure.

    VlanConfig         mgmt-vlanconfig-<node>   its NICs, by MAC, and their bond; annotated as Windrow's
    HostNetworkConfig  mgmt-<node>              its address, gateway and routes, on mgmt-br or on a VLAN of it

A first time takes over what the NIC has: address, gateway, routes, MAC. Later ones change what they are told to, and
leave the rest.
"""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from windrow.compile.carried import foremost, sayable, told
from windrow.compile.uplinks import find_nic
from windrow.model import names
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster, matches_selector, selects_node
from windrow.model.facts import Nic, NodeFacts
from windrow.model.host import COMES_BY_ITSELF, MAIN_TABLE, RTPROT_RA, Bond, Link, Observed, Route
from windrow.model.lazy import dataclass
from windrow.model.leases import Lease, LeasedRoute
from windrow.model.meta import Meta
from windrow.model.objects import (
    AddressMode,
    AnyObject,
    HostNetworkConfig,
    HostRouting,
    NicIdentity,
    NicSelector,
    Uplink,
    VlanConfig,
)
from windrow.model.problems import Problem, Severity
from windrow.model.selectors import LabelSelector, Operator, Requirement
from windrow.model.values import Cidr, IfName, Mac
from windrow.model.wire import dump, json_text, load_documents
from windrow.model.wire import hostnetworkconfig as hnc_wire
from windrow.model.wire import vlanconfig as vc_wire
from windrow.plan import hints
from windrow.plan.guard import IMMOVABLE_HINT, immovable

Dynamic = Mapping[IfName, Mapping[Cidr, int]]
"""The addresses that links have for a time only, and the seconds that are left of it."""

ALONE = frozenset({None, BondMode.ACTIVE_BACKUP, BondMode.LACP})
"""Modes that mean something with one NIC: the switch may insist on LACP, and a second NIC may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the administrator said; None: nothing. `addresses` empty: DHCP."""

    nics: tuple[str, ...] = ()
    mode: BondMode | None = None
    vlan: int | None = None
    addresses: tuple[Cidr, ...] | None = None
    gateways: tuple[str, ...] | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """`leased`: the address that a DHCP server gave the NIC, to be asked for again. `first`: no such objects yet."""

    vlan_config: VlanConfig
    host_network: HostNetworkConfig
    nics: tuple[Nic, ...]
    problems: tuple[Problem, ...] = ()
    first: bool = True
    leased: Lease | None = None

    @property
    def objects(self) -> tuple[VlanConfig, HostNetworkConfig]:
        return self.vlan_config, self.host_network


def config_name(node: str) -> str:
    """As Harvester calls the object that mirrors its management uplink."""
    return f"{names.MGMT}-vlanconfig-{node}"


def network_name(node: str) -> str:
    return f"{names.MGMT}-{node}"


def present(cluster: Cluster, node: str) -> tuple[VlanConfig | None, HostNetworkConfig | None]:
    """The two objects of this node, whatever they are called, as they are now."""
    here = cluster.node(node)
    configs = (v for v in cluster.vlan_configs(names.MGMT) if v.effective and selects_node(v, here))
    config = next(configs, None)
    mine = [h for h in cluster.host_networks(names.MGMT) if matches_selector(h.node_selector, here.labels)]
    mine.sort(key=lambda h: (h.name != network_name(node), not h.routing.gateways))
    return config, next(iter(mine), None)


# -- the two objects -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Had:
    """What the NICs have now that moves along. `dynamic`: a DHCP server gave the address."""

    link: Link | None = None
    addresses: tuple[Cidr, ...] = ()
    routing: HostRouting = field(default_factory=HostRouting)
    dynamic: bool = False


def design(
    cluster: Cluster,
    facts: NodeFacts,
    observed: Observed,
    ask: Ask,
    dynamic: Dynamic,
    client_id: Callable[[Nic, str], str] = lambda _nic, _address: "",
) -> Seed:
    """`problems`: all that speaks against it. `client_id`: by which client identifier a server knows a NIC's address
    (without its prefix length); empty: that is not known."""
    config, network = present(cluster, facts.node)
    problems: list[Problem] = []
    nics = tuple(_nics(ask, config, facts, problems))
    problems += _unfit(nics, config, observed)
    had = _had(nics, observed, dynamic, problems) if config is None else Had()
    made = _vlan_config(config, facts, nics, had, ask)
    address = _host_network(network, facts, had, ask, first=config is None)
    if config is None and had.dynamic and address.mode is AddressMode.DHCP:
        address, warning = _known_as(address, had, nics, client_id, dynamic)
        problems += warning if not ask.vlan else []  # in another VLAN another address is what is asked for
    if ask.addresses:
        address = _reachable(address, facts.node, problems)
    if nics and not any(p.code in ("nic-missing", "nic-in-use") for p in problems):  # the rest follows from that
        problems += _contradictions(made, address, ask, facts.node)
        problems += _elsewhere(address, nics, observed, ask, facts.node)
    return Seed(
        vlan_config=_settled(made, config, vc_wire.FIELDS),
        host_network=_settled(address, network, hnc_wire.FIELDS),
        nics=nics,
        problems=tuple(problems),
        first=config is None,
        leased=_lease(had, address, dynamic) if not ask.vlan else None,
    )


def _known_as(
    network: HostNetworkConfig,
    had: Had,
    nics: tuple[Nic, ...],
    client_id: Callable[[Nic, str], str],
    dynamic: Dynamic,
) -> tuple[HostNetworkConfig, list[Problem]]:
    """With the identifier by which the server knows the lease, or it would give another address; else a warning."""
    nic = next(n for n in nics if had.link is not None and n.name == had.link.name)
    address = next(a for a in dynamic[nic.name] if ":" not in a).partition("/")[0]
    if said := client_id(nic, address):
        annotations = {**network.meta.annotations, names.ANNOTATION_CLIENT_ID: said}
        return replace(network, meta=replace(network.meta, annotations=annotations)), []
    text = f"what the DHCP server knows {nic.name} by is not known: it may give another address than {address}"
    hint = (
        "see which client-id it has for that address, and write it down beforehand on the server, or afterwards as "
        f"annotation {names.ANNOTATION_CLIENT_ID} of HostNetworkConfig/{network.name} (ff:…, or none)"
    )
    return network, [Problem(code="client-id-unknown", message=text, hint=hint, severity=Severity.WARNING)]


def _lease(had: Had, network: HostNetworkConfig, dynamic: Dynamic) -> Lease | None:
    """What is left of the NIC's lease, for the bridge that takes its place."""
    if network.mode is not AddressMode.DHCP or not had.dynamic or had.link is None:
        return None
    address, left = next((a, s) for a, s in dynamic[had.link.name].items() if ":" not in a)
    routes = tuple(LeasedRoute(to="default", gateway=g) for g in had.routing.gateways if ":" not in g)
    return Lease(interface=network.interface, address=address, routes=routes, lease_s=left)


def _vlan_config(old: VlanConfig | None, facts: NodeFacts, nics: tuple[Nic, ...], had: Had, ask: Ask) -> VlanConfig:
    uplink = old.uplink if old else Uplink(nics=(), bond=Bond())
    if ask.nics:
        uplink = replace(uplink, nics=tuple(_selector(nic, facts) for nic in nics))
    if ask.mode is not None and ask.mode is not uplink.bond.mode:
        uplink = replace(uplink, bond=_of_mode(uplink.bond, ask.mode))
    if ask.mtu is not None:
        uplink = replace(uplink, mtu=ask.mtu)
    if had.link is not None:
        if ask.mtu is None and had.link.mtu and had.link.mtu != 1500:
            uplink = replace(uplink, mtu=had.link.mtu)
        if had.link.mac and nics and had.link.mac != nics[0].mac:
            uplink = replace(uplink, mac=Mac(had.link.mac))  # the address was asked for with this one
    if old is not None:
        return replace(old, uplink=uplink)
    return VlanConfig(
        meta=Meta(name=config_name(facts.node), annotations={names.ANNOTATION_MANAGED: "true"}),
        cluster_network=names.MGMT,
        node_selector={names.LABEL_HOSTNAME: facts.node},
        uplink=uplink,
    )


def _of_mode(bond: Bond, mode: BondMode) -> Bond:
    """What the other mode does not take is dropped, or the manifest would contradict itself."""
    if bond.arp_interval and mode in (BondMode.LACP, BondMode.BALANCE_TLB, BondMode.BALANCE_ALB):
        bond = replace(bond, arp_interval=None, arp_ip_target=None, ns_ip6_target=None)
    return replace(bond, mode=mode).applicable()


def _selector(nic: Nic, facts: NodeFacts) -> NicSelector:
    """By its MAC, which stays when the kernel calls it otherwise; by name where two have the same."""
    alike = [n for n in facts.nics.values() if n.mac == nic.mac]
    if len(alike) == 1:
        return NicSelector(by=NicIdentity.MAC, value=nic.mac)
    return NicSelector(by=NicIdentity.NAME, value=nic.name)


def _host_network(
    old: HostNetworkConfig | None, facts: NodeFacts, had: Had, ask: Ask, *, first: bool
) -> HostNetworkConfig:
    node = facts.node
    made = old or HostNetworkConfig(
        meta=Meta(name=network_name(node)),
        cluster_network=names.MGMT,
        vid=0,
        mode=AddressMode.STATIC,
        node_selector=LabelSelector(
            requirements=(Requirement(key=names.LABEL_HOSTNAME, operator=Operator.IN, values=(node,)),)
        ),
    )
    if first:
        mode = AddressMode.DHCP if had.dynamic else AddressMode.STATIC
        ips = {node: had.addresses} if mode is AddressMode.STATIC and had.addresses else {}
        routing = replace(had.routing, gateways=()) if had.dynamic else had.routing  # the server names them
        made = replace(made, mode=mode, ips=ips, routing=routing)
    if ask.vlan is not None:
        made = replace(made, vid=ask.vlan)
    if ask.addresses is not None:
        mode = AddressMode.STATIC if ask.addresses else AddressMode.DHCP
        ips = {**made.ips, node: ask.addresses} if ask.addresses else {}
        gateways = made.routing.gateways if ask.addresses else ()
        if ask.addresses and first and not gateways:
            families = {":" in address for address in ask.addresses}
            gateways = tuple(g for g in had.routing.gateways if (":" in g) in families)
        made = replace(made, mode=mode, ips=ips, routing=_by_way_of(gateways, made.routing))
    if ask.gateways is not None:
        made = replace(made, routing=_by_way_of(ask.gateways, made.routing))
    return made


def _by_way_of(gateways: tuple[str, ...], routing: HostRouting) -> HostRouting:
    """What is said of the gateways of before is not said of others."""
    on_link = routing.gateway_on_link and gateways == routing.gateways
    return replace(routing, gateways=gateways, gateway_on_link=on_link)


def _reachable(network: HostNetworkConfig, node: str, problems: list[Problem]) -> HostNetworkConfig:
    """Without the routes whose router is in no network of the new addresses."""
    addresses, routes = network.ips.get(node, ()), network.routing.routes
    kept = tuple(r for r in routes if r.on_link or not r.via or any(_inside(r.via, a) for a in addresses))
    for route in routes:
        if route not in kept:
            text = (
                f"the route to {route.to} goes: its router {route.via} is not in the network of {', '.join(addresses)}"
            )
            hint = f"add it again with another router, to spec.routes of HostNetworkConfig/{network.name}"
            problems.append(Problem(code="route-dropped", message=text, hint=hint, severity=Severity.WARNING))
    return replace(network, routing=replace(network.routing, routes=kept))


def _settled(made: Any, old: AnyObject | None, fields: Iterable[str]) -> Any:
    """Written and read again, as it will be found in the store; what Windrow does not know of an old one stays."""
    document = dump(replace(made, doc={}))
    if old is not None and old.doc:
        kept = copy.deepcopy(dict(old.doc))
        others = {k: v for k, v in dict(kept.get("spec") or {}).items() if k not in set(fields)}
        document = {**kept, "spec": {**document["spec"], **others}}
    loaded = load_documents(json_text(document))
    return loaded.objects[0] if loaded.objects else made


# -- what is there now -----------------------------------------------------------------------------


def _nics(ask: Ask, config: VlanConfig | None, facts: NodeFacts, problems: list[Problem]) -> Iterator[Nic]:
    if not ask.nics and config is None:
        hint = f"its NICs are {', '.join(sorted(facts.nics)) or 'none'}"
        problems.append(Problem(code="nic-missing", message="say which NICs: --nic", hint=hint))
    selectors = [_read_selector(text) for text in ask.nics] or list(config.uplink.nics if config else ())
    seen: set[str] = set()
    for selector in selectors:
        nic = find_nic(selector, facts)
        if nic is None:
            link = selector.by is NicIdentity.NAME and selector.value in facts.links
            what = f"{selector} is a link of this host, but no NIC" if link else f"this host has no NIC {selector}"
            hint = f"its NICs are {', '.join(sorted(facts.nics)) or 'none'}"
            problems.append(Problem(code="nic-missing", message=what, hint=hint))
        elif nic.name in seen:
            problems.append(Problem(code="nic-duplicate", message=f"{nic.name} is named twice", hint="once is enough"))
        else:
            seen.add(nic.name)
            yield nic


def _read_selector(text: str) -> NicSelector:
    """A name, a MAC address, or a PCI address."""
    parts = text.lower().split(":")
    if len(parts) == 6:
        return NicSelector(by=NicIdentity.MAC, value=text.lower())
    if len(parts) == 3 and "." in parts[2]:
        return NicSelector(by=NicIdentity.PCI, value=text.lower())
    return NicSelector(by=NicIdentity.NAME, value=text)


def _unfit(nics: tuple[Nic, ...], config: VlanConfig | None, observed: Observed) -> Iterator[Problem]:
    ours = (names.bond_of(names.MGMT), names.next_bond_of(names.MGMT))
    for nic in nics:
        link = observed.state.links.get(nic.name)
        if link is None:
            continue
        if link.master and not (link.master in ours and observed.owned(link.master)):
            above = observed.state.links.get(IfName(link.master))
            what = f"{nic.name} is in {above.kind if above else 'link'} {link.master}"
            hint = hints.set_free(
                observed, nic.name, "`windrow adopt` takes over a bridge and its bond as they are; or take it out first"
            )
            if link.master in ours:
                hint = (
                    f"the system's installer made this management network: `windrow adopt {link.master}` takes it over"
                )
            yield Problem(code="nic-in-use", message=what, hint=hint)
        standing = sorted(n for n, k in observed.state.links.items() if k.parent == nic.name)
        for text in immovable(observed.state.routes, nic.name) if not link.master else ():
            yield Problem(code="route-immovable", message=text, hint=IMMOVABLE_HINT)
        if standing:
            what = f"{', '.join(standing)} stand{'s' if len(standing) == 1 else ''} on {nic.name}, and would be cut off"
            again = hints.init_with_vlan(observed, nic.name, standing[0])
            hint = hints.delete(observed, standing[0], f"delete it first, and give its address again ({again})")
            yield Problem(code="nic-in-use", message=what, hint=hint)


def _had(
    nics: tuple[Nic, ...],
    observed: Observed,
    dynamic: Dynamic,
    problems: list[Problem],
) -> Had:
    with_addresses = [n for n in nics if _addresses(n.name, observed, dynamic)]
    if len(with_addresses) > 1:
        each = "; ".join(f"{n.name}: {', '.join(_addresses(n.name, observed, dynamic))}" for n in with_addresses)
        spare = with_addresses[-1].name
        only = f"name one of them alone (--nic {with_addresses[0].name})"
        hint = hints.flush(observed, spare, "take the addresses off all but one first", instead=only)
        problems.append(Problem(code="addresses", message=f"several of these NICs have addresses: {each}", hint=hint))
        return Had()
    if not with_addresses:
        return Had()
    nic = with_addresses[0]
    addresses = _addresses(nic.name, observed, dynamic)
    link = observed.state.links[nic.name]
    routes = [r for r in observed.state.routes if r.dev == nic.name and r.protocol not in COMES_BY_ITSELF]
    leased = bool(_leased(link, dynamic))
    return Had(
        link=link,
        addresses=addresses,
        routing=told(routes, sayable(addresses, dhcp=leased)).routing,
        dynamic=leased,
    )


def _addresses(nic: IfName, observed: Observed, dynamic: Dynamic) -> tuple[Cidr, ...]:
    """Those that a manifest can say. One for a time beside a static one is no server's: it goes along as it is, without
    a manifest (`compile.carried`), and so does a deprecated one."""
    link = observed.state.links[nic]
    return tuple(sorted(foremost(link) | _leased(link, dynamic), key=lambda a: (":" in a, a)))


def _leased(link: Link, dynamic: Dynamic) -> set[Cidr]:
    """The IPv4 addresses that a DHCP server may have given: none where there is a static one."""
    given = {a for a in dynamic.get(link.name, ()) if ":" not in a}
    return given if given.issuperset(a for a in link.addrs or () if ":" not in a) else set()


# -- what contradicts itself -----------------------------------------------------------------------


def _contradictions(config: VlanConfig, network: HostNetworkConfig, ask: Ask, node: str) -> Iterator[Problem]:
    addresses = network.ips.get(node, ())
    if network.mode is AddressMode.STATIC and not addresses:
        hint = "say --address dhcp, or --address 192.0.2.10/24 --gateway 192.0.2.1"
        yield Problem(code="address-missing", message="none of these NICs has an address to take over", hint=hint)
    by_family = [":" in a for a in addresses]
    if len(set(by_family)) < len(by_family):
        text = f"there is more than one address of a family: {', '.join(addresses)}"
        hint = "choose with --address; the others can be given back by hand, or as host networks of other VLANs"
        yield Problem(code="addresses", message=text, hint=hint)
    for gateway in network.routing.gateways if addresses else ():
        if not network.routing.gateway_on_link and not any(_inside(gateway, address) for address in addresses):
            said = "given" if ask.gateways else "used now"
            text = f"the gateway {gateway} ({said}) is not in the network of {', '.join(addresses)}"
            yield Problem(code="gateway-outside", message=text, hint="give the one of this network: --gateway")
    mode = config.uplink.bond.mode
    if len(config.uplink.nics) == 1 and mode not in ALONE:
        text = f"mode {mode} spreads its traffic over several NICs, and this is one"
        yield Problem(code="mode-pointless", message=text, hint="leave --mode out, or name a second --nic")


def _elsewhere(
    network: HostNetworkConfig, nics: tuple[Nic, ...], observed: Observed, ask: Ask, node: str
) -> Iterator[Problem]:
    """The way to this host is over a NIC that is not named: it would have two, and answer on either."""
    ours = {nic.name for nic in nics}
    wanted = {str(ipaddress.ip_interface(a).ip): a for a in network.ips.get(node, ())}
    for name, link in observed.state.links.items():
        mine = name in ours or observed.owned(name)
        has = [wanted[ip] for a in link.addrs or () if (ip := a.partition("/")[0]) in wanted]
        if has and not mine:
            hint = hints.delete_address(observed, name, has[0], "take it off", instead=f"name {name} too")
            yield Problem(code="address-elsewhere", message=f"{has[0]} is the address of {name}", hint=hint)
    main = (r for r in observed.state.routes if r.dst == "default" and r.table == MAIN_TABLE and not _loose(r))
    routes = sorted({dev for route in main for dev in route.links})
    others = [name for name in routes if name not in ours and not observed.owned(name)]
    if others and not ask.gateways:
        text = f"the default route of this host goes over {', '.join(others)}, which is not named"
        hint = f"name it (--nic {others[0]}), or say which --gateway the host shall use instead"
        yield Problem(code="route-elsewhere", message=text, hint=hint)


def _loose(route: Route) -> bool:
    """One that a router announced comes again wherever the address is (RTPROT_RA)."""
    return route.protocol == RTPROT_RA


def _inside(gateway: str, address: Cidr) -> bool:
    router, interface = ipaddress.ip_address(gateway), ipaddress.ip_interface(address)
    if router.version != interface.version:
        return False
    return router in interface.network or router.is_link_local
