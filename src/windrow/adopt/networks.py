"""Which bridges of a host are a cluster network already, by another name; and why the others are none.

A cluster network is a bridge with one bond as its way out, and NICs in that bond. VLAN interfaces on the bridge with an
address are this host's part in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from windrow.adopt.values import Ask, Dynamic, Network
from windrow.model import names
from windrow.model.facts import NodeFacts
from windrow.model.host import MAIN_TABLE, Bond, Bridge, Link, Observed, Other, VlanIf
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, Severity
from windrow.model.values import IFNAME_MAX, MTU_MAX, MTU_MIN, IfName
from windrow.model.wire.documents import is_name
from windrow.plan import hints

INIT = "`windrow init` makes a bond and a bridge of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One host, as the parts of this room look at it."""

    observed: Observed
    facts: NodeFacts
    dynamic: Dynamic
    ask: Ask

    def link(self, name: str) -> Link | None:
        return self.observed.state.links.get(IfName(name))

    def within(self, master: str) -> list[Link]:
        """Slaves or ports, by name."""
        return sorted((n for n in self.observed.state.links.values() if n.master == master), key=lambda n: n.name)

    def standing_on(self, parent: str) -> list[Link]:
        return [link for link in self.observed.state.links.values() if link.parent == parent]

    def has_addresses(self, link: Link) -> bool:
        return bool(link.addrs or self.dynamic.get(link.name))


def found_networks(scene: Scene) -> tuple[tuple[Network, ...], tuple[Problem, ...]]:
    """The networks there are, and what is said of links that are none. One that was asked for by name and is none is
    an error, any other a warning."""
    problems: list[Problem] = list(_unknown(scene))
    taken: dict[str, IfName] = {}
    networks: list[Network] = []
    wanted = _bridges_asked_for(scene)
    for name in sorted(bridge for bridge in wanted if _is_to_do(scene, bridge, problems)):
        against = list(_against(scene, name))
        if against:
            severity = Severity.ERROR if scene.ask.links else Severity.WARNING
            problems += (replace(p, severity=severity) for p in against)
            continue
        network = _network(scene, name, wanted[name], taken)
        if not is_name(network.cluster_network):
            problems.append(_no_name(network))
            continue
        problems += _name_problems(scene, network, taken)
        taken[network.cluster_network] = name
        networks.append(network)
    if not scene.ask.links:
        problems += _without_a_bridge(scene)
    return tuple(networks), tuple(problems)


# -- what is asked for -----------------------------------------------------------------------------


def _bridges_asked_for(scene: Scene) -> dict[IfName, str]:
    """Bridge -> how its cluster network is to be called. A bond or NIC stands for the bridge above it."""
    links = scene.observed.state.links
    if not scene.ask.links:
        return {name: "" for name, link in links.items() if isinstance(link.spec, Bridge)}
    found: dict[IfName, str] = {}
    for asked, called in scene.ask.links.items():
        bridge = _bridge_above(scene, asked)
        if bridge is not None:
            found[bridge] = called or found.get(bridge, "")
    return found


def _bridge_above(scene: Scene, name: str) -> IfName | None:
    link = scene.link(name) or _by_own_name(scene, name)
    for _ in range(3):  # NIC, bond, bridge
        if link is None or isinstance(link.spec, Bridge):
            break
        above = link.master or (link.parent if isinstance(link.spec, VlanIf) else "")
        link = scene.link(above) if above else None
    return None if link is None else link.name


def _by_own_name(scene: Scene, name: str) -> Link | None:
    """Of a link that was adopted already."""
    now = next((n for n, runtime in scene.observed.runtime.items() if runtime.own_name == name), None)
    return None if now is None else scene.link(now)


def _unknown(scene: Scene) -> Iterator[Problem]:
    for name in scene.ask.links:
        if scene.link(name) is None and _by_own_name(scene, name) is None:
            there = sorted(n for n, k in scene.observed.state.links.items() if isinstance(k.spec, Bridge))
            hint = f"its bridges are {', '.join(there)}" if there else "it has no bridge; `windrow init` makes one"
            yield Problem(code="link-missing", message=f"this host has no link {name}", hint=hint)
        elif _bridge_above(scene, name) is None:
            yield Problem(code="not-expressible", message=f"{name} is in no bridge", hint=f"{INIT}: --nic {name}")


