"""What the parts of a scenario say of each other: cables that fit, names that exist."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

from windrow.lab.errors import LabError
from windrow.lab.faults import fault
from windrow.lab.scenario import (
    ApiOutage,
    BondIs,
    CablePull,
    Change,
    Check,
    Closed,
    Command,
    End,
    ForgedMac,
    Host,
    Isolated,
    Kubernetes,
    Lease,
    Matrix,
    PlanEmpty,
    Reach,
    Recreate,
    Role,
    Scenario,
    Steady,
    SwitchFault,
)
from windrow.lab.scenario_pods import INSTANCE
from windrow.model.wire.reader import Report, suggestion
from windrow.model.wire.text import shown

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_links(scenario: Scenario, report: Report) -> None:
    """Notes all that does not fit."""
    _Links(scenario, report).check()


class _Links:
    """What the parts of a scenario say of each other."""

    def __init__(self, scenario: Scenario, report: Report) -> None:
        self._scenario, self._report = scenario, report
        self._nodes = {n.name for n in scenario.nodes}

    def check(self) -> None:
        self._check_groups()
        self._check_management()
        self._check_addresses()
        self._check_cables()
        self._check_kubernetes()
        for i, endpoint in enumerate(self._scenario.endpoints):
            self._known(endpoint.node, self._nodes, f"spec.endpoints[{i}].node", "node")
        for i, vm in enumerate(vm for vm in self._scenario.vms if not vm.pod):
            self._known(vm.node, self._nodes, f"spec.vms[{i}].node", "node")
        for i, check in enumerate(self._scenario.checks):
            self._check_check(check, f"spec.checks[{i}]")

    def _check_groups(self) -> None:
        for i, switch in enumerate(self._scenario.switches):
            ports: set[str] = {p.name for p in switch.ports}
            taken: set[str] = set()
            for j, group in enumerate(switch.groups):
                path = f"spec.switches[{i}].groups[{j}]"
                for member in group.members:
                    self._known(member, ports, f"{path}.ports", f"port of {switch.name}")
                    if member in taken:
                        self._wrong("name-twice", f"{path}.ports", f"{member} is in another group already")
                    taken.add(member)
                if group.name in ports:
                    self._wrong("name-twice", f"{path}.name", f"{group.name} is a port of {switch.name} already")

    def _check_management(self) -> None:
        for i, node in enumerate(self._scenario.nodes):
            for nic in node.management.nics if node.management else ():
                self._known(nic, node.nics, f"spec.nodes[{i}].management.nics", f"NIC of {node.name}")

    def _check_addresses(self) -> None:
        """Of each node its own; and none of its pods' lies where nodes are, or other pods."""
        hosts: dict[_Address, str] = {}
        taken: dict[_Network, str] = {}
        for network, what in self._networks():
            taken.setdefault(network, what)
        for i, node in enumerate(self._scenario.nodes):
            for text in node.management.ips if node.management else ():
                if (other := hosts.setdefault(ipaddress.ip_address(text), node.name)) != node.name:
                    self._wrong("address", f"spec.nodes[{i}].management.address", f"{text} is {other}'s already")
            for text in node.pod_cidrs:
                cidr = ipaddress.ip_network(text)
                near = next((one for one in taken if one.version == cidr.version and one.overlaps(cidr)), None)
                if near is not None:
                    said = f"{cidr} and {near}, {taken[near]}, have addresses in common"
                    self._wrong("address", f"spec.nodes[{i}].pod-cidr", said, "give each node a network of its own")
                taken.setdefault(cidr, f"the pods' of {node.name}")

    def _networks(self) -> Iterator[tuple[_Network, str]]:
        """In which nodes are; no matter what it is, of a node whose address could not be read."""
        for node in self._scenario.nodes:
            for address in node.management.addresses if node.management else ():
                if (network := ipaddress.ip_interface(address).network).prefixlen:
                    yield network, f"in which {node.name} is"

    def _check_kubernetes(self) -> None:
        """One control plane, in a network with all nodes; and nothing that would go past it."""
        planes = [host for host in self._scenario.hosts if host.role is Role.CONTROL_PLANE]
        if self._scenario.kubernetes is None:
            if idle := [host.name for host in planes]:
                self._wrong("kubernetes", "spec", f"{', '.join(idle)} has nothing to do", "write kubernetes: true")
            self._check_own_pods()
            return
        if len(planes) != 1 or planes[0].address is None:
            hint = "a host with role: control-plane, an address in the nodes' management network, and a cable"
            said = f"{len(planes)} hosts are its control plane, not one"
            if len(planes) == 1:
                said = f"{planes[0].name} is its control plane, and has no address"
            self._wrong("kubernetes", "spec.kubernetes", said, hint)
            return
        self._check_control_plane(planes[0], ipaddress.ip_interface(planes[0].address))
        self._all_known(self._scenario.kubernetes.flannel, self._nodes, "spec.kubernetes.flannel", "node")
        for pod in self._scenario.pods:
            self._known(pod.node, self._nodes, f"pods/{pod.name}.spec.nodeName", "node")
        if any(not vm.pod for vm in self._scenario.vms):
            said = "on a cluster of Kubernetes, machines are KubeVirt's to start"
            self._wrong("kubernetes", "spec.vms", said, f"write a Pod in pods/, with {INSTANCE} in its environment")
        self._check_pods_of_flannel(self._scenario.kubernetes)
        if self._scenario.pods and not self._scenario.kubernetes.kubelets:
            said = f"{', '.join(pod.name for pod in self._scenario.pods)} has nobody to run it"
            self._wrong("kubernetes", "pods/", said, "take kubelets: false out")

    def _check_own_pods(self) -> None:
        """Each is a place of its own, like an endpoint."""
        taken = {one.name for group in self._scenario.placed for one in group}
        for pod in self._scenario.own_pods:
            path = f"pods/{pod.name}"
            self._known(pod.node, self._nodes, f"{path}.spec.nodeName", "node")
            if pod.name in taken:
                self._wrong("name-twice", f"{path}.metadata.name", f"{pod.name} is the name of something else already")
            taken.add(pod.name)

    def _check_pods_of_flannel(self, wanted: Kubernetes) -> None:
        """The reference plugin gives them addresses, and asks nobody which."""
        for node in self._scenario.nodes:
            if wanted.kubelets and node.name in wanted.flannel and not node.pod_cidrs:
                said = "its pods, which flannel's overlay reaches, have no addresses"
                self._wrong("kubernetes", f"spec.nodes[{node.name}]", said, "give it pod-cidr")

    def _check_control_plane(self, host: Host, own: _Interface) -> None:
        """That every node reaches it."""
        ends = [End(host.name, nic.name) for nic in host.nics if own.with_prefixlen in nic.addresses.values()]
        if ends and self._scenario.peer(ends[0]) is None:
            self._wrong("kubernetes", "spec.cables", f"no cable is in {ends[0]}, where the API server is")
        if own.version != 4:
            said = f"the API server of a lab has an address of IPv4, and {host.name} has {own}"
            self._wrong("kubernetes", "spec.hosts", said)
            return
        for i, node in enumerate(self._scenario.nodes):
            found = [ipaddress.ip_interface(one) for one in node.management.addresses] if node.management else []
            there = next((one for one in found if one.network == own.network), None)
            path = f"spec.nodes[{i}].management"
            if there is not None and there != found[0]:
                said = f"{host.name} and others know {node.name} by {found[0]}, its first address"
                self._wrong("kubernetes", f"{path}.address", said, f"put the one in {own.network} first: {there}")
            elif there is None:
                said = f"{node.name} has no address in {own.network}, in which {host.name} is"
                self._wrong("kubernetes", path, said)
            elif there.ip == own.ip:
                self._wrong("kubernetes", f"{path}.address", f"{node.name} has the address of {host.name}, {own.ip}")

    def _check_cables(self) -> None:
        ends = set(self._ends())
        used: set[End] = set()
        for i, cable in enumerate(self._scenario.cables):
            for j, end in enumerate((cable.a, cable.b)):
                path = f"spec.cables[{i}][{j}]"
                if end not in ends:
                    hint = suggestion(str(end), map(str, ends)) or "name a NIC or a port, like node-0:eth0"
                    self._wrong("cable", path, f"there is no {end}", hint)
                elif end in used:
                    self._wrong("cable", path, f"another cable is in {end} already")
                used.add(end)

    def _ends(self) -> Iterator[End]:
        yield from (End(n.name, nic) for n in self._scenario.nodes for nic in n.nics)
        yield from (End(h.name, nic.name) for h in self._scenario.hosts for nic in h.nics)
        yield from (End(s.name, p.name) for s in self._scenario.switches for p in s.ports)

    def _check_check(self, check: Check, path: str) -> None:
        stations = set(self._scenario.stations()) | set(self._scenario.pod_nics())
        match check:
            case Reach() | Matrix() | Isolated() | Lease() | ForgedMac() | Recreate():
                self._check_stations(check, path)
            case Command(node=node):
                self._known(
                    node, set(self._scenario.places()), f"{path}.command.node", "node, switch, host or endpoint"
                )
            case BondIs(node=node):
                self._known(node, self._nodes, f"{path}.bond.node", "node")
            case CablePull(cable=cable, between=between):
                self._all_known(between, stations, f"{path}.cable-pull.between", "endpoint or host")
                if self._scenario.peer(cable) is None:
                    self._wrong("cable", f"{path}.cable-pull.cable", f"there is no cable in {cable}")
            case SwitchFault():
                self._check_fault(check, f"{path}.switch-fault")
            case PlanEmpty(nodes=nodes):
                self._all_known(nodes, self._nodes, f"{path}.plan-empty.nodes", "node")
            case Steady(between=between):
                self._all_known(between, stations, f"{path}.steady.between", "endpoint or host")
            case Change():
                self._check_change(check, f"{path}.change")
            case ApiOutage():
                self._check_outage(check, f"{path}.api-outage")
            case Closed():
                self._check_closed(check, f"{path}.closed", stations)

    def _check_fault(self, check: SwitchFault, path: str) -> None:
        switch = next((s for s in self._scenario.switches if s.name == check.end.device), None)
        if switch is None:
            self._known(check.end.device, {s.name for s in self._scenario.switches}, f"{path}.end", "switch")
            return
        name, *words = check.fault.split() or [""]
        try:
            fault(switch, check.end.port, name, tuple(words))
        except LabError as error:
            self._wrong("check", f"{path}.fault", str(error))

    def _check_stations(self, check: Reach | Matrix | Isolated | Lease | ForgedMac | Recreate, path: str) -> None:
        """Checks in which the NICs of machines may take part."""
        machines = set(self._scenario.vm_stations())
        pods = set(self._scenario.pod_nics())
        everybody, who = set(self._scenario.stations()) | machines | pods, "endpoint, host or NIC of a machine or pod"
        match check:
            case Reach(sources=sources, targets=targets):
                keys = ("among",) if sources is targets else ("from", "to")
                for key, names in zip(keys, (sources, targets), strict=False):
                    self._all_known(names, everybody, f"{path}.reach.{key}", who)
            case Matrix(targets=targets):
                self._all_known(targets, everybody, f"{path}.matrix.to", who)
                if not self._scenario.vms:
                    self._wrong("check", f"{path}.matrix", "there are no machines to ask", "name some in spec.vms")
            case Isolated(groups=groups):
                for i, group in enumerate(groups):
                    self._all_known(group, everybody, f"{path}.isolated.groups[{i}]", who)
            case Lease(endpoint=endpoint, server=server):
                takers = {e.name for e in self._scenario.endpoints} | machines
                self._known(endpoint, takers, f"{path}.lease.endpoint", "endpoint or NIC of a machine")
                self._known(server, {h.name for h in self._scenario.hosts}, f"{path}.lease.server", "host")
            case ForgedMac(station=station, listener=listener):
                self._known(station, machines, f"{path}.forged-mac.station", "NIC of a machine")
                self._known(listener, everybody - machines, f"{path}.forged-mac.listener", "endpoint or host")
            case Recreate(node=node, between=between):
                self._not_past_the_api(f"{path}.recreate")
                self._known(node, self._nodes, f"{path}.recreate.node", "node")
                self._all_known(between, everybody, f"{path}.recreate.between", who)

    def _not_past_the_api(self, path: str) -> None:
        """What changes a node's own manifests; its agent reads none."""
        if self._scenario.kubernetes is not None:
            self._wrong("check", path, "the nodes follow the API server, and read no manifests of their own")

    def _check_change(self, check: Change, path: str) -> None:
        self._not_past_the_api(path)
        self._check_changed(check, path)
        here = [e.name for e in self._scenario.endpoints if e.node == check.node and e.name in check.between]
        if len(here) != 1 and all(check.between):
            self._wrong("check", f"{path}.between", f"one of the two must be on {check.node}, the other elsewhere")

    def _check_outage(self, check: ApiOutage, path: str) -> None:
        self._check_changed(check, path)
        if self._scenario.kubernetes is None:
            self._wrong("check", path, "there is no API server to stop", "write kubernetes: true in the spec")

    def _check_closed(self, check: Closed, path: str, stations: Collection[str]) -> None:
        self._not_past_the_api(path)
        self._all_known(check.manifests, self._scenario.changes, f"{path}.manifests", "file in changes/")
        for key, names in (("to", (check.target,)), ("open", check.opened), ("closed", check.closed)):
            self._all_known(names, stations, f"{path}.{key}", "endpoint, host or NIC of a pod")

    def _check_changed(self, check: Change | ApiOutage, path: str) -> None:
        self._known(check.node, self._nodes, f"{path}.node", "node")
        self._all_known(check.between, {e.name for e in self._scenario.endpoints}, f"{path}.between", "endpoint")
        self._all_known(check.manifests, self._scenario.changes, f"{path}.manifests", "file in changes/")

    def _all_known(self, words: tuple[str, ...], known: Collection[str], path: str, what: str) -> None:
        for i, word in enumerate(words):
            self._known(word, known, f"{path}[{i}]", what)

    def _known(self, word: str, known: Collection[str], path: str, what: str) -> None:
        if word and word not in known:
            hint = suggestion(word, known) or f"there are {', '.join(sorted(known))}"
            self._wrong("unknown-name", path, f"{shown(word)} is no {what}", hint)

    def _wrong(self, code: str, path: str, message: str, hint: str = "") -> None:
        self._report.add(code, path, message, hint)
