"""Is the host still where people look for it? What is asked before a change, and again after it.

Before the change it is noted who answers, and how (ARP, ping): the default gateways of all tables, whoever is logged
in or connected, the other nodes, and the neighbours on the links that change, whom the kernel has heard of late. After
it the main table's gateway must answer in the same ways again; a new gateway, in any. Of everybody else, somebody of
each kind that answered before must answer again, in the same ways, as far as this host still has an address in his
network. Where nobody answers at all nothing is proved, and somebody has to confirm the change. Whoever opens a
connection to this host after the change proves it, too, where nobody speaks against it. It is always said what it was
decided on.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace

from windrow.apps.safe.incoming import Incoming, came
from windrow.apps.site import Ask, Site
from windrow.model.checkpoint import Probe, ProbeKind
from windrow.model.host import MAIN_TABLE, Bond, HostState, Observed
from windrow.model.lazy import dataclass
from windrow.model.neighbours import NOBODY, Peer, Surroundings
from windrow.model.values import IfName
from windrow.netlink.errors import KernelError
from windrow.netlink.reach import Target, Way

BASELINE_S = 1.5
NEIGHBOURS_MOST = 4
"""Of each link so many are asked: each one that answers says the same."""
ROUND_S = 1.0

Ways = frozenset[Way]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who may be asked. `links`: those of the units that change."""

    probes: Sequence[Probe] = ()
    login: Peer | None = None
    peers: Sequence[str] = ()
    connected: Sequence[Peer] = ()
    surroundings: Surroundings = NOBODY
    links: frozenset[IfName] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Who answered before the change: address -> how. `gateways`: the main table's default ones, whether they answered
    or not. `groups`: what they are -> everybody else; one of each group says that it is still reached."""

    gateways: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    answers: Mapping[str, Ways] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    """The address of ours that somebody knows, where he is not on a link."""
    dark: bool = False
    """There was no carrier: that there is none afterwards proves nothing."""

    @property
    def asked(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.gateways, *(a for group in self.groups.values() for a in group)]))

    @property
    def answered(self) -> tuple[str, ...]:
        return tuple(address for address in self.asked if self.answers.get(address))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`said`: what it was decided on, as the end of a sentence: "the gateway 10.0.0.1 answers (ARP, ping)". `open`:
    nobody spoke for it or against it."""

    ok: bool
    said: str
    open: bool = False


def baseline(observed: Observed, asked: Asked, ask: Ask) -> Baseline:
    """Ask all of them, and whatever is to be probed, for at most `BASELINE_S` seconds."""
    gateways = default_gateways(observed)
    groups = {name: those for name, those in _groups(asked, gateways, observed).items() if those}
    known = (*asked.connected, *((asked.login,) if asked.login is not None else ()))
    sources = {peer.address: peer.source for peer in known}
    named = [p for p in asked.probes if p.kind in (ProbeKind.PING, ProbeKind.TCP)]
    hosts = dict.fromkeys([*gateways, *(a for group in groups.values() for a in group)])
    targets = {target(host, observed, source=sources.get(host, "")): host for host in hosts}
    targets |= {_named(p, observed): str(p) for p in named}
    found = ask(list(targets), BASELINE_S, None) if targets else {}
    answers = {key: found.get(t, frozenset()) for t, key in targets.items()}
    dark = bool(uplinks(observed)) and not carrier(observed, "").ok
    return Baseline(gateways=gateways, groups=groups, answers=answers, sources=sources, dark=dark)


def _groups(asked: Asked, gateways: Sequence[str], observed: Observed) -> dict[str, tuple[str, ...]]:
    around = asked.surroundings
    found = {
        "who is logged in": (asked.login.address,) if asked.login is not None else (),
        "the gateway of another table": tuple(r.address for r in around.routers if r.table != MAIN_TABLE),
        "the other nodes": tuple(asked.peers),
        "who is connected": tuple(p.address for p in asked.connected if not target(p.address, observed).dev),
    }
    for link in sorted({n.dev for n in around.neighbours} & asked.links):
        heard = [n.address for n in around.neighbours if n.dev == link and n.address not in gateways]
        found[f"the neighbours on {link}"] = tuple(heard[:NEIGHBOURS_MOST])
    return found


def new_gateways(wanted: HostState, before: Baseline) -> tuple[str, ...]:
    """Those that a change brings: one that answers after it is proof enough."""
    found = (str(r.gateway) for r in wanted.routes if r.dst == "default" and r.gateway and r.table == MAIN_TABLE)
    return tuple(sorted({gateway for gateway in found if gateway not in before.gateways}))


def prove(
    site: Site,
    probes: Sequence[Probe],
    before: Baseline,
    incoming: Incoming,
    *,
    going: Callable[[], bool],
    by_hand: bool,
) -> Verdict:
    """Ask until all is well, or it is no longer `going`; once at least. `by_hand`: somebody has to confirm it, too."""
    while True:
        try:
            verdict = _once(site.kernel.observe(), probes, before, site.ask, incoming, by_hand=by_hand)
        except KernelError as error:
            verdict = Verdict(ok=False, said=f"the kernel cannot be asked: {error}")
        if verdict.ok or not going():
            return verdict
        site.pause(0.1)


