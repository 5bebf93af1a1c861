"""A cluster of Kubernetes in a lab: the control plane, and the programs of each node that has power."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from windrow.lab.errors import LabError
from windrow.lab.guest.run import BIN, Place
from windrow.lab.kubernetes import control, image
from windrow.lab.kubernetes.control import Control
from windrow.lab.kubernetes.flannel import Flannel, net_conf
from windrow.lab.kubernetes.node import NodePrograms, Plan
from windrow.lab.kubernetes.programs import CALLED, IN_PODS, OF_FLANNEL, PLUGINS
from windrow.lab.probe import Station
from windrow.lab.scenario import Pod, PodNic, Scenario
from windrow.lab.vm.image import busybox
from windrow.model.attachments import Attached
from windrow.netlink import netns
from windrow.netlink.addresses import dump_addresses
from windrow.netlink.sock import Rtnl
from windrow.services import certificates, process
from windrow.store import records
from windrow.store.attachments import AttachmentRecords
from windrow.store.paths import Paths

Inside = Callable[[Callable[[], str]], str]
PODS_S = 240.0
"""Ten seconds on an idle machine."""
LOOK_S = 2.0
"""At least. Each look is a handshake of TLS, a third of a second of the processor that all wait for."""
NAMES_S = 30.0
CERTIFICATE_DAYS = 30


class Cluster:
    """Of a world. `programs`: what the host built and found; `place`, `root`: of a node or host."""

    def __init__(
        self,
        scenario: Scenario,
        programs: Mapping[str, str],
        place: Callable[[str], Place],
        root: Callable[[str], Path],
    ) -> None:
        assert scenario.kubernetes is not None
        self.control = Control(scenario, programs)
        self.kubelets, self._conformance = scenario.kubernetes.kubelets, scenario.kubernetes.conformance
        self._agents = scenario.kubernetes.agents
        self._flannel = self._flannels(scenario) if scenario.kubernetes.flannel else {}
        self._addresses = {n.name: n.management.ips for n in scenario.nodes if n.management}
        self._programs, self._place, self._root = programs, place, root
        self._nodes: dict[str, NodePrograms] = {}
        self._images: list[Path] = []
        self._netns: dict[str, int] = {}
        """By container."""

    @property
    def followers(self) -> list[str]:
        """The nodes whose agents follow the API's objects from the start."""
        return [node for node in self._addresses if node not in self._flannel] if self._agents else []

    def started_words(self, node: str) -> str:
        """What was started there."""
        names = ["containerd", "kubelet"] if self.kubelets else []
        if node in self._flannel:
            names.append("flannel")
        else:
            names += [*(["the CNI server"] if self.kubelets else []), *(["Windrow's agent"] if self._agents else [])]
        *others, last = names
        return f"{', '.join(others)}{' and ' if others else ''}{last} started"

    # Life -----------------------------------------------------------------------------------------

    def start(self, nodes: Iterable[Mapping[str, Any]]) -> None:
        """The control plane, with these Nodes. Raises LabError, ServiceError."""
        control.install(self._programs, BIN)
        if self.kubelets:
            self._images = [_make_image(control.DIRECTORY / "images/busybox.tar", IMAGES, {})]
        if self._conformance:
            files = _suite_files(Path(self._programs["agnhost"]))
            self._images.append(_make_image(control.DIRECTORY / "images/suite.tar", SUITE_IMAGES, files))
        self.control.start(nodes)

    def start_node(self, node: str) -> None:
        """Raises LabError, ServiceError."""
        made = self._made(node)
        made.start()
        self._nodes[node] = made

    def kill(self, node: str) -> None:
        """As a power cut does."""
        if (running := self._nodes.pop(node, None)) is not None:
            running.kill()

    def close(self) -> None:
        for node in tuple(self._nodes):
            self.kill(node)
        for fd in self._netns.values():
            os.close(fd)
        self.control.close()

    def _made(self, node: str) -> NodePrograms:
        plan = Plan(
            name=node,
            addresses=self._addresses[node],
            windrow=str(BIN / "windrow"),
            windrow_kubeconfig=self.control.agent_kubeconfig(node),
            kubelet_kubeconfig=self.control.kubelet_kubeconfig(node) if self.kubelets else None,
            proxy_kubeconfig=self.control.proxy_kubeconfig if self._conformance else None,
            images=self._images,
            flannel=self._flannel.get(node),
            agent=self._agents,
        )
        return NodePrograms(plan, self._place(node), self._root(node), self._programs)

    def _flannels(self, scenario: Scenario) -> dict[str, Flannel]:
        """By node. Raises LabError."""
        assert scenario.kubernetes is not None
        conf, kubeconfig = net_conf(scenario.manifests), self.control.kubeconfig
        return {
            node.name: Flannel(
                conf=conf, link=node.management.interface, kubeconfig=kubeconfig, pod_cidrs=node.pod_cidrs
            )
            for node in scenario.nodes
            if node.name in scenario.kubernetes.flannel and node.management
        }

    # Places ---------------------------------------------------------------------------------------

    def env(self, place: str) -> dict[str, str]:
        """What a program there finds in its environment: on a node, whose objects count; and for all, which API."""
        found = {"KUBECONFIG": str(self.control.kubeconfig), "KUBECACHEDIR": str(control.DIRECTORY / "cache")}
        if place in self._addresses:
            found["WINDROW_KUBECONFIG"] = str(self.control.kubeconfig)
        return found

    def mounts(self, place: str) -> int:
        """Of a node that runs pods; negative: it has those of all."""
        return self._nodes[place].mounts if self.kubelets and place in self._nodes else -1

    def plugins_place(self, node: str) -> Path:
        """Where the node's containerd looks for plugins, with those of others there already."""
        made = self._made(node)
        records.make_place(made.bin_dir, flush=False)
        for name in OF_FLANNEL if node in self._flannel else CALLED:
            link = made.bin_dir / name
            link.unlink(missing_ok=True)
            link.symlink_to(PLUGINS / name)
        return made.bin_dir

    # Pods -----------------------------------------------------------------------------------------

    def station(self, pod: Pod, nic: PodNic) -> Station:
        """Where a check sends from and listens: inside the pod. Raises LabError."""
        name = pod.station(nic)
        inside = partial(netns.opened_in, self._pod_netns(pod))
        return Station(name, nic.interface, inside, _address(inside, nic, name))

    def _pod_netns(self, pod: Pod) -> int:
        """An fd. Raises LabError."""
        found = self.attached(pod.node, pod.reference)
        if found is None:
            raise LabError(f"pod {pod.reference} has no network on {pod.node}", hint="kubectl describe pod says why")
        if found.container_id not in self._netns:
            self._netns[found.container_id] = self.open(pod.node, found)
        return self._netns[found.container_id]

    def attached(self, node: str, reference: str) -> Attached | None:
        """What the plugin recorded of a Pod (`namespace/name`); None: it has no network there, or the node no power."""
        records_, _ = AttachmentRecords(Paths(self._root(node))).all()
        return next((one for one in records_ if one.pod == reference and node in self._nodes), None)

    def open(self, node: str, attached: Attached) -> int:
        """An fd of its network namespace: what the record calls it, is a path among the node's own mounts.

        Raises LabError."""
        return self._nodes[node].open(attached.netns)

    # Objects --------------------------------------------------------------------------------------

    def apply(self, texts: Mapping[str, str]) -> str:
        """By kubectl. What it said. Raises LabError."""
        return self.control.apply(texts, self._place(self.control.host.name))

    def start_pods(self, texts: Mapping[str, str]) -> str:
        """Until all Pods of the cluster run. Raises LabError: which do not, and what their events say."""
        began = time.monotonic()
        self._wait("nodes are not Ready", lambda: [node for node in self._items("nodes") if not _ready(node)])
        ready_s = time.monotonic() - began
        self.apply(texts)
        self.await_pods()
        return f"nodes Ready after {ready_s:.1f} s, {len(self._items('pods'))} pods {time.monotonic() - began:.1f} s"

    def await_pods(self, gone: frozenset[str] = frozenset()) -> None:
        """Until all Pods run. `gone`: containers that ended, whatever the API still says of them. Raises LabError."""
        self._wait(
            "pods do not run", lambda: [p for p in self._items("pods") if not _ready(p) or _containers(p) & gone]
        )

    def containers(self, node: str) -> frozenset[str]:
        """Of the Pods on this node, as the API has them."""
        return frozenset(
            c for pod in self._items("pods") if pod["spec"].get("nodeName") == node for c in _containers(pod)
        )

    def _wait(self, what: str, waiting: Callable[[], list[dict[str, Any]]]) -> None:
        """`what`: how the error goes on. Raises LabError."""
        asked = time.monotonic()
        end = asked + PODS_S
        while found := waiting():
            self.raise_if_died()
            now = time.monotonic()
            if now > end:
                names = ", ".join(one["metadata"]["name"] for one in found)
                raise LabError(f"after {PODS_S:.0f} s these {what}: {names}\n{self._events()}")
            time.sleep(max(LOOK_S, now - asked))
            asked = time.monotonic()

    def _items(self, plural: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control.get(f"/api/v1/{plural}")["items"]
        return found

    def _events(self) -> str:
        found = [event for event in self._items("events") if event.get("type") == "Warning"]
        return "\n".join(
            f"{e['involvedObject'].get('name')}: {e.get('reason')}: {e.get('message')}" for e in found[-8:]
        )

    def raise_if_died(self) -> None:
        """Raises LabError: which program of the control plane or of which node ended, and its last words."""
        if said := self.control.died():
            raise LabError(said, hint=f"its log is in {control.DIRECTORY}")
        for name, node in self._nodes.items():
            if said := node.died():
                raise LabError(f"{name}: {said}", hint=f"its logs are in {self._root(name) / 'var/log'}")


def _ready(document: Mapping[str, Any]) -> bool:
    """Of a Node or a Pod."""
    conditions = document.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _containers(pod: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(one.get("containerID", "") for one in pod.get("status", {}).get("containerStatuses", ()))


def _address(inside: Inside, nic: PodNic, name: str) -> str:
    """The first of IPv4, without its length; empty: it has none. Raises LabError."""

    def look() -> str:
        with Rtnl() as rtnl:
            index = rtnl.indexes().get(nic.interface)
            if index is None:
                raise LabError(f"{name}: the pod has no {nic.interface}")
            cidrs = dump_addresses(rtnl).given.get(index, {})
            return next((cidr.partition("/")[0] for cidr in cidrs if ":" not in cidr), "")

    return inside(look)


IMAGES = {image.PAUSE: image.SLEEP, image.BUSYBOX: image.SLEEP}
SUITE_IMAGES = {
    image.SUITE_AGNHOST: image.AGNHOST,
    image.SUITE_BUSYBOX: image.SHELL,
    image.SUITE_PAUSE: image.SLEEP,
}


def _make_image(path: Path, starts: Mapping[str, image.Start], more: Mapping[str, bytes]) -> Path:
    """What each node's containerd imports. Raises LabError."""
    program = busybox()
    applets = process.run([str(program), "--list"], timeout_s=NAMES_S).split()
    records.make_place(path.parent, flush=False)
    data = image.archive(starts, image.busybox_layer(program.read_bytes(), applets, more))
    records.write(path, data, mode=records.SHARED, flush="nothing")
    return path


def _suite_files(agnhost: Path) -> dict[str, bytes]:
    """What the suite's pods run beside busybox: agnhost, curl, nc and sh of this host with their libraries, and a
    certificate that agnhost's image has for whoever serves HTTPS. Raises ServiceError."""
    curl, nc, sh = map(str, IN_PODS.values())
    named = re.findall(r"(/\S+) \(0x", process.run(["ldd", curl, nc, sh], timeout_s=NAMES_S))
    files = {"/agnhost": agnhost.read_bytes(), "/bin/nc": Path(nc).read_bytes(), "/bin/sh": Path(sh).read_bytes()}
    with tempfile.TemporaryDirectory() as place:
        pair = certificates.make_authority(Path(place), "localhost", days=CERTIFICATE_DAYS)
    files |= {"/localhost.crt": pair.certificate, "/localhost.key": pair.key}
    return files | {path: Path(path).read_bytes() for path in (curl, *named)}
