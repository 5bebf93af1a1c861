"""VLANs that somebody else takes before the bridge sees them.

A tagged frame goes to the VLAN interface of the link that it came in by (`vlan_do_receive`, which comes before the
`rx_handler` of bond and bridge); where that interface is closed, it is dropped. So the machines in that VLAN hear
nothing, while every attribute of bridge, bond and ports is as it should be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from windrow.model import names
from windrow.model.host import HostState, Link, Observed, Other, VlanIf
from windrow.model.problems import Problem, Severity
from windrow.model.values import IfName, VidSet
from windrow.plan import hints
from windrow.plan.diff import why

CODE = "vlan-taken"
MOST_ASKED = 64
"""Each is a request to the kernel."""
LARGEST_MTU = 65535
"""Of a link with this one it cannot be asked (`netlink.vlansheld`)."""
HANDLERS = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"})
"""Kinds that register an `rx_handler` on the link they stand on. It has room for one: the kernel puts no such link into
a bond or a bridge (`netdev_rx_handler_register`: EBUSY), and makes none on a link that is in one."""


def taken(want: HostState, have: Observed, protected: frozenset[IfName]) -> Iterator[Problem]:
    """Warnings: the VLAN interfaces of others on the bonds, the NICs in them and the ports that take a wanted VLAN.

    `protected`: what the node is reached by; on the management network that is its own interface.
    """
    standing = _standing(have)
    ports = [link for link in want.links.values() if link.vlans is not None] if standing else []
    for port in ports:
        its_own = protected if port.name in names.MGMT_DEVICES else frozenset()
        for thief in (one for name in _entries(port, have) for one in standing.get(name, ())):
            if port.vlans is not None and takes(thief, port.vlans.tagged) and thief.name not in its_own:
                yield _told(port, thief, have)


def askable(want: HostState, have: Observed) -> dict[IfName, VidSet]:
    """Of which VLANs, by link, it is not seen whether somebody takes them: an interface in another network namespace
    is in no look at this one. At most `MOST_ASKED` of a port, the lowest."""
    here: dict[IfName, VidSet] = {}
    for link in have.state.links.values():
        if isinstance(link.spec, VlanIf):
            here[link.spec.parent] = here.get(link.spec.parent, VidSet()) | VidSet.of([link.spec.vid])
    found: dict[IfName, VidSet] = {}
    for port in want.links.values():
        vids = VidSet.of(islice(port.vlans.tagged, MOST_ASKED)) if port.vlans is not None else VidSet()
        for name in _entries(port, have) if vids else ():
            seen = have.state.links.get(name)
            if seen is not None and (seen.mtu or 0) < LARGEST_MTU:
                found[name] = found.get(name, VidSet()) | vids - here.get(name, VidSet())
    return found


def elsewhere(want: HostState, have: Observed, held: Mapping[IfName, VidSet]) -> Iterator[Problem]:
    """As `taken`, for what was `askable` and found to be somebody's."""
    for port in want.links.values():
        for name in _entries(port, have) if port.vlans is not None else ():
            if vids := held.get(name):
                word = "VLAN" if len(vids) == 1 else "VLANs"
                text = f"an interface in another network namespace takes {word} {vids} on {name} from machines and pods"
                where = "ip -all netns exec ip -d link show type vlan"
                index = have.runtime[name].ifindex if name in have.runtime else 0
                hint = f"delete it there; it stands on @if{index}, see: {where}"
                yield Problem(code=CODE, message=text, hint=hint, about=why(port), severity=Severity.WARNING)


def takes(thief: Link, vids: VidSet) -> bool:
    return isinstance(thief.spec, VlanIf) and thief.spec.vid in vids


def _standing(have: Observed) -> dict[IfName, list[Link]]:
    """The VLAN interfaces of others, by the link they stand on."""
    found: dict[IfName, list[Link]] = {}
    for name, link in have.state.links.items():
        if isinstance(link.spec, VlanIf) and not have.owned(name):
            found.setdefault(link.spec.parent, []).append(link)
    return found


def _entries(port: Link, have: Observed) -> Iterable[IfName]:
    """The links by which frames come in to a port of a bridge: itself, and of a bond its slaves."""
    if isinstance(port.spec, Other):
        return (port.name,)
    return (port.name, *(n for n, link in have.state.links.items() if link.master == port.name))


def _told(port: Link, thief: Link, have: Observed) -> Problem:
    return Problem(
        code=CODE,
        message=words(thief),
        hint=hint(thief, have),
        about=why(port),
        severity=Severity.WARNING,
    )


def words(thief: Link) -> str:
    assert isinstance(thief.spec, VlanIf)
    vid, parent = thief.spec.vid, thief.spec.parent
    return f"{thief.name}, which Windrow did not make, takes VLAN {vid} on {parent} from machines and pods"


def hint(thief: Link, have: Observed) -> str:
    return hints.delete(have, thief.name, "delete it; an address in that VLAN is for a HostNetworkConfig")


def in_the_way(have: Observed, nic: IfName, vids: VidSet) -> Iterator[tuple[str, str, str]]:
    """What others made on a NIC that is to join a bond with these VLANs, as code, text and hint: the kernel refuses
    some kinds, and others would take a VLAN."""
    for name, link in have.state.links.items():
        if link.parent != nic or have.owned(name):
            continue
        if takes(link, vids):
            yield CODE, words(link), hint(link, have)
        elif link.kind in HANDLERS:
            text = f"{name} ({link.kind}) stands on {nic}: the kernel puts no such NIC into a bond"
            yield "nic-in-use", text, hints.delete(have, name)
