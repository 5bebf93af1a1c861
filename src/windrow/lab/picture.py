"""The lab as a picture: what the nodes' kernels say, and what only the lab knows (switches, hosts, cables)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from windrow.lab.scenario import UNTAGGED, Host, HostNic, Role, Switch, VmNic
from windrow.lab.vm.fleet import Guest
from windrow.lab.world import World, port_of
from windrow.model.host import Observed, PortVlans
from windrow.model.machines import Binding
from windrow.model.objects import NetworkType
from windrow.model.ports import PortRecord
from windrow.model.ports import endpoints as recorded
from windrow.model.values import IfName, VidSet
from windrow.netlink.kernel import Kernel
from windrow.render import topology as view
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords


def topology(world: World) -> view.Topology:
    """Raises KernelError."""
    scenario = world.scenario
    seen = {name: _observe(world, name) for name in (*(n.name for n in scenario.nodes), *_switches(world))}
    return view.Topology(
        nodes=tuple(_node(world, n.name, seen[n.name]) for n in scenario.nodes),
        switches=tuple(_switch(s, seen[s.name]) for s in scenario.switches),
        hosts=tuple(_host(h) for h in scenario.hosts),
        cables=tuple(
            view.Cable(
                a=view.End(c.a.device, c.a.port),
                b=view.End(c.b.device, c.b.port),
                health=_health(seen, c.a.device, c.a.port) or _health(seen, c.b.device, c.b.port) or view.Health.UP,
            )
            for c in scenario.cables
        ),
        networks=_networks(world),
    )


def _observe(world: World, name: str) -> Observed:
    with Kernel(name) as kernel:
        return kernel.observe()


def _switches(world: World) -> tuple[str, ...]:
    return tuple(s.name for s in world.scenario.switches)


def _node(world: World, name: str, observed: Observed) -> view.NodeView:
    here = [e for e in world.scenario.endpoints if e.node == name and e.name in world.attached]
    records = PortRecords(Paths(world.root(name))).all()
    guests = [guest for guest in world.fleet.guests.values() if guest.vm.node == name]
    machines = sorted((_machine(guest, records) for guest in guests), key=lambda machine: machine.name)
    behind: dict[str, str] = {nic.port: f"{machine.name} ({nic.name})" for machine in machines for nic in machine.nics}
    pods = [record for record in records if record.host not in behind]  # a machine says its addresses itself
    addresses: dict[str, tuple[str, ...]] = {record.host: record.given for record in pods}
    addresses |= {
        port_of(e): tuple(e.addresses.values()) + ((world.leases[e.name],) if e.name in world.leases else ())
        for e in here
    }
    endpoints = recorded(pods) | {port_of(e): e.name for e in here} | behind
    return view.node_view(name, observed, endpoints=endpoints, addresses=addresses, machines=machines)


def _machine(guest: Guest, records: Iterable[PortRecord]) -> view.MachineView:
    """As its guest said, and as the records of its node say."""
    ports = {record.ifname: record.host for record in records if record.container_id == guest.record.container_id}
    return view.MachineView(
        name=guest.vm.name,
        state=guest.record.phase.value,
        nics=tuple(_machine_nic(guest, nic, ports) for nic in guest.vm.nics),
    )


def _machine_nic(guest: Guest, nic: VmNic, ports: Mapping[str, str]) -> view.MachineNic:
    record, address = guest.nic(nic), guest.seen.addresses.get(nic.interface)
    translated = record.binding == Binding.MASQUERADE.value
    return view.MachineNic(
        name=nic.network,
        addrs=(address,) if address else (),
        tap=record.tap,
        bridge=record.bridge,
        port=ports.get(record.pod, ""),
        translated=translated,
        outside=guest.address(nic) if translated else "",
        up=record.up,
    )


def _switch(switch: Switch, observed: Observed) -> view.SwitchView:
    ports = []
    for port in switch.ports:
        group = switch.group_of(port.name)
        vlans = (group.port if group else port).port_vlans
        ports.append(
            view.SwitchPort(
                name=port.name,
                vlans=vlans,
                lag=group.name if group else "",
                lag_mode=group.mode.value if group else "",
                health=view.link_health(observed, port.name),
            )
        )
    return view.SwitchView(name=switch.name, ports=tuple(ports))


_ROLES = {
    Role.HOST: "host",
    Role.ROUTER: "router",
    Role.DHCP: "DHCP server",
    Role.CONTROL_PLANE: "control plane",
}


def _host(host: Host) -> view.HostView:
    role = _ROLES[host.role]
    return view.HostView(name=host.name, role=role, nics=tuple(_host_nic(nic) for nic in host.nics))


def _host_nic(nic: HostNic) -> view.HostNic:
    vlans = PortVlans(
        pvid=1 if UNTAGGED in nic.addresses else None,
        untagged=VidSet.of([1] if UNTAGGED in nic.addresses else []),
        tagged=VidSet.of(vid for vid in nic.addresses if vid != UNTAGGED),
    )
    return view.HostNic(name=nic.name, vlans=vlans, addrs=tuple(nic.addresses.values()))


def _health(seen: dict[str, Observed], device: str, port: str) -> view.Health | None:
    """A cable is as its worse end is; up says nothing yet."""
    observed = seen.get(device)
    if observed is None or IfName(port) not in observed.state.links:
        return None
    health = view.link_health(observed, port)
    return None if health is view.Health.UP else health


def _networks(world: World) -> tuple[view.NetworkName, ...]:
    return tuple(
        view.NetworkName(vid=nad.vid, name=nad.name, cluster_network=nad.cluster_network or "")
        for nad in world.networks()
        if nad.type in (NetworkType.VLAN, NetworkType.UNTAGGED)
    )
