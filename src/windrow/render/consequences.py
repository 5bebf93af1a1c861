"""What a change means for those who use the network: the value, as text and as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from windrow.model.lazy import dataclass
from windrow.render.text import PLAIN, Style

NAMED = 8
"""So many users of a network are named; of more, their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChange:
    """A cluster network on nodes. `how`: gains, loses, changes, loses-vlans; `what`: in words, what is changed.

    `users`: the machines and pods that use it, by their manifests or by their ports on this node.
    """

    cluster_network: str
    how: str
    nodes: tuple[str, ...]
    what: str = ""
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChange:
    """An address of a host; `before` or `after` empty: it had none, or has none any more. `moved`: the link that has it
    then; empty: none."""

    node: str
    interface: str
    before: str = ""
    after: str = ""
    moved: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """Traffic that stops on this node. `low`, `high`: seconds; `high` None: until `until`.

    `users`: machines and pods that notice; `addresses`: of the host, with their interfaces.
    """

    network: str
    why: tuple[str, ...]
    low: float = 0.0
    high: float | None = None
    until: str = ""
    users: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequences:
    """`elsewhere`: other nodes that the change is for; what it costs there is not known here."""

    node: str
    networks: tuple[NetworkChange, ...] = ()
    addresses: tuple[AddressChange, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    elsewhere: tuple[str, ...] = ()

    @property
    def none(self) -> bool:
        return not (self.networks or self.addresses or self.interruptions)


HOW = {"gains": "comes to", "loses": "goes from", "changes": "changes on", "loses-vlans": "changes on"}


def consequences_text(found: Consequences, style: Style = PLAIN) -> str:
    """A paragraph; empty where there is nothing to say."""
    if found.none:
        return ""
    lines = [style.bold("What it means:")]
    for interruption in found.interruptions:
        lines += _interruption(interruption, found.node, style)
    for network in found.networks:
        lines += _network(network)
    for address in found.addresses:
        lines.append(f"  {_address(address)}")
    if found.elsewhere:
        where = ", ".join(_some(found.elsewhere))
        lines.append(style.dim(f"  What it costs on {where} is known there: windrow plan"))
    return "\n".join(lines) + "\n"


def _interruption(one: Interruption, node: str, style: Style) -> Iterator[str]:
    how_long = (
        f"no traffic until {one.until}" if one.high is None else f"{seconds_words(one.low, one.high)} without traffic"
    )
    mark = style.red(how_long) if one.high is None else style.yellow(how_long)
    yield f"  {one.network} on {node}: {mark}"
    yield from (f"      {why}" for why in one.why)
    yield from _users("concerns", [*one.users, *one.addresses])


def _network(one: NetworkChange) -> Iterator[str]:
    yield f"  {one.cluster_network} {HOW[one.how]} {', '.join(_some(one.nodes))}" + (
        f": {one.what}" if one.what else ""
    )
    yield from _users("used by", one.users) if one.how != "gains" else ()


def _users(word: str, users: Iterable[str]) -> Iterator[str]:
    named = _some(tuple(users))
    if named:
        yield f"      {word} {', '.join(named)}"


def _some(words: tuple[str, ...]) -> list[str]:
    rest = len(words) - NAMED
    return [*words[:NAMED], *([f"{rest} more"] if rest > 0 else [])]


def _address(one: AddressChange) -> str:
    where = f"{one.interface} of {one.node}"
    if one.before and one.after:
        return f"{where}: {one.before} → {one.after}; connections to the old one end"
    if one.moved:
        return f"{where}: {one.before} moves to {one.moved}"
    if one.before:
        return f"{where} loses {one.before}; its connections end"
    return f"{where} gets {one.after}"


def seconds_words(low: float, high: float) -> str:
    """`up to 200 ms`, `up to 1.3 s`, `2 to 13 s`."""
    if low:
        return f"{low:g} to {high:g} s"
    return f"up to {high * 1000:.0f} ms" if high < 1 else f"up to {high:g} s"


# -- as data ---------------------------------------------------------------------------------------


def consequences_value(found: Consequences) -> dict[str, Any]:
    return {
        "clusterNetworks": [
            {
                "clusterNetwork": n.cluster_network,
                "change": n.how,
                "nodes": list(n.nodes),
                "what": n.what,
                "users": list(n.users),
            }
            for n in found.networks
        ],
        "addresses": [
            {"node": a.node, "interface": a.interface, "before": a.before or None, "after": a.after or None}
            for a in found.addresses
        ],
        "interruptions": [
            {
                "network": i.network,
                "seconds": {"least": i.low, "most": i.high},
                "until": i.until or None,
                "why": list(i.why),
                "users": list(i.users),
                "addresses": list(i.addresses),
            }
            for i in found.interruptions
        ],
        "otherNodes": list(found.elsewhere),
    }
