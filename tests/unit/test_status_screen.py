"""`windrow status` as a screen: what is wrong, since when, on what, and what to do; and with an agent that watches."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from windrow.apps import known
from windrow.apps.cli import status as verb
from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.engine import converge, look, plan_node
from windrow.model.agentstatus import AgentStatus, Contest, OutsideFault, StepFailure
from windrow.model.cluster import Cluster
from windrow.model.events import Condition, Event, EventType
from windrow.model.objects import ClusterNetwork
from windrow.model.problems import Severity
from windrow.model.values import IfName, Ref
from windrow.render.overview import Overview, Pending, overview_text, overview_value
from windrow.render.text import Style, span, width, wrap
from windrow.status import NodeReport, overview
from windrow.status.overview import Told
from windrow.store.events import Events
from windrow.store.paths import Paths
from windrow.testing.builders import cluster, cluster_network, host_network, nad, node, vlan_config
from windrow.testing.fake import FakeKernel

NOW = 1_700_000_000.0
OOB = Ref(ClusterNetwork.KIND, "oob")
AGENT = AgentStatus(node="n1", pid=812, ticks=1, version="1", started=NOW - 3 * 3600, last_round=NOW - 4)


def wanted() -> Cluster:
    return cluster(
        cluster_network("oob"), vlan_config("oob", ["eth1", "eth2"]), nad("v100", "oob", 100), node("n1"),
        host_network("oob", 300, {"n1": "10.3.0.1/24"}),
    )  # fmt: skip


def screen(kernel: FakeKernel, told: Told) -> tuple[Overview, str]:
    sight = look(kernel, "n1")
    planned = plan_node(wanted(), sight)
    report = NodeReport(
        node="n1", observed=sight.observed, plan=planned.plan, problems=planned.compiled.problems, ports=()
    )
    found = overview(wanted(), report, told)
    return found, overview_text(found, clock=lambda at: f"T{at - NOW:+.0f}")


@pytest.fixture
def kernel() -> FakeKernel:
    made = FakeKernel().add_nic("eth1", up=True).add_nic("eth2", up=True)
    assert converge(wanted(), made, "n1").ok
    return made


def test_a_bad_night(kernel: FakeKernel) -> None:
    """Everything at once, worst first: the whole screen."""
    kernel.pull("eth1")
    kernel.pull("eth2")
    degraded = Condition(
        about=OOB, type="Degraded", status=True, reason="CutOff", since=NOW - 754,
        message="oob-bo has no NIC with carrier: the network is cut off from outside",
        hint="look at the cables and the switch ports",
    )  # fmt: skip
    lease = Condition(
        about=Ref("HostNetworkConfig", "backup"), type="ready", status=False, reason="NoLease", since=NOW - 30,
        message="no DHCP server answers on oob-br.300",
    )  # fmt: skip
    failure = StepFailure(
        about=Ref("VlanConfig", "oob"), link=IfName("oob-bo"), message="oob-bo: Device or resource busy [errno 16]",
        hint="see who holds it with `ip -d link show`", errno=16, attempts=4, since=NOW - 60, retry=NOW + 7,
    )  # fmt: skip
    contest = Contest(
        about=OOB, link=IfName("oob-br"), field="mtu", repaired=3, since=NOW - 200, rival="NetworkManager"
    )
    agent = replace(AGENT, conditions=(degraded, lease), failures=(failure,), contests=(contest,))
    event = Event(
        type=EventType.WARNING, reason="CutOff", about=OOB, message=degraded.message, first=NOW - 754, last=NOW - 754
    )
    told = Told(
        now=NOW,
        agent=agent,
        pending=Pending(made_by="windrow init", stage="waiting", left=41.7, links=("mgmt-bo", "mgmt-br")),
        events=(replace(event, reason="Old"), event, replace(event, count=5, last=NOW - 10), event),
    )
    found, text = screen(kernel, told)
    assert not found.well
    assert (
        text
        == """\
Node n1: a change is not decided yet; 4 findings
the agent runs since 3 h (pid 812)

pending  a change on mgmt-bo, mgmt-br by `windrow init` awaits confirmation; it
         is undone in 42 s
         → windrow confirm

error    ClusterNetwork/oob  for 13 min, since T-754
         oob-bo has no NIC with carrier: the network is cut off from outside
         → look at the cables and the switch ports

error    HostNetworkConfig/backup  for 30 s, since T-30
         no DHCP server answers on oob-br.300

error    VlanConfig/oob  for 60 s, since T-60
         oob-bo: Device or resource busy [errno 16]; tried 4 times, again in 7 s
         → see who holds it with `ip -d link show`

error    ClusterNetwork/oob  for 3 min, since T-200
         oob-br: mtu is changed back by NetworkManager, 3 times so far
         → end that, then: windrow apply

mgmt  – not here: this node has no mgmt-br

oob  ● ready
  bridge  oob-br  MTU 1500
  uplink  oob-bo  active-backup
          eth1  down
          eth2  down
  VLANs   untagged 1, tagged 100,300
  host    oob-br.300  VLAN 300  10.3.0.1/24

