"""Phase 1 inside a pod's network namespace: the devices between the pod's interface and the guest's, made and unmade.

`port.vm.binding` says what they are; here they become so. Everything lies in one namespace of its own, so what a
killed process leaves half done goes with the namespace.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from windrow.model.host import MAIN_TABLE, RTPROT_KERNEL, Route
from windrow.model.values import IfName, Mac
from windrow.netlink import forwarding, links, netns, sysctl, tap
from windrow.netlink.errors import KernelError, NoSuchLink, NotSupported
from windrow.netlink.kernel import Kernel
from windrow.netlink.sock import Message, Rtnl
from windrow.port.vm import dhcp, masquerade
from windrow.port.vm.binding import NicPlan, PodNic, PodRoute
from windrow.port.vm.names import NicNames
from windrow.services import dnsmasq, netfilter, process
from windrow.store import records

OWNER = (0, 0)
"""A hypervisor of somebody else opens its taps as root. Ours is handed them."""
_DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}


def look(kernel: Kernel, name: str) -> PodNic:
    """The pod's interface as the CNI call left it. Raises NoSuchLink."""
    state = kernel.observe(()).state
    link = state.links.get(IfName(name))
    if link is None:
        raise NoSuchLink(errno.ENODEV, f"find {name} in the pod")
    routes = [r for r in state.routes if r.dev == name and r.table == MAIN_TABLE and r.protocol != RTPROT_KERNEL]
    return PodNic(
        name=IfName(name),
        mac=link.mac or Mac("00:00:00:00:00:00"),
        mtu=link.mtu or 1500,
        addresses=tuple(sorted(link.addrs or ())),
        routes=tuple(sorted(map(_pod_route, routes), key=lambda r: (r.dst in _DEFAULTS.values(), r.dst, r.gateway))),
    )


def _pod_route(route: Route) -> PodRoute:
    version = 6 if ":" in (route.gateway or "") else 4
    return PodRoute(dst=_DEFAULTS[version] if route.dst == "default" else route.dst, gateway=route.gateway or "")


# Making -------------------------------------------------------------------------------------------


def bind(kernel: Kernel, namespace: int, plan: NicPlan, directory: Path) -> None:
    """Make what is between the pod and the guest, and start what serves the guest. `namespace`: an fd.

    `directory` is the machine's. Raises KernelError, ServiceError.
    """
    connect(kernel, namespace, plan)
    serve(namespace, plan, directory)


def connect(kernel: Kernel, namespace: int, plan: NicPlan) -> None:
    """The first half of `bind`: devices. Raises KernelError."""
    rtnl = kernel.rtnl
    _make_bridge(rtnl, plan)
    if plan.moved is not None:
        _move(kernel, plan)
    _make_tap(rtnl, namespace, plan)
    netns.opened_in(namespace, lambda: _set(plan))
    bridge = plan.bridge.name
    index = rtnl.index(bridge)
    rtnl.run(*(links.add_addr(index, address, nodad=True, name=bridge) for address in plan.bridge.addresses))
    ports = [plan.tap.name, *([plan.moved.name] if plan.moved else [])]
    rtnl.run(links.set_link(bridge, up=True), *(links.set_link(port, up=True) for port in ports))


def serve(namespace: int, plan: NicPlan, directory: Path) -> None:
    """The second half: what translates and answers the guest, by other programs. Raises ServiceError."""
    translate(namespace, plan)
    if plan.dhcp is not None:
        config, pid = write_server(plan.dhcp, directory, seen=directory)
        netns.opened_in(namespace, lambda: dnsmasq.start(config, pid))


def _make_bridge(rtnl: Rtnl, plan: NicPlan) -> None:
    """Without multicast snooping: of two ports there is nothing to choose, and the bridge would join the group of all
    snoopers (RFC 4286), with an IGMP report into the guest's network (`br_multicast_join_snoopers`)."""
    bridge = plan.bridge
    rtnl.run(links.create(bridge.name, "bridge", data={"mcast_snooping": 0}, mac=bridge.mac))
    if bridge.mtu is not None:
        # Setting the value it has would not count as set by a user, and it would follow its ports (`br_change_mtu`).
        rtnl.run(links.set_link(bridge.name, mtu=bridge.mtu - 1), links.set_link(bridge.name, mtu=bridge.mtu))


def _move(kernel: Kernel, plan: NicPlan) -> None:
    """The pod's interface becomes a silent port; what stands in its place has its name, its address and its MTU."""
    moved, rtnl = plan.moved, kernel.rtnl
    assert moved is not None
    dummy = moved.dummy
    index = rtnl.index(plan.pod)
    rtnl.run(links.set_link(plan.pod, up=False), links.rename(index, plan.pod, moved.name))
    rtnl.run(
        links.set_link(moved.name, mac=moved.mac),
        *(links.del_addr(index, address, name=moved.name) for address in _addresses(kernel, moved.name)),
        links.set_master(moved.name, rtnl.index(plan.bridge.name), plan.bridge.name),
        links.port_options(index, moved.name, learning=0),
    )
    _make_stand_in(rtnl, dummy)
    stand_in = rtnl.index(dummy.name)
    rtnl.run(*(links.add_addr(stand_in, address, nodad=True, name=dummy.name) for address in dummy.addresses))


