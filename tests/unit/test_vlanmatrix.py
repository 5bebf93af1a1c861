"""The table of nodes and VLANs: each state from what was heard, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from windrow.apps.check.told import Told, exit_code, rows
from windrow.model.cluster import Cluster
from windrow.model.evidence import Evidence, Heard, Leg, NicEvidence, NodeEvidence
from windrow.model.findings import Certainty, Finding, Fix, Grade, Reason
from windrow.model.values import IfName, Mac, VidSet
from windrow.render.vlanmatrix import Row, State, matrix, matrix_text, matrix_value, seen_of

ETH0, ETH1 = IfName("eth0"), IfName("eth1")
WANTED = {"oob": VidSet.parse("10,20")}


def node(
    name: str, hears: Iterable[tuple[str, int]] = (), *, sent: str = "10,20", network: str = "oob"
) -> NodeEvidence:
    heard = tuple(
        Heard(
            sender=Leg(other, ETH0),
            receiver=Leg(name, ETH0),
            vid=vid,
            arrived=vid,
            sent=3,
            count=3,
            broadcast=3,
            sweep=1,
        )
        for other, vid in hears
    )
    nic = NicEvidence(name=ETH0, mac=Mac("02:00:00:00:00:01"), carrier=True, cluster_network=network)
    return NodeEvidence(node=name, at=1000.0, nics={ETH0: nic}, heard=heard, probed={ETH0: VidSet.parse(sent)}, sweep=1)


def cells(*nodes: NodeEvidence, silent: Iterable[str] = ()) -> dict[tuple[str, int], State]:
    evidence = Evidence(nodes={one.node: one for one in nodes}, silent=frozenset(silent))
    wanted = dict.fromkeys((*evidence.nodes, *silent), WANTED)
    return {(row.node, vid): state for row in matrix(seen_of(evidence), wanted) for vid, state in row.cells.items()}


def both(*others: str, vids: tuple[int, ...] = (10, 20)) -> list[tuple[str, int]]:
    return [(other, vid) for other in others for vid in vids]


def test_all_pass() -> None:
    assert set(cells(node("a", both("b")), node("b", both("a"))).values()) == {State.PASSES}


def test_nobody_hears_anybody() -> None:
    found = cells(node("a", both("b", vids=(10,))), node("b", both("a", vids=(10,))))
    assert found["a", 20] is found["b", 20] is State.NOBODY


def test_alone_and_silent() -> None:
    found = cells(node("a"), silent=["b"])
    assert found["a", 10] is State.ALONE
    assert found["b", 10] is State.SILENT


def test_what_was_not_sent_is_no_fault() -> None:
    found = cells(node("a", both("b")), node("b", both("a", vids=(10,)), sent="10"))
    assert found["b", 20] is State.NOT_SENT
    assert found["a", 20] is State.ALONE


def test_frames_of_another_cluster_network_do_not_count() -> None:
    """VLAN 10 of two networks may be one VLAN of the switch, or not: it proves nothing for either."""
    found = cells(node("a", both("b")), node("b", both("a"), network="other"))
    assert found["a", 10] is State.ALONE


def test_what_was_heard_of_an_earlier_sweep_says_nothing_of_the_legs_of_this_one() -> None:
    def two(found: NodeEvidence, sweep: int) -> NodeEvidence:
        nic = replace(found.nics[ETH0], name=ETH1)
        return replace(
            found, sweep=sweep, nics={**found.nics, ETH1: nic}, probed={**found.probed, ETH1: VidSet.parse("10,20")}
        )

    now, before = two(node("a", both("b")), 1), two(node("a", both("b")), 2)
    assert cells(now, node("b", both("a")))["a", 10] is State.ONE_LEG
    assert cells(before, node("b", both("a")))["a", 10] is State.PASSES


def test_a_leg_within_its_grace() -> None:
    """A port without an edge setting may be quiet for half a minute after its carrier came."""

    def with_backup(since: float | None) -> NodeEvidence:
        found = node("a", both("b"))
        active = replace(found.nics[ETH0], active=True)
        backup = replace(active, name=ETH1, active=False, carrier_since=since)
        return replace(found, nics={ETH0: active, ETH1: backup})

    assert cells(with_backup(None), node("b", both("a")))["a", 10] is State.ONE_LEG
    assert cells(with_backup(900.0), node("b", both("a")))["a", 10] is State.ONE_LEG
    assert cells(with_backup(980.0), node("b", both("a")))["a", 10] is State.PASSES


def test_vlans_that_are_alike_are_one_column() -> None:
    vids = range(100, 200)
    listed = [
        Row(cluster_network="oob", node="a", cells=dict.fromkeys(vids, State.PASSES)),
        Row(cluster_network="oob", node="b", cells={v: State.MUTE if v == 150 else State.PASSES for v in (0, *vids)}),
    ]
    assert matrix_text(listed) == (
        "oob\n"
        "NODE   untagged   100-149   150   151-199\n"
        "a      -          ✓         ✓     ✓\n"
        "b      ✓          ✓         2     ✓\n"
        "\n"
        "2: it hears others there, and nobody hears it\n"
    )
    assert matrix_value(listed)[1] == {
        "clusterNetwork": "oob",
        "node": "b",
        "vlans": {"passes": "0,100-149,151-199", "mute": "150"},
    }


def test_a_table_that_is_wider_than_the_terminal_goes_on_below() -> None:
    """Every other VLAN is missing: a column each."""
    cells = {vid: State.MUTE if vid % 2 else State.PASSES for vid in range(100, 140)}
    listed = [Row(cluster_network="oob", node="node-1", cells=cells)]
    lines = matrix_text(listed, columns=80).splitlines()
    assert max(map(len, lines[:-1])) == 78
    headings = [line.split()[1:] for line in lines if line.startswith("NODE")]
    assert [len(each) for each in headings] == [12, 12, 12, 4]
    assert [vid for each in headings for vid in each] == [str(vid) for vid in cells]
    assert len(matrix_text(listed, columns=3).splitlines()) > 40, "however narrow, a column at least"


def finding(grade: Grade) -> Finding:
    reason = Reason.VLAN_MISSING
    fix = Fix(words="look")
    return Finding(reason=reason, grade=grade, certainty=Certainty.SURE, message="wrong", fix=fix, place="p1")


def test_exit_codes() -> None:
    def code(*states: State, found: tuple[Finding, ...] = ()) -> int:
        listed = [Row(cluster_network="oob", node="a", cells=dict(enumerate(states)))] if states else []
        return exit_code(listed, found)

    assert code(State.PASSES) == 0
    assert code(State.PASSES, State.MUTE) == 1
    assert code(State.PASSES, State.SILENT) == 3
    assert code() == 3
    assert code(State.NOBODY, found=(finding(Grade.NOTE),)) == 0, "isolated by design is for `diagnose` to say"
    assert code(State.NOBODY) == 1, "what nothing explains is no less wrong"
    assert code(State.PASSES, found=(finding(Grade.WARNING),)) == 1
    assert code(State.ALONE, found=(finding(Grade.NOTE),)) == 3


def test_a_node_that_probes_nothing_yet_is_judged_by_the_manifests() -> None:
    told = Told(
        node="a",
        at=1.0,
        evidence=Evidence(nodes={"a": node("a", both("b")), "b": node("b", both("a"), sent="")}),
        wanted=WANTED,
    )
    assert [row.node for row in rows(told, Cluster.of(()))] == ["a"]


def test_a_node_that_is_heard_and_has_told_nothing() -> None:
    """Its probes come, its report does not: that is not the same as a node that is not there, and no verdict on it."""
    told = Told(node="a", at=1.0, evidence=Evidence(nodes={"a": node("a", both("b"))}), wanted=WANTED)
    found = {(row.node, vid): state for row in rows(told, Cluster.of(())) for vid, state in row.cells.items()}
    assert found["b", 10] is State.SILENT
    assert found["a", 10] is State.ALONE
