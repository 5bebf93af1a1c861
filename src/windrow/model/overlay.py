"""The overlay as flannel writes it down: its configuration, and what each node says of itself.

Source: flannel's pkg/subnet/config.go (net-conf.json) and pkg/subnet/kube/annotations.go. A node of Windrow and a node
of flanneld read each other's annotations, so the words here are flannel's.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from windrow.model import jsontext, names
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork, Node
from windrow.model.values import IfName, Mac, parse_ifname, parse_mac

Network = IPv4Network | IPv6Network

PLACE = f"metadata.annotations[{names.ANNOTATION_OVERLAY}]"
PREFIX = "flannel.alpha.coreos.com"
SUBNET_MANAGER, BACKEND = f"{PREFIX}/kube-subnet-manager", f"{PREFIX}/backend-type"
ANNOTATIONS = frozenset(
    f"{PREFIX}/{word}"
    for word in (
        *("kube-subnet-manager", "backend-type", "backend-data", "backend-v6-data"),
        *("public-ip", "public-ipv6", "public-ip-overwrite", "public-ipv6-overwrite"),
    )
)
"""Of a Node: all that is read or written."""
VXLAN, WIREGUARD = "vxlan", "wireguard"
"""Back ends, by flannel's names."""
KEY_BYTES = 32
"""Of WireGuard: a private key, and a public one."""
WIREGUARD_OVERHEAD = 80
"""Bytes that flannel leaves for it in both families: an outer IPv6 header (40), UDP (8), and WireGuard's own (32)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What differs between IPv4 and IPv6: each has a device of its own, and its tunnels are of its own family."""

    version: int
    device: str
    """Before the VNI in the device's name."""
    encrypted: IfName
    """The device of an encrypted overlay."""
    listen: str
    port: int
    """The key with its UDP port, and which that is without it."""
    overhead: int
    """Bytes of the outer IP header, UDP (8), VXLAN (8) and the inner Ethernet header (14)."""
    data: str
    address: str
    """The annotations of a Node with the tunnel's end."""
    overwrite: str
    enabled: str
    usual: bool
    """The key of net-conf.json that switches it on or off, and whether it is on without that."""
    network: str
    """The key with the addresses of all pods."""
    length: str
    subnet: int
    """The key with the length of a node's part of them, and what it is unless that says another."""
    example: str
    """A network of all pods, as one would write it."""

    @property
    def bits(self) -> int:
        return 32 if self.version == 4 else 128


