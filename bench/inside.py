"""What needs a kernel, in an empty network namespace of its own.

    python -m bench.inside WHERE      as root, in a namespace that may be filled (`unshare --net`); prints one line
                                      per group, after a mark

In the lab kernel `serve` is the guest: it measures when it is asked to (`bench.start.in_lab`). It loads each part then:
how long the lab takes to boot is measured with this guest, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from bench.measure import MARK, Group, Way, compare, encode
from windrow.apps.engine import look
from windrow.lab.guest.server import Request, Server
from windrow.model.host import PortVlans
from windrow.model.steps import Impact, Phase, SetVlans, Step
from windrow.model.values import IfName, Ref, VidSet
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.netlink.observe import dump_links

LAB = "In the lab kernel"
LINKS = 1000
UPLINK = IfName("uplink0")
CABLE = IfName("churn0")
ALL = VidSet.span(2, 4094)
SCATTERED = VidSet.of(range(2, 4094, 2))


def serve(control: int, config: Mapping[str, Any]) -> None:
    """A guest of the lab kernel that does nothing else."""
    Server(
        control,
        {
            "ports": ports,
            "measure": in_guest,
            "machines": machines,
            "agent": keeper,
            "detection": detecting,
            "policies": policing,
            "imports": importing,
        },
    ).run({"bench": True})


def ports(request: Request) -> dict[str, list[str]]:
    from bench import cni

    return {"groups": netns.in_new(lambda: [encode(group) for group in cni.measure(LAB, all_ways=False)])}


def in_guest(request: Request) -> dict[str, list[str]]:
    return {"groups": netns.in_new(lambda: [encode(group) for group in measure(LAB)])}


def machines(request: Request) -> dict[str, list[str]]:
    from bench import vm

    return {"groups": netns.in_new(lambda: [encode(group) for group in vm.measure(LAB)])}


def keeper(request: Request) -> dict[str, list[str]]:
    from bench import agent

    return {"groups": netns.in_new(lambda: [encode(group) for group in agent.measure(LAB)])}


def detecting(request: Request) -> dict[str, list[str]]:
    from bench import detection

    return {"groups": netns.in_new(lambda: [encode(group) for group in detection.measure(LAB)])}


def policing(request: Request) -> dict[str, list[str]]:
    from bench import policies

    return {"groups": netns.in_new(lambda: [encode(group) for group in policies.measure(LAB)])}


def importing(request: Request) -> dict[str, list[str]]:
    from bench import imports

    return {"groups": [encode(imports.measure(LAB))]}


def measure(where: str) -> Iterator[Group]:
    with Kernel() as kernel:
        filtering = kernel.features().vlan_filtering
        if filtering:
            yield vlans(kernel, where)
        many_links(kernel, filtering)
        yield from observing(kernel, where, filtering)
        yield churning(kernel, where)


def many_links(kernel: Kernel, filtering: bool) -> None:
    """1,000 links: a bridge, and 500 pairs of veth with one end each in it, as machines and pods have them."""
    option = " vlan_filtering 1" if filtering else ""
    pairs, odd = divmod(LINKS - len(kernel.observe().state.links) - 1, 2)
    lines = [f"link add br-{n} type bridge" for n in range(odd)]
    lines.append(f"link add br-bench type bridge{option}")
    for n in range(pairs):
        lines += [f"link add p{n} type veth peer name q{n}", f"link set p{n} master br-bench up"]
    batch("ip", lines)
    if filtering:
        batch("bridge", [f"vlan add dev p{n} vid {2 + n}" for n in range(pairs)])


def observing(kernel: Kernel, where: str, filtering: bool) -> Iterator[Group]:
    count = len(kernel.observe().state.links)
    note = "" if filtering else "This kernel has no VLAN filtering, so its bridge ports carry no VLANs."
    # Imported before the clock runs, and with its socket open, as ours.
    from pyroute2 import IPRoute

    with IPRoute() as ipr:
        whole = [
            Way(what="windrow: `Kernel.observe()`", run=kernel.observe),
            Way(what="pyroute2: the same four dumps", run=lambda: pyroute2_dumps(ipr)),
            Way(what="`ip -j -d link`, `ip -j addr`, `ip -j route`, `bridge -j vlan`, parsed", run=iproute2_dumps),
        ]
        alone = [
            Way(what="windrow: `dump_links`", run=lambda: dump_links(kernel.rtnl), anchor="16–25 ms"),
            Way(what="pyroute2: `get_links`", run=lambda: list(ipr.get_links()), anchor="400 ms"),
            Way(what="`ip -j -d link`, parsed", run=lambda: json.loads(output("ip -j -d link"))),
        ]
        for title, ways in ((f"Observe {count:,} links", whole), (f"Dump {count:,} links alone", alone)):
            yield Group(title=title, where=where, rows=compare(7, ways), note=note)


def churning(kernel: Kernel, where: str) -> Group:
    """What an agent does each time when a container comes or goes among 500 ports: everything is looked at again."""

    def come_or_go() -> None:
        there = CABLE in kernel.observe().state.links
        kernel.rtnl.run(
            links.delete(CABLE) if there else links.veth(links.End(name=CABLE), links.End(name=f"{CABLE}p"))
        )

    ways = [
        Way(what="a look after a port has come or gone", run=lambda: look(kernel, "bench"), prepare=come_or_go),
        Way(what="the same by a process that has just started", run=fresh_look),
    ]
    return Group(title="500 ports under churn", where=where, rows=compare(9, ways))


def fresh_look() -> None:
    with Kernel() as kernel:
        observed, nics = kernel.observe(), kernel.nics()
    assert len(nics) < len(observed.state.links)


def pyroute2_dumps(ipr: Any) -> object:
    found = (ipr.get_links(), ipr.get_addr(), ipr.get_routes(table=254), ipr.get_vlans())
    return [list(rows) for rows in found]


def iproute2_dumps() -> object:
    commands = ("ip -j -d link", "ip -j addr", "ip -j route", "bridge -j vlan")
    return [json.loads(output(command) or "[]") for command in commands]


def vlans(kernel: Kernel, where: str) -> Group:
    """VLANs 2–4094 on one uplink, in one message, in one message each, and by the program everybody knows."""
    batch("ip", ["link add br-vlans type bridge vlan_filtering 1", f"link add {UPLINK} type veth peer name far0"])
    batch("ip", [f"link set {UPLINK} master br-vlans up"])

    def has() -> VidSet:
        found = kernel.observe().state.links[UPLINK].vlans
        return found.all if found else VidSet()

    def add(vids: VidSet) -> None:
        failure = kernel.run([step(SetVlans(add=PortVlans(tagged=vids)))])
        assert failure is None, failure

    def clear() -> None:
        failure = kernel.run([step(SetVlans(remove=ALL))])
        assert failure is None, failure
        assert not has() & ALL

    def one_by_one() -> None:
        for vid in ALL:
            add(VidSet.of([vid]))

    ways = [
        Way(what="windrow: 2–4094 in one message", run=lambda: add(ALL), prepare=clear),
        Way(
            what="windrow: 2,046 scattered VIDs in one message",
            run=lambda: add(SCATTERED),
            prepare=clear,
            anchor="15 ms",
        ),
        Way(what="`bridge vlan add … vid 2-4094`, process included", run=bridge_vlan_add, prepare=clear),
        Way(
            what="one request per VID (Harvester's way), with our own fast codec",
            run=one_by_one,
            prepare=clear,
            anchor="0.73 ms each: 3.0 s",
        ),
    ]
    for way in ways:
        clear()
        way.run()
        wanted = SCATTERED if "scattered" in way.what else ALL
        assert has() & ALL == wanted, way.what
    rows = compare(5, ways, warm_up=0)  # each was run just now
    batch("ip", ["link del br-vlans", f"link del {UPLINK}"])
    return Group(title="VLANs 2–4094 on one uplink", where=where, rows=rows)


def bridge_vlan_add() -> None:
    output(f"bridge vlan add dev {UPLINK} vid 2-4094")


def step(action: SetVlans) -> Step:
    return Step(
        phase=Phase.ADD_VLANS, link=UPLINK, action=action, why=Ref("VlanConfig", "bench"), impact=Impact.HITLESS
    )


def output(command: str) -> str:
    return subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout


def batch(program: str, lines: list[str]) -> None:
    """Many commands in one process: starting one is slow in the lab kernel."""
    subprocess.run([program, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


if __name__ == "__main__":
    for result in measure(sys.argv[1]):
        print(MARK + encode(result), flush=True)
