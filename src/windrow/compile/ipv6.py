"""Where this host can have IPv6 addresses at all: its kernel may be without, or a sysctl may have switched it off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from windrow.model.facts import NodeFacts
from windrow.model.objects import AddressMode, HostNetworkConfig
from windrow.model.problems import Problem, Severity
from windrow.model.values import Cidr, IfName


def has_ipv6(link: IfName, facts: NodeFacts) -> bool:
    """Whether it can have an IPv6 address (`addrconf_add_dev` refuses it otherwise)."""
    if link in facts.links:
        return facts.features.ipv6 and link not in facts.without_ipv6
    return facts.features.ipv6 and facts.features.ipv6_on


def possible(addresses: Iterable[Cidr], link: IfName, facts: NodeFacts) -> frozenset[Cidr]:
    """Those of them that the kernel will take on this link."""
    if has_ipv6(link, facts):
        return frozenset(addresses)
    return frozenset(address for address in addresses if ":" not in address)


def off_words(link: IfName, *, absent: bool) -> tuple[str, str]:
    """(what is wrong, what to do) where `has_ipv6` is not so. `absent`: the kernel has no IPv6 at all."""
    if absent:
        return "this kernel has no IPv6", "start it without ipv6.disable=1, or take the IPv6 address out"
    switch = f"net.ipv6.conf.{link.replace('.', '/')}.disable_ipv6"
    hint = f"sysctl -w {switch}=0; a new link begins with net.ipv6.conf.default.disable_ipv6; or take the address out"
    return f"IPv6 is switched off on {link} ({switch}=1)", hint


def left_out(configs: tuple[HostNetworkConfig, ...], facts: NodeFacts) -> Iterator[Problem]:
    """What host networks go without, as IPv6 is switched off."""
    for config in configs:
        said = config.ips.get(facts.node, ()) if config.mode is AddressMode.STATIC else ()
        lost: list[str] = sorted(frozenset(said) - possible(said, config.interface, facts))
        if config.routing.advertised and not has_ipv6(config.interface, facts):
            lost.append("what routers announce")
        if lost:
            why, hint = off_words(config.interface, absent=not facts.features.ipv6)
            yield Problem(
                code="ipv6-off",
                message=f"{', '.join(lost)} and its routes are left out: {why}",
                hint=hint,
                path=f"spec.ips[{facts.node}]" if said else "spec.routerAdvertisements",
                about=config.ref,
                severity=Severity.WARNING,
            )
