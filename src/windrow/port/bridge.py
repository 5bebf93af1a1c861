"""A configuration of type `bridge` as a value, and what follows from it without looking at any kernel.

Keys are the reference plugin's (containernetworking/plugins, plugins/main/bridge), with its defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from windrow.model import ipv4
from windrow.model.filters import IPTABLES, NFTABLES
from windrow.model.lazy import dataclass
from windrow.model.portguards import DHCP_GUARD, IP_SPOOF, RA_GUARD, RATES, PortGuards, Rate
from windrow.model.values import DEFAULT_PVID, VID_MAX, VID_MIN, IfName, Mac, PortVlans, VidSet, parse_ifname
from windrow.port.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CniError
from windrow.port.identity import own_bridge
from windrow.port.request import ADD, CHECK, DEL, GC, Request
from windrow.port.result import Ip, Result, Route, family_of

DEFAULT_BRIDGE = IfName("cni0")
MTU_MIN, MTU_MAX = 68, 65535
"""What the kernel lets a veth have (`veth_setup`: ETH_MIN_MTU, ETH_MAX_MTU)."""

_KEYS = (
    "bridge", "bridgeNetfilter", "disableContainerInterface", "enabledad", "forceAddress", "hairpinMode", "ipMasq",
    "ipMasqBackend", "isDefaultGateway", "isGateway", "macspoofchk", "mtu", "nonMasqueradeCIDRs", "pointToPoint",
    "portIsolation", "preserveDefaultVlan", "promiscMode", "routerAdvertisements", "vlan", "vlanTrunk", IP_SPOOF,
    DHCP_GUARD, RA_GUARD, *RATES,
)  # fmt: skip
ROUTERS = {"4": "169.254.1.1", "6": "fe80::1"}
"""By family: the router of every point-to-point port, Calico's address in IPv4. Each such port has a bridge of its own,
so all of them may have the same ones."""
_BITS = {"4": 32, "6": 128}
RATE_MIN, RATE_MAX, BURST_MAX = 8, 10**11, 8 * (2**32 - 1)
"""In bits. nftables counts bytes, a burst in 32 bits, and takes both together a thousand million times into 64
(`nft_limit_init`)."""
_OF_A_SHARED_BRIDGE = (
    "bridge", "forceAddress", "hairpinMode", "isDefaultGateway", "isGateway", "portIsolation", "preserveDefaultVlan",
    "promiscMode", "vlan", "vlanTrunk",
)  # fmt: skip
_TRUE, _FALSE = ("1", "true"), ("0", "false")
_NO_SIGNS = dict.fromkeys(map(ord, ":.-"))
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """`vlan` 0 and an empty `trunk`: none. `mtu` None: the kernel's default."""

    network: str
    bridge: IfName = DEFAULT_BRIDGE
    vlan: int = 0
    trunk: VidSet = VidSet()
    filtering: bool = False
    """A bridge that is made for it filters VLANs: there is a `vlan`, or a `vlanTrunk`, be it an empty one."""
    preserve_default_vlan: bool = False
    promisc: bool = False
    hairpin: bool = False
    isolated: bool = False
    point_to_point: bool = False
    """The pod has its addresses alone (/32, /128), and the way to it is a route of the host's. The port's bridge is its
    own (`identity.own_bridge`): there is nobody else on it, and policies and guards hold at a bridge's port."""
    mtu: int | None = None
    gateway: bool = False
    default_gateway: bool = False
    force_address: bool = False
    masquerade: bool = False
    masquerade_backend: str = ""
    """`iptables`, `nftables`, or empty: whatever works, iptables first."""
    unmasqueraded: tuple[str, ...] = ()
    """Networks beyond the pod's own in which it is known by its own address."""
    bridge_netfilter: bool = False
    """The host's packet filter sees the frames between its ports, as kube-proxy needs it."""
    spoof_check: bool = False
    guards: PortGuards = PortGuards()
    any_source: bool = False
    """`ipspoofchk: false` was said."""
    detect_duplicates: bool = False
    """Duplicate address detection (RFC 4862) in the pod."""
    routers: bool | None = None
    """Whether the pod takes routers on it; None: on its first interface."""
    interface_down: bool = False
    """The pod's end is left down: the target of a VM migration."""
    mac: Mac | None = None
    ipam: str = ""
    """The `type` of the IPAM plugin; empty: a port without addresses."""
    dns: Mapping[str, Any] = field(default_factory=dict)

    def vlans(self, default_pvid: int = DEFAULT_PVID) -> PortVlans | None:
        """What the port shall be in; None: what the bridge gives it, nothing is managed.

        `default_pvid`: the VLAN the bridge puts a new port in, 0 for none. A VLAN of its own that is in the trunk as
        well stays untagged. A trunk without one has VLAN 1 for what comes untagged.
        """
        if not self.vlan and not self.trunk:
            return None
        pvid = self.vlan or DEFAULT_PVID
        untagged = VidSet.of([pvid])
        if self.preserve_default_vlan and default_pvid:
            untagged |= VidSet.of([default_pvid])
        return PortVlans(pvid=pvid, untagged=untagged, tagged=self.trunk - untagged)

    def gateway_vlans(self, default_pvid: int = DEFAULT_PVID) -> PortVlans | None:
        """Of the port behind which the gateway of a VLAN is."""
        return replace(self, trunk=VidSet()).vlans(default_pvid)

    @property
    def gateway_link(self) -> str:
        """The link that has the gateway's address."""
        return f"{self.bridge}.{self.vlan}" if self.vlan else self.bridge


