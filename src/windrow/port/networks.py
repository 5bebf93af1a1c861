"""Which networks a pod asks for: the annotations of the Kubernetes network plumbing group, as values.

`k8s.v1.cni.cncf.io/networks` is either a list of words (`web, other/db@net7`) or JSON. Both are read whole: an
annotation of which anything is wrong is refused with everything that is wrong in it, each with its place.
JSON keys match without regard to case, as Go's `encoding/json` reads them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeVar

from windrow.model import jsontext
from windrow.model.lazy import dataclass
from windrow.model.spelling import is_label, is_subdomain
from windrow.model.values import Mac, parse_ifname, parse_mac
from windrow.port.errors import INVALID_CONFIG, UNDECODABLE, CniError

NETWORKS = "k8s.v1.cni.cncf.io/networks"
NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
"""One network that takes the place of the cluster's default network."""
WINDROW_DEFAULT_NETWORK = "windrow.io/default-network"
"""`none`: this pod has no default network at all. For VMs that have NICs on bridge networks only."""
NONE = "none"

T = TypeVar("T")

_NAMESPACE_MAX, _NAME_MAX = 63, 253
_MOST = 64
"""Networks of one pod. An annotation may have 256 KiB; nobody means thousands of interfaces."""
_PORT_MAX = 65535
_RATE_MAX = 2**63 - 1
_PROTOCOLS = ("tcp", "udp", "sctp")
_RATES = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")
_SHOWN, _WORDS, _TOLD = 60, 200, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A port of the host that leads to one of the pod (capability `portMappings`)."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"hostPort": self.host_port, "containerPort": self.container_port}
        document["protocol"] = self.protocol
        return document | ({"hostIP": self.host_ip} if self.host_ip else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Limits in bits and bits a second (capability `bandwidth`); None: no limit. Ingress is towards the pod."""

    ingress_rate: int | None = None
    ingress_burst: int | None = None
    egress_rate: int | None = None
    egress_burst: int | None = None

    def to_json(self) -> dict[str, int]:
        values = (self.ingress_rate, self.ingress_burst, self.egress_rate, self.egress_burst)
        return {key: value for key, value in zip(_RATES, values, strict=True) if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One network that a pod asks for, and how it wants to be attached to it."""

    name: str
    namespace: str
    interface: str = ""
    """The name in the pod; empty: `net<ordinal>`."""
    ips: tuple[str, ...] = ()
    """With or without prefix length, as they were written: what they mean is the IPAM plugin's."""
    mac: Mac | None = None
    cni_args: Mapping[str, Any] = field(default_factory=dict)
    """What is merged into `args.cni` of the configuration."""
    default_route: tuple[str, ...] | None = None
    """The pod's default route leads here: by way of these gateways, or (empty) as the plugin itself says."""
    port_mappings: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth | None = None
    device: str = ""

    @property
    def reference(self) -> str:
        return f"{self.namespace}/{self.name}"


# Reading ------------------------------------------------------------------------------------------


def read_networks(text: str, *, namespace: str, about: str) -> tuple[Selection, ...]:
    """The networks of an annotation, in order. `namespace`: of those that name none, the pod's.

    `about` begins the message of the CniError: what this is, and whose (`annotation … of pod a/b`).
    """
    reader = _Reader()
    selections = _read(text, namespace, reader)
    refuse(about, reader.problems, reader.code)
    return selections


def read_default(text: str, *, namespace: str, about: str) -> Selection:
    """The one network of `v1.multus-cni.io/default-network`; `namespace`: the one of the cluster's own networks."""
    found = read_networks(text, namespace=namespace, about=about)
    if len(found) != 1:
        raise CniError(INVALID_CONFIG, f"{about}: these are {len(found)} networks: name exactly one")
    return found[0]


class _Reader:
    """The problems of one annotation; not a value, it lives while the text is read."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.code = INVALID_CONFIG

    def wrong(self, path: str, what: str, hint: str) -> None:
        """`what` may quote what somebody wrote, be that as long as an annotation may be."""
        what = what if len(what) <= _WORDS else f"{what[:_WORDS]}…"
        self.problems.append(f"{path}: {what}: {hint}" if path else f"{what}: {hint}")


def refuse(about: str, problems: Sequence[str], code: int = INVALID_CONFIG) -> None:
    """Raises a CniError with all the problems; nothing where there are none."""
    match problems:
        case []:
            return
        case [only]:
            raise CniError(code, f"{about}: {only}")
        case _:
            more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
            raise CniError(code, f"{about}: {len(problems)} things are wrong", "; ".join(problems[:_TOLD]) + more)


def _read(text: str, namespace: str, reader: _Reader) -> tuple[Selection, ...]:
    if not any(mark in text for mark in '[{"'):
        words = text.split(",") if text.strip() else []
        found = [_read_word(word.strip(), f"[{i}]", namespace, reader) for i, word in _few(words, reader)]
        return tuple(s for s in found if s is not None)
    try:
        document = jsontext.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        place = (
            f"{error.msg}, line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        )
        reader.code = UNDECODABLE
        what = f"this is not JSON ({place or 'a number that is none, or too many brackets'})"
        reader.wrong("", what, 'write [{"name": "web"}], or words: web, other/db@net7')
        return ()
    if not isinstance(document, list):
        reader.wrong("", f"this is {_kind(document)}", 'it must be a list: [{"name": "web"}]')
        return ()
    entries = [_Entry(entry, i, namespace, reader).read() for i, entry in _few(document, reader)]
    return tuple(s for s in entries if s is not None)


def _few(entries: list[T], reader: _Reader) -> Iterable[tuple[int, T]]:
    if len(entries) > _MOST:
        reader.wrong("", f"these are {len(entries)} networks", f"a pod can have {_MOST}")
        return []
    return enumerate(entries)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _finite(text: str) -> float:
    """`1e999` is JSON, and Python's infinity, which cannot be written again."""
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _read_word(word: str, path: str, namespace: str, reader: _Reader) -> Selection | None:
    """`[<namespace>/]<name>[@<interface>]`"""
    network, at, interface = word.partition("@")
    before, slash, after = network.partition("/")
    space, name = (before.strip(), after.strip()) if slash else (namespace, network.strip())
    if not word:
        reader.wrong(path, "there is nothing between the commas", "remove one of them")
        return None
    if at and not interface.strip():
        reader.wrong(path, f"{_quoted(word)} has no interface name after the @", "write web@net7, or web")
    interface = _interface(interface.strip(), path, reader) if interface.strip() else ""
    if not _checked_names(space, name, path, reader):
        return None
    return Selection(name=name, namespace=space, interface=interface)


_A_NAME = "lower-case letters, digits, and - or . in between"


def _in_keys(text: str) -> str:
    """How to say `[<namespace>/]<name>[@<interface>]` in JSON, where each is a key; empty: nobody said that."""
    network, at, interface = text.partition("@")
    before, slash, name = network.rpartition("/")
    if not (slash or at) or not is_subdomain(name) or (slash and not is_label(before)):
        return ""
    keys = {"name": name, "namespace": before, "interface": interface}
    return json.dumps({key: value for key, value in keys.items() if value})


_AS_A_WORD = f"{_A_NAME}; <namespace>/<name>@<interface>"


def _checked_names(namespace: str, name: str, path: str, reader: _Reader, meant: str = _AS_A_WORD) -> bool:
    """Both are looked at, so that both are said. `meant`: what to write instead of the name."""
    good = True
    if not (is_label(namespace) and len(namespace) <= _NAMESPACE_MAX):
        reader.wrong(path, f"{_quoted(namespace)} is not a namespace", "lower-case letters, digits and - in between")
        good = False
    if not (is_subdomain(name) and len(name) <= _NAME_MAX):
        reader.wrong(path, f"{_quoted(name)} is not the name of a NetworkAttachmentDefinition", meant)
        good = False
    return good


def _interface(text: str, path: str, reader: _Reader) -> str:
    try:
        return parse_ifname(text)
    except ValueError as error:
        reader.wrong(path, str(error), "choose a name of at most 15 bytes without /, : and blanks")
        return ""


class _Entry:
    """One object of the JSON form, read key by key."""

    def __init__(self, entry: object, index: int, namespace: str, reader: _Reader) -> None:
        self.path, self.namespace, self.reader = f"[{index}]", namespace, reader
        self.entry = entry
        self.values: dict[str, Any] = {}

    def read(self) -> Selection | None:
        if not isinstance(self.entry, dict):
            self.reader.wrong(self.path, f"this is {_kind(self.entry)}", 'an object is meant: {"name": "web"}')
            return None
        before = len(self.reader.problems)
        self._fold(self.entry)
        name = self._get("name", self._text) if "name" in self.values else ""
        namespace = self._get("namespace", self._text) or self.namespace
        interface = self._get("interface", self._text) or ""
        if name is not None:
            _checked_names(namespace, name, self.path, self.reader, _in_keys(name) or _A_NAME)
        self._get("infiniband-guid", self._no_infiniband)
        selection = Selection(
            name=name or "",
            namespace=namespace,
            interface=_interface(interface, f"{self.path}.interface", self.reader) if interface else "",
            ips=self._get("ips", self._addresses) or (),
            mac=self._get("mac", self._mac),
            cni_args=self._get("cni-args", self._object) or {},
            default_route=self._get("default-route", self._gateways),
            port_mappings=self._get("portMappings", self._port_mappings) or (),
            bandwidth=self._get("bandwidth", self._bandwidth),
            device=self._get("deviceID", self._text) or "",
        )
        return selection if len(self.reader.problems) == before else None

    def _fold(self, entry: Mapping[str, Any]) -> None:
        """Known keys in their one spelling. One that looks like a known key is a mistake; others may be another's."""
        for key, value in entry.items():
            known = _BY_FOLDED.get(key.lower())
            if known is None:
                self._doubt(key)
            elif value is not None:
                self.values[known] = value

    def _doubt(self, key: str) -> None:
        import difflib  # only here, for a message: it takes as long to load as the rest of this module

        if close := difflib.get_close_matches(key.lower(), _BY_FOLDED, n=1, cutoff=0.8):
            self.reader.wrong(self.path, f"there is no key {_quoted(key)}", f"did you mean {_BY_FOLDED[close[0]]}?")

    def _get(self, key: str, read: Callable[[Any, str], T | None]) -> T | None:
        return read(self.values[key], f"{self.path}.{key}") if key in self.values else None

    # One for each type; all take the value and its place, and give None where they have complained

    def _text(self, value: Any, path: str) -> str | None:
        if not isinstance(value, str):
            self.reader.wrong(path, f"this is {_kind(value)}", "a text is meant: put it in quotes")
            return None
        if not _printable(value):
            self.reader.wrong(path, f"{_quoted(value)} has characters that nobody can print", "write it anew")
            return None
        return value

    def _object(self, value: Any, path: str) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            self.reader.wrong(path, f"this is {_kind(value)}", 'an object is meant: {"key": "value"}')
            return None
        return value

    def _items(self, value: Any, path: str, example: str) -> Iterable[tuple[Any, str]]:
        if not isinstance(value, list):
            self.reader.wrong(path, f"this is {_kind(value)}", f"a list is meant: {example}")
            return []
        return [(item, f"{path}[{i}]") for i, item in enumerate(value)]

    def _no_infiniband(self, value: Any, path: str) -> None:
        self.reader.wrong(path, "InfiniBand is not supported", "remove it; mac is for Ethernet")

    def _mac(self, value: Any, path: str) -> Mac | None:
        text = self._text(value, path)
        if not text:
            return None
        try:
            return parse_mac(text)
        except ValueError:
            hint = "six pairs of hexadecimal digits: 52:54:00:12:34:56"
            self.reader.wrong(path, f"{_quoted(text)} is not a MAC address", hint)
            return None

    def _addresses(self, value: Any, path: str) -> tuple[str, ...]:
        items = self._items(value, path, '["192.168.1.5/24"]')
        return tuple(ip for item, place in items if (ip := self._address(item, place, prefix=True)))

    def _gateways(self, value: Any, path: str) -> tuple[str, ...]:
        items = self._items(value, path, '["192.168.1.1"]')
        found = tuple(ip for item, place in items if (ip := self._address(item, place, prefix=False)))
        for version in (4, 6):
            if sum((":" in ip) == (version == 6) for ip in found) > 1:
                hint = "one for each family: a pod has one default route"
                self.reader.wrong(path, f"there are several IPv{version} gateways", hint)
        return found

    def _address(self, value: Any, path: str, *, prefix: bool) -> str | None:
        import ipaddress  # takes 3 ms to load, and most networks of VMs have no addresses

        text = self._text(value, path)
        if text is None:
            return None
        try:
            if "%" in text:  # a scope id, which has no place in a configuration
                raise ValueError
            return str(ipaddress.ip_interface(text) if prefix and "/" in text else ipaddress.ip_address(text))
        except ValueError:
            example = "192.168.1.5 or 192.168.1.5/24" if prefix else "192.168.1.1, without a prefix length"
            self.reader.wrong(path, f"{_quoted(text)} is not an IP address", f"for example {example}")
            return None

    def _port_mappings(self, value: Any, path: str) -> tuple[PortMapping, ...]:
        items = self._items(value, path, '[{"hostPort": 8080, "containerPort": 80}]')
        return tuple(p for item, place in items if (p := self._port_mapping(item, place)))

    def _port_mapping(self, value: Any, path: str) -> PortMapping | None:
        table = self._object(value, path)
        if table is None:
            return None
        before = len(self.reader.problems)
        ports = [self._number(table.get(k), f"{path}.{k}", 1, _PORT_MAX) for k in ("hostPort", "containerPort")]
        protocol = (self._text(table.get("protocol") or "tcp", f"{path}.protocol") or "tcp").lower()
        if protocol not in _PROTOCOLS:
            self.reader.wrong(f"{path}.protocol", f"{_quoted(protocol)} is unknown", f"one of {', '.join(_PROTOCOLS)}")
        host_ip = self._address(table["hostIP"], f"{path}.hostIP", prefix=False) if table.get("hostIP") else ""
        if len(self.reader.problems) > before or None in ports:
            return None
        return PortMapping(
            host_port=ports[0] or 0, container_port=ports[1] or 0, protocol=protocol, host_ip=host_ip or ""
        )

    def _bandwidth(self, value: Any, path: str) -> Bandwidth | None:
        table = self._object(value, path)
        if table is None:
            return None
        rates = {k: self._number(table[k], f"{path}.{k}", 0, _RATE_MAX) for k in _RATES if table.get(k) is not None}
        for way in ("ingress", "egress"):
            if (f"{way}Rate" in rates) != (f"{way}Burst" in rates):
                hint = f"give {way}Rate (bits a second) and {way}Burst (bits)"
                self.reader.wrong(path, f"of {way} there is only one of rate and burst", hint)
        return Bandwidth(
            ingress_rate=rates.get("ingressRate"),
            ingress_burst=rates.get("ingressBurst"),
            egress_rate=rates.get("egressRate"),
            egress_burst=rates.get("egressBurst"),
        )

    def _number(self, value: Any, path: str, low: int, high: int) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int):
            self.reader.wrong(path, f"this is {_kind(value)}", "a whole number is meant, without quotes")
            return None
        if not low <= value <= high:
            self.reader.wrong(path, "this number is out of range", f"it must be {low}..{high}")
            return None
        return value