def _is_to_do(scene: Scene, name: IfName, problems: list[Problem]) -> bool:
    """Not what is Windrow's already, whole."""
    if scene.ask.ours or not scene.observed.owned(name):
        return True
    if any(isinstance(k.spec, Bond) and not scene.observed.owned(k.name) for k in scene.within(name)):
        return True  # an earlier adoption was cut off, or undone in part
    if scene.ask.links:
        hint = "`windrow adopt --undo` hands back what was adopted; then it can be called otherwise"
        text = f"{name} is Windrow's already"
        problems.append(Problem(code="ours-already", message=text, hint=hint, severity=Severity.WARNING))
    return False


# -- what is a network, and what is not ------------------------------------------------------------


def _against(scene: Scene, bridge: IfName) -> Iterator[Problem]:
    """Why a bridge is no cluster network."""
    ports = scene.within(bridge)
    bonds = [port for port in ports if isinstance(port.spec, Bond)]
    vlans = [port.name for port in ports if isinstance(port.spec, VlanIf)]
    nics = [port.name for port in ports if _is_nic(scene, port)]
    if len(bonds) > 1:
        both = " and ".join(bond.name for bond in bonds)
        yield _none(bridge, f"{both} are both in it: a cluster network has one bond", "take one of them out")
    elif not bonds and vlans:
        text = f"its way out is the VLAN interface {', '.join(vlans)}: a cluster network has one bridge for all VLANs"
        yield _none(bridge, text, "make the network beside it, and move the machines one by one")
    elif not bonds and nics:
        text = f"{', '.join(nics)} {'is' if len(nics) == 1 else 'are'} in it without a bond"
        out = hints.set_free(scene.observed, nics[0], f"take {nics[0]} out of it")
        yield _none(
            bridge, text, f"a bond cannot be put between without a gap: {out}; then windrow init --nic {nics[0]}"
        )
    elif not bonds:
        yield _none(bridge, "no bond and no NIC is in it: it leads nowhere", "it stays as it is")
    else:
        yield from _against_bond(scene, bridge, bonds[0])
    if _runs_stp(scene, bridge):
        hint = f"see that there is no loop without it, then: ip link set dev {bridge} type bridge stp_state 0"
        yield _none(bridge, "it runs STP, and no cluster network's bridge does", hint)


def _against_bond(scene: Scene, bridge: IfName, bond: Link) -> Iterator[Problem]:
    slaves = scene.within(bond.name)
    strange = [slave.name for slave in slaves if slave.name not in scene.facts.nics]
    if not slaves:
        yield _none(bridge, f"no NIC is in {bond.name}", "put one in first: ip link set dev NIC master " + bond.name)
    if strange:
        yield _none(bridge, f"{', '.join(strange)} in {bond.name} is no NIC", "a cluster network's bond has NICs only")
    mtu = scene.observed.state.links[bridge].mtu
    if mtu is not None and not MTU_MIN <= mtu <= MTU_MAX:
        yield _none(bridge, f"its MTU is {mtu}: objects say {MTU_MIN} to {MTU_MAX}", "give it another MTU first")


def _runs_stp(scene: Scene, bridge: IfName) -> bool:
    spec = scene.observed.state.links[bridge].spec
    return isinstance(spec, Bridge) and bool(spec.stp) and not scene.observed.owned(bridge)


def _is_nic(scene: Scene, port: Link) -> bool:
    """Not the end of a machine's or container's cable."""
    return isinstance(port.spec, Other) and port.kind == "device" and port.name in scene.facts.nics


def _none(bridge: IfName, why: str, hint: str) -> Problem:
    return Problem(code="not-expressible", message=f"{bridge} is left alone: {why}", hint=hint)


def _without_a_bridge(scene: Scene) -> Iterator[Problem]:
    """Bonds that no bridge is on."""
    for name, link in sorted(scene.observed.state.links.items()):
        if isinstance(link.spec, Bond) and not link.master and not scene.observed.owned(name):
            hint = "`windrow init` makes a management network of its NICs, a VlanConfig any other"
            yield unsayable(f"{name} is left alone: no bridge is on it", hint)


