"""Rounds of the agent, on a kernel in memory and a clock of the test's own: manifests good and bad, drift, fights,
failures, a full disk, another one's lock."""

from __future__ import annotations

import errno
import io
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.agent.metrics import complaints
from windrow.apps.known import agent_status
from windrow.apps.round import Source
from windrow.apps.site import Site
from windrow.model.agentstatus import Claim
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.events import Condition
from windrow.model.findings import Certainty, Finding, Fix, Grade, Reason
from windrow.model.host import Bond, HostState, Link, Observed, VlanIf
from windrow.model.problems import Problem, Severity
from windrow.model.processes import Process
from windrow.model.steps import Action, AskAddr, DelAddr, DeleteLink, Failure, SetBond, SetLink, SetMaster, Step
from windrow.model.values import Cidr, IfName, Mac, Ref
from windrow.netlink.lock import locked
from windrow.netlink.reach import Answers, Target, Way
from windrow.services import process
from windrow.status.findings import GONE, OUTSIDE, Outside
from windrow.store import boot, records
from windrow.store.checkpoints import Checkpoints
from windrow.store.directory import Store
from windrow.store.events import Events
from windrow.store.lastgood import read_last_good
from windrow.store.paths import Paths
from windrow.testing.builders import step
from windrow.testing.fake import FakeKernel

CONFIG = Ref("VlanConfig", "oob")
HERE = Ref("Node", "n1")
NETWORK = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
"""
UPLINK = """\
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec:
  clusterNetwork: oob
  uplink:
    nics: [eth1, eth2]
    bondOptions: {mode: active-backup, miimon: 100}
"""
NAD = """\
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v100, namespace: default}
spec:
  config: '{"cniVersion":"0.3.1","name":"v100","type":"bridge","bridge":"oob-br","promiscMode":true,"vlan":100}'
