"""What a lab does when it is asked, inside its kernel: come up, apply, check, run a program, show itself."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from windrow.lab import changes, outage, scenario_pods
from windrow.lab.checks import Checker, Result
from windrow.lab.errors import LabError
from windrow.lab.guest.run import BIN, Place, run
from windrow.lab.guest.server import Handler, Request
from windrow.lab.scenario import End, Node, Pod, Vm
from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.model.lazy import dataclass
from windrow.model.meta import Meta
from windrow.model.objects import AnyObject
from windrow.model.objects import Node as NodeObject
from windrow.model.overlay import FAMILIES
from windrow.model.problems import ProblemsError, errors
from windrow.model.steps import Impact
from windrow.model.values import Ref
from windrow.model.wire import load_documents, without_doubles
from windrow.netlink import features, links, netns
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import Rtnl
from windrow.render.text import Style
from windrow.render.topology_text import topology_text
from windrow.store import records
from windrow.store.directory import Store
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.lab.kubernetes.cluster import Cluster
    from windrow.lab.kubernetes.launchers import Launchers, Wired
    from windrow.model.machines import AnyMachine

FOLLOW_S = 120.0
LOOK_S = 1.0
"""For agents to follow what the API server was given; and at least between two looks. They take the only processor from
the agents, so a pause is as long as the look before it."""
CARE_S = 0.5
"""How often endpoints are looked after: one dump of the links of each node that has some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one node. `left`: how many steps a new plan would still take."""

    ok: bool
    steps: int
    left: int
    words: str
    complaints: tuple[str, ...] = ()
    impact: Impact = Impact.NONE
    """As the plan announced it."""


class Engine(Protocol):
    """What makes a node be as its manifests say; the applications bring it."""

    def admit(self, objects: Sequence[AnyObject]) -> None:
        """Raises ProblemsError for manifests that the rules refuse."""
        ...

    def apply(self, root: Path, node: str) -> Applied: ...

    def change(self, root: Path, node: str, put: Sequence[AnyObject], remove: Sequence[Ref]) -> Applied:
        """Put and remove objects as the rules allow, and apply. Raises ProblemsError, LabError."""
        ...

    def steps_left(self, root: Path, node: str, listed: Any = None) -> int:
        """By the node's manifests, or by what `listed` gave. Raises KernelError."""
        ...

    def listed(self, kubeconfig: str) -> Any:
        """The objects of the cluster that it leads to, as they are now, for `steps_left`. Raises KubeError."""
        ...

    def attach(self, root: Path, node: str, pod: Pod, netns: Path) -> Mapping[str, str]:
        """A pod, by the many-NIC plugin: interface -> its first address, without prefix length. Raises LabError."""
        ...

    def wire(self, namespace: int, machine: AnyMachine, directory: Path, *, seen: Path) -> Wired:
        """Make what is between a Pod's interfaces and those of the guest in it. `namespace`: an fd. `directory`, which
        the Pod finds at `seen`: for the configurations of its DHCP servers. Raises KernelError, ServiceError."""
        ...

    def install_plugins(self, root: Path, node: str, bin_dir: Path) -> None:
        """Windrow's CNI plugins, where a container runtime looks for them."""
        ...


