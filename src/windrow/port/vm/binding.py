"""One NIC of a guest: what is seen in the pod and what the manifest says become everything that is to be made.

Three bindings (KubeVirt's §phase 1): `bridge` and `managedTap` put the pod's interface and the guest's tap on a bridge
in the pod, and the guest takes over the pod's address; `masquerade` puts the tap on a bridge of its own, behind
address translation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from windrow.model.lazy import dataclass
from windrow.model.machines import (
    Binding,
    GuestNetwork,
    GuestNic,
    MachineSpec,
    NicModel,
)
from windrow.model.values import Cidr, IfName, Mac
from windrow.port.vm.dhcp import DhcpAnswer, PodIdentity
from windrow.port.vm.masquerade import Masquerade
from windrow.port.vm.names import names_of

MASQUERADE_MAC = Mac("02:00:00:00:00:00")
"""KubeVirt's, of the bridge that is a masqueraded guest's router: it stays the same when the guest moves."""

QUEUES_MAX = 256
"""`MAX_TAP_QUEUES` (drivers/net/tun.c)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRoute:
    """`dst` is a prefix, `0.0.0.0/0` for the default route; no gateway: on link."""

    dst: str
    gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNic:
    """The interface that the CNI call made, as it is seen in the pod. `addresses`: those of global scope."""

    name: IfName
    mac: Mac
    mtu: int
    addresses: tuple[Cidr, ...] = ()
    routes: tuple[PodRoute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodBridge:
    """The bridge in the pod. `mtu` None: it follows its ports (`br_mtu_auto_adjust`)."""

    name: IfName
    mac: Mac
    mtu: int | None = None
    addresses: tuple[Cidr, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """`queues` 0: a tap without IFF_MULTI_QUEUE."""

    name: IfName
    mtu: int
    queues: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The pod's interface becomes a port of the bridge: down, renamed, given `mac`, its addresses flushed, master,
    learning off, up. A dummy takes its name, its address and its MTU, so that whoever looks into the pod finds them.
    """

    name: IfName
    mac: Mac
    dummy: PodNic


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """Below /proc/sys. `optional`: a kernel without IPv6 does not have it."""

    path: str
    value: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NicPlan:
    """All devices first (down), then `sysctls`, then up; then the rules of `masquerade` and the server of `dhcp`.

    `forwards`: the families, `4` and `6`, in which the pod is the guest's router."""

    nic: GuestNic
    index: int
    pod: IfName
    bridge: PodBridge
    tap: Tap
    guest_mac: Mac
    moved: Moved | None = None
    sysctls: tuple[Sysctl, ...] = ()
    forwards: tuple[str, ...] = ()
    dhcp: DhcpAnswer | None = None
    masquerade: Masquerade | None = None

    @property
    def mtu(self) -> int:
        """What the guest is told, by virtio and by DHCP."""
        return self.tap.mtu


def plan_nic(
    machine: MachineSpec, name: str, pod: PodNic, identity: PodIdentity, *, index: int | None = None
) -> NicPlan:
    """Of the NIC `name` of the machine. `index`: its place among the machine's NICs, where that is not the list's
    (one was removed before it): the server's address must stay its own. Raises KeyError for a NIC or network that
    the machine does not have."""
    place = next((i for i, nic in enumerate(machine.nics) if nic.name == name), None)
    network = machine.network(name)
    if place is None or network is None:
        raise KeyError(name)
    nic = machine.nics[place]
    tap = Tap(name=names_of(pod.name).tap, mtu=pod.mtu, queues=queues_of(machine, nic))
    if nic.binding is Binding.MASQUERADE:
        return _masqueraded(nic, network, pod, tap, identity, place if index is None else index)
    return _bridged(nic, pod, tap, identity, place if index is None else index)


def queues_of(machine: MachineSpec, nic: GuestNic) -> int:
    """Of its tap; 0: one without IFF_MULTI_QUEUE."""
    return min(machine.vcpus, QUEUES_MAX) if machine.multiqueue and nic.model is NicModel.VIRTIO else 0


def _bridged(nic: GuestNic, pod: PodNic, tap: Tap, identity: PodIdentity, index: int) -> NicPlan:
    names = names_of(pod.name)
    mac = _bridge_mac(pod)
    own = _first(pod.addresses, 4) if nic.binding is Binding.BRIDGE else None
    server = f"169.254.75.1{index}"  # KubeVirt appends the number to the text: the eleventh has 169.254.75.110
    sysctls = [_without_ipv6(device) for device in (names.bridge, names.tap, names.renamed)]
    # Asked for by ARP in the guest's network, the pod's other addresses (of the pod network, above all) are not there.
    sysctls.append(Sysctl(path=f"net/ipv4/conf/{names.bridge}/arp_ignore", value="1"))
    dhcp: DhcpAnswer | None = None
    if own is not None:
        # The pod keeps the guest's address, on the dummy, and would answer the guest's ARP probe for it.
        sysctls.append(Sysctl(path="net/ipv4/conf/all/arp_ignore", value="1"))
        routes = _learned(pod, own)
        dhcp = DhcpAnswer(
            bridge=names.bridge,
            mac=nic.mac or pod.mac,
            server=server,
            address=own,
            mtu=pod.mtu,
            router=next((route.gateway for route in routes if route.gateway and _is_default(route)), ""),
            routes=tuple((route.dst, route.gateway) for route in sorted(routes, key=_is_default)),
            identity=identity,
            options=nic.dhcp,
        )
    return NicPlan(
        nic=nic,
        index=index,
        pod=pod.name,
        bridge=PodBridge(name=names.bridge, mac=mac, addresses=(Cidr(f"{server}/32"),) if own else ()),
        tap=tap,
        guest_mac=nic.mac or pod.mac,
        moved=Moved(name=names.renamed, mac=mac, dummy=pod),
        sysctls=tuple(sysctls),
        dhcp=dhcp,
    )


def _masqueraded(
    nic: GuestNic, network: GuestNetwork, pod: PodNic, tap: Tap, identity: PodIdentity, index: int
) -> NicPlan:
    names = names_of(pod.name)
    cidrs = [network.cidr, *([network.cidr6] if _first(pod.addresses, 6) else [])]
    pairs = [_pair(cidr) for cidr in cidrs]
    gateways, guests = [gateway for gateway, _ in pairs], [guest for _, guest in pairs]
    return NicPlan(
        nic=nic,
        index=index,
        pod=pod.name,
        bridge=PodBridge(name=names.bridge, mac=MASQUERADE_MAC, mtu=pod.mtu, addresses=tuple(gateways)),
        tap=tap,
        guest_mac=nic.mac or pod.mac,
        sysctls=_routing(names.bridge, names.tap, six=len(pairs) > 1),
        forwards=("4", "6")[: len(pairs)],
        dhcp=DhcpAnswer(
            bridge=names.bridge,
            mac=nic.mac or pod.mac,
            server=_bare(gateways[0]),
            address=guests[0],
            mtu=pod.mtu,
            router=_bare(gateways[0]),
            identity=identity,
            options=nic.dhcp,
            address6=guests[1] if len(guests) > 1 else None,
        ),
        masquerade=Masquerade(
            pod=pod.name,
            bridge=names.bridge,
            guests=tuple((_bare(guest), _bare(gateway)) for gateway, guest in pairs),
            ports=nic.ports,
        ),
    )


def _routing(bridge: IfName, tap: IfName, *, six: bool) -> tuple[Sysctl, ...]:
    """What makes a router of the pod. IPv6 of the bridge: the address is there at once, nobody else can have it."""
    found = [
        Sysctl(path=f"net/ipv4/conf/{bridge}/route_localnet", value="1"),
        _without_ipv6(tap),
    ]
    if not six:
        return (*found, _without_ipv6(bridge))
    found += [
        Sysctl(path=f"net/ipv6/conf/{bridge}/disable_ipv6", value="0"),
        Sysctl(path=f"net/ipv6/conf/{bridge}/accept_dad", value="0"),
    ]
    return tuple(found)


def _without_ipv6(device: str) -> Sysctl:
    """A device that only passes frames on must not speak (neighbour discovery, MLD) in the guest's network."""
    return Sysctl(path=f"net/ipv6/conf/{device}/disable_ipv6", value="1", optional=True)


def _pair(cidr: Cidr) -> tuple[Cidr, Cidr]:
    """(the gateway's address, the guest's): the first two of the network. Admission has seen that it has two."""
    network = ipaddress.ip_network(cidr, strict=False)
    first = network.network_address
    return Cidr(f"{first + 1}/{network.prefixlen}"), Cidr(f"{first + 2}/{network.prefixlen}")


def _bare(cidr: Cidr) -> str:
    return cidr.partition("/")[0]


def _first(addresses: Iterable[Cidr], version: int) -> Cidr | None:
    return next((a for a in addresses if ipaddress.ip_interface(a).version == version), None)


def _learned(pod: PodNic, own: Cidr) -> list[PodRoute]:
    """The pod's IPv4 routes, without the one that the address itself makes."""
    connected = str(ipaddress.ip_interface(own).network)
    return [route for route in pod.routes if ":" not in route.dst and (route.dst != connected or route.gateway)]


def _is_default(route: PodRoute) -> bool:
    return route.dst.endswith("/0")


def _bridge_mac(pod: PodNic) -> Mac:
    """A local unicast address that is not the pod's, which the guest gets: the same one whenever it is asked for.

    KubeVirt takes what the kernel makes up.
    """
    import hashlib  # slow to load (it loads OpenSSL), and most pods need none of it

    digits = hashlib.sha256(f"{pod.name} {pod.mac}".encode()).hexdigest()
    return Mac(":".join(["02", *(digits[i : i + 2] for i in range(0, 10, 2))]))
