"""The bridge of a port: whose it is, and making or altering it where that is the plugin's business.

The bridge of a cluster network is not. It is there, as the cluster's objects want it, or it is an error.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from windrow.apps.cni.host import Host
from windrow.apps.cni.undo import Undo
from windrow.model.errors import WindrowError
from windrow.model.lazy import dataclass
from windrow.model.values import DEFAULT_PVID, MTU_DEFAULT, OWNER_GROUP, Mac, PortVlans, VidSet
from windrow.netlink import links, ports, sysctl
from windrow.netlink.errors import AlreadyThere, KernelError, NotSupported
from windrow.netlink.lock import locked
from windrow.netlink.ports import Seen
from windrow.netlink.sock import Message
from windrow.port.bridge import BridgeConfig
from windrow.port.errors import IN_THE_WAY, INVALID_CONFIG, IO_FAILURE, KERNEL_REFUSED, MISSING, CniError
from windrow.port.identity import bridge_mac

LOCK_S = 30.0
"""How long to wait for a plan that is being carried out."""
_SUFFIX, _STEM_MAX, _MGMT = "-br", 12, "mgmt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a port goes. `cluster_network`: whose bridge it is, empty for nobody's; `seen`: None, it is to be made."""

    cluster_network: str
    seen: Seen | None

    @property
    def default_pvid(self) -> int:
        """The VLAN the kernel puts a new port in; 0: none."""
        return default_pvid(self.seen) if self.seen else DEFAULT_PVID


def default_pvid(bridge: Seen) -> int:
    return int(bridge.data.get("default_pvid", DEFAULT_PVID))


def find(config: BridgeConfig, host: Host) -> Place:
    """Look, and change nothing. Raises CniError where the port cannot be made."""
    seen = ports.see(host.rtnl(), config.bridge)
    if seen is not None and seen.kind != "bridge":
        raise CniError(
            IN_THE_WAY, f"{config.bridge!r} already exists but is not a bridge", f"it is a {seen.kind or 'NIC'}"
        )
    owner = cluster_network(config.bridge, seen, host)
    if owner:
        _check_use(config, owner)
        if seen is None:
            raise absent(owner, config.bridge)
    if seen is not None and (config.vlan or config.trunk) and seen.data.get("vlan_filtering") != 1:
        message = f"bridge {config.bridge} does not filter VLANs: the port would be in no VLAN of its own"
        turn_on = f"ip link set {config.bridge} type bridge vlan_filtering 1"
        details = f"use another bridge; or, where this host itself is not reached over it in a VLAN, {turn_on}"
        raise CniError(IN_THE_WAY, message, details)
    return Place(cluster_network=owner, seen=seen)


def _check_use(config: BridgeConfig, owner: str) -> None:
    """What a cluster network is not for."""
    if config.gateway:
        message = (
            f"isGateway: {config.bridge} is the bridge of cluster network {owner}, and gets no address by a plugin"
        )
        raise CniError(INVALID_CONFIG, message, "the gateway of its VLANs is outside; or use another bridge")
    if config.vlan and config.trunk:
        message = f"vlan {config.vlan} and vlanTrunk together: a network of cluster network {owner} is one or the other"
        raise CniError(INVALID_CONFIG, message, "remove one of them")


def absent(owner: str, bridge: str) -> CniError:
    """The answer where the bridge of a cluster network is not there."""
    message = f"cluster network {owner} is not on this node: its bridge {bridge} is not there"
    if owner == _MGMT:
        return CniError(MISSING, message, "the operating system makes the management network")
    return CniError(MISSING, message, "a VlanConfig of it that matches this node makes it, with `windrow apply`")


def cluster_network(bridge: str, seen: Seen | None, host: Host) -> str:
    """The cluster network that a bridge of this name belongs to; empty: none. Raises CniError."""
    stem = bridge.removesuffix(_SUFFIX) if bridge.endswith(_SUFFIX) else ""
    if seen is not None and seen.group == OWNER_GROUP:
        return stem or bridge
    if not stem or len(stem) > _STEM_MAX:
        return ""
    if stem == _MGMT or stem in _applied(host) or (seen is None and _in_store(stem, host)):
        return stem
    return ""


