"""A change that may lock its host out, on a kernel in memory: kept, undone, cut off anywhere, recovered."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.standins import StandIn

from windrow.apps.engine import look
from windrow.apps.round import Hooks, Policy, Report, Stored, carry_out, guarded
from windrow.apps.safe import probe, seed
from windrow.apps.safe.peers import login, peers
from windrow.apps.safe.recover import Recovered, recover
from windrow.apps.safe.undo import plan_back, undo
from windrow.apps.site import Site
from windrow.model.bonding import BondMode
from windrow.model.checkpoint import Checkpoint, Probe, ProbeKind, Stage
from windrow.model.cluster import Cluster
from windrow.model.connections import NO_SOCKETS, Connection, Sockets
from windrow.model.host import Bridge, Details, Route
from windrow.model.neighbours import NOBODY, Neighbour, Peer, Router, Surroundings
from windrow.model.objects import AddressMode, AnyObject
from windrow.model.ports import PORT_GROUP
from windrow.model.problems import ProblemsError, errors
from windrow.model.processes import Process
from windrow.model.selectors import LabelSelector, Operator, Requirement
from windrow.model.steps import AddRoute, AwaitCarrier, Failure, Impact, Step
from windrow.model.values import Cidr, IfName
from windrow.model.verbatim import onlink
from windrow.netlink.errors import KernelError
from windrow.netlink.lock import locked
from windrow.netlink.reach import Answers, Target, Way
from windrow.plan import normalise
from windrow.rules import Wish
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
    around: Surroundings = NOBODY
    sockets: Callable[[], Sockets] = lambda: NO_SOCKETS
    way: str = "mgmt-br"
    """By which link every peer is answered."""

    def __post_init__(self) -> None:
        self.kernel = FakeKernel().add_nic("eth0", up=True).add_nic("eth1", up=True)
        self.kernel.machine.add_addr(self.kernel.machine.get("eth0"), "10.0.0.10/24")
        self.kernel.add_route(Route(dst="default", dev=IfName("eth0"), gateway="10.0.0.1", protocol=3))
        self.before = self.state()

    @property
    def site(self) -> Site:
        return Site(
            paths=Paths(self.root),
            node=NODE,
            kernel=self.kernel,
            open_kernel=lambda: self.kernel,
            ask=self.ask,
            watch=self.watch,
            surroundings=lambda _: self.around,
            sockets=lambda _: self.sockets(),
            ways=lambda _, peers: frozenset({IfName(self.way)}) if peers else frozenset(),
        )

    def ask(self, targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        quiet = self.deaf | (self.silent if "mgmt-br" in self.kernel.machine.devices else set())
        return {t: frozenset() if t.address in quiet else BOTH if t.dev else frozenset({Way.PING}) for t in targets}

    def watch(self, site: Site, checkpoint: Checkpoint) -> Process:
        assert self.watched or "mgmt-br" not in self.kernel.machine.devices, "before the first step"
        self.watched.append(checkpoint.id)
        return DEAD

    def state(self) -> tuple[str, dict[str, str]]:
        directory = Paths(self.root).manifests
        files = {p.name: p.read_text() for p in directory.glob("*")} if directory.is_dir() else {}
        return str(self.kernel), files

    def addresses(self, link: str) -> frozenset[str]:
        return frozenset(self.kernel.observe().state.links[IfName(link)].addrs or ())

    def seed(self, **ask: Any) -> tuple[AnyObject, ...]:
        cluster = Cluster.of(Store(self.root).load().objects)
        sight = look(self.kernel, NODE)
        made = seed.design(cluster, sight.facts, sight.observed, seed.Ask(**{"nics": ("eth0",), **ask}), {})
        assert not made.problems
        return made.objects

    def change(self, objects: Sequence[AnyObject] | None = None, **more: Any) -> Report:
        hooks = more.pop("hooks", Hooks())
        policy = replace(Policy(made_by="test", consent=True, allowed_s=0.0), **more)
        wish = Wish(put=tuple(self.seed() if objects is None else objects))
        return carry_out(self.site, Stored(Paths(self.root)), wish, policy, hooks)

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


def test_a_host_that_nobody_can_reach_has_nothing_to_lose(host: Host) -> None:
    """As after a power cut in the middle of a change, where nobody answers: it must come up, and not be refused."""
    host.kernel.machine.routes.clear()
    objects = host.seed()
    host.kernel.machine.del_addr(host.kernel.machine.get("eth0"), "10.0.0.10/24")
    host.deaf = {"10.0.0.1"}
    result = host.change(objects)
    assert (result.stage, host.addresses("mgmt-br")) == (Stage.CONFIRMED, {"10.0.0.10/24"})
    assert result.said == "there is no gateway, nor did anybody else; mgmt-bo has carrier"


def test_where_nobody_answers_nothing_is_kept_in_silence(host: Host) -> None:
    """It is refused beforehand, with what to do; or somebody confirms it; or carrier was said to be enough."""
    host.deaf = {"10.0.0.1"}
    with pytest.raises(ProblemsError) as caught:
        host.change()
    assert "nobody answers it now" in str(caught.value) and "--confirm" in str(caught.value)
    assert (host.state(), host.watched) == (host.before, [])
    assert host.change(can_confirm=True, allowed_s=60.0).stage is Stage.WAITING
    assert undo(host.site, host.last(), "taken back") is not None
    result = host.change(probes=(Probe(kind=ProbeKind.NONE),))
    assert (result.stage, result.said) == (Stage.CONFIRMED, "nothing else was asked for; mgmt-bo has carrier")


@pytest.mark.parametrize(
    ("around", "who"),
    [
        (Surroundings(neighbours=(Neighbour(IfName("eth0"), "10.0.0.7"),)), "the neighbours on eth0"),
        (Surroundings(routers=(Router(IfName("eth0"), "10.0.0.9", 100),)), "the gateway of another table"),
    ],
)
def test_without_a_gateway_somebody_else_decides(host: Host, around: Surroundings, who: str) -> None:
    """No default route in the main table: a VLAN that the switch lacks must be undone all the same."""
    host.kernel.machine.routes.clear()
    host.before, host.around = host.state(), around
    (address,) = [n.address for n in (*around.neighbours, *around.routers)]
    host.silent = {address}
    result = host.change()
    assert (result.stage, host.state()) == (Stage.UNDONE, host.before)
    assert f"{who}: {address} no longer answers, and did before" in result.said
    host.silent = set()
    assert host.change().said == f"there is no gateway; {address} answers, as before"


def test_half_an_answer_of_a_neighbour_is_none_either(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bond that spreads by MAC address sends ARP, which asks everybody, by the good NIC, and all the rest by the one
    in another VLAN."""
    host.kernel.machine.routes.clear()
    host.before = host.state()
    host.around = Surroundings(neighbours=(Neighbour(IfName("eth0"), "10.0.0.7"),))
    every, ways = host.ask, {Way.ARP}

    def half(targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        left = ways if "mgmt-br" in host.kernel.machine.devices else BOTH
        return {t: found & left for t, found in every(targets, timeout_s, enough).items()}

    monkeypatch.setattr(host, "ask", half)
    result = host.change()
    assert (result.stage, host.state()) == (Stage.UNDONE, host.before)
    assert "10.0.0.7 no longer answers ping, and did before" in result.said


def test_whoever_is_logged_in_must_get_back_in(host: Host) -> None:
    """Also where the gateway answers: he may come over another one."""
    host.silent = {"192.0.2.9"}
    result = host.change(login=Peer("192.0.2.9", "10.0.0.10"))
    assert (result.stage, host.state()) == (Stage.UNDONE, host.before)
    assert "who is logged in: 192.0.2.9 no longer answers" in result.said


def _only(*nodes: str) -> LabelSelector:
    return LabelSelector(requirements=(Requirement(key="kubernetes.io/hostname", operator=Operator.IN, values=nodes),))


def test_one_of_the_other_nodes_is_enough(host: Host) -> None:
    host.deaf, host.silent = {"10.0.0.1"}, {"10.0.0.11"}
    vc, network = host.seed()
    others = builders.host_network("mgmt", 7, {"n2": "10.0.0.11/24", "n3": "10.0.0.12/24"})
    others = replace(others, meta=replace(others.meta, name="others"), node_selector=_only("n2", "n3"))
    result = host.change((vc, network, others))
    assert (result.stage, result.said.partition("; ")[2]) == (Stage.CONFIRMED, "10.0.0.12 answers, as before")


def test_a_neighbour_of_a_network_that_was_left_on_purpose_says_nothing(host: Host) -> None:
    host.kernel.machine.routes.clear()
    host.before = host.state()
    host.around = Surroundings(neighbours=(Neighbour(IfName("eth0"), "10.0.0.7"),))
    result = host.change(host.seed(addresses=("10.5.0.10/24",), gateways=("10.5.0.1",)))
    assert (result.stage, result.said) == (Stage.CONFIRMED, "the gateway 10.5.0.1 answers (ARP, ping)")
    other = Host(host.root / "other", around=host.around)
    other.kernel.machine.routes.clear()
    other.before = other.state()
    result = other.change(other.seed(addresses=("10.5.0.10/24",)))
    assert (result.stage, other.state()) == (Stage.UNDONE, other.before)
    assert "nobody else who answered before can be asked now" in result.said


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


OLD, NEW = Connection("10.0.0.10", 22, "10.0.0.7", 50001), Connection("10.0.0.10", 22, "10.0.0.7", 50002)
INCOMING = Probe(kind=ProbeKind.INCOMING)


def arriving(*after: Connection, begun: Sequence[Connection] = (), port: int = 22) -> Callable[[], Sockets]:
    """`OLD` is open; once somebody has looked before the change, and after it, `after` are, too."""
    looks: list[int] = []

    def sockets() -> Sockets:
        looks.append(1)
        opened = {OLD, *(after if len(looks) > 2 else ())}
        return Sockets(listening=frozenset({port}), opened=frozenset(opened), begun=frozenset(begun))

    return sockets


def test_a_new_connection_over_the_changed_links_proves_it(host: Host) -> None:
    host.sockets, asked = arriving(NEW), []
    result = host.change(probes=(INCOMING,), hooks=Hooks(waits_for=asked.append))
    assert (result.stage, result.said) == (
        Stage.CONFIRMED,
        "10.0.0.7 opened a new connection to port 22 after the change",
    )
    assert asked == [
        "open a new connection to this host now, for example a second SSH session: without one the change is undone "
        "after 0 s"
    ]


@pytest.mark.parametrize(
    ("sockets", "way", "wanted"),
    [
        (arriving(), "mgmt-br", INCOMING),
        (arriving(begun=[NEW]), "mgmt-br", INCOMING),
        (arriving(NEW, begun=[NEW]), "mgmt-br", INCOMING),
        (arriving(NEW), "oob-br", INCOMING),
        (arriving(NEW), "mgmt-br", replace(INCOMING, port=2022)),
    ],
    ids=["was open", "handshake not over", "began before", "by another link", "to another port"],
)
def test_a_connection_that_proves_nothing(host: Host, sockets: Callable[[], Sockets], way: str, wanted: Probe) -> None:
    host.sockets, host.way = sockets, way
    result = host.change(probes=(wanted,))
    assert (result.stage, host.state()) == (Stage.UNDONE, host.before)
    assert "nobody opened a new connection" in result.said


def test_what_came_in_is_told_beside_the_gateway_and_does_not_outvote_it(host: Host) -> None:
    host.silent, host.sockets = {"10.0.0.1"}, arriving(NEW)
    assert "the gateway 10.0.0.1 does not answer" in host.change().said
    assert host.state() == host.before
    host.silent, host.sockets = set(), arriving(NEW)
    assert host.change().said == (
        "the gateway 10.0.0.1 answers (ARP, ping), as before; "
        "10.0.0.7 opened a new connection to port 22 after the change"
    )


def test_what_came_in_decides_where_nobody_else_can(host: Host) -> None:
    """The neighbour who answered is in a network that the host left on purpose: nobody is left to be asked."""
    host.kernel.machine.routes.clear()
    host.around = Surroundings(neighbours=(Neighbour(IfName("eth0"), "10.0.0.7"),))
    objects = host.seed(addresses=("10.5.0.10/24",))
    host.sockets = arriving(NEW)
    result = host.change(objects)
    assert result.stage is Stage.CONFIRMED
    assert result.said.endswith("can be asked now; 10.0.0.7 opened a new connection to port 22 after the change")


def test_it_waits_for_somebody_to_confirm_it(host: Host) -> None:
    result = host.change(confirm=True, allowed_s=60.0)
    assert result.stage is Stage.WAITING
    with pytest.raises(ProblemsError) as caught:
        host.change()
    assert "is not confirmed yet; it is undone in" in str(caught.value)
    assert undo(host.site, host.last(), "taken back") is not None
    assert host.state() == host.before
    assert undo(host.site, host.last(), "twice") is None, "it is decided"


def test_a_step_that_fails_undoes_it(host: Host) -> None:
    host.kernel.fail_at(5)
    result = host.change()
    assert result.stage is Stage.UNDONE
    assert result.said.startswith("a step failed: ")
    assert host.state() == host.before


def test_addresses_that_others_have_elsewhere_are_left_out_and_told_and_take_nothing_back(host: Host) -> None:
    """On a host with a gateway every change of addresses is guarded."""
    taken = {"10.8.0.1": "52:54:00:00:00:99", "2001:db8:9::1": "52:54:00:00:00:98", "10.9.0.1": "52:54:00:00:00:97"}
    host.kernel.taken.update(taken)
    storage = builders.host_network("oob", 300, {NODE: "10.8.0.1/24,2001:db8:8::1/64"})
    backup = builders.host_network("oob", 301, {NODE: "10.9.0.1/24,2001:db8:9::1/64"})
    uplink = builders.cluster_network("oob"), builders.vlan_config("oob", ["eth1"])
    result = host.change((*uplink, storage, backup), consent=False)
    assert host.watched, "it is guarded"
    assert (result.stage, result.ok) == (Stage.CONFIRMED, False)
    assert result.converged is not None
    said = {failure.reason for failure in result.converged.outcome.failed}
    assert said == {f"somebody else has {address} (MAC {mac})" for address, mac in taken.items()}
    assert host.addresses("oob-br.300") == {"2001:db8:8::1/64"} and host.addresses("oob-br.301") == set()
    host.kernel.taken.clear()
    assert host.change((), consent=False).ok
    assert host.addresses("oob-br.301") == {"10.9.0.1/24", "2001:db8:9::1/64"}


def test_ctrl_c_undoes_it(host: Host) -> None:
    seen = []

    def on_step(step: Any, failure: Any) -> None:
        seen.append(step)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host.change(hooks=Hooks(on_step=on_step))
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
    assert result.plan.impact.rank >= Impact.FLAP.rank
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
    assert result.ok and kernel.machine.get("eth1").master is kernel.machine.get("mgmt-bo")
    assert bool(host.watched) == guarded
    assert result.stage == (Stage.CONFIRMED if guarded else None)


def test_a_wish_about_the_management_network_is_its_own_consent(host: Host) -> None:
    assert host.change(consent=False).stage is Stage.CONFIRMED
    assert host.watched


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
        patched.setattr(guarded, "undo", lambda *_, **__: None)
        patched.setattr(process, "found", lambda pid: DEAD)
        try:
            host.change(hooks=Hooks(on_step=on_step))
        except Died:
            return True
    return False


def test_cut_off_after_any_step_it_is_undone_by_whoever_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = 1
    while cut_off(host := Host(tmp_path / str(after)), after, monkeypatch):
        found = recover(host.site)
        assert found is not None and found.stage is Stage.UNDONE
        assert "whoever made the change is gone" in found.said
        assert host.state() == host.before
        assert recover(host.site) is None, "once"
        after += 1
    assert after > 10


def test_a_start_of_the_host_undoes_what_nobody_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path)
    assert cut_off(host, 8, monkeypatch)
    assert host.state()[1] != host.before[1]
    fresh = Host(tmp_path / "kernel").kernel
    (Paths(tmp_path).runtime / "boot").unlink()
    found = recover(replace(host.site, kernel=fresh))
    assert found is not None and found.said == "the host was started anew before the change was confirmed"
    assert (str(fresh), host.state()[1]) == host.before
    assert host.last().stage is Stage.UNDONE