Of late
  13 min ago  CutOff  oob: oob-bo has no NIC with carrier: the network is cut
              off from outside
  10 s ago    CutOff  oob: oob-bo has no NIC with carrier: the network is cut
              off from outside (5 times)
  13 min ago  CutOff  oob: oob-bo has no NIC with carrier: the network is cut
              off from outside
"""
    )
    assert max(map(width, text.splitlines())) <= 80


def test_what_the_probes_found_is_told_one_by_one(kernel: FakeKernel) -> None:
    config = Ref("VlanConfig", "oob")
    vlan = OutsideFault(
        about=config, reason="VlanMissing", place="Ethernet1 of tor-1", grave=True, since=NOW - 60,
        message="VLAN 100 is missing on Ethernet1 of tor-1 (sure)", hint="allow VLAN 100 on Ethernet1 of tor-1",
    )  # fmt: skip
    lost = replace(
        vlan, reason="FramesLost", place="tor-2", message="a tenth is lost on tor-2 (likely)", hint="x", grave=False
    )
    condition = Condition(about=config, type="OutsideFaulty", status=True, reason="VlanMissing", message="both")
    found, text = screen(kernel, Told(now=NOW, agent=replace(AGENT, conditions=(condition,), outside=(lost, vlan))))
    assert not found.well
    assert [(f.problem.code, f.problem.severity) for f in found.findings] == [
        ("VlanMissing", Severity.ERROR),
        ("FramesLost", Severity.WARNING),
    ]
    assert (
        """\
error    VlanConfig/oob  for 60 s, since T-60
         VLAN 100 is missing on Ethernet1 of tor-1 (sure)
         → allow VLAN 100 on Ethernet1 of tor-1