# Reading ------------------------------------------------------------------------------------------


def read_config(request: Request) -> BridgeConfig:
    """Raises CniError, with all that is wrong in one message.

    A DEL and a GC are not bothered with it, and get a default in its place: a pod must be able to go, and what ADD
    refused was never made. A STATUS is not bothered with what only ADD and CHECK use.
    """
    config = _fold(request.config, _KEYS)
    reader = _Reader(config, strict=request.command in (ADD, CHECK))
    made = BridgeConfig(
        network=request.network,
        bridge=reader.bridge(),
        vlan=reader.vlan(),
        trunk=reader.trunk(),
        filtering=bool(config.get("vlan")) or config.get("vlanTrunk") is not None,
        preserve_default_vlan=reader.flag("preserveDefaultVlan"),
        promisc=reader.flag("promiscMode"),
        hairpin=reader.flag("hairpinMode"),
        isolated=reader.flag("portIsolation"),
        point_to_point=reader.flag("pointToPoint"),
        mtu=reader.mtu(),
        gateway=reader.flag("isGateway") or reader.flag("isDefaultGateway"),
        default_gateway=reader.flag("isDefaultGateway"),
        force_address=reader.flag("forceAddress"),
        masquerade=reader.flag("ipMasq"),
        masquerade_backend=reader.backend(),
        unmasqueraded=reader.networks("nonMasqueradeCIDRs"),
        bridge_netfilter=reader.flag("bridgeNetfilter"),
        spoof_check=reader.flag("macspoofchk"),
        guards=reader.guards(),
        any_source=reader.choice(IP_SPOOF) is False,
        detect_duplicates=reader.flag("enabledad"),
        routers=reader.choice("routerAdvertisements"),
        interface_down=reader.flag("disableContainerInterface"),
        mac=reader.mac(request),
        ipam=reader.text(reader.table("ipam"), "ipam", "type"),
        dns=reader.dns(),
    )
    reader.together(made)
    if made.point_to_point:
        made = replace(made, bridge=own_bridge(request.container_id, request.ifname))
    environment = _check_args(request.args) if request.command in (ADD, CHECK) else []
    if (reader.wrong or environment) and request.command not in (DEL, GC):
        code = INVALID_CONFIG if reader.wrong else INVALID_ENVIRONMENT
        raise CniError(code, "; ".join([*reader.wrong, *environment]))
    return made