def _applied(host: Host) -> list[str]:
    try:
        with open(host.cluster_networks, encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


def _in_store(name: str, host: Host) -> bool:
    """Only asked before a bridge is made that might be a cluster network's: reading YAML takes its time."""
    if not os.path.isdir(host.paths.manifests):
        return False
    from windrow.model.objects import ClusterNetwork
    from windrow.store.directory import read_manifests

    try:
        objects = read_manifests(host.paths.manifests).objects
    except WindrowError as error:
        message = f"whether {name}{_SUFFIX} is the bridge of a cluster network cannot be known"
        raise CniError(IO_FAILURE, message, str(error)) from error
    return any(isinstance(one, ClusterNetwork) and one.name == name for one in objects)


# Making -------------------------------------------------------------------------------------------


def changing(host: Host) -> AbstractContextManager[None]:
    """Others who make a port may do so meanwhile; a plan is not carried out. Raises KernelError (EAGAIN)."""
    return locked(host.lock, shared=True, timeout_s=LOCK_S)


def ensure(config: BridgeConfig, port_mac: Mac, host: Host, undo: Undo) -> Seen:
    """The bridge as it then is; inside `changing`. `port_mac`: of the port that is to join it. Raises CniError,
    KernelError."""
    rtnl = host.rtnl()
    place = find(config, host)  # once more, for now nobody changes it
    seen = place.seen or _create(config, host, undo)
    if place.seen is not None and seen.group != OWNER_GROUP:  # a plan gives its own bridges what they keep
        _keep(seen, config, port_mac, host, managed=bool(place.cluster_network))
    if place.cluster_network:
        return seen
    _take_no_router(config.bridge, undo, made=place.seen is None)
    if config.bridge_netfilter:
        from windrow.apps.cni import bridgenetfilter

        bridgenetfilter.show(seen, rtnl)
    promisc = True if config.promisc and not seen.promisc else None
    up = None if seen.up else True
    if promisc or up:
        _note_flags(seen, promisc, up, host, undo)
        rtnl.run(links.set_link(config.bridge, promisc=promisc, up=up))
    return ports.see(rtnl, config.bridge) or seen


def _keep(seen: Seen, config: BridgeConfig, port_mac: Mac, host: Host, *, managed: bool) -> None:
    """A bridge keeps its MAC address and its MTU, whatever ports come and go. Left to itself it has the lowest MAC
    and the lowest MTU of its ports, and without any no MAC and 1500 (`br_stp_recalculate_bridge_id`,
    `br_mtu_auto_adjust`). What was set once is not left to itself any more, be it what it had (`dev_set_mac_address`).

    `managed`: it is the management network's, which has an uplink: nobody need list its ports, which may be many.
    """
    rtnl, own = host.rtnl(), bridge_mac(host.node, seen.name)
    if seen.mac == own:
        return  # a plugin has made it, and its networks say how large its frames are
    empty = not managed and not ports.ports_of(rtnl, seen.ifindex)
    if seen.mac == ports.NO_MAC:
        rtnl.run(links.set_link(seen.name, mac=own))
    elif empty or config.gateway or port_mac < seen.mac:
        rtnl.run(links.set_link(seen.name, mac=seen.mac))
    if empty and seen.mtu != MTU_DEFAULT:
        rtnl.run(*links.keep_mtu(seen.name, seen.mtu))


def port_mtu(config: BridgeConfig, bridge: Seen, place: Place, host: Host) -> int:
    """Of the host's end. A bridge may follow its smallest port, so that a port is not smaller than it: what is too
    large for the container is dropped at the container's end (`is_skb_forwardable`). An empty bridge of 1500 bytes
    has no MTU of its own, and takes the port's."""
    if place.cluster_network:
        return bridge.mtu
    wanted = config.mtu or bridge.mtu
    if wanted >= bridge.mtu:
        return wanted
    own = bridge.mtu != MTU_DEFAULT or ports.ports_of(host.rtnl(), bridge.ifindex)
    return bridge.mtu if own else wanted


def _take_no_router(bridge: str, undo: Undo, *, made: bool) -> None:
    """Containers say nothing of this host's routes; but behind a bridge that was there may be the host's own router."""
    key = f"net/ipv6/conf/{bridge}/accept_ra"
    if not made and sysctl.read(key) not in (None, "0"):
        from windrow.netlink import forwarding

        if forwarding.leads_out(bridge):
            return
    _set(key, "0", undo)


def _note_flags(seen: Seen, promisc: bool | None, up: bool | None, host: Host, undo: Undo) -> None:
    """How a bridge is put back that is about to be set up or promiscuous. Whoever sets a link down takes its IPv6
    addresses (`addrconf_ifdown`), so they are given back."""
    rtnl = host.rtnl()
    before = frozenset(port.ifindex for port in ports.ports_of(rtnl, seen.ifindex))
    back = [links.set_link(seen.name, promisc=False if promisc else None, up=False if up else None)]
    if up:
        back += [message for cidr, message in ports.saved_addresses(rtnl, seen.ifindex).items() if ":" in cidr]
    undo.note(lambda: _unless_used(seen.name, host, *back, before=before))


def _set(key: str, value: str, undo: Undo) -> None:
    """Set a sysctl that this kernel may not have."""
    old = sysctl.read(key)
    if old not in (None, value):
        undo.note(lambda: quietly(key, str(old)))
        quietly(key, value)


def _create(config: BridgeConfig, host: Host, undo: Undo) -> Seen:
    """Made, or found: another call may have been quicker."""
    rtnl = host.rtnl()
    # One database of groups for all its VLANs: a querier in one ends multicast in the others (`CLUSTER_BRIDGE`).
    data = {"vlan_filtering": 1, "mcast_snooping": 0} if config.filtering else {}
    if config.point_to_point:
        data = {"mcast_snooping": 0}  # there is one port, and nothing to keep from another
    try:
        mac = bridge_mac(host.node, config.bridge)
        rtnl.run(links.create(config.bridge, "bridge", data=data, mtu=config.mtu, mac=mac))
    except AlreadyThere:
        seen = find(config, host).seen
    except NotSupported as error:
        if not config.filtering:
            raise
        raise _no_filter(config, error.reason) from error
    else:
        undo.note(lambda: _unless_used(config.bridge, host, links.delete(config.bridge)))
        seen = ports.see(rtnl, config.bridge)
        if seen and (config.vlan or config.trunk) and seen.data.get("vlan_filtering") != 1:
            raise _no_filter(config, "the option was ignored")
    if seen is None:
        raise CniError(KERNEL_REFUSED, f"bridge {config.bridge} was taken away while it was made")
    return seen


def _no_filter(config: BridgeConfig, reason: str) -> CniError:
    """A kernel without CONFIG_BRIDGE_VLAN_FILTERING refuses the option, or takes and ignores it (`br_changelink`)."""
    message = f"bridge {config.bridge} cannot be made: this kernel's bridges do not filter VLANs"
    return CniError(KERNEL_REFUSED, message, f"{reason}: it was built without CONFIG_BRIDGE_VLAN_FILTERING")


def join(host: Host, port: Seen, vlans: PortVlans | None, default_pvid: int, **options: bool) -> None:
    """Make a new port of a bridge what it shall be, while it is down: no frame passes in the VLAN it was born with.

    `options`: `hairpin`, `isolated`. Raises KernelError.
    """
    messages: list[Message] = []
    if given := {name: 1 for name, wanted in options.items() if wanted}:
        messages.append(links.port_options(port.ifindex, port.name, **given))
    if vlans is not None:
        messages.append(links.add_vlans(port.ifindex, vlans, name=port.name))
        if default_pvid and default_pvid not in vlans.all:
            messages.append(links.delete_vlans(port.ifindex, VidSet.of([default_pvid]), name=port.name))
    host.rtnl().run(*messages)


def _unless_used(bridge: str, host: Host, *back: Message, before: frozenset[int] = frozenset()) -> None:
    """Undo a change of a bridge, unless somebody uses it by now who did not `before` (ports, by ifindex): nobody may
    come to it while we look."""
    rtnl = host.rtnl()
    with locked(host.lock, timeout_s=LOCK_S):
        seen = ports.see(rtnl, bridge)
        if seen is not None and before.issuperset(port.ifindex for port in ports.ports_of(rtnl, seen.ifindex)):
            rtnl.run(*back)


def quietly(key: str, value: str) -> None:
    """Set a sysctl that this kernel may not have: one without IPv6, for instance."""
    try:
        sysctl.write(key, value)
    except KernelError:
        return