warning  VlanConfig/oob"""
        in text
    )


def test_with_an_agent_all_is_well(kernel: FakeKernel) -> None:
    found, text = screen(kernel, Told(now=NOW, agent=AGENT))
    assert found.well
    assert text.startswith("Node n1: all is well\nthe agent runs since 3 h (pid 812)\n")


def test_the_agent_knows_better_what_is_normal_for_a_moment(kernel: FakeKernel) -> None:
    """It has given LACP its time, or a NIC flaps that has carrier just now."""
    kernel.pull("eth1")
    well = replace(AGENT, conditions=(Condition(about=OOB, type="Degraded", status=False, reason="Whole", since=1),))
    assert screen(kernel, Told(now=NOW, agent=well))[0].findings == ()
    assert len(screen(kernel, Told(now=NOW, agent=AGENT))[0].findings) == 1, "it does not watch that bond"
    assert len(screen(kernel, Told(now=NOW))[0].findings) == 1
    kernel.plug("eth1")
    flaps = Condition(about=OOB, type="Degraded", status=True, reason="Flapping", message="eth1 flaps", since=NOW - 5)
    found, text = screen(kernel, Told(now=NOW, agent=replace(AGENT, conditions=(flaps,))))
    assert [f.problem.severity.value for f in found.findings] == ["warning"]
    assert "warning  ClusterNetwork/oob  for 5 s, since T-5\n         eth1 flaps\n" in text


def test_since_when_a_network_is_not_ready(kernel: FakeKernel) -> None:
    kernel.machine.devices["oob-bo"].mtu = 1400
    unready = Condition(about=OOB, type="ready", status=False, reason="Drifted", since=NOW - 9)
    found, text = screen(kernel, Told(now=NOW, agent=replace(AGENT, conditions=(unready,))))
    assert "oob  ○ not ready for 9 s: oob-bo differs from the manifests\n" in text
    assert found.findings == (), "it is told where the network is"
    assert [n.since for n in found.networks if n.name == "oob"] == [NOW - 9]


@pytest.mark.parametrize(
    ("stage", "left", "words"),
    [
        ("waiting", 12.2, "awaits confirmation; it is undone in 12 s"),
        ("waiting", None, "awaits confirmation; it is undone by itself"),
        ("changing", 60.0, "is being made and tried"),
        ("undoing", 0.0, "is being undone"),
    ],
)
def test_a_change_that_is_not_decided(kernel: FakeKernel, stage: str, left: float | None, words: str) -> None:
    found, text = screen(kernel, Told(now=NOW, pending=Pending(made_by="windrow apply", stage=stage, left=left)))
    assert not found.well
    assert words in " ".join(text.split())


def test_as_data(kernel: FakeKernel) -> None:
    kernel.pull("eth1")
    degraded = Condition(about=OOB, type="Degraded", status=True, reason="OneLeg", message="m", since=NOW - 5)
    pending = Pending(made_by="windrow init", stage="waiting", left=41.66)
    told = Told(now=NOW, agent=replace(AGENT, conditions=(degraded,)), pending=pending)
    value = json.loads(json.dumps(overview_value(screen(kernel, told)[0])))
    assert (value["findings"][0]["code"], value["findings"][0]["since"]) == ("OneLeg", NOW - 5)
    assert value["agent"]["running"] is True
    assert value["pending"] == {"madeBy": "windrow init", "stage": "waiting", "secondsLeft": 41.7, "links": []}
    alone = overview_value(screen(kernel, Told(now=NOW))[0])
    assert (alone["agent"], alone["pending"], alone["findings"][0]["since"]) == ({"running": False}, None, None)


def test_an_address_that_is_missing(kernel: FakeKernel) -> None:
    dhcp = wanted().replace([host_network("oob", 300)])
    assert converge(dhcp, kernel, "n1").ok
    sight = look(kernel, "n1")
    found = overview(dhcp, NodeReport(node="n1", observed=sight.observed, plan=plan_node(dhcp, sight).plan))
    assert [(f.problem.about, f.problem.code) for f in found.findings] == [
        (Ref("HostNetworkConfig", "oob-300"), "NoClient")
    ]
    agent = replace(
        AGENT, conditions=(Condition(about=Ref("HostNetworkConfig", "oob-300"), type="ready", status=True),)
    )
    report = NodeReport(node="n1", observed=sight.observed, plan=plan_node(dhcp, sight).plan)
    assert overview(dhcp, report, Told(now=NOW, agent=agent)).findings == ()


# -- the change that is not decided ----------------------------------------------------------------


def checkpoint(paths: Paths, **fields: object) -> None:
    usual = {"stage": "waiting", "madeBy": "windrow init", "allowed": 60.0, "links": ["mgmt-br"]}
    paths.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + 30
    paths.checkpoint.write_text(json.dumps({**usual, "deadline": deadline, **fields}))


def test_the_checkpoint_on_disk(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert known.pending_change(paths) is None
    checkpoint(paths)
    found = known.pending_change(paths)
    assert found is not None
    assert (found.made_by, found.stage, found.links) == ("windrow init", "waiting", ("mgmt-br",))
    assert found.left is not None and 25 < found.left <= 30
    checkpoint(paths, deadline=1e12)
    assert known.pending_change(paths) == replace(found, left=None), "of before the last start of the host"
    for stage in ("confirmed", "undone", "?"):
        checkpoint(paths, stage=stage)
        assert known.pending_change(paths) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"stage": "waiting"}', "7", "\ud800".encode("utf-8", "replace").decode()]
)
def test_a_broken_checkpoint_is_left_where_it_is(tmp_path: Path, text: str) -> None:
    paths = Paths(tmp_path)
    checkpoint(paths)
    paths.checkpoint.write_text(text)
    assert known.pending_change(paths) is None
    assert paths.checkpoint.read_text() == text


# -- the verb --------------------------------------------------------------------------------------


def run(root: Path, kernel: FakeKernel, *words: str) -> Result:
    session = Session(root=root, node="n1", open_kernel=lambda: kernel, permitted=lambda: True)
    return CliRunner().invoke(cli, ["status", *words], obj=session, prog_name="windrow")


def test_the_verb_without_an_agent_or_a_store(tmp_path: Path, kernel: FakeKernel) -> None:
    result = run(tmp_path, kernel)
    assert result.exit_code == 0, result.output
    assert "no agent runs here" in result.stdout


def test_the_verb_shows_what_is_on_disk(tmp_path: Path, kernel: FakeKernel) -> None:
    paths = Paths(tmp_path)
    checkpoint(paths)
    event = Event(type=EventType.NORMAL, reason="SlaveUp", about=OOB, message="eth1 back", first=1.0, last=time.time())
    Events(paths).add([event])
    text = run(tmp_path, kernel).stdout
    assert "awaits confirmation; it is" in text
    assert "SlaveUp  oob: eth1 back" in text
    value = json.loads(run(tmp_path, kernel, "-o", "json").stdout)
    assert (value["pending"]["stage"], value["events"][0]["reason"]) == ("waiting", "SlaveUp")


def test_watching(tmp_path: Path, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(verb.time, "sleep", nap)
    result = run(tmp_path, kernel, "-w")
    assert result.stdout.count("Node n1: ") == 2
    assert naps == [verb.REFRESH_S] * 2
    assert run(tmp_path, kernel, "-w", "-o", "json").exit_code == 2


def test_times_of_today_have_no_date() -> None:
    words = verb.clock(NOW)
    assert len(words(NOW - 5)) == len("14:02:11") or time.localtime(NOW).tm_hour == 0
    assert words(NOW - 3 * 86_400)[:3].isalpha()


# -- texts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 ms"), (0.25, "250 ms"), (1, "1 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days")],
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_wrapping() -> None:
    assert wrap("  short", 80, 4) == ["  short"]
    assert wrap("  one two three", 9, 4) == ["  one two", "    three"]
    assert wrap("averyveryverylongword and more", 8, 2) == ["averyveryverylongword", "  and", "  more"]
    red = Style(colour=True).red("two")
    assert wrap(f"one {red} three", 7, 0) == [f"one {red}", "three"], "escapes take no room"