def unsayable(message: str, hint: str) -> Problem:
    """What is there and no object says. It stays in force for now, so it is a warning."""
    return Problem(code="not-expressible", message=message, hint=hint, severity=Severity.WARNING)


# -- how it is called ------------------------------------------------------------------------------


def _network(scene: Scene, bridge: IfName, called: str, taken: Collection[str]) -> Network:
    bond = next(port for port in scene.within(bridge) if isinstance(port.spec, Bond))
    interfaces = {
        link.spec.vid: link.name
        for link in scene.standing_on(bridge)
        if isinstance(link.spec, VlanIf) and not link.master
        if scene.has_addresses(link) or scene.observed.owned(link.name)
    }
    name = called or _name_for(scene, bridge, taken, max((len(str(vid)) for vid in interfaces), default=0))
    return Network(
        cluster_network=name,
        bridge=bridge,
        bond=bond.name,
        nics=tuple(slave.name for slave in scene.within(bond.name)),
        interfaces=dict(sorted(interfaces.items())),
    )


def _name_for(scene: Scene, bridge: IfName, taken: Collection[str], digits: int) -> str:
    """`mgmt` where the host's default route goes over it; else the bridge's name without what says that it is a bridge,
    in the letters and the length that the names of its devices leave."""
    said = names.cluster_network_of_bridge(bridge)
    if said is not None and scene.observed.owned(bridge):
        return said
    if names.MGMT not in taken and _is_management(scene, bridge):
        return names.MGMT
    longest = names.CLUSTER_NETWORK_MAX if not digits else IFNAME_MAX - len("-br.") - digits
    plain = re.sub(r"[^a-z0-9-]+", "-", (said or bridge.removeprefix("br-")).lower()).strip("-")
    base = plain if plain[:1].isalpha() else f"n{plain}"
    unfit = {*taken, *names.RESERVED_CLUSTER_NETWORKS, names.MGMT}
    return next(name for name in _variants(base[:longest].rstrip("-"), longest) if name not in unfit)


def _is_management(scene: Scene, bridge: IfName) -> bool:
    """Whether the default route goes over it, or over a VLAN interface on it, and no other bridge is `mgmt-br`."""
    mgmt = names.bridge_of(names.MGMT)
    over = {bridge, *(link.name for link in scene.standing_on(bridge))}
    routes = (r for r in scene.observed.state.routes if r.dst == "default" and r.table == MAIN_TABLE)
    leads_out = any(over.intersection(route.links) for route in routes)
    return bridge == mgmt or (leads_out and mgmt not in scene.observed.state.links)


def _variants(base: str, longest: int) -> Iterable[str]:
    """It, and it with a number; none has more than so many letters."""
    yield base
    for number in range(2, 10_000):
        end = str(number)
        yield f"{base[: longest - len(end)]}{end}"


def _no_name(network: Network) -> Problem:
    return Problem(
        code="name-invalid",
        message=f"no cluster network can be called {network.cluster_network!r}",
        hint=f"lower-case letters, digits, and - between them: {network.bridge}=NAME",
    )


def _name_problems(scene: Scene, network: Network, taken: dict[str, IfName]) -> Iterator[Problem]:
    cn = network.cluster_network
    if cn in taken:
        text = f"{network.bridge} and {taken[cn]} cannot both be cluster network {cn}"
        yield Problem(code="name-taken", message=text, hint=f"say a name for each: {network.bridge}=NAME")
    for own, name in renamed(network):
        there = scene.link(name)
        if own != name and there is not None:
            text = f"{own} would be called {name}, and there is a link of that name already"
            yield Problem(code="name-taken", message=text, hint=f"say another name: {network.bridge}=NAME")


def renamed(network: Network) -> Iterator[tuple[IfName, IfName]]:
    """Each link that will be Windrow's, by its name now, and what it will be called."""
    cn = network.cluster_network
    yield network.bridge, names.bridge_of(cn)
    yield network.bond, names.bond_of(cn)
    for vid, link in network.interfaces.items():
        yield link, names.subinterface_of(cn, vid)
