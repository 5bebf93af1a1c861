"""flannel's device becomes Windrow's and goes back, on a kernel in memory: what is refused, and what is left over."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.clihost import CliHost
from tests.unit.test_overlay import HEAD, host_network, mgmt, node

from windrow.model.host import FdbEntry, Link, Route, Vxlan
from windrow.model.ruletable import FORGED, RuleTable
from windrow.model.steps import AddAddr, AddFdb, AddNeighbour, AddRoute, CreateLink, Failure, SetLink
from windrow.model.values import Cidr, IfName, Mac
from windrow.model.verbatim import onlink, permanent
from windrow.render.text import timestamp
from windrow.store.adopted import read_adopted
from windrow.testing.builders import step
from windrow.testing.fake import Crashed, FakeKernel

FLANNEL = IfName("flannel.1")
BOOT = 3
"""RTPROT_BOOT: of whoever names no protocol, as flannel does."""
OWN, FAR = Mac("02:00:00:00:0a:01"), Mac("02:00:00:00:0b:02")
UPLINK = (
    f"{HEAD}kind: VlanConfig\nmetadata: {{name: m, annotations: {{windrow.io/managed: 'true'}}}}\n"
    "spec: {clusterNetwork: mgmt, uplink: {nics: [eth1]}}\n"
)


def data(mac: str) -> str:
    return json.dumps({"VNI": 1, "VtepMAC": mac})


class Host(CliHost):
    """Node a, whose management network is Windrow's, and whose overlay is flannel's with node b."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, FakeKernel(), "a")
        self.kernel.add_nic("eth1", up=True)
        self.store(self.others())
        self.run("apply")

    def others(self, *more: str) -> str:
        a = node("a", "10.52.0.0/24", "10.50.0.1", backend_data=data(OWN))
        b = node("b", "10.52.1.0/24", "10.50.0.2", backend_data=data(FAR))
        return "".join((UPLINK, host_network(50, {"a": "10.50.0.1/24", "b": "10.50.0.2/24"}), a, b, *more))

    def store(self, text: str) -> None:
        place = self.root / "etc/windrow/manifests"
        place.mkdir(parents=True, exist_ok=True)
        (place / "all.yaml").write_text(text)

    def run_flannel(self, port: int = 8472) -> None:
        """As its VXLAN back end leaves the kernel."""
        spec = Vxlan(vni=1, port=port, local="10.50.0.1")
        link = Link(name=FLANNEL, spec=spec, mtu=1450, mac=OWN, mark=False)
        actions = [
            *(CreateLink(link), SetLink(up=True), AddAddr(Cidr("10.52.0.0/32"))),
            AddNeighbour(replace(permanent("10.52.1.0", FAR), protocol=0)),
            AddFdb(FdbEntry(mac=FAR, dst="10.50.0.2")),
            AddRoute(self.way("10.52.1.0/24")),
        ]
        for action in actions:
            assert self.kernel.run([step(FLANNEL, action)]) is None, action
        self.kernel.machine.devices[FLANNEL].group = 0
        self.kernel.machine.devices[FLANNEL].altnames.clear()

    def way(self, network: str) -> Route:
        return replace(onlink(Cidr(network), network.partition("/")[0], FLANNEL), protocol=BOOT)

    def routes(self) -> set[tuple[str, int]]:
        return {(r.dst, r.protocol) for r in self.kernel.observe().state.routes if r.dev == FLANNEL}

    @property
    def index(self) -> int:
        return self.kernel.machine.devices[FLANNEL].index

    def owned(self) -> bool:
        return self.kernel.observe().owned(FLANNEL)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.run_flannel()
    made.store(mgmt() + made.others())
    return made


def test_beside_flannel_its_device_is_left_alone_and_nothing_is_wrong(host: Host) -> None:
    before = str(host.kernel)
    said = host.run("apply")
    assert "flannel.1 is there and Windrow did not make it" in said.output
    assert "windrow overlay adopt" in said.output
    assert str(host.kernel) == before
    assert "overlay flannel.1  MTU 1450  made by others" in host.run("status").stdout


def test_it_becomes_windrows_as_it_is(host: Host) -> None:
    index = host.index
    said = host.run("overlay", "adopt")
    assert "flannel.1 is Windrow's" in said.stdout
    link = host.kernel.observe().state.links[FLANNEL]
    assert (host.index, host.owned(), link.mac) == (index, True, OWN)
    assert {n.address for n in link.neighbours} == {"10.52.1.0"}
    assert link.fdb == frozenset({FdbEntry(mac=FAR, dst="10.50.0.2")})
    assert host.routes() == {("10.52.1.0/24", BOOT)}, "one that flannel made just so is as good as ours"
    host.run("diff")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_what_is_adopted_already_is_no_error(host: Host, more: tuple[str, ...]) -> None:
    """And it says since when, and what to do."""
    host.run("overlay", "adopt")
    before, record = str(host.kernel), read_adopted(host.paths)
    (one,) = record.marked
    said = host.run("overlay", "adopt", *more)
    assert f"flannel.1 is Windrow's already, taken over from flanneld at {timestamp(one.at)}" in said.stdout
    assert "nothing to do" in said.stdout and "windrow overlay adopt --undo" in said.output
    assert (str(host.kernel), read_adopted(host.paths)) == (before, record)


def test_a_dry_run_does_nothing(host: Host) -> None:
    before = str(host.kernel)
    assert "flannel.1 would be Windrow's" in host.run("overlay", "adopt", "--dry-run").stdout
    assert (str(host.kernel), read_adopted(host.paths).marked) == (before, ())


