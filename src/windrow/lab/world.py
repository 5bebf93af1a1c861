"""A scenario becomes network namespaces, and the cables between them.

switch    a VLAN-filtering bridge `br0`; a link aggregation group is a bond that is one of its ports
cable     a veth pair; pulled: its switch end is down, so both ends lose their carrier
node      a namespace with NICs and the management network; the rest is up to Windrow
host      a namespace with an address per VLAN; dnsmasq where it is a DHCP server
endpoint  a namespace with one NIC, whose other end is a port of a node's bridge
pod       a namespace, attached by Windrow's many-NIC plugin; in a cluster it is a kubelet's
machine   a virtual one, which Windrow's own command starts on its node (`vm/fleet`)
cluster   etcd and an API server on a host; on each node what makes it one of a cluster (`kubernetes/`)
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from windrow.lab.announcer import Announcer
from windrow.lab.dhcp import request_lease
from windrow.lab.errors import LabError
from windrow.lab.faults import Fault, fault
from windrow.lab.guest.run import Place, enter, run_in
from windrow.lab.power import Power
from windrow.lab.probe import Station
from windrow.lab.scenario import (
    UNTAGGED,
    Announces,
    End,
    Endpoint,
    Group,
    GroupMode,
    Host,
    Management,
    Node,
    Port,
    Role,
    Scenario,
    Switch,
    Vm,
    VmNic,
    mac_of,
)
from windrow.lab.vm.fleet import Fleet
from windrow.model.bonding import BondMode
from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.host import Bond, Bridge, Link, PortVlans, Route, VlanIf
from windrow.model.names import MGMT, bond_of, bridge_of
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.values import DEFAULT_PVID, Cidr, IfName, Mac, VidSet
from windrow.model.wire import load_documents
from windrow.netlink import links, netns, sysctl
from windrow.netlink.sock import Message, Rtnl

if TYPE_CHECKING:
    from windrow.lab.kubernetes.cluster import Cluster

T = TypeVar("T")

ROOTS = Path("/run/windrow/nodes")
"""Below it each node has a root directory of its own (`WINDROW_ROOT`)."""
SWITCH_BRIDGE = IfName("br0")
MIIMON_MS = 100
DHCP_S = 20.0
_FOREIGN = 0
"""The link group of what Windrow did not make."""


class World:
    """The network of one scenario; `build` makes it. Not for two threads at a time, but where it says so."""

    def __init__(self, scenario: Scenario, programs: Mapping[str, str] = {}) -> None:
        """`programs`: of Kubernetes, where the scenario has one: name -> path."""
        self.scenario = scenario
        self.closed = False
        self.cluster = _cluster(self, programs) if scenario.kubernetes else None
        self.leases: dict[str, Cidr] = {}
        """What endpoints got by DHCP."""
        self.pod_addresses: dict[str, str] = {}
        """Of pods that the lab attaches, by their station (`web/eth0`); without prefix length."""
        self.attached: set[str] = set()
        self._bridges: dict[str, int] = {}
        """Endpoint -> the ifindex of the bridge that it was plugged into."""
        self.fleet = Fleet(scenario.vms, self.place, self.root)
        self.power = Power(self)
        self._sockets: dict[str, Rtnl] = {}
        self._fds: dict[str, int] = {}
        self._programs: list[subprocess.Popen[bytes]] = []
        self._faults: dict[tuple[str, str], Fault] = {}
        self._announcer: Announcer | None = None
        documents = [load_documents(text, file) for file, text in scenario.manifests.items()]
        objects = [obj for loaded in documents for obj in loaded.objects]
        self._nads = {(o.meta.namespace, o.name): o for o in objects if isinstance(o, NetworkAttachmentDefinition)}

    def build(self, log: Callable[[str], None]) -> None:
        """Raises KernelError, LabError."""
        scenario = self.scenario
        for name in scenario.places():
            self._open(name)
        for cable in scenario.cables:
            self._plug(cable.a, cable.b)
        self._plug_nothing()
        for switch in scenario.switches:
            self._build_switch(switch)
            log(f"switch {switch.name}: {_switch_words(switch)}")
        self._announce()
        for host in scenario.hosts:
            self._build_host(host)
            log(f"host {host.name} ({host.role}): {', '.join(a for n in host.nics for a in n.addresses.values())}")
        for node in scenario.nodes:
            self.build_node(node)
            log(f"node {node.name}: NICs {', '.join(node.nics)}{_management_words(node.management)}")

    def close(self) -> None:
        self.closed = True
        if self.cluster is not None:
            self.cluster.close()
        self.fleet.stop()
        if self._announcer is not None:
            self._announcer.close()
        for program in self._programs:
            program.kill()
            program.wait()
        for socket in self._sockets.values():
            socket.close()
        self.power.close()
        for fd in self._fds.values():
            os.close(fd)
        for name in self._sockets:
            netns.delete(name)
        for node in self.scenario.nodes:
            shutil.rmtree(self.root(node.name), ignore_errors=True)

    # Places ---------------------------------------------------------------------------------------

    def place(self, name: str) -> Place:
        """Where to run a program. Raises LabError."""
        if not name:
            return Place(name="lab")
        if self.scenario.vm(name):
            raise LabError(f"{name} is a virtual machine: it has no place here", hint=f"windrow lab shell {name}")
        if name not in self._sockets and self.scenario.node(name):
            raise LabError(f"{name} has no power", hint=f"windrow lab boot {name}")
        if name not in self._sockets:
            raise LabError(f"there is no {name!r} in this lab", hint=f"there are {', '.join(self.scenario.places())}")
        env, mounts = {}, -1
        if self.scenario.node(name):
            env = {"WINDROW_ROOT": str(self.root(name)), "WINDROW_NODE": name}
        if self.cluster is not None:
            env, mounts = {**env, **self.cluster.env(name)}, self.cluster.mounts(name)
        return Place(name=name, netns=str(netns.RUN_NETNS / name), env=env, mounts=mounts)

    def station(self, name: str) -> Station:
        """Where a check sends from and listens. Raises LabError."""
        if (machine := self.scenario.vm_nic(name)) is not None:
            return self._vm_station(name, *machine)
        if (pod := self.scenario.pod_nics().get(name)) is not None and self.cluster is not None:
            return self.cluster.station(*pod)
        if pod is not None:
            inside = partial(self.inside, pod[0].name)
            return Station(name, pod[1].interface, inside, self.pod_addresses.get(name, ""))
        found = self.scenario.stations().get(name)
        if found is None:
            raise LabError(f"there is no station {name!r}", hint=f"there are {', '.join(self.scenario.stations())}")
        address = found.address or self.leases.get(found.place) or Cidr("")
        trunk = found.place not in {e.name for e in self.scenario.endpoints} and "." not in found.interface
        inside = partial(self.inside, found.place)
        return Station(name, found.interface, inside, address.partition("/")[0], trunk)

    def _vm_station(self, name: str, vm: Vm, nic: VmNic) -> Station:
        """The tap: what comes out of it is what the guest gets, and what goes in is what it sends."""
        guest = self.fleet.guest(vm.name)
        inside = partial(netns.opened_in, guest.record.netns)
        return Station(name, guest.nic(nic).tap, inside, guest.address(nic).partition("/")[0])

    def root(self, node: str) -> Path:
        return ROOTS / node

    def inside(self, name: str, fn: Callable[[], T]) -> T:
        """Run `fn` in a namespace; from any thread."""
        return netns.opened_in(self._fds[name], fn)

    def rtnl(self, name: str) -> Rtnl:
        return self._sockets[name]

    def shut(self, node: str) -> None:
        """Its namespace goes, and what is in it. Its disk stays."""
        if self.cluster is not None:
            self.cluster.kill(node)
        self._unplug(node)
        self._sockets.pop(node).close()
        os.close(self._fds.pop(node))
        netns.delete(node)

    def _unplug(self, node: str) -> None:
        """Its endpoints lose their NICs now: the kernel takes a namespace apart later (`cleanup_net`), and the other
        ends of the cables with it."""
        rtnl = self.rtnl(node)
        have = rtnl.indexes()
        ports = [port_of(endpoint) for endpoint in self.scenario.endpoints if endpoint.node == node]
        rtnl.run(*(links.delete(port) for port in ports if port in have))
        self.attached -= {endpoint.name for endpoint in self.scenario.endpoints if endpoint.node == node}
        for pod in (one for one in self.scenario.own_pods if one.node == node):
            for nic in pod.nics:
                self.pod_addresses.pop(pod.station(nic), None)

    def reopen(self, node: str) -> int:
        """The fd of a new, empty namespace for it."""
        self._open(node)
        return self._fds[node]

    def _open(self, name: str) -> None:
        netns.create(name)
        node = self.scenario.node(name)
        self._fds[name] = os.open(netns.RUN_NETNS / name, os.O_RDONLY | os.O_CLOEXEC)

        def prepare() -> Rtnl:
            # Harvester's nodes have no IPv6; here it would send frames that nobody asked for into every capture.
            for key in () if node and node.has_ipv6 else ("all", "default"):
                _set(f"net/ipv6/conf/{key}/disable_ipv6", "1")
            if not node:
                # An address is a card's: asked for by ARP on another one (of another VLAN), it is not there. By default
                # Linux answers for all of a host's addresses on each card with one. A node is as a host of today is.
                _set("net/ipv4/conf/all/arp_ignore", "1")
                for key in BRIDGE_NETFILTER:
                    _set(key, "0")
            return Rtnl()

        self._sockets[name] = self.inside(name, prepare)
        self._sockets[name].run(links.set_link("lo", up=True))

    # Cables ---------------------------------------------------------------------------------------

    def _plug(self, a: End, b: End) -> None:
        far = links.End(name=b.port, netns=self._fds[b.device], mac=mac_of(b))
        self.rtnl(a.device).run(links.veth(links.End(name=a.port, mac=mac_of(a)), far))

    def _plug_nothing(self) -> None:
        """NICs and ports without a cable are there too, and have no carrier: their other end lies nowhere."""
        cabled = {end for cable in self.scenario.cables for end in (cable.a, cable.b)}
        ends = [End(n.name, nic) for n in self.scenario.nodes for nic in n.nics]
        ends += [End(h.name, nic.name) for h in self.scenario.hosts for nic in h.nics]
        ends += [End(s.name, p.name) for s in self.scenario.switches for p in s.ports]
        for number, end in enumerate(e for e in ends if e not in cabled):
            nowhere = links.End(name=f"nowhere{number}", netns=self._own())
            self.rtnl(end.device).run(links.veth(links.End(name=end.port, mac=mac_of(end)), nowhere))

    def _own(self) -> int:
        """The lab's own namespace."""
        if "" not in self._fds:
            self._fds[""] = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return self._fds[""]

    def pull(self, end: End) -> None:
        """Pull the cable in `end` out of its switch. Raises LabError, KernelError."""
        self._set_cable(end, up=False)

    def plug(self, end: End) -> None:
        self._set_cable(end, up=True)

    def _set_cable(self, end: End, *, up: bool) -> None:
        switches = {s.name for s in self.scenario.switches}
        other = self.scenario.peer(end)
        side = end if end.device in switches or other is None else other
        self.rtnl(side.device).run(links.set_link(side.port, up=up))

    # Faults ---------------------------------------------------------------------------------------

    def break_port(self, switch: str, port: str, words: tuple[str, ...]) -> str:
        """Bring about `lab.faults`; one at a time at a port. Its name. Raises LabError."""
        place = (self._switch(switch).name, port)
        if place in self._faults:
            raise LabError(f"{switch}:{port} has a fault: {self._faults[place].name}", hint="mend it first")
        found = fault(self._switch(switch), port, words[0], words[1:])
        self._tell(switch, found.on)
        self._faults[place] = found
        return found.name

    def mend(self, switch: str, port: str) -> str:
        """Take back the fault of a port. Its name. Raises LabError."""
        found = self._faults.pop((self._switch(switch).name, port), None)
        if found is None:
            raise LabError(
                f"{switch}:{port} has no fault", hint=f"there are {', '.join(self._fault_words()) or 'none'}"
            )
        self._tell(switch, found.off)
        return found.name

    def _fault_words(self) -> list[str]:
        return [f"{switch}:{port} {found.name}" for (switch, port), found in self._faults.items()]

    def _switch(self, name: str) -> Switch:
        found = next((s for s in self.scenario.switches if s.name == name), None)
        if found is None:
            raise LabError(f"there is no switch {name!r}", hint=", ".join(s.name for s in self.scenario.switches))
        return found

    def _tell(self, switch: str, commands: Iterable[Sequence[str]]) -> None:
        """All of them, in order; what does not work ends it. Raises LabError."""
        script = "\n".join(map(shlex.join, commands))
        code, _, wrong = run_in(self.place(switch), ["sh", "-ec", script])
        if code:
            raise LabError(f"{switch} refused: {wrong.strip()}", hint=script)

    # Switches -------------------------------------------------------------------------------------

    def _build_switch(self, switch: Switch) -> None:
        rtnl = self.rtnl(switch.name)
        data = {"vlan_filtering": 1, "stp": 0, "mcast_snooping": 0}
        rtnl.run(links.create(SWITCH_BRIDGE, "bridge", data=data, up=True))
        for group in switch.groups:
            self._build_group(rtnl, group)
        alone = [port for port in switch.ports if not switch.group_of(port.name)]
        for port in (*alone, *(group.port for group in switch.groups)):
            _add_port(rtnl, SWITCH_BRIDGE, port.name, port.port_vlans)

    def _build_group(self, rtnl: Rtnl, group: Group) -> None:
        if group.mode is GroupMode.LACP:
            bond = Bond(mode=BondMode.LACP, miimon=MIIMON_MS, lacp_rate="fast", xmit_hash_policy="layer2+3")
        else:
            bond = Bond(mode=BondMode.BALANCE_XOR, miimon=MIIMON_MS, xmit_hash_policy="layer2+3")
        _make_bond(rtnl, group.name, bond, group.members)

    def _announce(self) -> None:
        """Only where a scenario says so: frames that nobody asked for are in every capture."""
        switches = {s: self._fds[s.name] for s in self.scenario.switches if s.announces is not Announces.NOTHING}
        if switches:
            self._announcer = Announcer(switches)

    # Hosts ----------------------------------------------------------------------------------------

    def _build_host(self, host: Host) -> None:
        rtnl = self.rtnl(host.name)
        for nic in host.nics:
            rtnl.run(links.set_link(nic.name, up=True))
            self._add_addresses(rtnl, nic.name, nic.addresses)
        _add_gateway(rtnl, host.gateway)
        if host.role is Role.ROUTER:
            self.inside(host.name, lambda: _set("net/ipv4/ip_forward", "1"))
        if host.role is Role.DHCP:
            self._start_dnsmasq(host)

    def _add_addresses(self, rtnl: Rtnl, nic: str, addresses: Mapping[int, Cidr]) -> None:
        for vid, address in addresses.items():
            name = nic
            if vid != UNTAGGED:
                name = f"{nic}.{vid}"
                vlan = Link(name=IfName(name), spec=VlanIf(parent=IfName(nic), vid=vid))
                rtnl.run(*links.create_link(vlan, rtnl.index, group=_FOREIGN), links.set_link(name, up=True))
            rtnl.run(links.add_addr(rtnl.index(name), address))

    def _start_dnsmasq(self, host: Host) -> None:
        command = [
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--group=root",
        ]
        command += [f"--dhcp-leasefile=/run/windrow/{host.name}.leases", "--pid-file=", "--dhcp-authoritative"]
        command += ["--no-ping", "--log-facility=-"]
        command.append("--dhcp-option=option:router")  # empty: nobody is sent to a host that does not forward
        for nic in host.nics:
            for vid, (first, last) in nic.leases.items():
                command += [f"--interface={nic.interface(vid)}", f"--dhcp-range={first},{last},1h"]
        ROOTS.mkdir(parents=True, exist_ok=True)
        self._programs.append(self._start(host.name, command))

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """A program that stays, in a place. Raises LabError."""
        started: list[subprocess.Popen[bytes] | OSError] = []

        def start() -> None:
            try:
                enter(self.place(name))
                started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
            except OSError as error:
                started.append(error)

        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        if isinstance(started[0], OSError):
            raise LabError(f"cannot run {command[0]}: {started[0]}", hint="apt-get install dnsmasq-base")
        return started[0]

    # Nodes ----------------------------------------------------------------------------------------

    def build_node(self, node: Node) -> None:
        """As its operating system leaves it at boot. Raises KernelError."""
        rtnl, called = self.rtnl(node.name), self.power.names(node.name)
        rtnl.run(*(links.set_link(called.get(nic, nic), up=True) for nic in node.nics))
        if node.management is None:
            return
        mac = mac_of(End(node.name, node.management.nics[0]))
        management = replace(node.management, nics=tuple(IfName(called.get(nic, nic)) for nic in node.management.nics))
        if management.plain:
            _add_addresses(rtnl, management)
            _add_gateway(rtnl, management.gateway)
        else:
            _build_management(rtnl, management, mac)

    def start_node(self, node: str) -> None:
        """What its operating system starts then: nothing, but in a cluster. Raises LabError, ServiceError."""
        if self.cluster is not None:
            self.cluster.start_node(node)

    # Endpoints ------------------------------------------------------------------------------------

    def attach(self, node: str | None = None) -> tuple[str, ...]:
        """Plug the endpoints (of one node) whose bridges are there by now; who was plugged. Raises KernelError."""
        done = [e.name for e in self.scenario.endpoints if node in (None, e.node) and self._attach(e)]
        return tuple(done)

    def replug(self, node: str) -> None:
        """Endpoints whose bridge was made anew are its ports again: unlike machines, nobody but the lab knows them."""
        self._replug(node, self.rtnl(node), every=True)

    def replug_stranded(self) -> None:
        """The same on all nodes, of those that have lost their bridge; from any thread. Raises KernelError, OSError."""
        for node in [node.name for node in self.scenario.nodes if node.name in self._fds]:
            if any(e.node == node and e.name in self.attached for e in self.scenario.endpoints):
                with self.inside(node, Rtnl) as rtnl:
                    self._replug(node, rtnl, every=False)

    def _replug(self, node: str, rtnl: Rtnl, *, every: bool) -> None:
        have = rtnl.indexes()
        for endpoint in self.scenario.endpoints:
            bridge = have.get(self.nad(endpoint).bridge)
            if endpoint.node != node or endpoint.name not in self.attached or bridge is None:
                continue
            if every or self._bridges.get(endpoint.name) != bridge:
                rtnl.run(links.set_master(port_of(endpoint), bridge))
                _set_port_vlans(rtnl, port_of(endpoint), nad_vlans(self.nad(endpoint)))
                self._bridges[endpoint.name] = bridge

    def _attach(self, endpoint: Endpoint) -> bool:
        rtnl, nad = self.rtnl(endpoint.node), self.nad(endpoint)
        have = rtnl.indexes()
        if endpoint.name in self.attached and port_of(endpoint) in have:
            return False
        if nad.bridge not in have:
            return False
        nic = links.End(name="eth0", netns=self._fds[endpoint.name], mac=mac_of(End(endpoint.name, "eth0")))
        port = links.End(name=port_of(endpoint))
        rtnl.run(links.veth(port, nic, master=have[nad.bridge]))
        _set_port_vlans(rtnl, port.name, nad_vlans(nad))
        rtnl.run(links.set_link(port.name, up=True))
        own = self.rtnl(endpoint.name)
        own.run(links.set_link("eth0", up=True))
        self._add_addresses(own, "eth0", endpoint.addresses)
        if endpoint.dhcp:
            self._ask_for_address(endpoint.name, own)
        _add_gateway(own, endpoint.gateway)
        self.attached.add(endpoint.name)
        self._bridges[endpoint.name] = have[nad.bridge]
        return True

    def _ask_for_address(self, name: str, rtnl: Rtnl) -> None:
        dead = [p for p in self._programs if p.poll() is not None]
        if dead:
            raise LabError(f"dnsmasq ended with exit code {dead[0].returncode}", hint="-v shows what it said")
        address = request_lease(self.station(name), timeout_s=DHCP_S)
        if address:
            self.leases[name] = address
            rtnl.run(links.add_addr(rtnl.index("eth0"), address))

    def networks(self) -> tuple[NetworkAttachmentDefinition, ...]:
        return tuple(self._nads.values())

    def nad(self, endpoint: Endpoint) -> NetworkAttachmentDefinition:
        """Raises LabError where the manifests have no such network."""
        namespace, _, name = endpoint.network.rpartition("/")
        found = self._nads.get((namespace or "default", name))
        if found is None or found.type is None:
            known = ", ".join(f"{space}/{name}" for space, name in self._nads)
            raise LabError(f"{endpoint.name}: there is no network {endpoint.network}", hint=f"there are {known}")
        return found