FAMILIES = (
    Family(
        version=4,
        device=names.TUNNEL_4,
        encrypted=IfName("flannel-wg"),
        listen="ListenPort",
        port=51820,
        overhead=50,
        data=f"{PREFIX}/backend-data",
        address=f"{PREFIX}/public-ip",
        overwrite=f"{PREFIX}/public-ip-overwrite",
        enabled="EnableIPv4",
        usual=True,
        network="Network",
        length="SubnetLen",
        subnet=24,
        example="10.52.0.0/16",
    ),
    Family(
        version=6,
        device=names.TUNNEL_6,
        encrypted=IfName("flannel-wg-v6"),
        listen="ListenPortV6",
        port=51821,
        overhead=70,
        data=f"{PREFIX}/backend-v6-data",
        address=f"{PREFIX}/public-ipv6",
        overwrite=f"{PREFIX}/public-ipv6-overwrite",
        enabled="EnableIPv6",
        usual=False,
        network="IPv6Network",
        length="IPv6SubnetLen",
        subnet=64,
        example="fd52::/48",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConf:
    """`networks`, `subnets`: by version of IP, for those that are on: the addresses of all pods, and the length of one
    node's part of them."""

    networks: Mapping[int, Network] = field(default_factory=dict)
    subnets: Mapping[int, int] = field(default_factory=dict)
    backend: str = VXLAN
    vni: int = 1
    port: int = 8472
    direct: bool = False
    """Nodes of one segment send to each other without a tunnel (flannel's DirectRouting)."""
    ports: Mapping[int, int] = field(default_factory=dict)
    """Of WireGuard: the UDP port by version of IP, for each has a device of its own."""
    keepalive: int = 0
    """Of WireGuard, in seconds; 0: none is sent."""

    @property
    def encrypted(self) -> bool:
        return self.backend == WIREGUARD

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(family for family in FAMILIES if family.version in self.networks)

    def device(self, family: Family) -> IfName:
        return family.encrypted if self.encrypted else IfName(f"{family.device}{self.vni}")

    def port_of(self, family: Family) -> int:
        return self.ports[family.version] if self.encrypted else self.port

    def overhead(self, family: Family) -> int:
        """Bytes of each packet that a tunnel takes."""
        return WIREGUARD_OVERHEAD if self.encrypted else family.overhead

    @property
    def devices(self) -> tuple[tuple[Family, IfName], ...]:
        return tuple((family, self.device(family)) for family in self.families)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where this node's end of an encrypted overlay is, and by which public key others know it; empty: by none yet."""

    address: str
    key: str


def net_conf(network: ClusterNetwork | None) -> NetConf | None:
    """That of the management network; None where no overlay is asked for, or wrongly (a rule says how)."""
    text = network.meta.annotations.get(names.ANNOTATION_OVERLAY) if network is not None else None
    if text is None:
        return None
    conf, faults = read_net_conf(text)
    return None if faults else conf


def tunnels(network: ClusterNetwork | None) -> dict[str, str]:
    """The devices of the overlay of `mgmt` -> the network of all pods, of one family."""
    conf = net_conf(network)
    return {device: str(conf.networks[one.version]) for one, device in conf.devices} if conf else {}


# -- net-conf.json -----------------------------------------------------------------------------------

_LEFT_ALONE = frozenset({"EnableNFTables", "SubnetMin", "SubnetMax", "IPv6SubnetMin", "IPv6SubnetMax"})
"""Keys of flannel's etcd and of its own packet filter."""
_KEYS = _LEFT_ALONE | {"Backend", *(key for one in FAMILIES for key in (one.enabled, one.network, one.length))}
_BACKEND_KEYS = frozenset({"Type", "VNI", "Port", "DirectRouting", "Learning", "GBP", "MTU", "MacPrefix"})
_WIREGUARD_KEYS = frozenset(
    {"Type", "MTU", "Mode", "PSK", "PersistentKeepaliveInterval", *(family.listen for family in FAMILIES)}
)


def read_net_conf(text: str) -> tuple[NetConf, tuple[str, ...]]:
    """What it says, and everything that is wrong with it: `Backend.VNI: …`."""
    try:
        document = jsontext.loads(text.encode())
    except (ValueError, RecursionError):
        return NetConf(), ("it is no JSON",)
    if not isinstance(document, dict):
        return NetConf(), ("it is no JSON object",)
    reader = _Reader()
    reader.known("", document, _KEYS)
    backend = document.get("Backend", {"Type": VXLAN})
    if not isinstance(backend, dict):
        reader.fault("Backend", "must be an object")
        backend = {}
    on = {f.version: reader.flag(f.enabled, document.get(f.enabled), usual=f.usual) for f in FAMILIES}
    bare = _read_backend(backend, on, reader)
    networks: dict[int, Network] = {}
    subnets: dict[int, int] = {}
    for family in FAMILIES:
        asked = on[family.version]
        network = reader.network(family.network, document.get(family.network), family) if asked else None
        if network is not None:
            networks[family.version] = network
            least, most = network.prefixlen + 1, family.bits - 2
            usual = max(family.subnet, least)
            subnets[family.version] = reader.number(family.length, document.get(family.length), usual, least, most)
    if not networks and not reader.faults:
        reader.fault("Network", "is missing")
    conf = replace(bare, networks=networks, subnets=subnets)
    reader.names_fit(conf)
    return conf, tuple(reader.faults)


def _read_backend(backend: Mapping[str, Any], on: Mapping[int, bool], reader: _Reader) -> NetConf:
    """Without the networks. `on`: the families, by version."""
    if backend.get("MTU"):
        reader.fault("Backend.MTU", "is left out: the tunnels follow the MTU of the management network")
    if backend.get("Type") == WIREGUARD:
        return _read_wireguard(backend, on, reader)
    reader.known("Backend.", backend, _BACKEND_KEYS)
    if backend.get("Type", VXLAN) != VXLAN:
        reader.fault("Backend.Type", f"{backend['Type']!r:.40} is not what Windrow makes: {VXLAN}, {WIREGUARD}")
    for key in ("Learning", "GBP"):
        if reader.flag(f"Backend.{key}", backend.get(key), usual=False):
            reader.fault(f"Backend.{key}", "is not made: a tunnel that learns believes whoever sends to it")
    return NetConf(
        vni=reader.number("Backend.VNI", backend.get("VNI"), 1, 1, 0xFF_FFFF),
        port=reader.number("Backend.Port", backend.get("Port") or None, 8472, 1, 0xFFFF),
        direct=reader.flag("Backend.DirectRouting", backend.get("DirectRouting"), usual=False),
    )


def _read_wireguard(backend: Mapping[str, Any], on: Mapping[int, bool], reader: _Reader) -> NetConf:
    reader.known("Backend.", backend, _WIREGUARD_KEYS)
    if backend.get("Mode", "separate") != "separate":
        reader.fault("Backend.Mode", "is left out: each family has a device of its own (separate)")
    if backend.get("PSK"):
        reader.fault("Backend.PSK", "is not made: whoever may read this object would know it")
    keepalive = backend.get("PersistentKeepaliveInterval")
    ports = {
        f.version: reader.number(f"Backend.{f.listen}", backend.get(f.listen), f.port, 1, 0xFFFF) for f in FAMILIES
    }
    if all(on.values()) and len(set(ports.values())) < len(ports):
        reader.fault("Backend.ListenPortV6", "both devices cannot listen at one port")
    return NetConf(
        backend=WIREGUARD,
        ports=ports,
        keepalive=reader.number("Backend.PersistentKeepaliveInterval", keepalive, 0, 0, 0xFFFF),
    )


class _Reader:
    """Values with their types; what is wrong is noted, and reading goes on. Not a value."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def fault(self, key: str, text: str) -> None:
        self.faults.append(f"{key}: {text}" if key else text)

    def known(self, above: str, document: Mapping[str, Any], keys: frozenset[str]) -> None:
        for key in sorted(document.keys() - keys):
            self.fault(f"{above}{key}"[:60], f"there is no such key; known are {', '.join(sorted(keys))}")

    def flag(self, key: str, value: object, *, usual: bool) -> bool:
        if value is not None and not isinstance(value, bool):
            self.fault(key, "must be true or false, without quotes")
        return value if isinstance(value, bool) else usual

    def number(self, key: str, value: object, usual: int, least: int, most: int) -> int:
        if value is None:
            return usual
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.fault(key, f"{value!r:.40} is no number from {least} to {most}")
            return usual
        return value

    def network(self, key: str, value: object, family: Family) -> Network | None:
        try:
            if not isinstance(value, str) or "%" in value:
                raise ValueError("no text, or a zone")
            network = ip_network(value, strict=False)
        except ValueError:
            self.fault(key, f"must be an IPv{family.version} network, such as {family.example}")
            return None
        if network.version != family.version or network.prefixlen > family.bits - 3:
            self.fault(key, f"{network} is no IPv{family.version} network with room for nodes")
            return None
        return network

    def names_fit(self, conf: NetConf) -> None:
        for _, device in conf.devices:
            try:
                parse_ifname(device)
            except ValueError as error:
                self.fault("Backend.VNI", f"its device cannot be named: {error}")


# -- what a node says of itself ----------------------------------------------------------------------


def annotation(key: str) -> str:
    """Its place in a Node."""
    return f"metadata.annotations[{key}]"


def check_backend(node: Node, conf: NetConf) -> None:
    """Raises ValueError for a node whose flanneld speaks another one."""
    backend = node.meta.annotations.get(BACKEND, conf.backend)
    if backend != conf.backend:
        raise ValueError(
            f"its backend is {backend!r:.30}, and this overlay is of {conf.backend}: its pods are not reached"
        )


def public_key(node: Node, family: Family) -> str:
    """Of its encrypted device, in base64, as its annotation says; empty: it says none. Raises ValueError."""
    document = _backend_data(node, family, "PublicKey")
    return parse_public_key(document["PublicKey"]) if document is not None else ""


def _backend_data(node: Node, family: Family, key: str) -> Mapping[str, Any] | None:
    """What its annotation says of its device, with a text under this key; None: it says nothing. Raises ValueError."""
    text = node.meta.annotations.get(family.data, "")
    if not text:
        return None
    try:
        document = jsontext.loads(text.encode())
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get(key), str):
        raise ValueError(f"it has no {key}")
    return document


def parse_public_key(text: str) -> str:
    """Raises ValueError for what is no key of 32 bytes in base64, or one that no device has."""
    try:
        key = b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or not any(key):
        raise ValueError(f"{text!r:.60} is no public key of WireGuard: 32 bytes in base64")
    return b64encode(key).decode()


def far_address(node: Node, family: Family) -> str:
    """Where its tunnel ends, as its annotations say; empty: they do not. Raises ValueError."""
    text = node.meta.annotations.get(family.address, "")
    if not text:
        return ""
    address = ip_address(text)
    if not ends_tunnel(address, family):
        raise ValueError(f"{text!r:.60} is no IPv{family.version} address by which other nodes reach a host")
    return str(address)


def ends_tunnel(address: IPv4Address | IPv6Address, family: Family) -> bool:
    """Whether a tunnel can begin or end there: at one host, and without a zone or the need of one, since the device
    stands on no link."""
    if address.version != family.version or address.is_unspecified or address.is_multicast or address.is_loopback:
        return False
    if isinstance(address, IPv4Address):
        return not address.is_link_local and str(address) != "255.255.255.255"
    return not address.is_link_local and not address.scope_id and address.ipv4_mapped is None


def vtep_mac(node: Node, family: Family, vni: int) -> Mac:
    """The MAC address of its tunnel device: the one that its annotation says, so that it keeps it; else one that
    follows from its name, so that every node knows it before it is said. Raises ValueError."""
    document = _backend_data(node, family, "VtepMAC")
    if document is None:
        import hashlib  # slow to load, and most runs know no overlay

        digest = hashlib.sha256(f"{node.name}\0{family.version}".encode()).digest()
        return Mac(bytes([digest[0] & 0xFC | 0x02, *digest[1:6]]).hex(":"))
    if document.get("VNI", vni) != vni:
        raise ValueError(f"its VNI is {document['VNI']!r:.20}, and that of this overlay is {vni}")
    mac = parse_mac(document["VtepMAC"])
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise ValueError(f"{mac} is no MAC address that a device can have")
    return mac