def test_what_changes_of_the_far_ends_is_told_before_and_nothing_else(host: Host) -> None:
    assert "FDB" not in host.run("overlay", "adopt", "--dry-run").stdout, "flannel has the entry that is wanted"
    gone = FdbEntry(mac=Mac("0a:00:00:00:00:77"), dst="10.50.0.77")
    host.kernel.machine.devices[FLANNEL].fdb.add(gone)
    said = host.run("overlay", "adopt", "--dry-run", "--max-impact", "flap").stdout
    assert [line for line in said.splitlines() if "FDB" in line and "10.50.0.77" in line], said
    assert f"FDB entry {FAR}" not in said


def test_ways_that_flannel_made_go_with_their_node(host: Host) -> None:
    host.run("overlay", "adopt")
    host.store(mgmt() + host.others().partition("---\napiVersion: v1\nkind: Node\nmetadata: {name: b,")[0])
    host.run("apply")
    assert host.routes() == set()


def test_a_route_of_others_over_it_that_is_no_way_to_a_node_stays(host: Host) -> None:
    mine = replace(onlink(Cidr("10.99.0.0/16"), "10.52.1.0", FLANNEL), protocol=BOOT)
    assert host.kernel.run([step(FLANNEL, AddRoute(mine))]) is None
    host.run("overlay", "adopt")
    assert ("10.99.0.0/16", BOOT) in host.routes()


def test_a_way_that_flannel_left_behind_goes(host: Host) -> None:
    assert host.kernel.run([step(FLANNEL, AddRoute(host.way("10.52.77.0/24")))]) is None
    host.run("overlay", "adopt", "--max-impact", "flap")
    assert host.routes() == {("10.52.1.0/24", BOOT)}


def test_and_back_it_is_as_it_was(host: Host) -> None:
    index = host.index
    host.run("overlay", "adopt")
    assert "flannel.1 is left to flanneld" in host.run("overlay", "adopt", "--undo").stdout
    assert (host.index, host.owned(), read_adopted(host.paths).marked) == (index, False, ())
    before = str(host.kernel)
    host.run("apply")
    assert str(host.kernel) == before


def test_flannel_gets_it_back_without_the_rules_that_follow_the_nodes(host: Host) -> None:
    """Left behind, with no agent that knows of a new node or address, they would drop its packets for ever."""
    host.run("overlay", "adopt")
    assert FORGED in host.kernel.policy_table.chains and host.kernel.policy_table.sets
    said = host.run("overlay", "adopt", "--undo", "--dry-run")
    assert "would be left" in said.stdout and FORGED in host.kernel.policy_table.chains
    host.run("overlay", "adopt", "--undo")
    assert host.kernel.policy_table == RuleTable()


def test_what_is_not_given_back_is_tried_again_as_it_was(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("overlay", "adopt")
    known = read_adopted(host.paths).marked
    with monkeypatch.context() as once:
        once.setattr(host.kernel, "run", lambda steps: Failure(step=steps[0], errno=16, reason="is busy"))
        assert "is busy" in host.run("overlay", "adopt", "--undo", code=1).stderr
    assert host.owned() and read_adopted(host.paths).marked == known != ()
    host.run("overlay", "adopt", "--undo")
    assert (host.owned(), read_adopted(host.paths).marked) == (False, ())


@pytest.mark.parametrize(("back", "steps"), [(False, 0), (False, 1), (True, 0), (True, 1), (True, 2)])
def test_killed_anywhere_it_goes_on_from_there(host: Host, back: bool, steps: int) -> None:
    """While devices are marked or given back (a round that is killed is tests/agent's): the next round makes and cuts
    off nothing, and the same command ends what it began."""
    words = ("overlay", "adopt", "--undo") if back else ("overlay", "adopt")
    if back:
        host.run("overlay", "adopt")
    before = host.index, {dst for dst, _ in host.routes()}
    host.kernel.crash_after(steps)
    with suppress(Crashed, AssertionError):  # the latter: it ends with another exit code
        host.run(*words)
    host.kernel.recover()
    host.run("apply")
    if host.owned() is back:
        host.run(*words)
    host.run("apply")
    assert (host.index, {dst for dst, _ in host.routes()}) == before
    assert host.owned() is not back
    assert (FORGED in host.kernel.policy_table.chains) is not back


def test_a_device_that_windrow_made_can_be_left_to_flannel_too(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.store(mgmt() + host.others())
    host.run("apply")
    index = host.index
    host.run("overlay", "adopt", "--undo")
    assert (host.index, host.owned()) == (index, False)
    said = host.run("overlay", "adopt", "--undo", code=1)
    assert "no device of the overlay is Windrow's on this node" in said.stderr


def test_what_would_have_to_be_made_anew_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.run_flannel(port=4789)
    host.store(mgmt() + host.others())
    before = str(host.kernel)
    said = host.run("overlay", "adopt", code=1)
    assert "flannel.1 has VNI 1 and port 4789, and the overlay of mgmt has VNI 1 and port 8472" in said.stderr
    assert str(host.kernel) == before


def test_what_is_no_tunnel_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.kernel.add_nic(FLANNEL)
    host.store(mgmt() + host.others())
    assert "the overlay's devices are vxlan" in host.run("overlay", "adopt", code=1).stderr


def test_where_there_is_nothing_to_take_over(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert "there is no overlay" in host.run("overlay", "adopt", code=1).stderr
    host.store(mgmt() + host.others())
    assert "there is no device of the overlay here (flannel.1)" in host.run("overlay", "adopt", code=1).stderr
    host.run("apply")
    assert "flannel.1 is Windrow's already, which made it: nothing to do" in host.run("overlay", "adopt").stdout