# Pieces -------------------------------------------------------------------------------------------


def _cluster(world: World, programs: Mapping[str, str]) -> Cluster:
    from windrow.lab.kubernetes.cluster import Cluster  # with what speaks to an API: most labs have none

    return Cluster(world.scenario, programs, world.place, world.root)


def port_of(endpoint: Endpoint) -> IfName:
    """The node's end of an endpoint's cable."""
    name = f"ve-{endpoint.name}"
    return IfName(name if len(name) <= 15 else f"ve-{zlib.crc32(name.encode()):08x}")


def nad_vlans(nad: NetworkAttachmentDefinition) -> PortVlans:
    """What the bridge plugin gives the port of a VM in this network."""
    match nad.type:
        case NetworkType.VLAN:
            return PortVlans(pvid=nad.vid, untagged=VidSet.of([nad.vid]))
        case NetworkType.TRUNK:
            return PortVlans(tagged=nad.trunk)
        case _:
            return PortVlans(pvid=DEFAULT_PVID, untagged=VidSet.of([DEFAULT_PVID]))


def _build_management(rtnl: Rtnl, management: Management, mac: Mac) -> None:
    """As Harvester's installer leaves it: mgmt-bo, mgmt-br (VLAN filtering, no STP), mgmt-br.<vid> where asked for."""
    bond, bridge = bond_of(MGMT), bridge_of(MGMT)
    rtnl.run(*(links.set_link(nic, up=False) for nic in management.nics))
    _make_bond(rtnl, bond, Bond(mode=management.mode, miimon=MIIMON_MS), management.nics)
    link = Link(name=bridge, spec=Bridge(vlan_filtering=True, stp=False), mac=mac)
    rtnl.run(*links.create_link(link, rtnl.index, group=_FOREIGN), links.set_link(bridge, up=True))
    tagged = VidSet.of([management.vid] if management.vid else [])
    native = VidSet.of([DEFAULT_PVID])
    _add_port(rtnl, bridge, bond, PortVlans(pvid=DEFAULT_PVID, untagged=native, tagged=tagged))
    if management.vid:
        rtnl.run(links.add_vlans(rtnl.index(bridge), PortVlans(tagged=tagged), on_self=True))
        vlan = Link(name=management.interface, spec=VlanIf(parent=bridge, vid=management.vid))
        rtnl.run(*links.create_link(vlan, rtnl.index, group=_FOREIGN), links.set_link(vlan.name, up=True))
    _add_addresses(rtnl, management)
    _add_gateway(rtnl, management.gateway)


