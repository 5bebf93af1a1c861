"""What a change of the objects means, for all nodes as far as the objects say it, and for this one by its plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields

from windrow.compile.uplinks import with_defaults
from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector, selects_node
from windrow.model.host import Bond, Link, Observed, PortVlans
from windrow.model.lazy import dataclass
from windrow.model.machines import AnyMachine, VirtualMachine, VirtualMachineInstance
from windrow.model.objects import AddressMode, ClusterNetwork, HostNetworkConfig, VlanConfig
from windrow.model.ports import PortRecord
from windrow.model.steps import AddAddr, DeleteLink, Plan, SetVlans, Step
from windrow.model.values import MTU_DEFAULT, Cidr, IfName, VidSet
from windrow.render.consequences import AddressChange, Consequences, Interruption, NetworkChange
from windrow.status.outages import Cost, added_up, bridge_of_link, concerns, costs, reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This node: what is there, the plan for it, and whose its ports are."""

    node: str
    observed: Observed
    plan: Plan
    ports: tuple[PortRecord, ...] = ()


def consequences(before: Cluster, after: Cluster, here: Here) -> Consequences:
    """`before` and `after` may be the same: then it is what the repair of this node costs."""
    nodes = sorted({here.node, *(n.name for c in (before, after) for n in c.nodes())})
    networks = tuple(_networks(before, after, nodes, here))
    addresses = tuple(_addresses(before, after, nodes, here))
    touched = {n for change in networks for n in change.nodes} | {a.node for a in addresses}
    return Consequences(
        node=here.node,
        networks=networks,
        addresses=addresses,
        interruptions=tuple(_interruptions(here)),
        elsewhere=tuple(sorted(touched - {here.node})),
    )


# -- which nodes have which network ----------------------------------------------------------------


def _networks(before: Cluster, after: Cluster, nodes: Iterable[str], here: Here) -> Iterator[NetworkChange]:
    """What happens alike on several nodes is one change."""
    every = sorted({n.name for c in (before, after) for n in c.all(ClusterNetwork)})
    for cn in every:
        groups: dict[tuple[str, str], list[str]] = {}
        lost = before.nad_vids(cn) - after.nad_vids(cn)
        for node in nodes:
            change = _on_node(_config(before, cn, node), _config(after, cn, node), lost)
            if change is not None:
                groups.setdefault(change, []).append(node)
        for (how, what), where in groups.items():
            gone = lost if how == "loses-vlans" else None
            users = () if how == "gains" else _users(before, cn, gone, here if here.node in where else None)
            yield NetworkChange(cluster_network=cn, how=how, nodes=tuple(where), what=what, users=users)


def _config(cluster: Cluster, cn: str, node: str) -> VlanConfig | None:
    found = cluster.node(node)
    return next((c for c in cluster.vlan_configs(cn) if c.effective and selects_node(c, found)), None)


def _on_node(old: VlanConfig | None, new: VlanConfig | None, lost: VidSet) -> tuple[str, str] | None:
    if old is None or new is None:
        if old is new:
            return None
        return ("gains", f"by {new.ref}") if new is not None else ("loses", f"it had it by {old.ref}" if old else "")
    if what := "; ".join(_differences(old, new)):
        return "changes", what
    return ("loses-vlans", f"VLAN {lost} goes") if lost else None


def _differences(old: VlanConfig, new: VlanConfig) -> Iterator[str]:
    """In words, field by field."""
    if old.uplink.nics != new.uplink.nics:
        yield f"NICs {_list(old.uplink.nics)} → {_list(new.uplink.nics)}"
    before, after = with_defaults(old.uplink.bond), with_defaults(new.uplink.bond)
    for f in fields(before):
        have, want = getattr(before, f.name), getattr(after, f.name)
        if have != want:
            yield f"{f.name} {_said(have)} → {_said(want)}"
    if (old.uplink.mtu or MTU_DEFAULT) != (new.uplink.mtu or MTU_DEFAULT):
        yield f"MTU {old.uplink.mtu or MTU_DEFAULT} → {new.uplink.mtu or MTU_DEFAULT}"
    if old.uplink.mac != new.uplink.mac:
        yield f"MAC {_said(old.uplink.mac)} → {_said(new.uplink.mac)}"
    if old.uplink.txqlen != new.uplink.txqlen:
        yield f"txqlen {_said(old.uplink.txqlen)} → {_said(new.uplink.txqlen)}"


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values)) or "none"


def _said(value: object) -> str:
    match value:
        case None | "":
            return "default"
        case tuple():
            return _list(value)
        case _:
            return str(value)