"""
OOB = NETWORK + UPLINK + NAD


class Host:
    """A node with an agent, whose clocks stand still unless the test moves them."""

    def __init__(self, root: Path) -> None:
        self.paths, self.kernel = Paths(root), FakeKernel()
        for name in ("eth0", "eth1", "eth2", "eth3"):
            self.kernel.add_nic(name, up=True)
        self.mono, self.now = 1000.0, 1e9
        self.log = io.StringIO()
        self.paths.manifests.mkdir(parents=True)
        self.keeper = self.agent()

    source: Source | None = None

    def agent(self) -> Keeper:
        return Keeper(self.site, Log(self.log, clock=lambda: self.now), self.source)

    @property
    def site(self) -> Site:
        return Site(
            paths=self.paths,
            node="n1",
            kernel=self.kernel,
            watch=lambda _site, _checkpoint: Process(pid=2**22 - 1, started=1),
            ask=lambda *asked: self.ask(*asked),
            open_kernel=lambda: self.kernel,
            clock=lambda: self.now,
            mono=lambda: self.mono,
        )

    def ask(self, targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        return dict.fromkeys(targets, frozenset(Way))

    def write(self, text: str, name: str = "oob.yaml") -> Path:
        """Long ago, so that nobody takes it for a file that is still being written."""
        path = self.paths.manifests / name
        path.write_text(text)
        os.utime(path, (self.now - 3600, self.now - 3600))
        return path

    def round(self) -> None:
        self.keeper.round(reread=True)

    def start(self, text: str = OOB) -> None:
        self.write(text)
        self.round()
        assert self.keeper.well, self.keeper.status

    def restart(self, *, power_cut: bool = False, taken: Mapping[str, str] = {}) -> None:
        """`taken`: the addresses that somebody else has by then."""
        self.keeper = self.agent()
        if power_cut:
            self.kernel = FakeKernel()
            for name in ("eth0", "eth1", "eth2", "eth3"):
                self.kernel.add_nic(name, up=True)
            shutil.rmtree(self.paths.runtime, ignore_errors=True)
            self.keeper = self.agent()
        self.kernel.taken.update(taken)
        self.keeper.boot()
        self.round()

    def pass_time(self, seconds: float) -> None:
        self.mono += seconds
        self.now += seconds

    def harm(self, link: str, action: Action) -> None:
        assert self.kernel.run([step(link, action)]) is None

    def condition(self, about: Ref, type_: str) -> Condition | None:
        found = [c for c in self.keeper.status.conditions if (c.about, c.type) == (about, type_)]
        return found[0] if found else None

    def told(self, reason: str) -> list[str]:
        return [e.message for e in Events(self.paths).all() if e.reason == reason]

    @property
    def links(self) -> set[str]:
        return set(self.kernel.machine.devices)

    @property
    def miimon(self) -> object:
        spec = self.kernel.observe().state.links[IfName("oob-bo")].spec
        assert isinstance(spec, Bond)
        return spec.miimon


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# -- manifests -------------------------------------------------------------------------------------


def test_manifests_become_the_network_and_the_last_good_state(host: Host) -> None:
    host.start()
    assert {"oob-br", "oob-bo"} <= host.links
    good = read_last_good(host.paths)
    assert good is not None and CONFIG in {o.ref for o in good.objects}
    assert next(o for o in good.objects if o.ref == CONFIG).source.file == str(host.paths.manifests / "oob.yaml")
    ready = host.condition(CONFIG, "ready")
    assert ready is not None and ready.status is True and ready.since == host.now
    assert host.told("Applied") and not host.told("Repaired")
    status = agent_status(host.paths)
    assert status is not None and status == host.keeper.status


def test_a_round_with_nothing_to_do_does_nothing(host: Host) -> None:
    host.start()
    journal, written = len(host.kernel.journal), host.paths.last_good.stat().st_mtime_ns
    for _ in range(3):
        host.pass_time(1)
        host.round()
    assert len(host.kernel.journal) == journal
    assert host.paths.last_good.stat().st_mtime_ns == written
    assert host.keeper.deadline() is None, "no timer without need"


def test_an_edit_is_carried_out(host: Host) -> None:
    host.start()
    host.write(OOB.replace("miimon: 100", "miimon: 250"))
    host.round()
    assert host.miimon == 250 and not host.told("Repaired")


BROKEN = {
    "garbage": "\x00\x01{{{[",
    "half written": OOB[: OOB.index(", eth2")],
    "no YAML": "a: [1, 2\nb: }",
    "cut between documents": NETWORK + "---\nkind: Vlan",
    "another thing": "- 1\n- 2\n",
    "an unknown kind": "apiVersion: v1\nkind: node\nmetadata: {name: x}\n",
}


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_a_broken_file_changes_nothing_and_is_told(host: Host, what: str) -> None:
    host.start()
    before = str(host.kernel)
    host.write(BROKEN[what])
    host.round()
    assert str(host.kernel) == before
    said = [c for c in host.keeper.status.conditions if c.type in ("ManifestsUnreadable", "Rejected")]
    assert said and all("oob.yaml" in c.message for c in said)
    host.restart(power_cut=True)
    assert {"oob-br", "oob-bo"} <= host.links, "it comes up as it was"
    host.write(OOB)
    host.round()
    assert host.keeper.well
    assert host.told("NoManifestsUnreadable") or host.told("NoRejected")


def test_not_utf8_and_not_readable(host: Host) -> None:
    host.start()
    before = str(host.kernel)
    path = host.write("x")
    path.write_bytes(b"\xff\xfe kind")
    host.round()
    path.unlink()
    path.mkdir()
    host.round()
    path.rmdir()
    path.symlink_to("/nowhere/at/all")
    host.round()
    assert str(host.kernel) == before
    said = host.condition(HERE, "ManifestsUnreadable")
    assert said is not None and "oob.yaml" in said.message


def test_an_object_that_is_wrong_keeps_its_last_good_version_and_the_others_go_on(host: Host) -> None:
    host.start()
    wrong = OOB.replace("miimon: 100", "miimon: 250, lacp_rate: sometimes")
    host.write(wrong + NAD.replace("v100", "v200").replace('"vlan":100', '"vlan":200'))
    host.round()
    assert host.miimon == 100
    vlans = host.kernel.observe().state.links[IfName("oob-bo")].vlans
    assert vlans is not None and 200 in vlans.all
    rejected = host.condition(CONFIG, "Rejected")
    assert rejected is not None and "oob.yaml:" in rejected.message and "last good version" in rejected.message
    good = read_last_good(host.paths)
    assert good is not None and {o.name for o in good.objects} >= {"oob", "v100", "v200"}


def test_what_the_rules_refuse_keeps_its_last_good_version(host: Host) -> None:
    host.start()
    host.write(OOB.replace("[eth1, eth2]", "[eth1, eth9]"))
    host.round()
    assert host.kernel.machine.devices["eth2"].master is not None
    rejected = host.condition(CONFIG, "Rejected")
    assert rejected is not None and "eth9" in rejected.message
    host.kernel.add_nic("eth9", up=True)
    host.round()
    assert host.condition(CONFIG, "Rejected") is None, "the NIC has come"
    assert host.kernel.machine.devices["eth9"].master is not None


def test_a_new_object_that_is_refused_is_left_out(host: Host) -> None:
    host.start()
    host.write(UPLINK.replace("name: oob}", "name: other}").replace("[eth1, eth2]", "[eth2, eth3]"), "other.yaml")
    host.round()
    rejected = host.condition(Ref("VlanConfig", "other"), "Rejected")
    assert rejected is not None and "left out" in rejected.message
    assert host.kernel.machine.devices["eth3"].master is None


def test_a_deletion_that_the_rules_refuse_is_not_carried_out(host: Host) -> None:
    host.start()
    host.write(UPLINK + NAD)  # the cluster network goes, and what stands on it stays
    host.round()
    assert {"oob-br", "oob-bo"} <= host.links
    assert host.condition(Ref("ClusterNetwork", "oob"), "Rejected") is not None


def test_an_object_that_moves_from_file_to_file_is_never_gone(host: Host) -> None:
    host.start()
    before, journal = str(host.kernel), len(host.kernel.journal)
    host.write(NETWORK + UPLINK)
    new = host.write(NAD.removeprefix("---\n"), "nads.yaml")
    os.utime(new, (host.now - 0.1, host.now - 0.1))
    host.round()
    host.pass_time(1)
    host.keeper.round()
    assert str(host.kernel) == before and len(host.kernel.journal) == journal and host.keeper.well
    good = read_last_good(host.paths)
    assert good is not None and str(new) in {o.source.file for o in good.objects}


def test_a_deletion_is_carried_out(host: Host) -> None:
    host.start()
    host.write("# nothing\n")
    host.round()
    assert not {"oob-br", "oob-bo"} & host.links
    assert host.keeper.well
    good = read_last_good(host.paths)
    assert good is not None and CONFIG not in {o.ref for o in good.objects}


def test_a_file_that_is_just_being_written_changes_nothing(host: Host) -> None:
    host.start()
    before = str(host.kernel)
    path = host.write(NETWORK)  # the first piece of it
    os.utime(path, (host.now - 0.2, host.now - 0.2))
    host.round()
    assert str(host.kernel) == before
    assert {"oob-br", "oob-bo"} <= host.links
    deadline = host.keeper.deadline()
    assert deadline is not None and deadline <= host.mono + 2, "it looks again by itself"
    host.pass_time(2)
    host.keeper.round()
    assert "oob-br" not in host.links, "nobody went on writing: it was meant so"


def test_a_file_that_was_cut_to_nothing_takes_nothing_down(host: Host) -> None:
    """A full disk, or a power cut, leaves that of a file that is written in place."""
    host.start()
    before = str(host.kernel)
    host.write("")
    host.pass_time(2)
    host.round()
    host.pass_time(2)
    host.round()
    assert str(host.kernel) == before
    host.write("# nothing\n")
    host.pass_time(2)
    host.round()
    host.pass_time(2)
    host.round()
    assert "oob-br" not in host.links, "a comment is meant"


@pytest.mark.parametrize("how", ["gone", "empty", "a file in its place"])
def test_no_manifests_at_all_is_no_order_to_delete(host: Host, how: str) -> None:
    host.start()
    before = str(host.kernel)
    shutil.rmtree(host.paths.manifests)
    if how == "empty":
        host.paths.manifests.mkdir()
    elif how != "gone":
        host.paths.manifests.write_text("")
    host.round()
    assert str(host.kernel) == before
    said = host.condition(HERE, "ManifestsUnreadable")
    assert said is not None and "windrow delete" in said.hint and "nothing.yaml" in said.hint
    host.restart(power_cut=True)
    assert {"oob-br", "oob-bo"} <= host.links


def test_neither_manifests_nor_a_last_good_state_means_that_nothing_is_touched(host: Host) -> None:
    host.start()
    before = str(host.kernel)
    shutil.rmtree(host.paths.manifests)
    host.paths.last_good.unlink()
    host.restart()
    assert str(host.kernel) == before
    assert host.condition(HERE, "ManifestsUnreadable") is not None


@pytest.mark.parametrize(
    "rubbish", [b"", b"{", b"[]", b'{"version": 1, "digest": "x", "objects": "[]"}', b"\xff" * 100]
)
def test_a_last_good_state_that_is_rubbish(host: Host, rubbish: bytes) -> None:
    host.start()
    host.paths.last_good.write_bytes(rubbish)
    host.restart(power_cut=True)
    assert {"oob-br", "oob-bo"} <= host.links, "from the manifests"
    good = read_last_good(host.paths)
    assert good is not None and CONFIG in {o.ref for o in good.objects}, "written anew"


def test_last_good_is_what_was_carried_out_and_not_what_failed(host: Host) -> None:
    host.start()
    host.write(OOB.replace("[eth1, eth2]", "[eth1, eth2, eth3]"))
    host.kernel.fail_at(1, errno.EBUSY)
    host.round()
    good = read_last_good(host.paths)
    assert good is not None and "eth3" not in str(next(o for o in good.objects if o.ref == CONFIG).doc)
    host.pass_time(1.1)
    host.round()
    good = read_last_good(host.paths)
    assert good is not None and "eth3" in str(next(o for o in good.objects if o.ref == CONFIG).doc)


def test_ten_thousand_objects(host: Host) -> None:
    """Read once, and then only what changed."""
    for number in range(20):
        nads = [NAD.replace("v100", f"f{number}n{n}").replace('"vlan":100', f'"vlan":{n + 2}') for n in range(500)]
        host.write("".join(nads), f"n{number}.yaml")
    host.start()
    host.write(OOB.replace("miimon: 100", "miimon: 250"))
    began = time.process_time()
    host.round()
    spent = time.process_time() - began
    assert host.miimon == 250
    print(f"10,000 objects: {spent:.2f} s for a round after an edit")
    assert spent < 5


# -- drift -----------------------------------------------------------------------------------------


def test_drift_is_repaired_and_told(host: Host) -> None:
    host.start()
    host.harm("oob-bo", SetBond(Bond(miimon=50)))
    host.round()
    assert host.miimon == 100
    assert host.told("Repaired") == ["repaired oob-bo: miimon was 50, is 100"]
    (event,) = [e for e in Events(host.paths).all() if e.reason == "Repaired"]
    assert event.about == CONFIG


@pytest.mark.parametrize(
    ("link", "action", "words"),
    [
        ("oob-br", DeleteLink(), "repaired oob-br: it was gone, is there again"),
        ("eth2", SetMaster(None), "repaired eth2: was down, is up; was free, is in oob-bo"),
        ("oob-br", SetLink(up=False), "repaired oob-br: was down, is up"),
        ("oob-bo", SetLink(mtu=1400), "repaired oob-bo: mtu was 1400, is 1500"),
    ],
)
def test_in_words(host: Host, link: str, action: Action, words: str) -> None:
    host.start()
    host.harm(link, action)
    host.round()
    assert any(message.startswith(words) for message in host.told("Repaired")), host.told("Repaired")
    assert host.keeper.well


# -- fights ----------------------------------------------------------------------------------------


def fight(host: Host, times: int) -> None:
    for _ in range(times):
        host.pass_time(5)
        host.harm("oob-bo", SetBond(Bond(miimon=50)))
        host.round()


def test_the_same_fight_three_times_in_five_minutes_stops(host: Host) -> None:
    host.start()
    fight(host, 3)
    assert host.miimon == 100
    fight(host, 1)
    assert host.miimon == 50, "left alone"
    contested = host.condition(CONFIG, "Contested")
    assert contested is not None and contested.status is True and "oob-bo" in contested.message
    assert "windrow apply" in contested.hint
    (contest,) = host.keeper.status.contests
    assert (contest.link, contest.field, contest.repaired) == ("oob-bo", "bond.miimon", 3)
    assert host.told("Contested")
    journal = len(host.kernel.journal)
    host.round()
    assert len(host.kernel.journal) == journal


def test_other_drift_is_repaired_meanwhile(host: Host) -> None:
    host.start()
    fight(host, 4)
    host.harm("oob-bo", SetLink(mtu=1400))
    host.harm("eth2", SetMaster(None))
    host.round()
    observed = host.kernel.observe().state.links
    assert observed[IfName("oob-bo")].mtu == 1500 and observed[IfName("eth2")].master == "oob-bo"
    assert host.miimon == 50


def test_a_fight_is_tried_again_after_a_pause_and_the_pause_grows(host: Host) -> None:
    host.start()
    fight(host, 4)
    deadline = host.keeper.deadline()
    assert deadline is not None and host.mono < deadline <= host.mono + 30
    pauses = []
    for _ in range(3):
        begun = host.mono
        deadline = host.keeper.deadline()
        assert deadline is not None
        host.pass_time(deadline - host.mono)
        assert host.keeper.deadline() == deadline, "it stays due until there was a round"
        host.round()
        assert host.miimon == 100
        pauses.append(host.mono - begun)
        host.harm("oob-bo", SetBond(Bond(miimon=50)))
        host.round()
        assert host.miimon == 50
    assert pauses[1] == 60 and pauses[2] == 120


def test_who_gives_up_is_forgotten(host: Host) -> None:
    host.start()
    fight(host, 4)
    host.pass_time(31)
    host.round()
    assert host.miimon == 100
    host.pass_time(400)
    host.round()
    assert host.keeper.status.contests == () and host.condition(CONFIG, "Contested") is None
    assert host.told("NoContested")
    assert host.keeper.deadline() is None


def test_apply_ends_a_contest(host: Host) -> None:
    from click.testing import CliRunner

    from windrow.apps.cli.main import cli
    from windrow.apps.cli.session import Session

    host.start()
    fight(host, 4)
    session = Session(root=host.paths.root, node="n1", open_kernel=lambda: host.kernel, permitted=lambda: True)
    assert CliRunner().invoke(cli, ["apply"], obj=session).exit_code == 0
    assert host.miimon == 100
    host.round()
    assert host.keeper.status.contests == ()
    fight(host, 2)
    assert host.miimon == 100


def test_a_link_that_somebody_deletes_again_and_again(host: Host) -> None:
    host.start()
    for _ in range(4):
        host.pass_time(5)
        host.harm("oob-br", DeleteLink())
        host.round()
    assert "oob-br" not in host.links
    assert host.keeper.status.contests
    host.pass_time(31)
    host.round()
    assert "oob-br" in host.links


def test_one_who_does_this_and_that_is_a_vandal_and_no_rival(host: Host) -> None:
    host.start()
    harms: list[tuple[str, Action]] = [
        ("oob-bo", SetBond(Bond(miimon=50))),
        ("oob-bo", SetLink(mtu=1400)),
        ("oob-bo", SetLink(up=False)),
        ("oob-br", SetLink(up=False)),
        ("oob-br", DeleteLink()),
        ("eth2", SetMaster(None)),
    ]
    for number in range(60):
        host.pass_time(2)
        host.harm(*harms[number % len(harms)])
        host.round()
        assert host.keeper.well
    assert host.miimon == 100


def test_two_rivals_of_one_link(host: Host) -> None:
    host.start()
    for _ in range(4):
        for harm in (SetBond(Bond(miimon=50)), SetLink(mtu=1400)):
            host.pass_time(2)
            host.harm("oob-bo", harm)
            host.round()
    assert {c.field for c in host.keeper.status.contests} == {"bond.miimon", "mtu"}


def test_slow_damage_is_no_fight(host: Host) -> None:
    host.start()
    for _ in range(6):
        host.pass_time(200)
        host.harm("oob-bo", SetBond(Bond(miimon=50)))
        host.round()
        assert host.miimon == 100


# -- failures --------------------------------------------------------------------------------------


def test_a_step_that_fails_is_told_and_tried_again_after_a_while_each_time_a_longer_one(host: Host) -> None:
    host.start()
    host.harm("oob-bo", SetBond(Bond(miimon=50)))
    waits = []
    for _ in range(8):
        host.kernel.fail_at(1, errno.EBUSY)
        host.round()
        (failure,) = host.keeper.status.failures
        assert failure.link == "oob-bo" and failure.errno == errno.EBUSY
        tried = len(host.kernel.journal)
        host.round()
        assert len(host.kernel.journal) == tried, "not before its time"
        deadline = host.keeper.deadline()
        assert deadline is not None
        waits.append(round(deadline - host.mono))
        host.pass_time(deadline - host.mono)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    ready = host.condition(CONFIG, "ready")
    assert ready is not None and ready.status is False and "oob-bo" in ready.message
    host.kernel.fail_at(1000)
    host.round()
    assert host.miimon == 100 and host.keeper.status.failures == () and host.keeper.deadline() is None
    ready = host.condition(CONFIG, "ready")
    assert ready is not None and ready.status is True


def test_news_end_the_waiting(host: Host) -> None:
    host.start()
    host.harm("oob-bo", SetBond(Bond(miimon=50)))
    host.kernel.fail_at(1, errno.EBUSY)
    host.round()
    host.write(OOB.replace("miimon: 100", "miimon: 200"))
    host.round()
    assert host.miimon == 200


# -- the lock, the disk, the clock -----------------------------------------------------------------


def test_another_one_s_lock_is_waited_for_without_blocking(host: Host) -> None:
    host.start()
    host.harm("oob-bo", SetBond(Bond(miimon=50)))
    with locked(host.paths.turn):
        waits = []
        for _ in range(6):
            host.round()
            assert host.miimon == 50 and host.keeper.unsettled
            deadline = host.keeper.deadline()
            assert deadline is not None
            waits.append(round(deadline - host.mono, 3))
            host.pass_time(deadline - host.mono)
        assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    host.round()
    assert host.miimon == 100 and not host.keeper.unsettled
    assert host.log.getvalue().count("waiting: another one") == 1


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "full")


def full_but_run(stage: Callable[..., str]) -> Callable[..., str]:
    """The disk is full, and the memory of /run is not."""

    def call(path: str | Path, *args: object, **more: object) -> str:
        if "run/windrow" not in str(path):
            full_disk()
        return stage(path, *args, **more)

    return call


def test_a_full_disk_does_not_stop_the_repair(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.start()
    with monkeypatch.context() as patch:
        patch.setattr(records, "stage", full_but_run(records.stage))
        patch.setattr(Events, "_append", full_disk)
        host.write(OOB.replace("miimon: 100", "miimon: 250"))
        host.round()
        assert host.miimon == 250
        host.harm("oob-bo", SetBond(Bond(miimon=50)))
        host.round()
        assert host.miimon == 250
        trouble = host.condition(HERE, "StateNotWritten")
    assert trouble is not None and "last good state" in trouble.message
    host.round()
    assert host.condition(HERE, "StateNotWritten") is None
    good = read_last_good(host.paths)
    assert good is not None and "250" in str(next(o for o in good.objects if o.ref == CONFIG).doc)


@pytest.mark.parametrize("jump", [-1e8, 1e8])
def test_a_clock_that_jumps(host: Host, jump: float) -> None:
    host.start()
    host.now += jump
    host.harm("oob-bo", SetBond(Bond(miimon=50)))
    host.round()
    assert host.miimon == 100 and len(host.told("Repaired")) == 1
    assert host.keeper.deadline() is None
    fight(host, 3)
    assert host.keeper.status.contests != ()


def test_what_apply_and_delete_do_becomes_the_last_good_state(host: Host) -> None:
    from click.testing import CliRunner

    from windrow.apps.cli.main import cli
    from windrow.apps.cli.session import Session

    def run(*words: str) -> None:
        session = Session(root=host.paths.root, node="n1", open_kernel=lambda: host.kernel, permitted=lambda: True)
        result = CliRunner().invoke(cli, words, obj=session)
        assert result.exit_code == 0, result.output

    file = host.paths.root / "oob.yaml"
    file.write_text(OOB)
    run("apply", "-f", str(file))
    good = read_last_good(host.paths)
    assert good is not None and {o.name for o in good.objects} >= {"oob", "v100"}
    host.round()
    assert host.keeper.well and not host.told("Applied"), "there was nothing left to do"
    run("delete", "nad/v100", "vc/oob", "cn/oob")
    assert Store(host.paths).load().objects == ()
    host.round()
    assert host.keeper.well, host.keeper.status.conditions
    assert "oob-br" not in host.links
    host.restart(power_cut=True)
    assert "oob-br" not in host.links and host.keeper.well


# -- what is shown ---------------------------------------------------------------------------------


def shown(host: Host, *words: str) -> str:
    from click.testing import CliRunner

    from windrow.apps.cli.main import cli
    from windrow.apps.cli.session import Session

    session = Session(root=host.paths.root, node="n1", open_kernel=lambda: host.kernel, permitted=lambda: True)
    result = CliRunner().invoke(cli, words, obj=session)
    assert result.exit_code == 0, result.output
    return result.output


def test_status_objects_say_since_when(host: Host) -> None:
    host.start()
    document = yaml.safe_load(shown(host, "get", "vs", "-o", "yaml"))
    (item,) = document["items"]
    (ready,) = item["status"]["conditions"]
    assert ready == {"type": "ready", "status": "True", "lastTransitionTime": "2001-09-09T01:46:40Z"}
    host.pass_time(60)
    host.round()
    assert "01:46:40Z" in shown(host, "get", "cn", "oob", "-o", "yaml")


def test_a_failed_step_is_on_the_object_in_words(host: Host) -> None:
    host.start()
    host.harm("oob-bo", SetBond(Bond(miimon=50)))
    host.kernel.fail_at(1, errno.EBUSY)
    host.round()
    text = shown(host, "get", "vs", "-o", "yaml")
    assert "reason: Failed" in text and "oob-bo: Device or resource busy" in text


def test_a_rejected_manifest_and_a_fight_are_described(host: Host) -> None:
    host.start()
    fight(host, 4)
    host.write(OOB.replace("[eth1, eth2]", "[eth1, eth9]"))
    host.round()
    text = shown(host, "describe", "vc", "oob")
    assert "last good version stays in force" in text and "again and again" in text


# -- changes that are not decided ------------------------------------------------------------------


def undecided(host: Host, stage: Stage) -> None:
    """Of somebody whose watchdog, this process, is alive."""
    here = process.found(os.getpid())
    checkpoint = Checkpoint(
        id="c1",
        node="n1",
        stage=stage,
        made_by="windrow apply",
        made=host.now,
        boot=boot.identity(host.paths),
        deadline=boot.seconds() + 60,
        allowed_s=60,
        want=HostState(),
        links=(IfName("oob-bo"),),
        documents={},
        probes=(),
        guarded=True,
        changer=here,
        watchdog=here,
    )
    Checkpoints(host.paths).put(checkpoint)


def test_what_an_undecided_change_is_about_is_left_to_it(host: Host) -> None:
    host.start()
    undecided(host, Stage.WAITING)
    host.harm("oob-bo", SetBond(Bond(miimon=50)))
    host.write(OOB.replace("miimon: 100", "miimon: 70"))
    good = host.paths.last_good.read_bytes()
    host.round()
    assert host.miimon == 50
    assert host.paths.last_good.read_bytes() == good, "what is not confirmed is not good yet"
    deadline = host.keeper.deadline()
    assert deadline is not None and deadline <= host.mono + 1
    assert Checkpoints(host.paths).move("c1", Stage.CONFIRMED, since=(Stage.WAITING,)) is not None
    host.pass_time(1)
    host.keeper.round()
    assert host.miimon == 70 and host.keeper.deadline() is None
    assert b"70" in host.paths.last_good.read_bytes()


def test_what_is_decided_in_the_middle_of_a_round_is_followed_by_another(host: Host) -> None:
    """Its links were left alone when that round planned, and nothing else says that they need not be any more."""
    host.start()
    undecided(host, Stage.UNDOING)
    host.write(OOB.replace("miimon: 100", "miimon: 70"))
    file = Checkpoints(host.paths)
    host.keeper.on_compiled = lambda _: file.move("c1", Stage.UNDONE, since=(Stage.UNDOING,))
    host.round()
    assert host.miimon == 100
    deadline = host.keeper.deadline()
    assert deadline is not None and deadline <= host.mono + 1
    host.pass_time(1)
    host.keeper.round(news=False)
    assert host.miimon == 70 and host.keeper.deadline() is None


def test_a_change_that_costs_a_flap_has_a_way_back_on_disk(host: Host) -> None:
    host.start()
    host.harm("oob-br", SetLink(mac="02:00:00:00:00:99"))
    host.round()
    found = Checkpoints(host.paths).get()
    assert found is not None and found.made_by == "windrow agent" and found.stage is Stage.CONFIRMED
    assert host.keeper.well


def test_an_agent_that_starts_again_takes_nothing_back_on_its_way(host: Host) -> None:
    """The one before it was killed when it had carried out an edit, and not written it down yet."""
    host.start()
    old = host.paths.last_good.read_bytes()
    host.write(OOB.replace("[eth1, eth2]", "[eth1, eth2, eth3]"))
    host.round()
    host.paths.last_good.write_bytes(old)
    journal = len(host.kernel.journal)
    host.restart()
    assert len(host.kernel.journal) == journal and host.keeper.well
    assert host.paths.last_good.read_bytes() != old


def test_a_change_that_was_cut_off_is_finished_by_the_next_agent_s_first_round(host: Host) -> None:
    host.start()
    host.write("# nothing\n")
    file = Checkpoints(host.paths)
    done: list[object] = []
    run = host.kernel.run

    def killed(steps: Sequence[Step]) -> Failure | None:
        done.extend(steps)
        if len(done) > 2:
            raise KeyboardInterrupt
        return run(steps)

    host.kernel.run = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        host.round()
    host.kernel.run = run  # type: ignore[method-assign]
    last = file.get()
    assert last is not None and last.stage is Stage.CHANGING
    file.move(last.id, Stage.CHANGING, since=(Stage.CHANGING,), changer=Process(pid=2**22 - 1, started=1))
    assert "oob-br" in host.links
    host.restart()
    assert not {"oob-br", "oob-bo"} & host.links


def test_coming_up_from_the_last_good_state_is_no_trouble_with_the_manifests(host: Host) -> None:
    host.start()
    host.restart(power_cut=True)
    assert "oob-br" in host.links and host.keeper.well
    assert not host.told("ComingUp") and host.condition(HERE, "ManifestsUnreadable") is None


# -- somebody else has an address ------------------------------------------------------------------------------------

HOST_NETWORK = """\
---
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {{name: h{vid}}}
spec: {{clusterNetwork: oob, vlanID: {vid}, mode: static, ips: {{n1: "{ips}"}}}}
"""
MAC = Mac("52:54:00:00:00:99")


def of_host_network(host: Host, vid: int) -> Condition:
    ref = Ref("HostNetworkConfig", f"h{vid}")
    return next(c for c in host.keeper.status.conditions if c.about == ref and c.type == "ready")


def ready(host: Host, ref: Ref) -> bool | None:
    return next(c.status for c in host.keeper.status.conditions if c.about == ref and c.type == "ready")


def addresses(host: Host, link: str) -> set[str]:
    return set(host.kernel.observe().state.links[IfName(link)].addrs or ())


@pytest.mark.parametrize("vid", [0, 300])
@pytest.mark.parametrize("taken", ["10.8.0.1", "2001:db8::1"])
def test_an_address_that_somebody_else_has_is_told_and_tried_again_ever_more_seldom(
    host: Host, vid: int, taken: str
) -> None:
    """And keeps nothing else from its network."""
    link = f"oob-br.{vid}" if vid else "oob-br"
    host.kernel.taken[taken] = MAC
    both = {"10.8.0.1/24", "2001:db8::1/64"}
    other = HOST_NETWORK.format(vid=301, ips="10.9.0.1/24")
    host.write(OOB + HOST_NETWORK.format(vid=vid, ips=",".join(sorted(both))) + other)
    host.round()
    said = of_host_network(host, vid)
    assert (said.status, said.reason) == (False, "AddressInUse")
    assert said.message == f"{link}: somebody else has {taken} (MAC {MAC})"
    assert addresses(host, link) == {a for a in both if not a.startswith(f"{taken}/")}
    assert addresses(host, "oob-br.301") == {"10.9.0.1/24"} and of_host_network(host, 301).status is True
    assert ready(host, CONFIG) is True, "it is no trouble of the cluster network"
    tries, began = 0, host.mono
    while host.mono - began < 600:
        host.mono = host.keeper.deadline() or host.mono + 60
        before = host.keeper.snapshot().counters.steps_failed
        host.keeper.round(news=False)
        tries += host.keeper.snapshot().counters.steps_failed - before
    assert 10 <= tries <= 20, tries
    reasons = [e.reason for e in Events(host.paths).all() if e.about == Ref("HostNetworkConfig", f"h{vid}")]
    assert reasons == ["AddressInUse"]
    host.kernel.taken.clear()
    host.mono = (host.keeper.deadline() or host.mono) + 1
    host.keeper.round(news=False)
    assert addresses(host, link) == both and of_host_network(host, vid).status is True and host.keeper.well


def test_everybody_who_has_an_address_of_ours_is_told(host: Host) -> None:
    """Two host networks of one cluster network: each has its own trouble, and the cluster network none."""
    host.kernel.taken.update({"10.8.0.1": MAC, "2001:db8::1": MAC, "10.9.0.1": MAC})
    both = HOST_NETWORK.format(vid=300, ips="10.8.0.1/24,2001:db8::1/64")
    host.write(OOB + both + HOST_NETWORK.format(vid=301, ips="10.9.0.1/24"))
    host.round()
    for vid, message in (
        (300, f"somebody else has 10.8.0.1 (MAC {MAC}); somebody else has 2001:db8::1 (MAC {MAC})"),
        (301, f"somebody else has 10.9.0.1 (MAC {MAC})"),
    ):
        said = of_host_network(host, vid)
        assert (said.status, said.reason, said.message) == (False, "AddressInUse", f"oob-br.{vid}: {message}")
    assert ready(host, CONFIG) is True
    messages = [failure.message for failure in host.keeper.status.failures]
    assert len(messages) == 3
    reasons = complaints(host.keeper.snapshot())
    assert [sum(reason.endswith(f": {message}") for reason in reasons) for message in messages] == [1, 1, 1]
    assert not any("oob-br.300: oob-br.300" in reason for reason in reasons)


def test_somebody_who_claims_an_address_later_is_told_and_not_fought(host: Host) -> None:
    host.start(OOB + HOST_NETWORK.format(vid=300, ips="10.8.0.1/24"))
    claim = Claim(link=IfName("oob-br.300"), address="10.8.0.1", mac=MAC, since=host.now)
    host.keeper.claims = lambda: (claim,)
    host.round()
    said = of_host_network(host, 300)
    assert (said.status, said.reason) == (False, "AddressInUse")
    assert said.message == f"oob-br.300: somebody else has 10.8.0.1 (MAC {MAC})"
    assert addresses(host, "oob-br.300") == {"10.8.0.1/24"}
    told = agent_status(host.paths)
    assert told is None or told.claims == (claim,)
    host.keeper.claims = tuple
    host.round()
    assert of_host_network(host, 300).status is True


def test_an_address_of_ours_that_a_hand_took_away_is_put_back_without_asking(host: Host) -> None:
    host.start(OOB + HOST_NETWORK.format(vid=300, ips="10.8.0.1/24"))
    host.kernel.taken["10.8.0.1"] = MAC
    host.kernel.run([step("oob-br.300", DelAddr(Cidr("10.8.0.1/24")))])
    host.round()
    assert addresses(host, "oob-br.300") == {"10.8.0.1/24"} and host.keeper.well


def outside(vids: str = "20", **other: object) -> Finding:
    finding = Finding(
        reason=Reason.VLAN_MISSING,
        grade=Grade.ERROR,
        certainty=Certainty.LIKELY,
        message=f"VLAN {vids} is missing on Ethernet1 of tor-1",
        fix=Fix(words=f"allow VLAN {vids} on Ethernet1 of tor-1"),
        place="Ethernet1 of tor-1",
        about=CONFIG,
    )
    return replace(finding, **other)  # type: ignore[arg-type]


def test_what_the_probes_find_is_told_once_and_once_when_it_is_over(host: Host) -> None:
    host.start()
    rounds, events = host.keeper.snapshot().counters.rounds, len(Events(host.paths).all())
    well = Outside(objects=(CONFIG,))
    host.keeper.probed(well)
    found = host.condition(CONFIG, OUTSIDE)
    assert found is not None and found.status is False
    assert len(Events(host.paths).all()) == events, "nothing has come, and nothing has gone"
    begun = host.now
    for vids in ("20", "20", "20-21"):
        host.keeper.probed(replace(well, findings=(outside(vids),)))
        host.round()
        host.pass_time(60)
    found = host.condition(CONFIG, OUTSIDE)
    assert found is not None and (found.status, found.reason, found.since) == (True, "VlanMissing", begun)
    assert found.hint == "allow VLAN 20-21 on Ethernet1 of tor-1"
    assert host.told("VlanMissing") == ["VLAN 20 is missing on Ethernet1 of tor-1: allow VLAN 20 on Ethernet1 of tor-1"]
    status = agent_status(host.paths)
    assert status is not None and status.outside == host.keeper.status.outside
    assert [(f.reason, f.since, f.grave) for f in status.outside] == [("VlanMissing", begun, True)]
    assert host.keeper.snapshot().outside == (outside("20-21"),)
    assert host.keeper.well, "what a switch does is no matter of the manifests"
    assert host.told("NoOutsideFaulty") == []
    host.keeper.probed(well)
    assert host.keeper.status.last_round == host.now - 60, "nobody has looked at the network since"
    found = host.condition(CONFIG, OUTSIDE)
    assert found is not None and found.status is False
    assert host.told(GONE) == ["this is over: VLAN 20-21 is missing on Ethernet1 of tor-1"]
    assert host.keeper.status.outside == ()
    assert len(Events(host.paths).all()) == events + 2
    assert host.keeper.snapshot().counters.rounds == rounds + 3, "news from outside are no reason for a round"


def test_probes_that_fail_end_no_fault(host: Host) -> None:
    """Nor does it come again when they are back."""
    host.start()
    faulty = Outside(findings=(outside(),), objects=(CONFIG,))
    for told in (faulty, Outside(unknown="nothing is probed now: no sockets"), faulty):
        host.keeper.probed(told)
        found = host.condition(CONFIG, OUTSIDE)
        assert found is not None and found.status is (None if told.unknown else True)
        assert host.keeper.snapshot().outside == (() if told.unknown else faulty.findings)
    assert len(host.told("VlanMissing")) == 1
    assert host.told(GONE) == []


# -- what the kernel was asked for -----------------------------------------------------------------


def taken(vids: str = "VLAN 100") -> Problem:
    text = f"an interface in another network namespace takes {vids} on eth1 from machines and pods"
    return Problem(code="vlan-taken", message=text, hint="delete it there", about=CONFIG, severity=Severity.WARNING)


SNOOPED = Problem(
    code="snooping-shared",
    message="mgmt-br snoops for multicast groups in all VLANs together",
    about=Ref("ClusterNetwork", "mgmt"),
    severity=Severity.WARNING,
)


def test_what_the_kernel_was_asked_for_is_told_and_no_reason_for_a_round(host: Host) -> None:
    host.start()
    rounds, begun = host.keeper.snapshot().counters.rounds, host.now
    host.pass_time(5)
    host.keeper.asked((taken(), SNOOPED))
    found = host.condition(CONFIG, "VlanTaken")
    assert found is not None and (found.status, found.message, found.hint) == (True, taken().message, "delete it there")
    assert host.condition(Ref("ClusterNetwork", "mgmt"), "SnoopingShared") is not None
    ready = host.condition(CONFIG, "ready")
    assert ready is not None and ready.status is True, "its links are as they should be"
    for _ in range(3):
        host.keeper.asked((taken(), SNOOPED))
        host.round()  # which sees none of it, and takes nothing back
    assert host.told("VlanTaken") == [taken().message] and host.told("SnoopingShared") == [SNOOPED.message]
    status = agent_status(host.paths)
    assert status is not None and status.conditions == host.keeper.status.conditions
    host.keeper.asked((SNOOPED,))
    assert host.condition(CONFIG, "VlanTaken") is None and host.told("NoVlanTaken") == ["this is over"]
    host.keeper.asked(())
    assert host.told("NoSnoopingShared") == ["this is over"]
    assert host.keeper.snapshot().counters.rounds == rounds + 3 and host.keeper.status.last_round == begun + 5


def test_a_thief_here_and_one_elsewhere_are_one_condition(host: Host) -> None:
    host.start()
    thief = Link(name=IfName("theirs"), spec=VlanIf(parent=IfName("oob-bo"), vid=100))
    host.kernel.add(thief)
    host.keeper.asked((taken(),))
    host.round()
    found = host.condition(CONFIG, "VlanTaken")
    assert found is not None and found.message.startswith("theirs, ") and found.message.endswith(taken().message)


def test_a_step_that_fails_is_told_before_the_network_is_looked_at_again(host: Host) -> None:
    """So a lease that is declined is no longer there for that look."""
    host.start()
    host.kernel.taken["10.8.0.1"] = MAC
    heard: list[tuple[int, Failure]] = []
    looked = 0
    observe = host.kernel.observe

    def counted() -> Observed:
        nonlocal looked
        looked += 1
        return observe()

    host.kernel.observe = counted  # type: ignore[method-assign]
    host.keeper.on_failure = lambda failure: heard.append((looked, failure))
    host.write(OOB + HOST_NETWORK.format(vid=300, ips="10.8.0.1/24"))
    host.round()
    ((when, failure),) = heard
    assert (failure.errno, failure.reason) == (errno.EADDRINUSE, f"somebody else has 10.8.0.1 (MAC {MAC})")
    assert isinstance(failure.step.action, AskAddr) and when < looked
