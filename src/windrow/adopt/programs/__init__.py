"""The files of other programs: which lines of them speak of a link, and what they set that no object says. No file is
opened here, nothing raises for what a text holds, and none of these programs is told anything.

One file for each form. What the kernel shows (masters, addresses, routes, options of bonds and bridges) is read from
the kernel alone: what a file says of it may never have been carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from windrow.adopt.programs import ifupdown, keyfile, netplan, networkd, nmstate
from windrow.adopt.values import Claim, Text
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem
from windrow.model.values import IfName, Mac

Reader = Callable[[Text, Mapping[IfName, Mac]], tuple[list[Claim], list[Problem]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`places`: glob patterns below the root of the host. `after`: what is true once the lines are taken out."""

    name: str
    places: tuple[str, ...]
    read: Reader
    after: str


_ETC = "the next start of this host; until then do not run"
_IFUPDOWN_PLACES = ("etc/network/interfaces", "etc/network/interfaces.d/*")

PROGRAMS: Mapping[str, Program] = {
    one.name: one
    for one in (
        Program(
            name="netplan",
            places=("etc/netplan/*.yaml", "lib/netplan/*.yaml", "run/netplan/*.yaml"),
            read=netplan.read,
            after=f"it counts from {_ETC} `netplan apply`",
        ),
        Program(
            name="networkd",
            places=tuple(
                f"{base}/systemd/network/*.{kind}"
                for base in ("etc", "usr/local/lib", "usr/lib")
                for kind in ("netdev", "network")
            ),
            read=networkd.read,
            after=f"it counts from {_ETC} `networkctl reload`",
        ),
        Program(
            name="networkmanager",
            places=("etc/NetworkManager/system-connections/*", "usr/lib/NetworkManager/system-connections/*"),
            read=keyfile.read,
            after=f"it counts from {_ETC} `nmcli connection reload`",
        ),
        Program(
            name="ifupdown",
            places=_IFUPDOWN_PLACES,
            read=ifupdown.read,
            after=f"it counts from {_ETC} `ifdown` or `ifreload`",
        ),
        Program(
            name="nmstate",
            places=("etc/nmstate/*.yml", "etc/nmstate/*.yaml"),
            read=nmstate.read,
            after=f"it counts from {_ETC} `nmstatectl apply`",
        ),
        Program(
            name="proxmox",
            places=_IFUPDOWN_PLACES,
            read=ifupdown.read_proxmox,
            after=f'it counts from {_ETC} `ifreload`, nor "Apply Configuration" in its pages',
        ),
    )
}


def read_claims(
    program: Program, texts: Iterable[Text], links: Collection[IfName], macs: Mapping[IfName, Mac]
) -> tuple[tuple[Claim, ...], tuple[Problem, ...]]:
    """What the texts say of these links, in their order. `macs`: the permanent MAC address of each NIC, by which some
    files know it. What cannot be read is told, as a warning with its place."""
    known = {link: macs.get(link, Mac("")) for link in links}
    claims: list[Claim] = []
    problems: list[Problem] = []
    for text in texts:
        found, wrong = program.read(text, known)
        claims += (claim for claim in found if claim.link in known)
        problems += wrong
    return tuple(claims), tuple(problems)