def _once(
    observed: Observed, probes: Sequence[Probe], before: Baseline, ask: Ask, incoming: Incoming, *, by_hand: bool
) -> Verdict:
    """All probes; the first that fails, or all that was decided on."""
    said: list[str] = []
    for probe in probes:
        match probe.kind:
            case ProbeKind.GATEWAY:
                verdict = _or_incoming(_gateway(observed, before, ask, by_hand=by_hand), incoming)
            case ProbeKind.NONE:
                verdict = carrier(observed, "nothing else was asked for")
            case ProbeKind.INCOMING:
                verdict = _incoming(probe, incoming)
            case ProbeKind.PING | ProbeKind.TCP:
                verdict = _ask_named(probe, observed, ask)
        if not verdict.ok:
            return verdict
        said.append(verdict.said)
    return Verdict(ok=True, said="; ".join(said))


def _ask_named(probe: Probe, observed: Observed, ask: Ask) -> Verdict:
    wanted = _named(probe, observed)
    ways = ask([wanted], ROUND_S, None).get(wanted, frozenset())
    return Verdict(ok=bool(ways), said=f"{probe} {_how(ways)}" if ways else f"{probe} does not answer")


def _incoming(probe: Probe, incoming: Incoming) -> Verdict:
    found = incoming.found(probe.port)
    to = f" to port {probe.port}" if probe.port else ""
    nobody = f"nobody opened a new connection{to} over the links that changed"
    return Verdict(ok=found is not None, said=came(found) if found is not None else nobody)


def _or_incoming(verdict: Verdict, incoming: Incoming) -> Verdict:
    """Whoever got in anew proves it where nobody said no, and is told where it was proved already."""
    found = incoming.found() if verdict.ok or verdict.open else None
    return verdict if found is None else Verdict(ok=True, said=f"{verdict.said}; {came(found)}")


def _gateway(observed: Observed, before: Baseline, ask: Ask, *, by_hand: bool) -> Verdict:
    """The main table's gateway; then everybody else who answered before. Where somebody confirms it `by_hand`, it is
    enough that nobody says no."""
    gateways = default_gateways(observed)
    if before.gateways and not gateways:
        return Verdict(ok=False, said=f"there is no default route any more (it went to {before.gateways[0]})")
    said = ""
    for gateway in gateways:
        known = gateway in before.gateways
        needed = before.answers.get(gateway, frozenset())
        if known and not needed:
            continue  # it was silent before: that it is so now proves nothing
        asked = target(gateway, observed)
        ways = ask([asked], ROUND_S, {asked: needed} if needed else None).get(asked, frozenset())
        if not ways:
            return Verdict(ok=False, said=f"the gateway {gateway} does not answer")
        if missing := needed - ways:
            return Verdict(ok=False, said=f"the gateway {gateway} does not answer {_words(missing)}, and did before")
        said = f"the gateway {gateway} {_how(ways)}{', as before' if known else ''}"
        break
    others = _others(observed, before, ask)
    if said:
        return others if others is not None and not others.ok else Verdict(ok=True, said=said)
    why = "the gateway did not answer before either" if before.gateways else "there is no gateway"
    if others is None and not before.answered and before.dark:
        return Verdict(ok=True, said=f"{why}, nor did anybody else: there was no carrier before either", open=True)
    if others is None and (by_hand or not before.answered):
        return replace(carrier(observed, f"{why}, nor did anybody else" if not before.answered else why), open=True)
    if others is None:
        return Verdict(ok=False, said=f"{why}, and nobody else who answered before can be asked now", open=True)
    return Verdict(ok=others.ok, said=f"{why}; {others.said}" if others.ok else f"{why}, and {others.said}")


def _others(observed: Observed, before: Baseline, ask: Ask) -> Verdict | None:
    """One of each group that answered before must answer again; None: nobody is left to be asked."""
    groups = {name: [a for a in those if before.answers.get(a)] for name, those in before.groups.items()}
    groups = {name: [a for a in those if _is_meant(name, a, observed, before)] for name, those in groups.items()}
    everybody = {a for those in groups.values() for a in those}
    if not everybody:
        return None
    targets = {target(a, observed, source=before.sources.get(a, "")): a for a in sorted(everybody)}
    needed = {t: _still_possible(before.answers[a], t) for t, a in targets.items()}
    found = ask(list(targets), ROUND_S, needed)
    back = [targets[t] for t, ways in found.items() if ways and needed[t] <= ways]
    half = {targets[t]: needed[t] - ways for t, ways in found.items() if ways}
    for name, those in groups.items():
        if those and not set(those) & set(back):
            missing = frozenset[Way]().union(*(half[a] for a in those if a in half))
            how = f" {_words(missing)}" if missing else ""
            return Verdict(ok=False, said=f"{name}: {', '.join(those)} no longer answers{how}, and did before")
    return Verdict(ok=True, said=f"{', '.join(back)} answers, as before")


