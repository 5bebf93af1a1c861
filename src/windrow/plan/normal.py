"""normalise: an observed state as a valid wanted one. Undo is a plan towards it, never a second engine."""

from __future__ import annotations

from dataclasses import replace

from windrow.model.host import (
    ACCEPT_RA,
    COMES_BY_ITSELF,
    OWNER_PROTOCOL,
    Bond,
    Bridge,
    HostState,
    Link,
    Observed,
    Other,
    PortVlans,
    Route,
    VlanIf,
    Vxlan,
    Wireguard,
)
from windrow.model.names import MGMT_DEVICES
from windrow.model.ports import PORT_GROUP
from windrow.model.reach import missing_source
from windrow.model.values import Cidr, IfName


def normalise(observed: Observed, names: frozenset[IfName] | None = None) -> HostState:
    """What Windrow made, the NICs in its bonds, and the links called `names` (NICs that a plan will claim; ports of
    containers and machines; bridges and bonds of the management network, of which only the VLANs are kept). The rules
    of ports that are whole.

    Left out is what a dump reports and the kernel would refuse: options foreign to the bond's mode.
    """
    links: dict[IfName, Link] = {}
    for name, link in observed.state.links.items():
        if observed.owned(name):
            links[name] = _owned(link)
        elif _is_port(observed, name):
            if names is not None and name in names:
                links[name] = _port(observed, link)
        elif observed.owned(link.master or "") and isinstance(link.spec, Other):
            if isinstance(observed.state.links[IfName(link.master or "")].spec, Bond):
                links[name] = _claimed(link)
        elif names is not None and name in names:
            links[name] = _only_vlans(link) if name in MGMT_DEVICES else _claimed(link)
    routes = frozenset(r for r in observed.state.routes if _returns(r, links))
    rules = frozenset(r for r in observed.state.rules if r.protocol == OWNER_PROTOCOL)
    return HostState(
        links=links,
        routes=routes,
        rules=rules,
        sysctls=dict(observed.state.sysctls),
        filters={port: one for port, one in observed.state.filters.items() if one.parts},
        policies=observed.state.policies,
    )


def given_back(want: HostState, before: HostState, elsewhere: frozenset[Cidr]) -> tuple[HostState, tuple[Route, ...]]:
    """`want`, and what it is silent on as it was `before`: a NIC that is let go, its addresses and its routes;
    the kernel's settings, where nothing asks for others. `elsewhere`: addresses of others' links that stay.

    Then the routes that cannot come back: their source is no address of this host any more. The kernel keeps one in
    another table when its source goes (fib_sync_down_addr), and refuses to make it anew.
    """
    links = {name: link for name, link in before.links.items() if name not in want.links}
    had = frozenset(r for r in before.routes if r.dev in links)
    there = (*links.values(), *want.links.values())
    here = elsewhere.union(*((link.addrs or frozenset()) | link.details.keys() for link in there))
    lost = tuple(sorted((r for r in had if missing_source(r, here)), key=lambda r: (r.table, r.dst, r.order)))
    routes = had - set(lost)
    rules = frozenset(r for r in before.rules if r.link in links)
    sysctls = {**before.sysctls, **want.sysctls}
    links = {name: replace(link, settings={}) for name, link in links.items()}  # a NIC keeps its own in a bond
    given = replace(
        want,
        links={**want.links, **links},
        routes=want.routes | routes,
        rules=want.rules | rules,
        sysctls=sysctls,
    )
    return given, lost


def _returns(route: Route, links: dict[IfName, Link]) -> bool:
    """Ours; and anybody's over a link that is alone, but those that come by themselves."""
    link = links.get(IfName(route.dev or ""))
    if link is None or (route.exact is not None and route.exact.stays):
        return False
    if route.protocol == OWNER_PROTOCOL:
        return True
    return not (isinstance(link.spec, Other) and link.master) and route.protocol not in COMES_BY_ITSELF


