"""The firewall programs of a port, as texts: of names and shape as the reference plugin makes them, so that either
one finds and removes what the other made.

Checking the source MAC address: table `nat` of nftables' family bridge. Masquerading: nftables' table
`cni_plugins_masquerade`, or a chain of iptables' table `nat`. And what a new port has to do with the table of network
policies, which is nobody else's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.ruletable import JUDGED, NAMESPACES, MemberChange, Verb, member_of_namespace
from windrow.port.result import family_of

# Network policies -----------------------------------------------------------------------------------


def let_through(port: str, namespace: str) -> tuple[MemberChange, ...]:
    """The port need not be judged by a round, for no policy can be about it: its pod is of this namespace, which has
    none. Empty: it is of no pod.

    Where the namespace has policies the kernel refuses all of it (EEXIST), so no round comes between asking and doing;
    where there is no table that says so, too (ENOENT)."""
    if not namespace:
        return (MemberChange(Verb.ADD, JUDGED, port),)
    member = member_of_namespace(namespace)
    asked = (MemberChange(verb, NAMESPACES, member) for verb in (Verb.CREATE, Verb.DELETE))
    return (*asked, MemberChange(Verb.ADD, JUDGED, port))


def closed_anew(port: str) -> tuple[MemberChange, ...]:
    """Whoever had this port's name before was judged, and this one is not. Refused (ENOENT) where that is so
    already."""
    return (MemberChange(Verb.DELETE, JUDGED, port),)


# Checking the source --------------------------------------------------------------------------------

_BRIDGE: Mapping[str, Any] = {"family": "bridge", "table": "nat"}
_BASE = "PREROUTING"
SPOOF_CHAIN = ("bridge", "nat", _BASE)
"""Family, table and chain with a rule for each checked port."""


def spoof_chains(container_id: str, ifname: str) -> tuple[str, str]:
    first = f"cni-br-iface-{container_id}-{ifname}"
    return first, f"{first}-mac"


def spoof_comment(container_id: str, ifname: str) -> str:
    return f"macspoofchk-{container_id}-{ifname}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoofRule:
    chain: str
    expr: tuple[Mapping[str, Any], ...]
    comment: str


def spoof_rules(container_id: str, ifname: str, *, port: str, mac: str) -> tuple[SpoofRule, ...]:
    """What comes in by the link `port` passes only from `mac`. The first one leads to the others."""
    first, second = spoof_chains(container_id, ifname)
    arriving = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": port}}
    saddr = {"payload": {"protocol": "ether", "field": "saddr"}}
    rules: Sequence[tuple[str, tuple[Mapping[str, Any], ...]]] = (
        (_BASE, (arriving, {"jump": {"target": first}})),
        (first, ({"jump": {"target": second}},)),
        (second, ({"match": {"op": "==", "left": saddr, "right": mac}}, {"return": None})),
        (second, ({"drop": None},)),
    )
    comment = spoof_comment(container_id, ifname)
    return tuple(SpoofRule(chain=chain, expr=expr, comment=comment) for chain, expr in rules)


def spoof_program(container_id: str, ifname: str, *, port: str, mac: str) -> str:
    """For `nft -j -f`.

    JSON and not nft's own language, for the name of an interface may have every character in it.
    """
    return program(*spoof_commands(container_id, ifname, port=port, mac=mac))


def spoof_commands(container_id: str, ifname: str, *, port: str, mac: str) -> Iterator[Mapping[str, Any]]:
    """The rule in the base chain comes first of all: one of others that accepts would let everything past it."""
    base = {"name": _BASE, "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}
    yield {"add": {"table": {"family": "bridge", "name": "nat"}}}
    yield {"add": {"chain": {**_BRIDGE, **base}}}
    yield from _empty_chains(spoof_chains(container_id, ifname))
    for rule in spoof_rules(container_id, ifname, port=port, mac=mac):
        verb = "insert" if rule.chain == _BASE else "add"
        yield {verb: {"rule": {**_BRIDGE, "chain": rule.chain, "expr": rule.expr, "comment": rule.comment}}}


def spoof_removal(container_id: str, ifname: str, listing: str) -> str:
    """For `nft -j -f`, from `nft -j list chain` of SPOOF_CHAIN: takes the port's rule and chains away."""
    comment = spoof_comment(container_id, ifname)
    handles = [rule["handle"] for rule in _rules(listing) if rule.get("comment") == comment]
    return program(*spoof_deletions(handles), *spoof_chain_removal(container_id, ifname))


def spoof_deletions(handles: Iterable[int]) -> Iterator[Mapping[str, Any]]:
    """Of rules in the base chain."""
    for handle in handles:
        yield {"delete": {"rule": {**_BRIDGE, "chain": _BASE, "handle": handle}}}


def spoof_chain_removal(container_id: str, ifname: str) -> Iterator[Mapping[str, Any]]:
    chains = spoof_chains(container_id, ifname)
    yield from _empty_chains(chains)
    for name in chains:
        yield {"delete": {"chain": {**_BRIDGE, "name": name}}}


def _empty_chains(names: tuple[str, ...]) -> Iterable[Mapping[str, Any]]:
    """There, and empty, whatever was before: deleting what is not there would be an error."""
    for verb in ("add", "flush"):
        for name in names:
            yield {verb: {"chain": {**_BRIDGE, "name": name}}}


def program(*commands: Mapping[str, Any]) -> str:
    return json.dumps({"nftables": commands})


