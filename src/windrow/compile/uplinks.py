"""Pass: which VlanConfig is in force for each cluster network, and the uplink that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, fields

from windrow.model import names
from windrow.model.bonding import OPTIONS, BondMode
from windrow.model.bridging import CLUSTER_BRIDGE, FRESH_BRIDGE_PORT
from windrow.model.cluster import Cluster, selects_node
from windrow.model.facts import Nic, NodeFacts
from windrow.model.host import FRESH_FLAGS, TXQLEN_DEFAULT, Bond, Link, Other, PortVlans, Snooping
from windrow.model.lazy import dataclass, replace
from windrow.model.objects import NicIdentity, NicSelector, VlanConfig
from windrow.model.problems import Problem, Severity
from windrow.model.values import DEFAULT_PVID, MTU_DEFAULT, IfName, Mac, VidSet, parse_unicast_mac

MIIMON_DEFAULT = 100
"""Milliseconds, as Harvester; the kernel's own default is 0, no link monitoring at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """A VlanConfig in force on this node, with its NICs found."""

    config: VlanConfig
    nics: tuple[Nic, ...]
    mtu: int
    called: Mapping[str, Nic]
    """By the name of the manifest, and by their own."""

    @property
    def cluster_network(self) -> str:
        return self.config.cluster_network

    @property
    def bridge(self) -> IfName:
        return names.bridge_of(self.cluster_network)

    @property
    def bond(self) -> IfName:
        return names.bond_of(self.cluster_network)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`held`: cluster networks that have no clear answer; what they have on this node stays as it is."""

    uplinks: tuple[Uplink, ...]
    held: frozenset[str]
    problems: tuple[Problem, ...]
    cards: Mapping[str, Mac] = field(default_factory=dict)
    """Of the NICs that are called by name (`facts.Memory.nics`)."""


def choose_uplinks(cluster: Cluster, facts: NodeFacts) -> Choice:
    """At most one VlanConfig per cluster network, and each NIC in one uplink at most."""
    node = cluster.node(facts.node)
    uplinks: list[Uplink] = []
    held: set[str] = set()
    problems: list[Problem] = []
    taken: dict[IfName, VlanConfig] = {}
    chosen = [c for c in cluster.all(VlanConfig) if selects_node(c, node) and c.effective]
    for config in chosen:
        found = list(_conflicts(config, chosen, facts))
        nics, missing = find_nics(config, facts)
        found += missing
        for nic in nics:
            other = taken.setdefault(nic.name, config)
            if other is not config:
                found.append(_taken(config, nic, other))
        problems += found
        if any(p.severity is Severity.ERROR for p in found):
            held.add(config.cluster_network)
        else:
            mtu = config.uplink.mtu or MTU_DEFAULT
            uplinks.append(Uplink(config=config, nics=nics, mtu=mtu, called=_called(config, nics, facts)))
    return Choice(
        uplinks=tuple(u for u in uplinks if u.cluster_network not in held),
        held=frozenset(held),
        problems=tuple(problems),
        cards={name: mac for config in chosen for name, mac in cards(config, facts).items()},
    )


def _called(config: VlanConfig, nics: tuple[Nic, ...], facts: NodeFacts) -> dict[str, Nic]:
    by_name = (s for s in config.uplink.nics if s.by is NicIdentity.NAME)
    own: dict[str, Nic] = {n.name: n for n in nics}
    return own | {s.value: nic for s in by_name if (nic := find_nic(s, facts)) is not None}


def _conflicts(config: VlanConfig, chosen: list[VlanConfig], facts: NodeFacts) -> Iterator[Problem]:
    for other in chosen:
        if other is not config and other.cluster_network == config.cluster_network:
            yield Problem(
                code="vlanconfig-overlap",
                message=f"{other.ref} also selects node {facts.node} for cluster network {config.cluster_network}",
                hint="give the two VlanConfigs node selectors that no node matches together",
                path="spec.nodeSelector",
                about=config.ref,
            )
    for missing, module in _missing_features(facts):
        yield Problem(
            code="kernel-feature",
            message=f"the kernel of node {facts.node} has no {missing}",
            hint=f"load the kernel module: modprobe {module}",
            about=config.ref,
        )


def _missing_features(facts: NodeFacts) -> Iterator[tuple[str, str]]:
    if not facts.features.bonding:
        yield "bonding", "bonding"
    if not facts.features.vlan_filtering:
        yield "bridge VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)", "bridge"


def _taken(config: VlanConfig, nic: Nic, other: VlanConfig) -> Problem:
    return Problem(
        code="nic-in-use",
        message=f"NIC {nic.name} is already an uplink of {other.ref}",
        hint="a NIC can be in one bond only",
        path="spec.uplink.nics",
        about=config.ref,
    )


def find_nics(config: VlanConfig, facts: NodeFacts) -> tuple[tuple[Nic, ...], list[Problem]]:
    """The NICs that are there; the ones that are not are warnings, so that the rest goes on working."""
    found: list[Nic] = []
    problems: list[Problem] = []
    for i, selector in enumerate(config.uplink.nics):
        nic = find_nic(selector, facts)
        if nic is None:
            problems.append(
                Problem(
                    code="nic-missing",
                    message=f"node {facts.node} has no NIC {selector}",
                    hint=f"its NICs are {', '.join(sorted(facts.nics)) or 'none'}",
                    path=f"spec.uplink.nics[{i}]",
                    about=config.ref,
                    severity=Severity.WARNING,
                )
            )
        elif nic not in found:
            found.append(nic)
            if selector.by is NicIdentity.NAME and selector.value not in (nic.name, *nic.altnames):
                problems.append(_renamed(config, i, nic))
    return tuple(found), problems


def _renamed(config: VlanConfig, i: int, nic: Nic) -> Problem:
    name = config.uplink.nics[i].value
    return Problem(
        code="nic-renamed",
        message=f"{name} is called {nic.name} now: it is the same card, {nic.mac}",
        hint=f"write {{mac: {nic.mac}}} instead of {name}, or its new name",
        path=f"spec.uplink.nics[{i}]",
        about=config.ref,
        severity=Severity.WARNING,
    )


def cards(config: VlanConfig, facts: NodeFacts) -> dict[str, Mac]:
    """Name in the manifest -> the card that it stands for; what is not there now is remembered as before."""
    found: dict[str, Mac] = {}
    for selector in config.uplink.nics:
        nic = find_nic(selector, facts)
        mac = nic.mac if nic else facts.memory.nics.get(selector.value)
        if selector.by is NicIdentity.NAME and mac:
            found[selector.value] = mac
    return found


def find_nic(selector: NicSelector, facts: NodeFacts) -> Nic | None:
    """A name stands for the card that bore it when it was last found: the kernel may have called it otherwise since
    (another slot order, another driver). A card that is gone has given its name away."""
    match selector.by:
        case NicIdentity.NAME:
            card = facts.memory.nics.get(selector.value)
            same = next((n for n in facts.nics.values() if n.mac == card), None)
            return same or facts.nics.get(IfName(selector.value)) or _by_altname(selector.value, facts)
        case NicIdentity.MAC:
            return next((n for n in facts.nics.values() if n.mac == selector.value), None)
        case NicIdentity.PCI:
            return next((n for n in facts.nics.values() if n.pci == selector.value), None)


def _by_altname(name: str, facts: NodeFacts) -> Nic | None:
    return next((n for n in facts.nics.values() if name in n.altnames), None)


def _own_mac(config: VlanConfig) -> Mac | None:
    """The bond's. None: it is the bridge's, or it is no MAC address, of which admission tells."""
    try:
        return parse_unicast_mac(config.meta.annotations[names.ANNOTATION_BOND_MAC])
    except (KeyError, ValueError):
        return None


def uplink_links(uplink: Uplink, vids: VidSet, self_vlans: PortVlans, snooped: VidSet, mac: Mac | None) -> list[Link]:
    """The bridge, the bond and its slaves. `vids` are tagged on the bond, where VID 1 stays PVID, untagged (the native
    VLAN, as Harvester leaves it); `self_vlans` are those of the bridge itself, and it snoops in `snooped`."""
    why = (uplink.config.ref,)
    spec = uplink.config.uplink
    bond = bond_options(uplink)
    return [
        Link(
            name=uplink.bridge,
            spec=replace(CLUSTER_BRIDGE, mcast_snooping=bool(snooped), mcast_vlan_snooping=bool(snooped)),
            up=True,
            mtu=uplink.mtu,
            mac=mac,
            txqlen=TXQLEN_DEFAULT,
            flags=FRESH_FLAGS,
            mark=True,
            promisc=True,
            self_vlans=self_vlans,
            snooping=Snooping(snooped=snooped, asked=snooped),
            origin=why,
        ),
        Link(
            name=uplink.bond,
            spec=bond,
            up=True,
            mtu=uplink.mtu,
            mac=None if bond.follows_slave else _own_mac(uplink.config) or spec.mac or mac,
            txqlen=TXQLEN_DEFAULT if spec.txqlen is None else spec.txqlen,
            promisc=False,
            flags=FRESH_FLAGS,
            mark=True,
            master=uplink.bridge,
            port=FRESH_BRIDGE_PORT,
            vlans=native_plus(vids),
            origin=why,
        ),
        *(
            Link(
                name=n.name,
                spec=Other(kind="device"),
                up=True,
                mtu=uplink.mtu,
                master=uplink.bond,
                slave_prio=0,
                addrs=frozenset() if uplink.cluster_network == names.MGMT else None,  # they move to the bridge
                origin=why,
            )
            for n in uplink.nics
        ),
    ]


def native_plus(vids: VidSet) -> PortVlans:
    native = VidSet.of([DEFAULT_PVID])
    return PortVlans(pvid=DEFAULT_PVID, untagged=native, tagged=vids - native)


def bond_options(uplink: Uplink) -> Bond:
    """Every option that fits the mode has a value, so that removing one from a manifest undoes it."""
    whole = _in_steps_of_miimon(with_defaults(uplink.config.uplink.bond))
    return replace(whole, primary=_present(whole.primary, uplink)).applicable()


def with_defaults(said: Bond) -> Bond:
    """What the manifest leaves out gets Harvester's default (active-backup, miimon 100) or the kernel's.

    miimon and the ARP monitor exclude each other (`bond_changelink`): asking for the latter turns the
    former off.
    """
    mode = said.mode or BondMode.ACTIVE_BACKUP
    arp = bool(said.arp_interval)
    defaults: dict[str, object] = {"mode": mode, "miimon": 0 if arp else MIIMON_DEFAULT}
    chosen: dict[str, object] = {}
    for f in fields(Bond):
        value = getattr(said, f.name)
        chosen[f.name] = value if value is not None else defaults.get(f.name, _default(f.name))
    return Bond(**chosen)  # type: ignore[arg-type]


def _in_steps_of_miimon(bond: Bond) -> Bond:
    """The kernel rounds the delays down to a multiple of miimon (`_bond_option_delay_set`), and reports that."""
    step = bond.miimon or 1

    def rounded(delay: int | None) -> int | None:
        return None if delay is None else delay // step * step

    return replace(
        bond,
        updelay=rounded(bond.updelay),
        downdelay=rounded(bond.downdelay),
        peer_notif_delay=rounded(bond.peer_notif_delay),
    )


def _default(option: str) -> object:
    default = OPTIONS[option].default
    return "" if default is None else default


def _present(primary: str | None, uplink: Uplink) -> str:
    """A primary that is not there cannot be set; the bond then chooses by itself until it comes back."""
    nic = uplink.called.get(primary or "")
    return nic.name if nic else ""
