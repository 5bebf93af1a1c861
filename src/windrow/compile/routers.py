"""Pass: whose router advertisements this host takes (RFC 4861).

A link of ours takes none (`accept_ra` 0): whoever is in its VLAN, a guest too, could make himself this host's router
otherwise, and give it addresses and routes. A manifest may say that it does; and the link of the management network
does where the NIC did before `windrow init`. Then `accept_ra` is 2: 1 would end with the first pod that makes a router
of the host (`ipv6_accept_ra`).
"""

from __future__ import annotations

from windrow.compile.hostnet import takes_routes
from windrow.model.facts import NodeFacts
from windrow.model.host import ACCEPT_RA, RTPROT_RA, Bridge, Link, Observed, VlanIf
from windrow.model.lazy import replace
from windrow.model.objects import HostNetworkConfig
from windrow.model.values import IPV6_MTU_MIN, IfName

TAKEN, NOT_TAKEN = "2", "0"


def takes_routers(nic: IfName, observed: Observed) -> bool:
    """Whether a link takes routers now: the kernel does (`ipv6_accept_ra`), or a program does it in its place, as
    systemd-networkd and NetworkManager do, with `accept_ra` 0."""
    settings = observed.state.links[nic].settings
    accepts, forwards = settings.get(ACCEPT_RA), settings.get("ipv6/forwarding", "0")
    told = any(route.protocol == RTPROT_RA and nic in route.links for route in observed.state.routes)
    return told or accepts == "2" or (accepts == "1" and forwards == "0")


def with_routers(
    links: list[Link], configs: tuple[HostNetworkConfig, ...], heir: IfName | None, facts: NodeFacts
) -> list[Link]:
    """`heir`: the link with what a NIC had before `windrow init`, its settings among it."""
    by_link = {config.interface: config for config in configs}

    def amended(link: Link) -> Link:
        if not link.mark or not isinstance(link.spec, Bridge | VlanIf) or not facts.features.ipv6:
            return link
        if link.mtu is not None and link.mtu < IPV6_MTU_MIN:  # the kernel has no IPv6 on it
            return link
        value = _accept_ra(by_link.get(link.name), link.settings.get(ACCEPT_RA), inherits=link.name == heir)
        return link if value is None else replace(link, settings={**link.settings, ACCEPT_RA: value})

    return [amended(link) for link in links]


def asks_for_routers(config: HostNetworkConfig) -> bool:
    """Whether its manifest says that it takes routers, in so many words or because a server names them."""
    return takes_routes(config) if config.routing.advertised is None else config.routing.advertised


def _accept_ra(config: HostNetworkConfig | None, carried: str | None, *, inherits: bool) -> str | None:
    """None: an origin of which that was not written down; it stays as it is."""
    if inherits and (config is None or config.routing.advertised is None):
        return TAKEN if carried == "1" else carried
    return TAKEN if config is not None and asks_for_routers(config) else NOT_TAKEN