class Session:
    """One lab. `path`: where modules are found, for the command `windrow` inside."""

    def __init__(self, engine: Engine, path: list[str]) -> None:
        self._engine = engine
        self._world: World | None = None
        self._caring: threading.Thread | None = None
        self._launchers: Launchers | None = None
        _install_command(path)

    @property
    def world(self) -> World:
        """Raises LabError."""
        if self._world is None:
            raise LabError("this lab has no scenario yet")
        return self._world

    @property
    def has_world(self) -> bool:
        return self._world is not None

    def handlers(self) -> dict[str, Handler]:
        return {
            "up": self.up,
            "apply": self.apply,
            "check": self.check,
            "picture": self.picture,
            "exec": self.exec,
            "cable": self.cable,
            "fault": self.fault,
            "power": self.power,
            "rename-nic": self.rename_nic,
            "api-server": self.api_server,
            "about": self.about,
        }

    def up(self, request: Request) -> Mapping[str, Any]:
        """Build the `scenario`, give every node its manifests, and unless told otherwise (`apply`) make it so."""
        if self._world is not None:
            raise LabError("this lab is up already")
        started = time.monotonic()
        scenario = parse(Texts.from_json(request.document["scenario"]))
        objects = _objects(scenario.manifests)
        everything = [*objects, *(_node_object(n) for n in scenario.nodes)]
        self._engine.admit(everything)
        self._world = world = World(scenario, request.document.get("programs", {}))
        world.build(lambda text: request.log(text, level="step"))
        for node in scenario.nodes if world.cluster is None else ():  # in a cluster, the API server has the objects
            Store(world.root(node.name)).put(everything)
        built = time.monotonic() - started
        request.log(f"built in {built:.2f} s", level="time")
        if world.cluster is not None:
            self._start_cluster(world.cluster, request)
        applied = self.apply(request) if request.document.get("apply", True) else {"ok": True, "nodes": {}}
        return {**applied, "scenario": scenario.name, "built_s": round(built, 3)}

    def apply(self, request: Request) -> Mapping[str, Any]:
        """Every node in turn, then the endpoints whose bridges are there now, then the virtual machines. In a cluster
        of Kubernetes, the API gets the manifests, the nodes follow, and the Pods come last."""
        if self.world.cluster is not None:
            return self._apply_to_cluster(self.world.cluster, request)
        world, nodes, fine = self.world, {}, True
        for node in world.scenario.nodes:
            started = time.monotonic()
            done = self._engine.apply(world.root(node.name), node.name)
            took = time.monotonic() - started
            for complaint in done.complaints:
                request.log(f"{node.name}: {complaint}", level="bad" if not done.ok else "note")
            request.log(f"{node.name}: {done.words} ({took * 1000:.0f} ms)", level="good" if done.ok else "bad")
            nodes[node.name] = {"ok": done.ok, "steps": done.steps, "left": done.left, "ms": round(took * 1000, 1)}
            fine = fine and done.ok
        self._plug_in(request)
        if fine:
            self._attach_pods(request)
            world.fleet.start(lambda text, level: request.log(text, level=level))
        return {"ok": fine, "nodes": nodes}

    def _attach_pods(self, request: Request) -> None:
        """Those that are not there yet; then every node is told where they are. Raises LabError."""
        world, scenario = self.world, self.world.scenario
        manifests = scenario_pods.documents(scenario.pod_manifests)
        new = [pod for pod in scenario.own_pods if pod.station(pod.nics[0]) not in world.pod_addresses]
        objects: list[AnyObject] = []
        for pod in new:
            root, where = world.root(pod.node), netns.RUN_NETNS / pod.name
            document = manifests[pod.reference]
            records.make_place(Paths(root).pods / pod.namespace, flush=False)
            file = Paths(root).pods / pod.namespace / f"{pod.name}.json"
            records.write(file, json.dumps(document).encode(), mode=0o644, flush="nothing")
            found = world.inside(pod.node, partial(self._engine.attach, root, pod.node, pod, where))
            world.pod_addresses |= {f"{pod.name}/{interface}": address for interface, address in found.items()}
            said = ", ".join(f"{interface} {address}" for interface, address in found.items())
            request.log(f"pod {pod.reference} on {pod.node}: {said}", level="good")
            status = {"podIP": found["eth0"], "podIPs": [{"ip": found["eth0"]}]} if "eth0" in found else {}
            objects += _objects({pod.name: json.dumps({**document, "status": status})})
        if objects:
            changes.on_all(world, lambda node: self._engine.change(world.root(node), node, objects, ()))

    def _plug_in(self, request: Request) -> None:
        """The endpoints whose bridges are there. A bridge that is made anew later has none of them in it; machines are
        put back by Windrow, and they by the lab."""
        for name in self.world.attach():
            request.log(f"endpoint {self._endpoint_words(name)}", level="step")
        if self._caring is None and self.world.scenario.endpoints:
            self._caring = threading.Thread(target=self._care, name="endpoints", daemon=True)
            self._caring.start()

    def _care(self) -> None:
        world = self.world
        while not world.closed:
            time.sleep(CARE_S)
            with suppress(KernelError, OSError, KeyError):  # a node's power is cut just now, or the lab ends
                world.replug_stranded()

    def _start_cluster(self, cluster: Cluster, request: Request) -> None:
        """Raises LabError, ServiceError."""
        started = time.monotonic()
        scenario = self.world.scenario
        cluster.start([_node_object(node).doc for node in scenario.nodes])
        request.log(
            f"API server on {cluster.control.host.name}: ready in {time.monotonic() - started:.1f} s", level="good"
        )
        for node in scenario.nodes:
            if cluster.kubelets:
                self._engine.install_plugins(self.world.root(node.name), node.name, cluster.plugins_place(node.name))
            self.world.start_node(node.name)
            request.log(f"{node.name}: {cluster.started_words(node.name)}", level="step")

    def _apply_to_cluster(self, cluster: Cluster, request: Request) -> Mapping[str, Any]:
        scenario = self.world.scenario
        request.log(cluster.apply(scenario.manifests).rstrip() or "kubectl apply: no manifests", level="step")
        left = self._follow(cluster.followers, request)
        self._plug_in(request)
        fine = not any(left.values())
        if cluster.kubelets and fine:
            launchers = self._launchers_of(cluster)
            request.log(cluster.start_pods(scenario.pod_manifests), level="step")
            if launchers is not None:
                launchers.await_guests(lambda text, level: request.log(text, level=level))
        return {"ok": fine, "nodes": {node: {"ok": not n, "left": n} for node, n in left.items()}}

    def _launchers_of(self, cluster: Cluster) -> Launchers | None:
        """They look after the Pods in which machines run; None: there are none. Raises LabError."""
        world = self.world
        if self._launchers is None and world.scenario.vms:
            from windrow.lab.kubernetes.launchers import Launchers  # with all of machines

            world.fleet.prepare()
            self._launchers = Launchers(cluster, world.fleet, world.scenario.vms, self._engine.wire)
            self._launchers.start(lambda: world.closed)
        return self._launchers

    def _follow(self, nodes: Sequence[str], request: Request) -> dict[str, int]:
        """Until the nodes are as the API's objects want them, by another plan than their agents'; how many steps are
        left."""
        from windrow.kube.errors import KubeError  # with what most labs never need

        began = time.monotonic()
        left, waiting = dict.fromkeys(nodes, outage.UNKNOWN), list(nodes)
        while True:
            looked = time.monotonic()
            with suppress(KubeError):
                left |= self._all_steps_left(waiting)
            now = time.monotonic()
            for node in (node for node in waiting if not left[node]):
                request.log(f"{node}: as the cluster's objects want it ({now - began:.1f} s)", level="good")
            waiting = [node for node in waiting if left[node]]
            if not waiting or now - began >= FOLLOW_S:
                break
            time.sleep(max(LOOK_S, now - looked))
        for node in waiting:
            request.log(f"{node}: after {FOLLOW_S:.0f} s {outage.left_words(left[node])}", level="bad")
        return left

    def _steps_left(self, node: str) -> int:
        return self._all_steps_left([node])[node]

    def _all_steps_left(self, nodes: Sequence[str]) -> dict[str, int]:
        """By node; a cluster is asked once for all of them. Raises KernelError, KubeError."""
        world, listed = self.world, None
        if nodes and (cluster := world.cluster) is not None:
            config = str(cluster.control.kubeconfig)
            listed = world.inside(cluster.control.host.name, lambda: self._engine.listed(config))
        return {node: self._engine.steps_left(world.root(node), node, listed) for node in nodes}

    def check(self, request: Request) -> Mapping[str, Any]:
        """The scenario's checks; each result is an EVENT too, as it comes."""
        world = self.world
        world.attach()
        checker = Checker(
            world,
            steps_left=self._steps_left,
            follow=lambda nodes: self._follow(nodes, request),
            change=lambda node, put, remove: self._engine.change(world.root(node), node, put, remove),
        )
        results: list[Result] = []
        for check in world.scenario.checks:
            result = checker.run(check)
            results.append(result)
            level = "good" if result.ok else "bad"
            request.log(result.name, level=level, check=result.to_json())
        return {"ok": all(r.ok for r in results), "checks": [r.to_json() for r in results]}

    def picture(self, request: Request) -> Mapping[str, Any]:
        """As `text` (`columns` wide, with `colour` or without) and as `svg`."""
        from windrow.lab import picture  # with what draws it: most labs are never looked at
        from windrow.render.topology_svg import topology_svg

        drawn = picture.topology(self.world)
        style = Style(colour=bool(request.document.get("colour")))
        return {
            "text": topology_text(drawn, style=style, columns=request.document.get("columns", 120)),
            "svg": topology_svg(drawn, title=self.world.scenario.name),
        }

    def exec(self, request: Request) -> Mapping[str, Any]:
        name = str(request.document.get("node", ""))
        if not name:
            return run(request, Place(name="lab"))
        vm = self.world.scenario.vm(name)
        return self._exec_in_guest(request, vm) if vm else run(request, self.world.place(name))

    def _exec_in_guest(self, request: Request, vm: Vm) -> Mapping[str, Any]:
        """By the guest's agent, so without a terminal and its output at the end; a shell is its console."""
        if request.document.get("shell") and vm.pod:
            raise LabError(f"{vm.name} runs in pod {vm.pod}, and its console is there", hint=f"lab exec {vm.name} …")
        if request.document.get("shell"):
            request.document = {
                **request.document,
                "argv": ["windrow", "vm", "console", "-n", vm.machine.namespace, vm.machine.name],
            }
            return run(request, self.world.place(vm.node))
        if request.document.get("tty"):
            raise LabError(f"{vm.name}: a command in a guest has no terminal", hint=f"windrow lab shell {vm.name}")
        answer = self.world.fleet.run(vm.name, shlex.join(request.document["argv"]))
        request.output(answer.output.encode())
        return {"exit": answer.exit}

    def cable(self, request: Request) -> Mapping[str, Any]:
        """Pull (`up` false) or plug the cable in `end`."""
        device, _, port = str(request.document["end"]).partition(":")
        end = End(device, port)
        if self.world.scenario.peer(end) is None:
            cables = ", ".join(str(c.a) for c in self.world.scenario.cables)
            raise LabError(f"there is no cable in {end}", hint=f"there are cables in {cables}")
        (self.world.plug if request.document["up"] else self.world.pull)(end)
        return {"ok": True}

    def fault(self, request: Request) -> Mapping[str, Any]:
        """Bring about a fault (`words`: its name and arguments) at a switch's port, or take back what is there."""
        switch, _, port = str(request.document["end"]).partition(":")
        if request.document.get("words"):
            name = self.world.break_port(switch, port, tuple(map(str, request.document["words"])))
        else:
            name = self.world.mend(switch, port)
        return {"ok": True, "fault": name}

    def power(self, request: Request) -> Mapping[str, Any]:
        """Cut a node's power (`up` false), or boot it."""
        node = str(request.document["node"])
        (self.world.power.boot if request.document["up"] else self.world.power.cut)(node)
        return {"ok": True}

    def rename_nic(self, request: Request) -> Mapping[str, Any]:
        """The kernel of `node` calls the card `old` `new`, from now on or from its next boot."""
        self.world.power.rename(*(str(request.document[key]) for key in ("node", "old", "new")))
        return {"ok": True}

    def api_server(self, request: Request) -> Mapping[str, Any]:
        """Stop the cluster's API server (`up` false), or start it again. Raises LabError where there is none."""
        if (cluster := self.world.cluster) is None:
            raise LabError("this lab has no API server", hint="write `kubernetes: true` in the scenario's spec")
        (cluster.control.start_server if request.document["up"] else cluster.control.stop_server)()
        return {"ok": True}

    def about(self, request: Request) -> Mapping[str, Any]:
        scenario, cluster = (self._world.scenario, self._world.cluster) if self._world else (None, None)
        return {
            "scenario": scenario.name if scenario else "",
            "places": [*scenario.places(), *(vm.name for vm in scenario.vms)] if scenario else [],
            "nodes": [n.name for n in scenario.nodes] if scenario else [],
            "controlPlane": cluster.control.host.name if cluster else "",
            "ends": sorted({str(end) for c in scenario.cables for end in (c.a, c.b)}) if scenario else [],
        }

    def _endpoint_words(self, name: str) -> str:
        endpoint = next(e for e in self.world.scenario.endpoints if e.name == name)
        addresses: list[str] = [*endpoint.addresses.values()]
        if endpoint.dhcp:
            addresses.append(f"{self.world.leases.get(name, 'no address')} by DHCP")
        return f"{name} on {endpoint.node} in {endpoint.network}: {', '.join(addresses)}"