def aged(state: HostState, now: float) -> HostState:
    """A state of an earlier moment, as it would have become by `now` (CLOCK_BOOTTIME; infinite: the host was started
    anew since). What was for a time has ended; an IPv4 address is kept without end instead: the host is reached by it,
    and the DHCP client that had it renews it, or ends it."""
    links = {name: _aged(link, now) for name, link in state.links.items()}
    routes = frozenset(r for r in state.routes if r.until is None or r.until > now)
    return replace(state, links=links, routes=routes)


def _aged(link: Link, now: float) -> Link:
    over = {a for a, d in link.details.items() if d.valid_until is not None and d.valid_until <= now}
    if not over:
        return link
    ended = {a for a in over if ":" in a}
    details = {
        a: replace(d, valid_until=None, preferred_until=None, static=True) if a in over else d
        for a, d in link.details.items()
        if a not in ended
    }
    return replace(link, details=details, addrs=None if link.addrs is None else link.addrs - ended)


def _owned(link: Link) -> Link:
    # Whoever wants other settings says so: a value that is refused must not stop the way back. This one Windrow itself
    # wants of its links, and a bridge that is made anew would begin with taking any guest for a router.
    settings = {key: value for key, value in link.settings.items() if key == ACCEPT_RA}
    link = replace(link, settings=settings if isinstance(link.spec, Bridge | VlanIf | Vxlan | Wireguard) else {})
    master = link.master or ""
    vlans = link.vlans if master else None
    # A blocked port is nothing to go back to: forwarding is what the kernel does by itself.
    port = replace(link.port, forwarding=None) if link.port else None
    link = replace(link, mark=True, port=port)
    match link.spec:
        case Bond() as bond:
            mac = None if bond.follows_slave else link.mac
            bare = replace(link, addrs=None, details={}, neighbours=frozenset())
            return replace(bare, spec=bond.applicable(), mac=mac, master=master, vlans=vlans)
        case Bridge():
            return replace(link, master=master, vlans=vlans)
        case VlanIf():
            # its MAC is its parent's (vlan_dev_init)
            return replace(link, mac=None, txqlen=None, master=master, vlans=vlans)
        case Wireguard():
            # nothing of Ethernet (wg_setup)
            return replace(link, mac=None, flags=None, master=master, vlans=vlans)
        case _:
            return replace(link, master=master, vlans=vlans)


def _claimed(link: Link) -> Link:
    """A NIC: which bond it is in, whether it is up, and its addresses. Its MAC is the bond's while it is in one.

    In a bond it says so where it has no addresses: those that a change puts on it must not keep it out of the bond.
    """
    spec = Other(kind=link.kind)
    plain = Link(name=link.name, spec=spec, up=link.up, mtu=link.mtu, master=link.master or "")
    addrs = (link.addrs or frozenset()) | link.details.keys()
    if link.master:
        return replace(plain, addrs=addrs, details=link.details)
    return replace(plain, addrs=addrs or None, details=link.details, neighbours=link.neighbours)


def _is_port(observed: Observed, name: IfName) -> bool:
    runtime = observed.runtime.get(name)
    return runtime is not None and runtime.group == PORT_GROUP


def _port(observed: Observed, link: Link) -> Link:
    """The bridge that it was in, or none. Its MAC is that of the call that made it."""
    above = observed.state.links.get(IfName(link.master or ""))
    master = above.name if above is not None and isinstance(above.spec, Bridge) else ""
    return Link(
        name=link.name,
        spec=Other(kind=link.kind),
        up=link.up,
        mtu=link.mtu,
        master=master,
        vlans=link.vlans,
        port=replace(link.port, forwarding=None) if link.port else None,
    )


def _only_vlans(link: Link) -> Link:
    def tagged(vlans: PortVlans | None) -> PortVlans | None:
        return PortVlans(tagged=vlans.tagged, exact=False) if vlans is not None else None

    spec = Bridge() if isinstance(link.spec, Bridge) else Bond()
    return Link(name=link.name, spec=spec, vlans=tagged(link.vlans), self_vlans=tagged(link.self_vlans))
