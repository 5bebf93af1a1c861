"""`networks` and `interfaces` of a virtual machine: two lists whose entries find each other by name (KubeVirt)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from windrow.model.machines import (
    NICS_MAX,
    VM_NETWORK_CIDR,
    VM_NETWORK_CIDR6,
    Binding,
    DhcpOptions,
    ForwardedPort,
    GuestNetwork,
    GuestNic,
    LinkState,
    MachineSpec,
    NicModel,
)
from windrow.model.values import Cidr, parse_unicast_mac
from windrow.model.wire.node import parse_network
from windrow.model.wire.reader import Field, Table
from windrow.model.wire.text import quoted, shown

POD = "default"
"""KubeVirt's name for the network that a machine has when its manifest names none."""

MANAGED_TAP = "managedtap"
ACPI_INDEX_MAX = 16383
"""QEMU, hw/acpi/pci.c: `ONBOARD_INDEX_MAX`."""

_NETWORK = ("name", "pod", "multus", "resourceClaim")
_INTERFACE = (
    "name", "model", "bridge", "slirp", "masquerade", "sriov", "macvtap", "passt", "passtBinding", "binding",
    "ports", "portRanges", "macAddress", "bootOrder", "pciAddress", "dhcpOptions", "tag", "acpiIndex", "state",
)  # fmt: skip
_DHCP = ("bootFileName", "tftpServerName", "ntpServers", "privateOptions")
_BINDINGS = {"bridge": Binding.BRIDGE, "masquerade": Binding.MASQUERADE}
_BEHIND, _ON = Binding.MASQUERADE, Binding.BRIDGE
_ELSEWHERE = {
    "sriov": (_ON, "a virtual function of a card would have to be passed through", "bridge: {} on a NAD"),
    "passt": (_BEHIND, "it needs the program passt beside the machine", "masquerade: {}, which does it in the kernel"),
    "passtBinding": (_BEHIND, "it needs the program passt beside the machine", "masquerade: {}"),
    "slirp": (_BEHIND, "KubeVirt has removed it", "masquerade: {}"),
    "macvtap": (_ON, "KubeVirt has removed it", "bridge: {}, or binding: {name: managedtap}"),
}
"""What KubeVirt has or had: what comes nearest (is the guest's MAC address seen on the network?), why it is not made
here, and what to use instead."""
LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NAD = re.compile(r"(?:([a-z0-9][-a-z0-9]{0,62})/)?([a-z0-9][-.a-z0-9]{0,252})")
_WORD = re.compile(r"[!#-\[\]-~]{1,255}")
"""Printable ASCII, but for the quote and the backslash."""
_PCI = re.compile(r"0000:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


def read_nics(spec: Table, devices: Table, namespace: str) -> tuple[tuple[GuestNetwork, ...], tuple[GuestNic, ...]]:
    """(networks, NICs). With neither, KubeVirt adds the pod network, unless `autoattachPodInterface` is false."""
    listed, nics = spec.get("networks"), devices.get("interfaces")
    if not (listed and listed.value) and not (nics and nics.value):
        attach = devices.get("autoattachPodInterface")
        if attach is not None and attach.flag() is False:
            return (), ()
        for given in filter(None, (listed, nics)):
            list(given.items())  # an empty map is no empty list
        return (GuestNetwork(name=POD),), (GuestNic(name=POD, binding=Binding.MASQUERADE),)
    if nics and isinstance(nics.value, list) and len(nics.value) > NICS_MAX:
        nics.lack("out-of-range", f"has {len(nics.value)} entries, {NICS_MAX} is the most here")
    networks = dict(_networks(listed, namespace)) if listed else {}
    found = dict(_nics(nics, networks)) if nics else {}
    _check_pairs(networks, found)
    return tuple(network for network, _ in networks.values()), tuple(nic for nic, _ in found.values())


Networks = Mapping[str, tuple[GuestNetwork, Field]]
Nics = Mapping[str, tuple[GuestNic, Field]]


def _check_pairs(networks: Networks, nics: Nics) -> None:
    for name, (_, field) in networks.items():
        if name not in nics:
            hint = f"add {{name: {name}, bridge: {{}}}} to domain.devices.interfaces"
            field.wrong("interface-missing", f"no interface has the name {name}", hint)
    for name, (_, field) in nics.items():
        if name not in networks:
            there = f"the networks are {', '.join(networks)}" if networks else "there are no networks"
            field.wrong("network-missing", f"no network has the name {name}", there)
    first: str | None = None
    for name, (network, field) in networks.items():
        if not network.on_pod and not network.default:
            continue
        if first is not None:
            message = f"{first} is the pod's first network already, and there is one at most"
            field.wrong("network-second-pod", message, "give it a NAD, without default")
        first = first or name


def _named(item: Field, known: Sequence[str], taken: Mapping[str, Any]) -> tuple[str, Table] | None:
    """An entry with its name, which is a DNS label and stands once in the list."""
    table = item.table(known)
    name = table.text("name", required=True) if table else ""
    if table is None or not name:
        return None
    if not LABEL.fullmatch(name):
        hint = "lower-case letters, digits, and - between them, at most 63"
        table["name"].wrong("name-invalid", f"{quoted(name)} is not a name for a network", hint)
    elif name in taken:
        table["name"].wrong("duplicate", f"{shown(name)} stands here twice")
    else:
        return name, table
    return None


def _networks(field: Field, namespace: str) -> Iterator[tuple[str, tuple[GuestNetwork, Field]]]:
    taken: dict[str, Any] = {}
    for item in field.items("a list of networks"):
        found = _named(item, _NETWORK, taken)
        if found is None:
            continue
        name, table = found
        taken[name] = True
        yield name, (_network(name, table, item, namespace), item)


def _network(name: str, table: Table, item: Field, namespace: str) -> GuestNetwork:
    given = [key for key in ("pod", "multus", "resourceClaim") if key in table]
    pod = table.table("pod", ("vmNetworkCIDR", "vmIPv6NetworkCIDR"))
    multus = table.table("multus", ("networkName", "default"))
    match given:
        case ["pod"]:
            cidr, cidr6 = _cidr(pod, "vmNetworkCIDR", 4), _cidr(pod, "vmIPv6NetworkCIDR", 6)
            return GuestNetwork(name=name, cidr=cidr or VM_NETWORK_CIDR, cidr6=cidr6 or VM_NETWORK_CIDR6)
        case ["multus"]:
            return GuestNetwork(name=name, nad=_nad(multus, namespace), default=multus.flag("default"))
        case ["resourceClaim"]:
            claim = table.table("resourceClaim", ("claimName", "requestName")).text("claimName")
            message = "devices claimed from Kubernetes are not given out here"
            table["resourceClaim"].lack("network-kind", message, "multus: {networkName: …}")
            return GuestNetwork(name=name, claim=claim or _UNKNOWN)
        case _:
            message = f"must be exactly one of pod and multus, and is {' and '.join(given) or 'neither'}"
            item.wrong("network-kind", message, "pod: {}, or multus: {networkName: …}")
    return GuestNetwork(name=name, nad=_UNKNOWN)


_UNKNOWN = "?"
"""Of a network that was complained about already: it is neither the pod network nor a NAD."""


def _nad(multus: Table, namespace: str) -> str:
    text = multus.text("networkName", required=True, hint="the name of a NetworkAttachmentDefinition")
    word = _NAD.fullmatch(text)
    if text and not word:
        message = f"{quoted(text)} is not the name of a NAD"
        multus["networkName"].wrong("name-invalid", message, "name, or namespace/name")
    return f"{word[1] or namespace}/{word[2]}" if word else _UNKNOWN


def _cidr(pod: Table, key: str, version: int) -> Cidr | None:
    """A network with room for the guest and its router."""
    field = pod.get(key)
    cidr = field.parsed(parse_network, "address-invalid", "a network, such as 10.0.2.0/24") if field else None
    if field is None or cidr is None:
        return None
    network = ipaddress.ip_network(cidr)
    if network.version != version:
        field.wrong("address-invalid", f"{cidr} is not a network of IPv{version}")
    elif network.max_prefixlen - network.prefixlen < 2:
        field.wrong("out-of-range", f"{cidr} has no room for a guest and its router", "two bits at least")
    return cidr


def _nics(field: Field, networks: Networks) -> Iterator[tuple[str, tuple[GuestNic, Field]]]:
    taken: dict[str, Any] = {}
    for item in field.items("a list of interfaces"):
        found = _named(item, _INTERFACE, taken)
        if found is None:
            continue
        name, table = found
        taken[name] = True
        network = networks.get(name)
        yield name, (_nic(name, table, item, network[0] if network else None), item)


def _nic(name: str, table: Table, item: Field, network: GuestNetwork | None) -> GuestNic:
    binding = _binding(table, item)
    model, state, mac = table.get("model"), table.get("state"), table.get("macAddress")
    pci = table.get("pciAddress")
    nic = GuestNic(
        name=name,
        binding=binding or Binding.BRIDGE,
        model=(model.choice(NicModel) if model else None) or NicModel.VIRTIO,
        mac=mac.parsed(parse_unicast_mac, "mac-invalid") if mac and mac.value != "" else None,
        state=(state.choice(LinkState) if state else None) or LinkState.UP,
        boot_order=table.integer("bootOrder", 1, 1 << 16),
        pci_address=(pci.parsed(_parse_pci, "pci-invalid") if pci and pci.value != "" else None) or "",
        acpi_index=table.integer("acpiIndex", 1, ACPI_INDEX_MAX),
        tag=table.text("tag"),
        ports=_ports(table),
        dhcp=_dhcp(table.table("dhcpOptions", _DHCP)),
    )
    if "masquerade" in table and network is not None and not network.on_pod and network.nad != _UNKNOWN:
        where = table["masquerade"]
        where.wrong("binding-network", f"is for the pod network, and {name} is a NAD's", "bridge: {}")
    if nic.state is LinkState.ABSENT and network is not None and (network.on_pod or network.default):
        table["state"].wrong("state-absent", "the pod's first network cannot be taken away", "state: down")
    return nic


def _binding(table: Table, item: Field) -> Binding | None:
    """Exactly one; null is none, which is easily written by mistake (`bridge:`)."""
    given = [key for key in (*_BINDINGS, "binding", *_ELSEWHERE) if key in table]
    if len(given) != 1:
        said = f"has {' and '.join(given)}" if given else "has no binding"
        item.wrong("binding", f"{said}; exactly one says how the guest is connected", "for example bridge: {}")
        return None
    key = given[0]
    inner = table.table(key)
    if key in _ELSEWHERE:
        nearest, reason, instead = _ELSEWHERE[key]
        table[key].lack("binding-unsupported", f"{key} is not made here: {reason}", f"use {instead}")
        return nearest
    if key != "binding":
        return _BINDINGS[key]
    plugin = inner.text("name", required=True, hint=MANAGED_TAP)
    if plugin and plugin != MANAGED_TAP:
        message = f"there is no binding plugin {quoted(plugin)} here"
        inner["name"].lack("binding-unsupported", message, f"use {MANAGED_TAP}, or bridge: {{}}")
    return Binding.MANAGED_TAP


def _parse_pci(text: str) -> str:
    address = text.strip().lower()
    if not _PCI.fullmatch(address):
        raise ValueError(f"{quoted(text)} is not a PCI address of a guest like 0000:01:00.0")
    return address


def _ports(table: Table) -> tuple[ForwardedPort, ...]:
    if "portRanges" in table:
        table["portRanges"].lack("port-ranges", "ranges of ports are not forwarded", "list them one by one in ports")
    found: dict[tuple[str, int], ForwardedPort] = {}
    field = table.get("ports")
    for item in field.items("a list of ports") if field else ():
        entry = item.table(("name", "protocol", "port"))
        named = entry.required("port") if entry else None
        number = named.integer(1, 65535) if named else None
        if entry is None or number is None:
            continue
        protocol = (entry.text("protocol") or "TCP").upper()
        if protocol not in ("TCP", "UDP"):
            entry["protocol"].wrong("not-a-choice", f"{quoted(protocol)} is not one of TCP, UDP")
        elif (protocol, number) in found:
            item.wrong("duplicate", f"{protocol} port {number} stands here twice")
        found[protocol, number] = ForwardedPort(port=number, protocol=protocol, name=entry.text("name"))
    return tuple(found.values())


def _dhcp(table: Table) -> DhcpOptions:
    servers, private = table.get("ntpServers"), table.get("privateOptions")
    times = [item.parsed(_parse_ip4, "address-invalid") for item in servers.items()] if servers else []
    return DhcpOptions(
        boot_file=_word(table, "bootFileName"),
        tftp_server=_word(table, "tftpServerName"),
        ntp_servers=tuple(time for time in times if time),
        private=tuple(_private(private)) if private else (),
    )


def _word(table: Table, key: str) -> str:
    """What can be sent as the text of an option, and stand in a server's configuration."""
    text = table.text(key)
    if text and not _WORD.fullmatch(text):
        table[key].wrong("dhcp-option", f"{quoted(text)} has characters that no file or host name has")
    return text


def _parse_ip4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IPv4 address") from None


def _private(field: Field) -> Iterator[tuple[int, str]]:
    """Site-specific options (RFC 2132 §2; 224..254 since RFC 3942)."""
    seen: set[int] = set()
    for item in field.items():
        table = item.table(("option", "value"))
        named = table.required("option") if table else None
        number = named.integer(224, 254) if named else None
        text = table.text("value", required=True) if table else ""
        if number is None or not text:
            continue
        if number in seen:
            item.wrong("duplicate", f"option {number} stands here twice")
        if not text.isascii() or len(text) > 255:
            item.wrong("dhcp-option", "must be up to 255 ASCII characters", "")
        seen.add(number)
        yield number, text


def write_networks(machine: MachineSpec) -> list[dict[str, Any]]:
    return [{"name": network.name, **_write_network(network)} for network in machine.networks]


def _write_network(network: GuestNetwork) -> dict[str, Any]:
    if network.claim:
        return {"resourceClaim": {"claimName": network.claim}}
    if network.nad:
        return {"multus": {"networkName": network.nad, **({"default": True} if network.default else {})}}
    given = {"vmNetworkCIDR": (network.cidr, VM_NETWORK_CIDR), "vmIPv6NetworkCIDR": (network.cidr6, VM_NETWORK_CIDR6)}
    return {"pod": {key: value for key, (value, usual) in given.items() if value != usual}}


def write_nics(machine: MachineSpec) -> list[dict[str, Any]]:
    return [_write_nic(nic) for nic in machine.nics]


def _write_nic(nic: GuestNic) -> dict[str, Any]:
    found: dict[str, Any] = {"name": nic.name}
    found |= {"binding": {"name": MANAGED_TAP}} if nic.binding is Binding.MANAGED_TAP else {str(nic.binding): {}}
    given: dict[str, Any] = {
        "model": str(nic.model) if nic.model is not NicModel.VIRTIO else None,
        "macAddress": nic.mac,
        "state": str(nic.state) if nic.state is not LinkState.UP else None,
        "bootOrder": nic.boot_order,
        "pciAddress": nic.pci_address,
        "acpiIndex": nic.acpi_index,
        "tag": nic.tag,
        "ports": [_write_port(port) for port in nic.ports],
        "dhcpOptions": _write_dhcp(nic.dhcp),
    }
    return found | {key: value for key, value in given.items() if value}


def _write_port(port: ForwardedPort) -> dict[str, Any]:
    found: dict[str, Any] = {"port": port.port}
    found |= {"protocol": port.protocol} if port.protocol != "TCP" else {}
    return found | ({"name": port.name} if port.name else {})


def _write_dhcp(options: DhcpOptions) -> dict[str, Any]:
    given: dict[str, Any] = {
        "bootFileName": options.boot_file,
        "tftpServerName": options.tftp_server,
        "ntpServers": list(options.ntp_servers),
        "privateOptions": [{"option": number, "value": value} for number, value in options.private],
    }
    return {key: value for key, value in given.items() if value}