def test_what_was_made_after_that_start_is_undone_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody was faster, and brought the host to the manifests that nobody confirmed."""
    host = Host(tmp_path)
    assert cut_off(host, 11, monkeypatch)
    (Paths(tmp_path).runtime / "boot").unlink()
    assert recover(host.site) is not None
    assert host.state() == host.before


def test_a_change_elsewhere_that_was_cut_off_is_left_to_be_finished(host: Host) -> None:
    cn = builders.cluster_network("oob")
    host.change((cn, builders.vlan_config("oob", ["eth1"])), consent=False)
    assert host.change((builders.vlan_config("oob", ["eth1"], "balance-rr"),), consent=False).stage
    file = Checkpoints(Paths(host.root))
    file.put(replace(host.last(), id="x", stage=Stage.CHANGING, changer=DEAD))
    found = recover(host.site)
    assert isinstance(found, Recovered)
    assert (found.stage, found.said) == (Stage.CONFIRMED, "it was cut off in the middle; the next plan finishes it")


def test_a_waiting_change_gets_another_watchdog(host: Host) -> None:
    host.change(confirm=True, allowed_s=60.0)
    alive = process.found(os.getpid())
    site = replace(host.site, watch=lambda _site, _found: alive)
    found = recover(site)
    assert found is not None and "a new one is at work" in found.said
    assert recover(site) is None, "it is in good hands"
    assert host.last().stage is Stage.WAITING


def test_past_its_deadline_it_is_undone(host: Host) -> None:
    host.change(confirm=True, allowed_s=0.0)
    found = recover(host.site)
    assert found is not None and found.said == "nobody confirmed it within 0 s"
    assert host.state() == host.before


def test_manifests_that_cannot_be_put_back_keep_it_pending(host: Host) -> None:
    """The network is as it was; what the manifests ask for must not be done again."""
    host.change(confirm=True, allowed_s=60.0)
    broken = Paths(host.root).manifests / "broken.yaml"
    broken.write_text(f"# {next(iter(host.last().documents)).name}\nkind: [")
    done = undo(host.site, host.last(), "taken back")
    assert done is not None and not done.ok
    assert str(host.kernel) == host.before[0]
    assert host.last().stage is Stage.UNDOING
    with pytest.raises(ProblemsError):
        host.change()
    broken.unlink()
    again = undo(host.site, host.last(), "taken back")
    assert again is not None and again.ok
    assert host.state() == host.before


def test_a_container_on_the_new_bridge_does_not_hold_the_host_up(host: Host) -> None:
    want = normalise(host.kernel.observe(), frozenset({IfName("eth0")}))
    host.change(confirm=True, allowed_s=60.0)
    host.kernel.add(builders.link("veth1", "veth", up=True, master="mgmt-br"), group=PORT_GROUP)
    assert not plan_back(want, host.kernel.observe()).refusals
    done = undo(host.site, host.last(), "taken back")
    assert done is not None and done.ok
    assert {"veth1", "eth0"} <= set(host.kernel.machine.devices)
    assert "mgmt-br" not in host.kernel.machine.devices


def test_what_comes_back_takes_nobody_for_a_router_either(host: Host) -> None:
    made = host.seed()
    host.change(made)
    before = host.kernel.machine.get("mgmt-br")
    assert before.settings["ipv6/accept_ra"] == "0"
    policy = Policy(made_by="test", guard=True, consent=True, confirm=True, allowed_s=0.0)
    carry_out(host.site, Stored(Paths(host.root)), Wish(remove=made), policy, Hooks())
    assert host.last().stage is Stage.UNDONE
    after = host.kernel.machine.get("mgmt-br")
    assert after.index != before.index, "it was deleted, and made anew"
    assert after.settings["ipv6/accept_ra"] == "0"


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
        ("incoming", "incoming"),
        ("incoming:22", "incoming:22"),
    ],
)
def test_probes_as_people_write_them(text: str, again: str) -> None:
    assert str(probe.parse_probe(text)) == again


@pytest.mark.parametrize(
    "text", ["", "host.example", "tcp:10.0.0.1", "tcp:10.0.0.1:0", "tcp:x:22", "10.0.0.0/24", "incoming:", "incoming:0"]
)
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


def test_a_router_that_no_network_has_is_asked_over_the_link_of_its_route() -> None:
    """By ARP, too: some answer nothing else."""
    kernel = FakeKernel().add_nic("eth0", up=True).add_nic("eth1", up=True)
    kernel.machine.add_addr(kernel.machine.get("eth1"), "10.0.0.10/24")
    kernel.machine.add_addr(kernel.machine.get("eth0"), "203.0.113.5/32")
    kernel.machine.add_addr(kernel.machine.get("eth0"), "2001:db8::5/128")
    kernel.add_route(onlink(Cidr("0.0.0.0/0"), "192.0.2.1", IfName("eth0")))
    kernel.add_route(onlink(Cidr("::/0"), "2001:db8:9::1", IfName("eth0")))
    observed = kernel.observe()
    assert probe.target("192.0.2.1", observed) == Target(address="192.0.2.1", dev="eth0", source="203.0.113.5")
    assert probe.target("2001:db8:9::1", observed) == Target(address="2001:db8:9::1"), "there is no ARP"


def test_who_else_is_asked() -> None:
    config = builders.host_network("mgmt", 0, {NODE: "10.0.0.10/24", "n2": "10.0.0.11/24", "n3": "10.0.0.12/24"})
    cluster = Cluster.of([config])
    assert peers(cluster, NODE) == ("10.0.0.11", "10.0.0.12")
    assert login("10.0.0.99 51234 10.0.0.10 22") == Peer("10.0.0.99", "10.0.0.10")
    assert login("fe80::9%eth0 51234 fe80::1%eth0 22") == Peer("fe80::9", "fe80::1")
    assert login("127.0.0.1 51234 127.0.0.1 22") is None, "nobody comes over the network"
    assert login("nonsense") is None and login("") is None


def test_an_address_for_a_time_beside_a_static_one_is_no_servers(host: Host) -> None:
    device = host.kernel.machine.get("eth0")
    host.kernel.machine.add_addr(device, "10.61.0.1/24", Details(static=False, valid_until=1e9))
    sight = look(host.kernel, NODE)
    dynamic = {IfName("eth0"): {Cidr("10.61.0.1/24"): 3000}}
    found = seed.design(Cluster.of(()), sight.facts, sight.observed, seed.Ask(nics=("eth0",)), dynamic)
    assert not errors(found.problems) and found.leased is None
    assert (found.host_network.mode, found.host_network.ips[NODE]) == (AddressMode.STATIC, ("10.0.0.10/24",))


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


# -- the way back ----------------------------------------------------------------------------------


class Stubborn(StandIn):
    """A kernel that refuses some steps: on the way back, everything else is to be done all the same."""

    def __init__(self, kernel: FakeKernel) -> None:
        super().__init__(kernel)
        self.refused = set[type]()

    def run(self, steps: Sequence[Step]) -> Failure | None:
        for number, one in enumerate(steps):
            if type(one.action) in self.refused:
                failure = self.kernel.run(steps[:number]) if number else None
                return failure or Failure(step=one, errno=errno.ENETUNREACH, reason="Network is unreachable")
        return self.kernel.run(steps)


def test_a_step_that_the_kernel_refuses_stops_nothing_else_on_the_way_back(host: Host) -> None:
    """It stays UNDOING until a look says that all is as it was, and whoever comes next tries again."""
    host.kernel.add_route(Route(dst="10.9.0.0/16", dev=IfName("eth0"), gateway="10.0.0.9", protocol=4))
    host.before = host.state()
    host.change(confirm=True, allowed_s=60.0)
    stubborn = Stubborn(host.kernel)
    stubborn.refused = {AddRoute}
    site = replace(host.site, kernel=stubborn)
    done = undo(site, host.last(), "taken back")
    assert done is not None and "routes" in done.left
    assert "10.0.0.10/24" in host.addresses("eth0"), "the address is back"
    assert "mgmt-br" not in host.kernel.machine.devices
    assert host.last().stage is Stage.UNDOING and host.last().left == done.left
    assert [e.reason for e in Events(Paths(host.root)).all()] == ["ChangeNotUndone"]
    assert recover(site, again_s=60.0) is None, "not at once again"
    assert (again := recover(site)) is not None and again.stage is Stage.UNDOING
    stubborn.refused.clear()
    assert (last := recover(site)) is not None and last.stage is Stage.UNDONE
    assert last.said == "taken back"
    assert host.state() == host.before


def test_every_verb_first_tries_the_way_back_again(host: Host) -> None:
    host.change(confirm=True, allowed_s=60.0)
    stubborn = Stubborn(host.kernel)
    stubborn.refused = {AddRoute}
    undo(replace(host.site, kernel=stubborn), host.last(), "taken back")
    told: list[str] = []
    result = carry_out(host.site, Stored(Paths(host.root)), hooks=Hooks(tell=lambda p: told.append(p.message)))
    assert told == ["the change by `test` is undone: taken back"]
    assert (result.ok, host.state()) == (True, host.before)


def test_ctrl_c_while_a_plan_waits_undoes_it_under_the_lock(host: Host) -> None:
    """No CNI call may come between: the steps of the way back are as alone as those of the way there."""
    seen: list[bool] = []

    class Interrupted(Stubborn):
        waits = True

        def run(self, steps: Sequence[Step]) -> Failure | None:
            if self.waits and any(isinstance(one.action, AwaitCarrier) for one in steps):
                self.waits = False
                raise KeyboardInterrupt
            if not self.waits:
                seen.append(_cni_gets_in(Paths(host.root)))
            return self.kernel.run(steps)

    host.change(host.seed(mode=BondMode.BALANCE_XOR, nics=("eth0", "eth1")))
    before = host.state()
    kernel = Interrupted(host.kernel)
    wish = Wish(put=host.seed(mode=BondMode.ACTIVE_BACKUP, nics=("eth0", "eth1")))
    with pytest.raises(KeyboardInterrupt):
        carry_out(
            replace(host.site, kernel=kernel), Stored(Paths(host.root)), wish, Policy(consent=True, allowed_s=0.0)
        )
    assert seen and not any(seen)
    assert host.state() == before


def _cni_gets_in(paths: Paths) -> bool:
    try:
        with locked(paths.lock, shared=True, timeout_s=0):
            return True
    except KernelError:
        return False


# -- what is asked of the kernel -------------------------------------------------------------------


def test_a_change_takes_two_looks_and_a_quiet_round_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    observe = host.kernel.observe
    monkeypatch.setattr(host.kernel, "observe", lambda: looks.append(1) or observe())
    objects = (builders.cluster_network("oob"), builders.vlan_config("oob", ["eth1"]))
    host.change(objects, consent=False)
    assert len(looks) == 2, "before and after"
    looks.clear()
    assert host.change((), consent=False).plan.empty
    assert len(looks) == 1


@pytest.mark.parametrize("what", ["a link to nothing", "a pipe"])
def test_a_file_that_cannot_be_read_keeps_no_undo_from_its_end(host: Host, what: str) -> None:
    """Else it would be `undoing` for ever, and every command would refuse to work beside it."""
    directory = Paths(host.root).manifests
    directory.mkdir(parents=True)
    host.silent = {"10.0.0.1"}

    def meanwhile(*_: Any) -> None:
        (directory / "x.yaml").symlink_to("nowhere") if what == "a link to nothing" else os.mkfifo(directory / "x.yaml")

    result = host.change(hooks=Hooks(writing=meanwhile))
    assert (result.stage, result.undone and result.undone.left) == (Stage.UNDONE, "")