class _Reader:
    """Keeps what is wrong in `wrong`, and returns a default in its place. null means the same as absent."""

    def __init__(self, config: Mapping[str, Any], *, strict: bool) -> None:
        self._config = config
        self._strict = strict
        self.wrong: list[str] = []

    def bridge(self) -> IfName:
        name = self._config.get("bridge")
        if name is None:
            return DEFAULT_BRIDGE
        try:
            # `br%d` would become `br0` (`dev_alloc_name`).
            return parse_ifname(name if isinstance(name, str) and "%" not in name else "")
        except ValueError:
            self.wrong.append(f"bridge: {name!r} is not a name the kernel accepts for an interface")
            return DEFAULT_BRIDGE

    def flag(self, key: str) -> bool:
        return self.choice(key) is True

    def choice(self, key: str) -> bool | None:
        """None: it is not said."""
        value = self._config.get(key)
        if not isinstance(value, bool | None):
            self._wrong_type(key, value, "true or false")
            return None
        return value

    def vlan(self) -> int:
        vid = self._integer(self._config, "", "vlan") or 0
        if not 0 <= vid <= VID_MAX:
            self.wrong.append(f"invalid VLAN ID {vid} (must be between 0 and {VID_MAX})")
            return 0
        return vid

    def trunk(self) -> VidSet:
        items = self._config.get("vlanTrunk")
        if items is None:
            return VidSet()
        if not isinstance(items, list):
            self._wrong_type("vlanTrunk", items, "a list")
            return VidSet()
        vids = VidSet()
        for number, item in enumerate(items):
            if isinstance(item, dict):
                vids |= self._trunk_item(_fold(item, ("minID", "maxID", "id")), f"vlanTrunk[{number}]")
            elif item is not None:
                self._wrong_type(f"vlanTrunk[{number}]", item, "an object with minID and maxID, or id")
        return vids

    def _trunk_item(self, item: Mapping[str, Any], place: str) -> VidSet:
        """`{minID, maxID}`, `{id}`, or both in one."""
        found = {key: self._integer(item, place, key) for key in ("minID", "maxID", "id")}
        for key, vid in found.items():
            if vid is not None and not VID_MIN <= vid <= VID_MAX:
                self.wrong.append(f"incorrect trunk {key} parameter: {place}.{key} is {vid}, not {VID_MIN}..{VID_MAX}")
                return VidSet()
        low, high, single = found.values()
        if (low is None) != (high is None):
            missing = "minID" if low is None else "maxID"
            self.wrong.append(f"minID and maxID should be configured simultaneously, {missing} is missing in {place}")
        vids = VidSet() if single is None else VidSet.of([single])
        if low is not None and high is not None:
            if low > high:
                self.wrong.append(f"minID is greater than maxID in trunk parameter: {place} has {low} and {high}")
            else:
                vids |= VidSet.span(low, high)
        return vids

    def mtu(self) -> int | None:
        mtu = self._integer(self._config, "", "mtu") or 0
        if mtu and not MTU_MIN <= mtu <= MTU_MAX:
            self.only_used(f"mtu: {mtu} is outside {MTU_MIN}..{MTU_MAX}")
        return mtu or None

    def guards(self) -> PortGuards:
        """`runtimeConfig.bandwidth` (from the pod's annotations) before the configuration's own rates."""
        said = self.table("bandwidth", self.table("runtimeConfig"), "runtimeConfig")
        rates = _fold(said, RATES) or {key: self._config.get(key) for key in RATES}
        place = "runtimeConfig.bandwidth" if said else ""
        return PortGuards(
            addresses=self.flag(IP_SPOOF),
            dhcp=self.flag(DHCP_GUARD),
            routers=self.flag(RA_GUARD),
            ingress=self._rate(rates, place, *RATES[:2]),
            egress=self._rate(rates, place, *RATES[2:]),
        )

    def _rate(self, table: Mapping[str, Any], place: str, rate: str, burst: str) -> Rate | None:
        """As the plugin `bandwidth` has it: both or none, and 0 is none."""
        bits, most = (self._integer(table, place, key) or 0 for key in (rate, burst))
        if not bits and not most:
            return None
        if not RATE_MIN <= bits <= RATE_MAX or not RATE_MIN <= most <= BURST_MAX:
            where = f"{place}: " if place else ""
            limits = f"{RATE_MIN}..{RATE_MAX} bit/s and {RATE_MIN}..{BURST_MAX} bit"
            self.only_used(f"{where}{rate} {bits} and {burst} {most}: both are needed, within {limits}")
            return None
        return Rate(bits=bits, burst=most)

    def backend(self) -> str:
        backend = self.text(self._config, "", "ipMasqBackend")
        if backend not in ("", IPTABLES, NFTABLES):
            self.only_used(f"unknown ipmasq backend {backend!r}: there are {IPTABLES} and {NFTABLES}")
        return backend

    def networks(self, key: str) -> tuple[str, ...]:
        value = self._config.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self._wrong_type(key, value, "a list of networks")
            return ()
        import ipaddress  # slow to load, and few configurations have any

        for one in value:
            try:
                ipaddress.ip_network(one)
            except ValueError as error:
                self.only_used(f"{key}: {error}")
                return ()
        return tuple(value)

    def mac(self, request: Request) -> Mac | None:
        """`runtimeConfig.mac` before `args.cni.mac` before the MAC of CNI_ARGS."""
        cni = self.table("cni", self.table("args"), "args")
        texts = (
            self.text(self.table("runtimeConfig"), "runtimeConfig", "mac"),
            self.text(cni, "args.cni", "mac"),
            _folded_value(request.args, "mac"),
        )
        text = next(filter(None, texts), "")
        digits = text.lower().translate(_NO_SIGNS)
        if not text:
            return None
        if len(digits) != 12 or not _HEX.issuperset(digits):
            self.only_used(f"the MAC address {text!r} is not one like 52:54:00:12:34:56")
            return None
        if int(digits[:2], 16) & 1 or not int(digits, 16):  # the kernel's is_valid_ether_addr
            self.only_used(f"the MAC address {text!r} cannot be one interface's: it is zero, or a group address")
            return None
        return Mac(":".join(digits[at : at + 2] for at in range(0, 12, 2)))

    def dns(self) -> Mapping[str, Any]:
        return {key: value for key, value in self.table("dns").items() if value}

    def together(self, made: BridgeConfig) -> None:
        """What fits the kernel each by itself, and not together."""
        if made.hairpin and made.promisc:
            self.only_used("cannot set hairpin mode and promiscuous mode at the same time")
        if made.interface_down and made.ipam:
            self.only_used("cannot use IPAM when DisableContainerInterface flag is set")
        if made.point_to_point and not made.ipam:
            self.only_used("pointToPoint: ipam is missing, and the way to the pod is by its addresses")
        if made.point_to_point and (beside := [key for key in _OF_A_SHARED_BRIDGE if self._config.get(key)]):
            self.only_used(f"pointToPoint: the port has a bridge of its own, so {', '.join(beside)} means nothing")

    def only_used(self, what: str) -> None:
        """Wrong for an ADD, and of no concern to a DEL."""
        if self._strict:
            self.wrong.append(what)

    def table(self, key: str, above: Mapping[str, Any] | None = None, place: str = "") -> Mapping[str, Any]:
        value = (self._config if above is None else above).get(key)
        if not isinstance(value, dict | None):
            self._wrong_type(f"{place}.{key}".strip("."), value, "an object")
            return {}
        return _fold(value or {}, ("cni", "mac", "type", "bandwidth"))

    def text(self, table: Mapping[str, Any], place: str, key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str | None):
            self._wrong_type(f"{place}.{key}".strip("."), value, "a text")
            return ""
        return value or ""

    def _integer(self, table: Mapping[str, Any], place: str, key: str) -> int | None:
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, int | None):
            self._wrong_type(f"{place}.{key}".strip("."), value, "a whole number")
            return None
        return value

    def _wrong_type(self, place: str, value: object, wanted: str) -> None:
        self.wrong.append(f"{place} must be {wanted}, and is {value!r}")


