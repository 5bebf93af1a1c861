"""Three nodes on two switches with a trunk between them, and processes that check at the same time on all of them."""

from __future__ import annotations

import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.lab.asked import Asked

from windrow.apps.check import alone
from windrow.apps.check.intent import Intent, intent_of
from windrow.apps.check.told import Told
from windrow.apps.engine import look, plan_node
from windrow.apps.known import known
from windrow.apps.labguest import LabEngine
from windrow.frames.probe import ETHERTYPE
from windrow.lab.scenario_file import Texts
from windrow.lab.session import Session
from windrow.lab.world import World
from windrow.model.cluster import Cluster
from windrow.model.values import PortVlans, VidSet
from windrow.netlink import links
from windrow.netlink.kernel import Kernel
from windrow.store.directory import Store
from windrow.store.paths import Paths

ETH_P_ALL = 0x0003
NODES = ("n1", "n2", "n3")
SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {{name: check}}
spec:
  nodes:
    - {{name: n1, labels: {{mode: backup}}, nics: [eth0, eth1]}}
    - {{name: n2, labels: {{mode: lacp}}, nics: [eth0, eth1]}}
    - {{name: n3, labels: {{mode: backup}}, nics: [eth0, eth1]}}
  switches:
    - name: s1
      ports:
        - {{names: [p3, p4]}}
        - {{names: [p1, p2, isl, p9], native: 1, vlans: "{vlans}"}}
      groups:
        - {{name: lag, mode: lacp, ports: [p3, p4], native: 1, vlans: "{vlans}"}}
    - name: s2
      ports: [{{names: [p5, p6], native: 1, vlans: "{vlans}"}}, {{name: isl, native: 1, vlans: "{vlans}"}}]
  hosts:
    - {{name: other, role: host, nics: [{{name: eth0, addresses: {{10: 10.0.10.9/24}}}}]}}
  cables:
    - ["n1:eth0", "s1:p1"]
    - ["n1:eth1", "s1:p2"]
    - ["n2:eth0", "s1:p3"]
    - ["n2:eth1", "s1:p4"]
    - ["n3:eth0", "s2:p5"]
    - ["n3:eth1", "s2:p6"]
    - ["s1:isl", "s2:isl"]
    - ["other:eth0", "s1:p9"]
  endpoints:
    - {{name: guest, node: n3, network: v10, address: 10.0.10.11/24}}
    - {{name: trunk, node: n1, network: all, addresses: {{10: 10.0.10.12/24}}}}
"""
MANIFESTS = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: backup}
spec:
  clusterNetwork: oob
  nodeSelector: {mode: backup}
  uplink: {nics: [eth0, eth1], bondOptions: {mode: active-backup, miimon: 100}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: lacp}
spec:
  clusterNetwork: oob
  nodeSelector: {mode: lacp}
  uplink: {nics: [eth0, eth1], bondOptions: {mode: 802.3ad, miimon: 100, lacpRate: fast}}
"""
NAD = """\
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: {name}, namespace: default}}
spec:
  config: '{{"cniVersion":"0.3.1","name":"{name}","type":"bridge","bridge":"{network}-br",{vlans}}}'
"""


