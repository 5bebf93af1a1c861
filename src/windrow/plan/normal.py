"""normalise: an observed state as a valid wanted one. Undo is a plan towards it, never a second engine."""

from __future__ import annotations

from dataclasses import replace

from windrow.model.bonding import BondMode
from windrow.model.host import (
    OWNER_PROTOCOL,
    RTPROT_KERNEL,
    Bond,
    Bridge,
    HostState,
    Link,
    Observed,
    Other,
    PortVlans,
    Route,
    VlanIf,
)
from windrow.model.names import MGMT_DEVICES
from windrow.model.ports import PORT_GROUP
from windrow.model.values import IfName


def normalise(observed: Observed, names: frozenset[IfName] | None = None) -> HostState:
    """What Windrow made, the NICs in its bonds, and the links called `names` (NICs that a plan will claim; ports of
    containers and machines; bridges and bonds of the management network, of which only the VLANs are kept).

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
    return HostState(links=links, routes=routes, sysctls=dict(observed.state.sysctls))


def given_back(want: HostState, before: HostState) -> HostState:
    """`want`, and what it is silent on as it was `before`: a NIC that is let go, its addresses and its routes;
    the kernel's settings, where nothing asks for others."""
    links = {name: link for name, link in before.links.items() if name not in want.links}
    routes = frozenset(r for r in before.routes if r.dev in links)
    sysctls = {**before.sysctls, **want.sysctls}
    return replace(want, links={**want.links, **links}, routes=want.routes | routes, sysctls=sysctls)


def _returns(route: Route, links: dict[IfName, Link]) -> bool:
    """Ours; and anybody's over a NIC that had addresses, but the kernel's own, which come with these."""
    link = links.get(IfName(route.dev or ""))
    if link is None:
        return False
    return route.protocol == OWNER_PROTOCOL or (link.addrs is not None and route.protocol != RTPROT_KERNEL)


def _owned(link: Link) -> Link:
    master = link.master or ""
    vlans = link.vlans if master else None
    match link.spec:
        case Bond() as bond:
            follows = bond.fail_over_mac in ("active", "follow") and bond.mode is BondMode.ACTIVE_BACKUP
            mac = None if follows else link.mac
            return replace(link, spec=bond.applicable(), mac=mac, master=master, vlans=vlans, addrs=None)
        case Bridge():
            return replace(link, master=master, vlans=vlans)
        case VlanIf():
            # its MAC is its parent's (vlan_dev_init)
            return replace(link, mac=None, txqlen=None, master=master, vlans=vlans)
        case _:
            return replace(link, master=master, vlans=vlans)


def _claimed(link: Link) -> Link:
    """A NIC: which bond it is in, and whether it is up; alone, its addresses. Its MAC is the bond's while it is in
    one."""
    addrs = (link.addrs or None) if not link.master else None
    spec = Other(kind=link.kind)
    return Link(name=link.name, spec=spec, up=link.up, mtu=link.mtu, master=link.master or "", addrs=addrs)


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
        isolated=link.isolated,
        hairpin=link.hairpin,
    )


def _only_vlans(link: Link) -> Link:
    def tagged(vlans: PortVlans | None) -> PortVlans | None:
        return PortVlans(tagged=vlans.tagged, exact=False) if vlans is not None else None

    spec = Bridge() if isinstance(link.spec, Bridge) else Bond()
    return Link(name=link.name, spec=spec, vlans=tagged(link.vlans), self_vlans=tagged(link.self_vlans))