def _fold(table: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Known keys in their right case, as Go's `encoding/json` takes them."""
    known = {key.lower(): key for key in keys}
    return {known.get(key.lower(), key): value for key, value in table.items()}


def _folded_value(args: Mapping[str, str], key: str) -> str:
    return next((value for name, value in args.items() if name.lower() == key), "")


def _check_args(args: Mapping[str, str]) -> list[str]:
    """CNI_ARGS that nobody knows are an error unless IgnoreUnknown says otherwise."""
    ignore = _folded_value(args, "ignoreunknown").lower()
    if ignore not in ("", *_TRUE, *_FALSE):
        return [f"CNI_ARGS: IgnoreUnknown={ignore} is neither true nor false"]
    unknown = [f"{name}={value}" for name, value in args.items() if name.lower() not in ("ignoreunknown", "mac")]
    if unknown and ignore not in _TRUE:
        return [f"CNI_ARGS: unknown args {unknown}, and IgnoreUnknown is not set"]
    return []


# Addresses ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressing:
    """What is to be configured, from what the IPAM plugin returned. `gateways`: addresses with prefix lengths."""

    ips: tuple[Ip, ...]
    routes: tuple[Route, ...]
    gateways: tuple[str, ...] = ()
    dns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def families(self) -> frozenset[str]:
        """Of the gateways: `4`, `6`."""
        return frozenset(family_of(gateway) for gateway in self.gateways)


def addressing(config: BridgeConfig, result: Result, interface: int) -> Addressing:
    """The addresses are for `interface`, the pod's, whatever the IPAM plugin says. Raises CniError: there are none.

    A gateway that it does not name is the first address of the subnet. A default route is added for each family
    that has none with a gateway yet.
    """
    if not result.ips:
        raise CniError(INVALID_CONFIG, "IPAM plugin returned missing IP config", f"{config.ipam} gave no address")
    if config.point_to_point:
        return _alone(result, interface)
    ips: list[Ip] = []
    routes = list(result.routes)
    for ip in result.ips:
        gateway = ip.gateway or (_first_address(ip.address) if config.gateway else "")
        ips.append(replace(ip, interface=interface, gateway=gateway))
        default = "::/0" if family_of(ip.address) == "6" else "0.0.0.0/0"
        if config.default_gateway and not any(route.gw and _same_prefix(route.dst, default) for route in routes):
            routes.append(Route(dst=default, gw=gateway))
    gateways = tuple(f"{ip.gateway}/{ip.address.rpartition('/')[2]}" for ip in ips) if config.gateway else ()
    return Addressing(ips=tuple(ips), routes=tuple(routes), gateways=gateways, dns=result.dns)


def _alone(result: Result, interface: int) -> Addressing:
    """Of a point-to-point port: nobody is on its link but the router, by which everything goes."""
    ips: list[Ip] = []
    for ip in result.ips:
        family = family_of(ip.address)
        address = f"{ip.address.partition('/')[0]}/{_BITS[family]}"
        ips.append(replace(ip, address=address, interface=interface, gateway=ROUTERS[family]))
    routes = [replace(route, gw=ROUTERS[family_of(route.dst)]) for route in result.routes]
    for family in sorted({family_of(ip.address) for ip in ips}):
        default = "::/0" if family == "6" else "0.0.0.0/0"
        if not any(_same_prefix(route.dst, default) for route in routes):
            routes.append(Route(dst=default, gw=ROUTERS[family]))
    return Addressing(ips=tuple(ips), routes=tuple(routes), dns=result.dns)


def masqueraded(config: BridgeConfig, addresses: Iterable[str]) -> tuple[str, ...]:
    """The pod's addresses, each with the prefix length of the network in which it is known by it: its subnet, or a
    larger one of `nonMasqueradeCIDRs` around that."""
    if not config.unmasqueraded:
        return tuple(addresses)
    import ipaddress

    found = [ipaddress.ip_interface(address) for address in addresses]
    wide = [ipaddress.ip_network(network) for network in config.unmasqueraded]
    lengths = [min([i.network.prefixlen, *(w.prefixlen for w in wide if i.ip in w)]) for i in found]
    return tuple(f"{interface.ip}/{length}" for interface, length in zip(found, lengths, strict=True))


def _first_address(address: str) -> str:
    if (found := ipv4.parse(address)) and 0 < found[1] < ipv4.BITS:
        return ipv4.written((found[0] & ~ipv4.hosts(found[1])) + 1)
    import ipaddress  # slow to load, and a port without addresses needs none of it

    return str(ipaddress.ip_interface(address).network.network_address + 1)


def _same_prefix(one: str, two: str) -> bool:
    return one == two or (one.endswith("/0") and family_of(one) == family_of(two))


def with_gateways(addressing: Addressing) -> Iterator[Route]:
    """The routes as the kernel gets them: one without a gateway goes by the first gateway of its family."""
    first: dict[str, str] = {}
    for ip in addressing.ips:
        if ip.gateway:
            first.setdefault(family_of(ip.address), ip.gateway)
    for route in addressing.routes:
        yield route if route.gw else replace(route, gw=first.get(family_of(route.dst), ""))


def conflicts(config: BridgeConfig, wanted: str, present: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the addresses on the gateway's link do not go together with `wanted`, where that is not among them.

    IPv4: any other one. IPv6: those of a subnet that overlaps.
    """
    import ipaddress

    new = ipaddress.ip_interface(wanted)
    others = [one for one in map(ipaddress.ip_interface, present) if one.version == new.version]
    if new in others:
        return ()
    return tuple(str(one) for one in others if one.version == 4 or one.ip in new.network or new.ip in one.network)