def _rules(listing: str) -> list[dict[str, Any]]:
    """The rules in a listing of `nft -j`. Raises ValueError."""
    return [item["rule"] for item in json.loads(listing)["nftables"] if "rule" in item]


# Masquerading, nftables -----------------------------------------------------------------------------

MASQUERADE_CHAIN = ("inet", "cni_plugins_masquerade", "masq_checks")
_COMMENT_BYTES = 128
"""NFT_USERDATA_MAXLEN leaves room for more, the reference plugin cuts here."""
_MASQUERADE = """\
add table inet cni_plugins_masquerade {{ comment \
"Masquerading for plugins from github.com/containernetworking/plugins" ; }}
add chain inet cni_plugins_masquerade masq_checks {{ comment \
"Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet" ; }}
add chain inet cni_plugins_masquerade postrouting {{ type nat hook postrouting priority 100 ; }}
flush chain inet cni_plugins_masquerade postrouting
add rule inet cni_plugins_masquerade postrouting ip daddr == 224.0.0.0/4 return
add rule inet cni_plugins_masquerade postrouting ip6 daddr == ff00::/8 return
add rule inet cni_plugins_masquerade postrouting goto masq_checks
{rules}"""
_MASQUERADE_RULE = """\
add rule inet cni_plugins_masquerade masq_checks {ip} saddr == {address} {ip} daddr != {subnet} masquerade \
comment "{comment}"
"""


def masquerade_id(network: str, container_id: str, ifname: str) -> str:
    """By which the rules of an attachment begin their comment."""
    return f"{_hash(network)[:16]}-{_hash(f'{ifname}:{container_id}')[:16]}"


def masquerade_program(network: str, container_id: str, ifname: str, addresses: Sequence[str]) -> str:
    """For `nft -f`: what leaves the subnet of an address, multicast apart, goes out under the host's own address."""
    words = (network, ifname, container_id)
    clean = [word.replace('"', "") for word in words]  # nft's language has no way to write one inside a text
    comment = f"{masquerade_id(network, container_id, ifname)}, net: {clean[0]}, if: {clean[1]}, id: {clean[2]}"
    comment = comment.encode(errors="replace")[:_COMMENT_BYTES].decode(errors="ignore")
    rules = [
        _MASQUERADE_RULE.format(ip=ip, address=address, subnet=subnet, comment=comment)
        for ip, address, subnet in split(addresses)
    ]
    return _MASQUERADE.format(rules="".join(rules))


def masquerade_removal(network: str, container_id: str, ifname: str, listing: str) -> str:
    """For `nft -j -f`, from `nft -j list chain` of MASQUERADE_CHAIN; empty: there is nothing to remove."""
    family, table, chain = MASQUERADE_CHAIN
    start = masquerade_id(network, container_id, ifname)
    handles = [rule["handle"] for rule in _rules(listing) if str(rule.get("comment", "")).startswith(start)]
    where = {"family": family, "table": table, "chain": chain}
    return program(*({"delete": {"rule": {**where, "handle": handle}}} for handle in handles)) if handles else ""


def split(addresses: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    """(`ip` or `ip6`, the address, its subnet) of each."""
    import ipaddress  # slow to load, and a port that is not masqueraded needs none of it

    for address in addresses:
        one = ipaddress.ip_interface(address)
        yield "ip6" if one.version == 6 else "ip", str(one.ip), str(one.network)


def _hash(text: str) -> str:
    from hashlib import sha512

    return sha512(text.encode(errors="surrogateescape")).hexdigest()


# Masquerading, iptables -----------------------------------------------------------------------------

_MULTICAST = {"4": "224.0.0.0/4", "6": "ff00::/8"}


def iptables_chain(network: str, container_id: str) -> str:
    return f"CNI-{_hash(network + container_id)[:24]}"


def iptables_programs(network: str, container_id: str, addresses: Sequence[str]) -> dict[str, str]:
    """By version of IP (`4`, `6`), for `iptables-restore --noflush`."""
    chain = iptables_chain(network, container_id)
    comment = rf'-m comment --comment "name: \"{network}\" id: \"{container_id}\""'
    programs: dict[str, str] = {}
    for version, multicast in _MULTICAST.items():
        pairs = [(one, subnet) for _, one, subnet in split([a for a in addresses if family_of(a) == version])]
        if pairs:
            accepted = [f"-A {chain} -d {subnet} {comment} -j ACCEPT" for _, subnet in pairs]
            lines = [
                "*nat",
                f":{chain} - [0:0]",
                *dict.fromkeys(accepted),
                f"-A {chain} ! -d {multicast} {comment} -j MASQUERADE",
                *(f"-A POSTROUTING -s {one} {comment} -j {chain}" for one, _ in pairs),
                "COMMIT",
            ]
            programs[version] = "\n".join(lines) + "\n"
    return programs


def iptables_removal(network: str, container_id: str, listing: str) -> str:
    """For `iptables-restore --noflush`, from `iptables-save -t nat`; empty: there is nothing to remove."""
    chain = iptables_chain(network, container_id)
    lines = listing.splitlines()
    jumps = [line.replace("-A", "-D", 1) for line in lines if line.startswith("-A ") and f" -j {chain}" in line]
    declared = any(line.startswith(f":{chain} ") for line in lines)
    if not jumps and not declared:
        return ""
    removal = [f"-F {chain}", f"-X {chain}"] if declared else []
    return "\n".join(["*nat", *jumps, *removal, "COMMIT"]) + "\n"