def missing() -> list[str]:
    """What this kernel cannot do of what a lab needs, in words."""
    found = features.probe()
    lacks = {
        "VLAN filtering in bridges (CONFIG_BRIDGE_VLAN_FILTERING)": found.vlan_filtering,
        "bonding (CONFIG_BONDING)": found.bonding,
        "VLAN interfaces (CONFIG_VLAN_8021Q)": found.vlan_interfaces,
    }
    return [what for what, there in lacks.items() if not there]


def prepare_kernel() -> None:
    """Before anything else: the lab's own loopback."""
    with Rtnl() as rtnl:
        rtnl.run(links.set_link("lo", up=True))


def _objects(manifests: Mapping[str, str]) -> tuple[AnyObject, ...]:
    """Raises ProblemsError."""
    loaded = without_doubles([load_documents(text, file) for file, text in manifests.items()])
    if errors(loaded.problems):
        raise ProblemsError(loaded.problems)
    return loaded.objects


def _node_object(node: Node) -> NodeObject:
    labels = {"kubernetes.io/hostname": node.name, **node.labels}
    doc: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}}
    cidrs = node.pod_cidrs
    annotations: dict[str, str] = {}
    if cidrs:
        doc["spec"] = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)}
    if cidrs and node.management is not None:  # as its agent would say it of its end of the overlay
        own = {ip_address(one).version: one for one in node.management.ips}
        annotations = {family.address: own[family.version] for family in FAMILIES if family.version in own}
        doc["metadata"]["annotations"] = annotations
    meta = Meta(name=node.name, labels=labels, annotations=annotations)
    return NodeObject(meta=meta, doc=doc, pod_cidrs=cidrs)


def _install_command(path: list[str]) -> None:
    """`windrow` for whoever works inside the lab: the same interpreter, the same modules."""
    records.make_place(BIN, flush=False)
    command = BIN / "windrow"
    lines = [f"#!{sys.executable} -IS", "import sys", f"sys.path += {path!r}"]
    lines += ["from windrow.apps.cli.main import main", "main()", ""]
    records.write(command, "\n".join(lines).encode(), mode=0o755, flush="nothing")
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
