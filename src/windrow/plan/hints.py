"""Hints that tell somebody to take a link, its place or its addresses away, by hand.

Whoever reads them is often logged in over that very link. Where it leads to this host, the hint says so first, and
where else to do it: a command that is typed over the connection that it cuts is the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from windrow.model.host import RTPROT_KERNEL, Link, Observed, VlanIf
from windrow.model.values import IfName


def take_away(observed: Observed, link: str, what: str, command: str, *, instead: str = "") -> str:
    """`what`, and the `command` for it, as long as this host needs nothing of `link`. Else where to do it, and what is
    safe `instead` over the network.

    `link`: what the command deletes, sets free, closes or takes addresses from.
    """
    needed = list(ways_to_this_host(observed, link))
    if not needed:
        return f"{what}: {command}"
    shown = ", ".join(needed[:SHOWN]) + (f", {len(needed) - SHOWN} more" if len(needed) > SHOWN else "")
    other = f"{instead}; else " if instead else ""
    return f"{other}{what} at the console of this host, not over the network, for it is reached by {shown}: {command}"


SHOWN = 3


def ways_to_this_host(observed: Observed, link: str) -> Iterator[str]:
    """The addresses and routes that go over the link: on it, and on what stands on it. A route that the kernel made for
    an address counts like the address: those of DHCP and of routers are no configuration, and not among `addrs`."""
    links = observed.state.links
    for name in _standing_on(links, link):
        addrs = sorted(links[name].addrs or ()) if name in links else []
        yield from (f"{addr} on {name}" for addr in addrs)
        for route in sorted(observed.state.routes, key=lambda r: (r.dst != "default", r.dst)):
            if route.dev != name or route.dst.startswith(LOCAL):
                continue
            if route.protocol != RTPROT_KERNEL:
                yield f"the {'default route' if route.dst == 'default' else f'route to {route.dst}'} over {name}"
            elif not addrs:
                yield f"its address in {route.dst} on {name}"


LOCAL = ("fe80:", "ff00:")
"""Every link that is up has these."""


def _standing_on(links: Mapping[IfName, Link], link: str) -> list[IfName]:
    """The link, and all whose frames go over it: its master, VLAN interfaces and the like, and what stands on those."""
    found: list[IfName] = []
    todo = [IfName(link)]
    while todo:
        name = todo.pop(0)
        if name in found:
            continue
        found.append(name)
        master = links[name].master if name in links else ""
        todo += [IfName(master)] if master else []
        todo += [n for n, k in links.items() if k.parent == name]
    return found


def delete(observed: Observed, link: str, what: str = "delete it", *, instead: str = "") -> str:
    return take_away(observed, link, what, f"ip link delete dev {link}", instead=instead)


def set_free(observed: Observed, link: str, what: str = "set it free", *, instead: str = "") -> str:
    return take_away(observed, link, what, f"ip link set dev {link} nomaster", instead=instead)


def flush(observed: Observed, link: str, what: str = "take them off first", *, instead: str = "") -> str:
    return take_away(observed, link, what, f"ip address flush dev {link}", instead=instead)


def delete_address(observed: Observed, link: str, addr: str, what: str, *, instead: str = "") -> str:
    return take_away(observed, link, what, f"ip address delete {addr} dev {link}", instead=instead)


def init_with_vlan(observed: Observed, nic: str, link: str) -> str:
    """For a VLAN interface on a NIC that is to be the management network's: what gives its address back."""
    seen = observed.state.links.get(IfName(link))
    addrs = sorted(seen.addrs or ()) if seen else []
    vid = seen.spec.vid if seen is not None and isinstance(seen.spec, VlanIf) else "N"
    address = f" --address {','.join(addrs)}" if addrs else ""
    return f"windrow init --nic {nic} --vlan {vid}{address}"
