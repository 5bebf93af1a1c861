"""A change that may lock its host out, on a kernel in memory: kept, undone, cut off anywhere, recovered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.cli.change import documents
from windrow.apps.cli.preview import Wish
from windrow.apps.engine import look
from windrow.apps.safe import change, probe, seed
from windrow.apps.safe.change import Proposal, Result, Terms, carry_out_safely
from windrow.apps.safe.ground import Ground
from windrow.apps.safe.peers import peers
from windrow.apps.safe.recover import Recovered, recover
from windrow.apps.safe.undo import plan_back, undo
from windrow.model.bonding import BondMode
from windrow.model.checkpoint import Checkpoint, Probe, ProbeKind, Stage
from windrow.model.cluster import Cluster
from windrow.model.host import Bridge, Details, Route
from windrow.model.objects import AnyObject
from windrow.model.ports import PORT_GROUP
from windrow.model.problems import ProblemsError
from windrow.model.processes import Process
from windrow.model.steps import Impact
from windrow.model.values import IfName
from windrow.netlink.reach import Answers, Target, Way
from windrow.plan import normalise
from windrow.services import process
from windrow.store.checkpoints import Checkpoints
from windrow.store.directory import Store
from windrow.store.events import Events
from windrow.store.paths import Paths
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

NODE = "n1"
BOTH = frozenset({Way.ARP, Way.PING})
DEAD = Process(pid=2**22 - 1, started=1)


@dataclass
class Host:
    """`eth0` has the address and the default route. `silent`: who does not answer once something has changed."""

    root: Path
    silent: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    """Who never answers."""
    watched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernel = FakeKernel().add_nic("eth0", up=True).add_nic("eth1", up=True)
        self.kernel.machine.add_addr(self.kernel.machine.get("eth0"), "10.0.0.10/24")
        self.kernel.add_route(Route(dst="default", dev=IfName("eth0"), gateway="10.0.0.1", protocol=3))
        self.before = self.state()

    @property
    def ground(self) -> Ground:
        return Ground(
            paths=Paths(self.root), node=NODE, open_kernel=lambda: self.kernel, ask=self.ask, watch=self.watch
        )

    def ask(self, targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        quiet = self.deaf | (self.silent if "mgmt-br" in self.kernel.machine.devices else set())
        return {t: frozenset() if t.address in quiet else BOTH if t.dev else frozenset({Way.PING}) for t in targets}

    def watch(self, ground: Ground, checkpoint: Checkpoint) -> Process:
        assert "mgmt-br" not in self.kernel.machine.devices, "before the first step"
        self.watched.append(checkpoint.id)
        return DEAD

    def state(self) -> tuple[str, dict[str, str]]:
        directory = Paths(self.root).manifests
        files = {p.name: p.read_text() for p in directory.glob("*")} if directory.is_dir() else {}
        return str(self.kernel), files

    def seed(self, **ask: Any) -> tuple[AnyObject, ...]:
        cluster = Cluster.of(Store(self.root).load().objects)
        sight = look(self.kernel, NODE)
        made = seed.design(cluster, sight.facts, sight.observed, seed.Ask(nics=("eth0",), **ask), {})
        assert not made.problems
        return made.objects

    def proposal(self, objects: Sequence[AnyObject], **terms: Any) -> Proposal:
        store = Store(self.root)
        before, wish = Cluster.of(store.load().objects), Wish(put=tuple(objects))
        return Proposal(
            cluster=wish.after(before),
            documents=documents(wish.changes(before)),
            write=lambda: store.put(objects) and None,
            made_by="test",
            terms=replace(Terms(consent=True, allowed_s=0.0), **terms),
        )

    def change(self, objects: Sequence[AnyObject] | None = None, **terms: Any) -> Result:
        proposal = self.proposal(self.seed() if objects is None else objects, **terms)
        return carry_out_safely(self.ground, self.kernel, proposal)

    def last(self) -> Checkpoint:
        found = Checkpoints(Paths(self.root)).get()
        assert found is not None
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_gateway_that_answers_keeps_it(host: Host) -> None:
    result = host.change()
    assert (result.stage, result.said) == (Stage.CONFIRMED, "the gateway 10.0.0.1 answers (ARP, ping), as before")
    assert host.watched == [result.checkpoint]
    assert "mgmt-br" in host.kernel.machine.devices
    assert host.last().stage is Stage.CONFIRMED
    assert len(Store(host.root).load().objects) == 2


def test_a_gateway_that_does_not_undoes_it(host: Host) -> None:
    host.silent = {"10.0.0.1"}
    result = host.change()
    assert (result.stage, result.said) == (Stage.UNDONE, "after 0 s the gateway 10.0.0.1 does not answer")
    assert result.undone and result.undone.ok and result.undone.steps
    assert host.state() == host.before
    (event,) = Events(Paths(host.root)).all()
    assert (event.reason, str(event.about)) == ("ChangeUndone", "Node/n1")
    assert event.message == "the change by `test` was undone: after 0 s the gateway 10.0.0.1 does not answer"


def test_half_an_answer_is_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answered ping before: with only ARP left, the host is not where it was."""
    every = host.ask

    def half(targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        ways = {Way.ARP} if "mgmt-br" in host.kernel.machine.devices else BOTH
        return {t: found & ways for t, found in every(targets, timeout_s, enough).items()}

    monkeypatch.setattr(host, "ask", half)
    assert "the gateway 10.0.0.1 does not answer ping, and did before" in host.change().said
    assert host.state() == host.before


def test_a_new_gateway_has_to_answer_though_nobody_knew_it(host: Host) -> None:
    host.silent = {"10.0.0.99"}
    result = host.change(host.seed(gateways=("10.0.0.99",)))
    assert (result.stage, host.state()) == (Stage.UNDONE, host.before)
    assert "the gateway 10.0.0.99 does not answer" in result.said
    host.silent = set()
    assert "the gateway 10.0.0.99 answers (ARP, ping)" in host.change(host.seed(gateways=("10.0.0.99",))).said


def test_a_gateway_that_never_answered_proves_nothing(host: Host) -> None:
    host.deaf = {"10.0.0.1"}
    result = host.change()
    assert result.stage is Stage.CONFIRMED
    why = "the gateway did not answer before either, nor did anybody else; mgmt-bo has carrier"
    assert result.said == why
    assert host.state() != host.before


def test_then_somebody_else_decides(host: Host) -> None:
    host.deaf, host.silent = {"10.0.0.1"}, {"10.0.0.7"}
    result = host.change(peers=("10.0.0.7", "10.0.0.8"))
    assert (result.stage, result.said.partition("; ")[2]) == (Stage.CONFIRMED, "10.0.0.8 answers, as before")


def test_nobody_left_of_those_who_answered(host: Host) -> None:
    host.deaf, host.silent = {"10.0.0.1"}, {"10.0.0.7"}
    result = host.change(peers=("10.0.0.7",))
    assert (result.stage, host.state()) == (Stage.UNDONE, host.before)


def test_no_carrier_is_no_proof(host: Host) -> None:
    host.deaf = {"10.0.0.1"}
    host.kernel.pull("eth0")
    host.before = host.state()
    result = host.change(probes=(Probe(kind=ProbeKind.NONE),))
    assert (result.stage, host.state()) == (Stage.UNDONE, host.before)
    assert "has no carrier" in result.said


def test_what_the_user_names_must_answer(host: Host) -> None:
    named = (Probe(kind=ProbeKind.PING, host="192.0.2.9"), Probe(kind=ProbeKind.TCP, host="10.0.0.5", port=22))
    assert host.change(probes=named).said == "192.0.2.9 answers (ping); tcp:10.0.0.5:22 answers (ARP, ping)"
    other = Host(host.root / "other", silent={"192.0.2.9"})
    assert other.change(probes=named).said.endswith("192.0.2.9 does not answer")
    assert other.state() == other.before


def test_it_waits_for_somebody_to_confirm_it(host: Host) -> None:
    result = host.change(confirm=True, allowed_s=60.0)
    assert result.stage is Stage.WAITING
    with pytest.raises(ProblemsError) as caught:
        host.change()
    assert "is not confirmed yet; it is undone in" in str(caught.value)
    assert undo(host.ground, host.kernel, host.last(), "taken back") is not None
    assert host.state() == host.before
    assert undo(host.ground, host.kernel, host.last(), "twice") is None, "it is decided"


def test_a_step_that_fails_undoes_it(host: Host) -> None:
    host.kernel.fail_at(5)
    result = host.change()
    assert result.stage is Stage.UNDONE
    assert result.said.startswith("a step failed: ")
    assert host.state() == host.before


def test_ctrl_c_undoes_it(host: Host) -> None:
    seen = []

    def on_step(step: Any, failure: Any) -> None:
        seen.append(step)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out_safely(host.ground, host.kernel, host.proposal(host.seed()), on_step)
    assert len(seen) == 5
    assert host.state() == host.before
    assert host.last().stage is Stage.UNDONE


def test_a_plan_that_costs_nothing_needs_no_checkpoint(host: Host) -> None:
    objects = (builders.cluster_network("oob"), builders.vlan_config("oob", ["eth1"]))
    assert host.change(objects, consent=False).stage is None
    assert host.watched == []
    assert Checkpoints(Paths(host.root)).get() is None


def test_a_flap_elsewhere_makes_one_and_nobody_stands_by(host: Host) -> None:
    cn = builders.cluster_network("oob")
    host.change((cn, builders.vlan_config("oob", ["eth1"])), consent=False)
    result = host.change((builders.vlan_config("oob", ["eth1"], "balance-rr"),), consent=False)
    assert result.report.planned.plan.impact.rank >= Impact.FLAP.rank
    assert (result.stage, result.said) == (Stage.CONFIRMED, "the plan went through")
    assert host.watched == []


@pytest.mark.parametrize(("mode", "guarded"), [("active-backup", False), ("balance-xor", True)])
def test_a_nic_that_comes_back_into_a_bond_that_shares_the_traffic_is_watched(
    host: Host, mode: str, guarded: bool
) -> None:
    """A repair, to which nobody consented."""
    kernel = host.kernel
    two = seed.Ask(nics=("eth0", "eth1"), mode=BondMode(mode))
    sight = look(kernel, NODE)
    objects = seed.design(Cluster.of(()), sight.facts, sight.observed, two, {}).objects
    assert host.change(objects).stage is Stage.CONFIRMED
    host.watched.clear()
    kernel.machine.set_master(kernel.machine.get("eth1"), None)
    host.watch = lambda ground, made: host.watched.append(made.id) or DEAD  # type: ignore[assignment,func-returns-value]
    result = host.change((), consent=False)
    assert result.report.ok and kernel.machine.get("eth1").master is kernel.machine.get("mgmt-bo")
    assert bool(host.watched) == guarded
    assert result.stage == (Stage.CONFIRMED if guarded else None)


def test_without_consent_the_guard_refuses(host: Host) -> None:
    result = host.change(consent=False)
    assert not result.report.ok
    assert {"protected", "nic-has-addresses"} <= {p.code for p in result.report.left.refusals}


# -- cut off ---------------------------------------------------------------------------------------


class Died(BaseException):
    """The process is gone: nothing of it runs any more."""


def cut_off(host: Host, after: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A change whose process ends after so many steps; whether it had that many."""
    count = 0

    def on_step(step: Any, failure: Any) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise Died

    with monkeypatch.context() as patched:
        patched.setattr(change, "undo", lambda *_, **__: None)
        patched.setattr(process, "found", lambda pid: DEAD)
        try:
            carry_out_safely(host.ground, host.kernel, host.proposal(host.seed()), on_step)
        except Died:
            return True
    return False


def test_cut_off_after_any_step_it_is_undone_by_whoever_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = 1
    while cut_off(host := Host(tmp_path / str(after)), after, monkeypatch):
        found = recover(host.ground, host.kernel)
        assert found is not None and found.stage is Stage.UNDONE
        assert "whoever made the change is gone" in found.said
        assert host.state() == host.before
        assert recover(host.ground, host.kernel) is None, "once"
        after += 1
    assert after > 10


def test_a_start_of_the_host_undoes_what_nobody_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path)
    assert cut_off(host, 8, monkeypatch)
    assert host.state()[1] != host.before[1]
    fresh = Host(tmp_path / "kernel").kernel
    (Paths(tmp_path).runtime / "boot").unlink()
    found = recover(host.ground, fresh)
    assert found is not None and found.said == "the host was started anew before the change was confirmed"
    assert (str(fresh), host.state()[1]) == host.before
    assert host.last().stage is Stage.UNDONE


def test_what_was_made_after_that_start_is_undone_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody was faster, and brought the host to the manifests that nobody confirmed."""
    host = Host(tmp_path)
    assert cut_off(host, 11, monkeypatch)
    (Paths(tmp_path).runtime / "boot").unlink()
    assert recover(host.ground, host.kernel) is not None
    assert host.state() == host.before


def test_a_change_elsewhere_that_was_cut_off_is_left_to_be_finished(host: Host) -> None:
    cn = builders.cluster_network("oob")
    host.change((cn, builders.vlan_config("oob", ["eth1"])), consent=False)
    assert host.change((builders.vlan_config("oob", ["eth1"], "balance-rr"),), consent=False).stage
    file = Checkpoints(Paths(host.root))
    file.put(replace(host.last(), id="x", stage=Stage.CHANGING, changer=DEAD))
    found = recover(host.ground, host.kernel)
    assert isinstance(found, Recovered)
    assert (found.stage, found.said) == (Stage.CONFIRMED, "it was cut off in the middle; the next plan finishes it")


def test_a_waiting_change_gets_another_watchdog(host: Host) -> None:
    host.change(confirm=True, allowed_s=60.0)
    alive = process.found(os.getpid())
    ground = replace(host.ground, watch=lambda _ground, _found: alive)
    found = recover(ground, host.kernel)
    assert found is not None and "a new one is at work" in found.said
    assert recover(ground, host.kernel) is None, "it is in good hands"
    assert host.last().stage is Stage.WAITING


def test_past_its_deadline_it_is_undone(host: Host) -> None:
    host.change(confirm=True, allowed_s=0.0)
    found = recover(host.ground, host.kernel)
    assert found is not None and found.said == "nobody confirmed it within 0 s"
    assert host.state() == host.before


def test_manifests_that_cannot_be_put_back_keep_it_pending(host: Host) -> None:
    """The network is as it was; what the manifests ask for must not be done again."""
    host.change(confirm=True, allowed_s=60.0)
    broken = Paths(host.root).manifests / "broken.yaml"
    broken.write_text("kind: [")
    done = undo(host.ground, host.kernel, host.last(), "taken back")
    assert done is not None and not done.ok
    assert str(host.kernel) == host.before[0]
    assert host.last().stage is Stage.UNDOING
    with pytest.raises(ProblemsError):
        host.change()
    broken.unlink()
    again = undo(host.ground, host.kernel, host.last(), "taken back")
    assert again is not None and again.ok
    assert host.state() == host.before


def test_a_container_on_the_new_bridge_does_not_hold_the_host_up(host: Host) -> None:
    want = normalise(host.kernel.observe(), frozenset({IfName("eth0")}))
    host.change(confirm=True, allowed_s=60.0)
    host.kernel.add(builders.link("veth1", "veth", up=True, master="mgmt-br"), group=PORT_GROUP)
    assert not plan_back(want, host.kernel.observe()).refusals
    done = undo(host.ground, host.kernel, host.last(), "taken back")
    assert done is not None and done.ok
    assert {"veth1", "eth0"} <= set(host.kernel.machine.devices)
    assert "mgmt-br" not in host.kernel.machine.devices


# -- probes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("gateway", "gateway"),
        ("none", "none"),
        ("10.0.0.1", "10.0.0.1"),
        ("FD00::1", "fd00::1"),
        ("tcp:10.0.0.1:22", "tcp:10.0.0.1:22"),
        ("tcp:[fd00::1]:443", "tcp:[fd00::1]:443"),
    ],
)
def test_probes_as_people_write_them(text: str, again: str) -> None:
    assert str(probe.parse_probe(text)) == again