def _addresses(kernel: Kernel, name: str) -> Iterable[str]:
    """Taken down, it has no IPv6 addresses any more but those that a sysctl keeps (`keep_addr_on_down`)."""
    return kernel.observe(()).state.links[IfName(name)].addrs or ()


def _make_stand_in(rtnl: Rtnl, dummy: PodNic) -> None:
    """It stays down: nothing in the pod shall take what is the guest's. A kernel without dummies has bridges."""
    try:
        rtnl.run(links.create(dummy.name, "dummy", mac=dummy.mac, mtu=dummy.mtu))
    except NotSupported:
        rtnl.run(links.create(dummy.name, "bridge", mac=dummy.mac, mtu=dummy.mtu))


def _make_tap(rtnl: Rtnl, namespace: int, plan: NicPlan) -> None:
    name = plan.tap.name
    tap.create(name, netns=namespace, multi_queue=plan.tap.queues > 0, owner=OWNER)
    rtnl.run(
        links.set_link(name, mtu=plan.tap.mtu),
        links.set_master(name, rtnl.index(plan.bridge.name), plan.bridge.name),
    )


def _set(plan: NicPlan) -> None:
    for family in plan.forwards:
        forwarding.switch_on(family, own=(plan.pod,))
    for one in plan.sysctls:
        try:
            sysctl.write(one.path, one.value)
        except KernelError as error:
            if not (one.optional and error.errno == errno.ENOENT):
                raise


def translate(namespace: int, plan: NicPlan) -> None:
    """The rules of a masqueraded NIC; of another one nothing. Raises ServiceError."""
    if (rules := plan.masquerade) is not None:
        texts = {version: text for version in (4, 6) if (text := masquerade.iptables(rules, version))}
        netns.opened_in(namespace, lambda: netfilter.load(masquerade.nft(rules), texts))


def write_server(answer: dhcp.DhcpAnswer, directory: Path, *, seen: Path) -> tuple[Path, Path]:
    """The configuration of the DHCP server on a bridge, into `directory`, which the server finds at `seen`: there, the
    paths of its configuration and of its pid file."""
    config, leases, pid = server_files(seen, answer.bridge)
    text = dhcp.config(answer, leases=str(leases), pid=str(pid))
    records.write(directory / config.name, text.encode(), mode=records.SHARED, flush="nothing")
    return config, pid


def server_files(directory: Path, bridge: str) -> tuple[Path, Path, Path]:
    """(configuration, leases, pid) of the DHCP server on a bridge."""
    return directory / f"{bridge}.conf", directory / f"{bridge}.leases", directory / f"{bridge}.pid"


# Unmaking -----------------------------------------------------------------------------------------


def unbind(kernel: Kernel, names: NicNames, directory: Path) -> None:
    """Take away what `bind` made, also where it came half way; the CNI call's interface has its own name again.

    Raises KernelError, ServiceError.
    """
    rtnl = kernel.rtnl
    _end_server(names, directory)
    have = rtnl.indexes()
    doomed = [name for name in (names.tap, names.bridge) if name in have]
    if names.renamed in have and names.pod in have:
        doomed.append(names.pod)
    rtnl.run(*map(_deleted, doomed))
    if names.renamed in have:
        rtnl.run(links.set_link(names.renamed, up=False), links.rename(have[names.renamed], names.renamed, names.pod))


def unplug(kernel: Kernel, names: NicNames, directory: Path) -> None:
    """Take the pod's interface out from under a bridged guest, whose bridge and tap stay; it has its own name again.

    Raises KernelError, ServiceError.
    """
    rtnl = kernel.rtnl
    _end_server(names, directory)
    have = rtnl.indexes()
    if names.bridge in have:
        bridge = have[names.bridge]
        given = kernel.observe(()).state.links[names.bridge].addrs or ()
        rtnl.run(*(links.del_addr(bridge, address, name=names.bridge) for address in given))
    if names.renamed not in have:
        return
    if names.pod in have:
        rtnl.run(links.delete(names.pod))
    rtnl.run(
        links.set_link(names.renamed, up=False),
        links.set_master(names.renamed, None),
        links.rename(have[names.renamed], names.renamed, names.pod),
    )


def plug(kernel: Kernel, namespace: int, plan: NicPlan, directory: Path) -> None:
    """Put another interface under a bridged guest, in the place of the one that `unplug` took. Raises as `bind`."""
    rtnl = kernel.rtnl
    _move(kernel, plan)
    assert plan.moved is not None
    netns.opened_in(namespace, lambda: _set(plan))
    index = rtnl.index(plan.bridge.name)
    rtnl.run(
        links.set_link(plan.bridge.name, mac=plan.bridge.mac),
        *(links.add_addr(index, address, nodad=True, name=plan.bridge.name) for address in plan.bridge.addresses),
        links.set_link(plan.moved.name, up=True),
    )
    serve(namespace, plan, directory)


def _end_server(names: NicNames, directory: Path) -> None:
    files = server_files(directory, names.bridge)
    process.end(dnsmasq.running(files[-1]))
    for file in files:
        file.unlink(missing_ok=True)


def _deleted(name: str) -> Message:
    return links.delete(name)