def _users(cluster: Cluster, cn: str, vids: VidSet | None, here: Here | None) -> tuple[str, ...]:
    """Machines that use the network (of it, only these VLANs) by their manifests, and whose ports are on this node."""
    nads = {f"{n.meta.namespace or 'default'}/{n.name}" for n in cluster.nads(cn) if vids is None or n.vids & vids}
    machines: tuple[AnyMachine, ...] = (*cluster.all(VirtualMachine), *cluster.all(VirtualMachineInstance))
    found = {
        f"VM {machine.meta.namespace or 'default'}/{machine.name}"
        for machine in machines
        if any(network.nad in nads for network in machine.spec.networks)
    }
    bridge = names.bridge_of(cn)
    for record in here.ports if here else ():
        if record.bridge == bridge and (vids is None or (record.vlans or PortVlans()).all & vids):
            found.add(record.user)
    return tuple(sorted(found))


# -- addresses of hosts ----------------------------------------------------------------------------


def _addresses(before: Cluster, after: Cluster, nodes: Iterable[str], here: Here) -> Iterator[AddressChange]:
    given = {s.action.addr: s.link for s in here.plan.steps if isinstance(s.action, AddAddr)}
    for node in nodes:
        old, new = _wanted(before, node), _wanted(after, node)
        for interface in sorted({*old, *new}):
            have, want = old.get(interface, ""), new.get(interface, "")
            if have != want:
                to = {given.get(Cidr(one), "") for one in have.split(", ")} if not want and node == here.node else set()
                moved = next(iter(to)) if len(to) == 1 else ""
                yield AddressChange(node=node, interface=interface, before=have, after=want, moved=moved)


def _wanted(cluster: Cluster, node: str) -> dict[str, str]:
    """By interface, the address that the node has of its HostNetworkConfigs."""
    labels = cluster.node(node).labels
    found: dict[str, str] = {}
    for config in cluster.all(HostNetworkConfig):
        cn = config.cluster_network
        if matches_selector(config.node_selector, labels) and (cn == names.MGMT or _config(cluster, cn, node)):
            interface = names.interface_of(cn, config.vid)
            dhcp = config.mode is AddressMode.DHCP
            address = "its address by DHCP" if dhcp else ", ".join(config.ips.get(node, ()))
            if address:
                found.setdefault(interface, address)
    return found


# -- how long traffic stops ------------------------------------------------------------------------


def _interruptions(here: Here) -> Iterator[Interruption]:
    """What lasts is told first; what passes is added up by network."""
    links = here.observed.state.links
    masters = {str(name): link.master or "" for name, link in links.items()}
    lasting: dict[tuple[str, VidSet], list[Cost]] = {}
    passing: dict[str, list[Cost]] = {}
    modes = {str(n): link.spec.mode for n, link in links.items() if isinstance(link.spec, Bond) and link.spec.mode}
    for cost in (cost for unit in here.plan.units for cost in costs(unit, modes)):
        bridge = _bridge(concerns(cost), masters, here.ports)
        if cost.price is None:
            lasting.setdefault((bridge, _taken(cost.step)), []).append(cost)
        else:
            passing.setdefault(bridge, []).append(cost)
    for (bridge, vids), found in lasting.items():
        yield _interruption(here, bridge, found, vids)
    for bridge, found in passing.items():
        yield _interruption(here, bridge, found, VidSet())


def _taken(step: Step) -> VidSet:
    return step.action.remove if isinstance(step.action, SetVlans) else VidSet()


def _interruption(here: Here, bridge: str, found: list[Cost], vids: VidSet) -> Interruption:
    """Of one network: all costs that pass, or all that last; `vids`: only these VLANs are concerned, else all."""
    lasting = found[0].price is None
    low, high = added_up(found)
    only = {str(concerns(cost)) for cost in found}
    return Interruption(
        network=names.cluster_network_of_bridge(bridge) or bridge or ", ".join(sorted(only)),
        why=reasons(found),
        low=low,
        high=None if lasting else high,
        until=next((c.until for c in found if isinstance(c.step.action, DeleteLink)), found[0].until)
        if lasting
        else "",
        users=_concerned(here, bridge, only, vids),
        addresses=() if vids else _host_addresses(here.observed.state.links, bridge, only),
    )


def _bridge(link: IfName, masters: Mapping[str, str], ports: Iterable[PortRecord]) -> str:
    return next((str(r.bridge) for r in ports if r.host == link), None) or bridge_of_link(link, masters)


def _concerned(here: Here, bridge: str, links: set[str], vids: VidSet) -> tuple[str, ...]:
    """Whose ports are on the bridge; where only ports are touched, theirs alone."""
    on = [r for r in here.ports if r.bridge == bridge]
    own = [r for r in on if r.host in links]
    chosen = own if own and len(own) == len(links) else on
    return tuple(sorted({r.endpoint for r in chosen if not vids or (r.vlans or PortVlans()).all & vids}))


def _host_addresses(links: Mapping[IfName, Link], bridge: str, touched: set[str]) -> tuple[str, ...]:
    """Of the bridge and of the VLAN interfaces on it; where only such an interface is touched, its own."""
    on = {name: link for name, link in links.items() if name == bridge or link.parent == bridge}
    own = {name: link for name, link in on.items() if name in touched and name != bridge}
    chosen = own if own and len(own) == len(touched) else on
    return tuple(f"{addr} on {name}" for name, link in sorted(chosen.items()) for addr in sorted(link.addrs or ()))