def _still_possible(ways: Ways, asked: Target) -> Ways:
    """All the ways in which he answered before, but for ARP where he is no longer on a link. One of them is not enough:
    ARP asks everybody (RFC 826), and a bond that spreads by MAC address (`bond_eth_hash` in
    drivers/net/bonding/bond_main.c) may send that by a NIC that works and all the rest by one that does not."""
    return ways if asked.dev else ways - {Way.ARP}


def _is_meant(group: str, address: str, observed: Observed, before: Baseline) -> bool:
    """Neighbours of a network that this host has left, because somebody wanted it so, say nothing."""
    return not group.startswith("the neighbours") or bool(target(address, observed).dev)


def carrier(observed: Observed, why: str) -> Verdict:
    """Of the link with the default route, else of those with addresses: is a cable below it at all?"""
    links = uplinks(observed)
    dark = [name for name in links if not observed.runtime[name].carrier]
    if not links or len(dark) == len(links):
        return Verdict(ok=False, said=f"{why}, and {', '.join(dark) or 'no link with an address'} has no carrier")
    return Verdict(ok=True, said=f"{why}; {', '.join(n for n in links if n not in dark)} has carrier")


def uplinks(observed: Observed) -> list[IfName]:
    """The links that carry this host's own traffic: down to the bonds, whose carrier tells of cables (a bridge's
    tells of any port, a machine's too)."""
    links = observed.state.links
    roots = [r.dev for r in observed.state.routes if r.dst == "default" and r.dev in links]
    names = [n for n in roots if n] or [n for n, link in links.items() if (link.addrs or link.details) and n != "lo"]
    found: list[IfName] = []
    for name in names:
        below = links[name].parent or name
        bonds = [n for n, link in links.items() if link.master == below and isinstance(link.spec, Bond)]
        found += bonds or [IfName(below)]
    return list(dict.fromkeys(n for n in found if n in observed.runtime))


def default_gateways(observed: Observed) -> tuple[str, ...]:
    """The best one of each family, IPv4 first; those without an address (on the link itself) are none."""
    routes = [r for r in observed.state.routes if r.dst == "default" and r.gateway and r.table == MAIN_TABLE]
    best: dict[int, tuple[int, str]] = {}
    for route in routes:
        gateway = str(route.gateway)
        version = ipaddress.ip_address(gateway).version
        best[version] = min(best.get(version, (1 << 33, "")), (route.metric, gateway))
    return tuple(gateway for _, (_, gateway) in sorted(best.items()))


def target(host: str, observed: Observed, port: int = 0, source: str = "") -> Target:
    """Over the link whose address says that `host` is on it; a router that is in no network of this host, over that of
    its route. Else from `source`, where that is still an address of this host."""
    wanted = ipaddress.ip_address(host)
    every = [(name, ipaddress.ip_interface(address)) for name, address in _addresses(observed)]
    for name, own in every:
        if wanted in own.network and own.network.prefixlen < own.max_prefixlen:
            return Target(address=host, dev=name, source=str(own.ip), port=port)
    dev = next((r.dev for r in observed.state.routes if r.gateway == host and r.dev), "")
    there = next((str(own.ip) for name, own in every if name == dev and own.version == 4), "")
    if there and wanted.version == 4:
        return Target(address=host, dev=dev, source=there, port=port)
    known = source in {str(own.ip) for _, own in every}
    return Target(address=host, dev=dev if wanted.is_link_local else "", source=source if known else "", port=port)


def _addresses(observed: Observed) -> Iterator[tuple[str, str]]:
    for name, link in observed.state.links.items():
        for address in sorted((link.addrs or frozenset()) | link.details.keys()):
            if not ipaddress.ip_interface(address).is_link_local:
                yield name, address


def _named(probe: Probe, observed: Observed) -> Target:
    return target(probe.host, observed, probe.port)


def _how(ways: Iterable[Way]) -> str:
    return f"answers ({', '.join(sorted(ways))})"


def _words(ways: Iterable[Way]) -> str:
    return " and ".join(sorted(ways))


def parse_probe(text: str) -> Probe:
    """`gateway`, `none`, `10.0.0.1`, `tcp:10.0.0.1:22`, `tcp:[2001:db8::1]:22`, `incoming`, `incoming:22`. Raises
    ValueError."""
    if text in (ProbeKind.GATEWAY, ProbeKind.NONE):
        return Probe(kind=ProbeKind(text))
    if text == ProbeKind.INCOMING:
        return Probe(kind=ProbeKind.INCOMING)
    if text.startswith("incoming:"):
        return Probe(kind=ProbeKind.INCOMING, port=_port(text, text.removeprefix("incoming:")))
    if not text.startswith("tcp:"):
        return Probe(kind=ProbeKind.PING, host=str(ipaddress.ip_address(text)))
    host, _, port = text.removeprefix("tcp:").rpartition(":")
    number = _port(text, port)
    return Probe(kind=ProbeKind.TCP, host=str(ipaddress.ip_address(host.strip("[]"))), port=number)


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return int(port)