class Checked:
    """A lab that is up: its nodes are as their manifests want them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cluster = Cluster.of(Store(world.root(NODES[0])).load().objects)
        self.begun: list[float] = []
        self.ended: list[float] = []

    def is_within(self, at: float) -> bool:
        """Whether all were checking at that time, in the last check."""
        return max(self.begun) < at < min(self.ended)

    def intent(self, node: str) -> tuple[Intent, Cluster]:
        paths = Paths(self.world.root(node))
        cluster = Cluster.of(Store(paths.root).load().objects)
        with Kernel(node) as kernel:
            sight = look(kernel, node, known(paths))
        planned = plan_node(cluster, sight)
        assert not planned.plan.steps, planned.plan.steps
        return intent_of(cluster, planned.compiled, sight.observed, sight.facts), cluster

    def check(
        self, nodes: tuple[str, ...] = NODES, seconds: float | None = None, meanwhile: Callable[[], None] | None = None
    ) -> dict[str, Told]:
        """`windrow check` on these nodes at once; what each of them knows in the end."""
        found: dict[str, Told] = {}
        self.begun, self.ended = [], []
        errors: list[BaseException] = []

        def one(node: str) -> None:
            try:
                found[node] = self.world.inside(node, lambda: self._check(node, seconds))
            except BaseException as error:  # noqa: BLE001 - it is raised in the test's thread
                errors.append(error)

        threads = [threading.Thread(target=one, args=(node,)) for node in nodes]
        for thread in threads:
            thread.start()
        if meanwhile is not None:
            meanwhile()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return found

    def _check(self, node: str, seconds: float | None) -> Told:
        intent, cluster = self.intent(node)
        with alone.probing(Paths(self.world.root(node)), intent) as driver:
            self.begun.append(time.monotonic())
            found = alone.check(driver, intent, cluster, seconds)
            self.ended.append(time.monotonic())
            return found

    # Faults ---------------------------------------------------------------------------------------

    @contextmanager
    def without_vlan(self, switch: str, port: str, *vids: int) -> Iterator[None]:
        rtnl = self.world.rtnl(switch)
        rtnl.run(links.delete_vlans(rtnl.index(port), VidSet.of(vids), name=port))
        try:
            yield
        finally:
            rtnl.run(links.add_vlans(rtnl.index(port), PortVlans(tagged=VidSet.of(vids)), name=port))


@contextmanager
def checked(vlans: str = "10,20,30") -> Iterator[Checked]:
    vids = list(VidSet.parse(vlans))
    trunk = ",".join(f'{{"id": {vid}}}' for vid in vids)
    nads = [NAD.format(name="all", network="oob", vlans=f'"vlanTrunk": [{trunk}]')]
    nads += [nad(f"v{vid}", "oob", vid) for vid in vids[:3]]
    with brought_up(SCENARIO.format(vlans=vlans), MANIFESTS + "".join(nads)) as lab:
        settle(lab, "n2")
        yield lab


def nad(name: str, network: str, vid: int) -> str:
    return NAD.format(name=name, network=network, vlans=f'"vlan": {vid}')


@contextmanager
def brought_up(scenario: str, manifests: str) -> Iterator[Checked]:
    texts = Texts("check.yaml", scenario, {"manifests.yaml": manifests})
    session = Session(LabEngine(), sys.path)
    try:
        session.up(Asked(scenario=texts.to_json()))  # type: ignore[arg-type]
        yield Checked(session.world)
    finally:
        if session.has_world:
            session.world.close()


def settle(lab: Checked, *nodes: str) -> None:
    """Until LACP has agreed: before that one leg does not send."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        legs = [
            leg for node in nodes for network in lab.intent(node)[0].networks for leg in network.legs if network.vids
        ]
        if all(leg.sends for leg in legs):
            return
        time.sleep(0.2)
    raise AssertionError("LACP did not agree")


class Capture:
    """All frames of our EtherType that a place sees on one of its NICs, with a tag or without."""

    def __init__(self, lab: Checked, place: str, nic: str) -> None:
        self.frames: list[tuple[float, bytes]] = []
        self.all = 0
        self._ending = False
        self._socket = lab.world.inside(place, lambda: self._open(nic))
        self._thread = threading.Thread(target=self._run)

    @staticmethod
    def _open(nic: str) -> socket.socket:
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        found.bind((nic, ETH_P_ALL))
        return found

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._ending:
                if selector.select(0.1):
                    data, address = self._socket.recvfrom(65535)
                    self.all += 1
                    if address[1] == ETHERTYPE or b"\x88\xb5" in (data[12:14], data[16:18]):
                        self.frames.append((time.monotonic(), data))

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join()
        self._socket.close()
