"""Is the host still where people look for it? What is asked before a change, and again after it.

Before the change it is noted who answers, and how (ARP, ping). After it the default gateway must answer in the same
ways again; a new gateway, in any. A gateway that never answered proves nothing: then one of the other nodes, or
whoever is logged in, that answered before must answer again; and where none of them did, the uplink's carrier is all
there is to decide on. It is always said what was decided on.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from windrow.apps.engine import Kernel
from windrow.apps.safe.ground import Ask
from windrow.model.checkpoint import Probe, ProbeKind
from windrow.model.host import Bond, Observed
from windrow.model.values import IfName
from windrow.netlink.errors import KernelError
from windrow.netlink.reach import Target, Way

BASELINE_S = 1.5
ROUND_S = 1.0
MAIN_TABLE = 254

Ways = frozenset[Way]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Who answered before the change: address -> how. `gateways`: the default ones, whether they answered or not."""

    gateways: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    answers: Mapping[str, Ways] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`said`: what it was decided on, as the end of a sentence: "the gateway 10.0.0.1 answers (ARP, ping)"."""

    ok: bool
    said: str


def baseline(observed: Observed, probes: Sequence[Probe], peers: Sequence[str], ask: Ask) -> Baseline:
    """Ask the gateways, the peers and whatever is to be probed, for at most `BASELINE_S` seconds."""
    gateways = default_gateways(observed)
    named = [p for p in probes if p.kind in (ProbeKind.PING, ProbeKind.TCP)]
    hosts = dict.fromkeys([*gateways, *peers])
    targets = {target(host, observed): host for host in hosts} | {_named(p, observed): str(p) for p in named}
    found = ask(list(targets), BASELINE_S, None) if targets else {}
    answers = {key: found.get(t, frozenset()) for t, key in targets.items()}
    return Baseline(gateways=gateways, peers=tuple(peers), answers=answers)


def prove(kernel: Kernel, probes: Sequence[Probe], before: Baseline, ask: Ask, *, going: Callable[[], bool]) -> Verdict:
    """Ask until all is well, or it is no longer `going`; once at least."""
    while True:
        try:
            verdict = _once(kernel.observe(), probes, before, ask)
        except KernelError as error:
            verdict = Verdict(ok=False, said=f"the kernel cannot be asked: {error}")
        if verdict.ok or not going():
            return verdict
        time.sleep(0.1)


def _once(observed: Observed, probes: Sequence[Probe], before: Baseline, ask: Ask) -> Verdict:
    """All probes; the first that fails, or all that was decided on."""
    said: list[str] = []
    for probe in probes:
        match probe.kind:
            case ProbeKind.GATEWAY:
                verdict = _gateway(observed, before, ask)
            case ProbeKind.NONE:
                verdict = carrier(observed, "nothing else was asked for")
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


def _gateway(observed: Observed, before: Baseline, ask: Ask) -> Verdict:
    gateways = default_gateways(observed)
    if before.gateways and not gateways:
        return Verdict(ok=False, said=f"there is no default route any more (it went to {before.gateways[0]})")
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
        return Verdict(ok=True, said=f"the gateway {gateway} {_how(ways)}{', as before' if known else ''}")
    return _peers(observed, before, ask)


def _peers(observed: Observed, before: Baseline, ask: Ask) -> Verdict:
    why = "the gateway did not answer before either" if before.gateways else "there is no gateway"
    answered = [peer for peer in before.peers if before.answers.get(peer)]
    if not answered:
        return carrier(observed, f"{why}, nor did anybody else")
    targets = {target(peer, observed): peer for peer in answered}
    found = ask(list(targets), ROUND_S, None)
    back = [targets[t] for t, ways in found.items() if ways]
    if not back:
        return Verdict(ok=False, said=f"{why}, and {', '.join(answered)}, which did, no longer answers")
    return Verdict(ok=True, said=f"{why}; {', '.join(back)} answers, as before")


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


def target(host: str, observed: Observed, port: int = 0) -> Target:
    """Over the link whose address says that `host` is on it; a link-local one, over that of its default route."""
    wanted = ipaddress.ip_address(host)
    for name, address in _addresses(observed):
        interface = ipaddress.ip_interface(address)
        if wanted in interface.network and interface.network.prefixlen < interface.max_prefixlen:
            return Target(address=host, dev=name, source=str(interface.ip), port=port)
    via = (r.dev for r in observed.state.routes if r.gateway == host and r.dev)
    return Target(address=host, dev=next(via, "") if wanted.is_link_local else "", port=port)


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
    """`gateway`, `none`, `10.0.0.1`, `tcp:10.0.0.1:22`, `tcp:[2001:db8::1]:22`. Raises ValueError."""
    if text in (ProbeKind.GATEWAY, ProbeKind.NONE):
        return Probe(kind=ProbeKind(text))
    if not text.startswith("tcp:"):
        return Probe(kind=ProbeKind.PING, host=str(ipaddress.ip_address(text)))
    host, _, port = text.removeprefix("tcp:").rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return Probe(kind=ProbeKind.TCP, host=str(ipaddress.ip_address(host.strip("[]"))), port=int(port))