_BY_FOLDED = {
    "name": "name",
    "namespace": "namespace",
    "interface": "interface",
    "interfacerequest": "interface",
    "ips": "ips",
    "mac": "mac",
    "infiniband-guid": "infiniband-guid",
    "cni-args": "cni-args",
    "default-route": "default-route",
    "portmappings": "portMappings",
    "bandwidth": "bandwidth",
    "deviceid": "deviceID",
    "ipam-claim-reference": "ipam-claim-reference",  # for another controller; accepted, and nothing is made of it
}


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return f"the text {_quoted(value)}"
        case list():
            return "a list"
        case _:
            return "an object"


def _quoted(text: str) -> str:
    short = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return json.dumps(short)  # ASCII: what nobody can print is written as \u….


def _printable(text: str) -> bool:
    return all(ord(c) >= 0x20 and not 0xD800 <= ord(c) < 0xE000 and ord(c) != 0x7F for c in text)


# Interface names ----------------------------------------------------------------------------------


def interface_names(requested: Sequence[str], *, taken: str = "", about: str) -> tuple[str, ...]:
    """The names in the pod, in order: as requested, or `net1`, `net2`, … by position (empty: not requested).

    `taken`: the name of the pod's first interface, where it has a default network. A name that would be there twice
    is refused, also one that was requested and that another interface gets by its position. Raises CniError.
    """
    names = [name or f"net{i}" for i, name in enumerate(requested, 1)]
    problems: list[str] = []
    owners: dict[str, str] = {"lo": "the loopback interface"} | ({taken: "the default network"} if taken else {})
    for i, name in enumerate(names):
        if name in owners:
            how = "asks for" if requested[i] else "gets by its position"
            hint = "give each network an interface name of its own"
            problems.append(f"[{i}] {how} the interface {name}, and so does {owners[name]}: {hint}")
        owners.setdefault(name, f"[{i}]")
    refuse(about, problems)
    return tuple(names)