def _make_bond(rtnl: Rtnl, name: IfName, bond: Bond, members: Iterable[str]) -> None:
    """With its members, and up."""
    rtnl.run(*links.create_link(Link(name=name, spec=bond), rtnl.index, group=_FOREIGN))
    master = rtnl.index(name)
    for member in members:
        rtnl.run(links.set_link(member, up=False), links.set_master(member, master, name))
    rtnl.run(links.set_link(name, up=True))


def _add_port(rtnl: Rtnl, bridge: str, port: str, vlans: PortVlans) -> None:
    rtnl.run(links.set_master(port, rtnl.index(bridge), bridge))
    _set_port_vlans(rtnl, port, vlans)
    rtnl.run(links.set_link(port, up=True))


def _set_port_vlans(rtnl: Rtnl, port: str, vlans: PortVlans) -> None:
    """A new port has VID 1 as the kernel gave it; it keeps that only where it is asked for."""
    index = rtnl.index(port)
    if DEFAULT_PVID not in vlans.all:
        rtnl.run(links.delete_vlans(index, VidSet.of([DEFAULT_PVID]), name=port))
    if vlans.all:
        rtnl.run(links.add_vlans(index, vlans, name=port))


def _add_addresses(rtnl: Rtnl, management: Management) -> None:
    index = rtnl.index(management.interface)
    rtnl.run(*(links.add_addr(index, address) for address in management.addresses))


def _add_gateway(rtnl: Rtnl, gateway: str) -> None:
    if gateway:
        rtnl.run(_default_route(gateway))


def _default_route(gateway: str) -> Message:
    return links.add_route(Route(dst="default", dev=None, gateway=gateway), None)


def _set(key: str, value: str) -> None:
    if sysctl.path_of(key).exists():
        sysctl.write(key, value)


def _switch_words(switch: Switch) -> str:
    parts = [f"{g.name} = {g.mode} {'+'.join(g.members)} ({_vlan_words(g.port)})" for g in switch.groups]
    parts += [f"{p.name} ({_vlan_words(p)})" for p in switch.ports if not switch.group_of(p.name)]
    return ", ".join(parts)


def _vlan_words(port: Port) -> str:
    native = f"native {port.native}" if port.native else "no native"
    return f"{native}, tagged {port.vlans}" if port.vlans else native


def _management_words(management: Management | None) -> str:
    return f"; {', '.join(management.addresses)} on {management.interface}" if management else ""
