"""VLANs that somebody else takes before the bridge sees them.

A tagged frame goes to the VLAN interface of the link that it came in by (`vlan_do_receive`, which comes before the
`rx_handler` of bond and bridge); where that interface is closed, it is dropped. So the machines in that VLAN hear
nothing, while every attribute of bridge, bond and ports is as it should be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from windrow.model import names
from windrow.model.host import HostState, Link, Observed, Other, VlanIf
from windrow.model.problems import Problem, Severity
from windrow.model.values import IfName, VidSet
from windrow.plan import hints
from windrow.plan.diff import why

CODE = "vlan-taken"
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