@pytest.mark.parametrize("text", ["", "host.example", "tcp:10.0.0.1", "tcp:10.0.0.1:0", "tcp:x:22", "10.0.0.0/24"])
def test_what_is_no_probe(text: str) -> None:
    with pytest.raises(ValueError):
        probe.parse_probe(text)


def test_the_way_to_a_target_and_to_the_gateways() -> None:
    kernel = FakeKernel().add_nic("eth0", up=True).add(builders.link("br0", Bridge(), up=True))
    kernel.machine.add_addr(kernel.machine.get("eth0"), "10.0.0.10/24")
    kernel.machine.add_addr(kernel.machine.get("br0"), "10.1.0.10/32")
    for gateway, metric in (("10.0.0.1", 100), ("10.0.0.2", 50)):
        kernel.add_route(Route(dst="default", dev=IfName("eth0"), gateway=gateway, metric=metric))
    observed = kernel.observe()
    assert probe.default_gateways(observed) == ("10.0.0.2",)
    assert probe.target("10.0.0.2", observed) == Target(address="10.0.0.2", dev="eth0", source="10.0.0.10")
    assert probe.target("10.1.0.10", observed) == Target(address="10.1.0.10"), "a /32 has nobody on its link"
    assert probe.target("192.0.2.1", observed).dev == ""


def test_who_else_is_asked() -> None:
    config = builders.host_network("mgmt", 0, {NODE: "10.0.0.10/24", "n2": "10.0.0.11/24", "n3": "10.0.0.12/24"})
    cluster = Cluster.of([config])
    assert peers(cluster, NODE, "10.0.0.99 51234 10.0.0.10 22") == ("10.0.0.99", "10.0.0.11", "10.0.0.12")
    assert peers(cluster, NODE, "nonsense") == ("10.0.0.11", "10.0.0.12")


def test_an_address_for_a_time_says_what_is_on_its_link_too() -> None:
    """As one from a DHCP server is: without its link the gateway could not be asked by ARP."""
    kernel = FakeKernel().add_nic("eth0", up=True)
    device = kernel.machine.get("eth0")
    kernel.machine.add_addr(device, "10.0.0.10/24", Details(static=False, valid_until=1e9))
    kernel.machine.add_addr(device, "fe80::77/64", Details(static=False))
    observed = kernel.observe()
    assert observed.state.links[IfName("eth0")].addrs == frozenset()
    assert probe.target("10.0.0.2", observed) == Target(address="10.0.0.2", dev="eth0", source="10.0.0.10")
    assert probe.target("fe80::1", observed).source == ""
