"""What a switch is to be told: needs, cablings, refusals, templates, comparisons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.model.cluster import Cluster
from windrow.model.evidence import (
    Aggregation,
    Evidence,
    Heard,
    Identity,
    Kind,
    LacpLeg,
    LacpSide,
    Leg,
    NicEvidence,
    NodeEvidence,
    SwitchPort,
)
from windrow.model.problems import ProblemsError, Severity, errors
from windrow.model.values import IfName, Mac, Vid, VidSet
from windrow.model.wire import load_documents
from windrow.switches.cabling import Cabling, cabling_document, merged, read_cabling, seen_cabling
from windrow.switches.compare import Compared, Verdict, compare, seen_config
from windrow.switches.config import Configs, Interface, SwitchConfig, change, configs_of
from windrow.switches.systems import SYSTEMS, guess
from windrow.switches.text import document_of, statements
from windrow.switches.wanted import needs_of

ETH1, ETH2 = IfName("eth1"), IfName("eth2")


def cluster(mode: str = "active-backup", nics: str = "eth1, eth2", nads: str = '"vlan":100', **nodes: str) -> Cluster:
    text = f"""\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {{name: oob}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {{name: oob}}
spec: {{clusterNetwork: oob, uplink: {{nics: [{nics}], bondOptions: {{mode: {mode}}}}}}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: web, namespace: default}}
spec: {{config: '{{"cniVersion":"0.3.1","name":"w","type":"bridge","bridge":"oob-br",{nads}}}'}}
"""
    loaded = load_documents(text, "test.yaml")
    assert not errors(loaded.problems), loaded.problems
    return Cluster.of(loaded.objects)


def cabling(**switches: dict[str, Any]) -> Cabling:
    found = read_cabling({"switches": [{"name": n.replace("_", "-"), **s} for n, s in switches.items()]}, "c.yaml")
    assert not found.problems, found.problems
    return found


def configs(wanted: Cluster, plugged: Cabling, system: str = "eos") -> Configs:
    return configs_of(needs_of(wanted, ("n",)), plugged, wanted, system)


ONE = {"ports": {"Ethernet1": "n/eth1", "Ethernet2": "n/eth2"}}


@pytest.mark.parametrize(
    ("mode", "names", "channel"),
    [
        ("balance-rr", ["Port-Channel1"], "static"),
        ("active-backup", ["Ethernet1", "Ethernet2"], "none"),
        ("balance-xor", ["Port-Channel1"], "static"),
        ("broadcast", ["Port-Channel1"], "static"),
        ("802.3ad", ["Port-Channel1"], "lacp"),
        ("balance-tlb", ["Ethernet1", "Ethernet2"], "none"),
        ("balance-alb", ["Ethernet1", "Ethernet2"], "none"),
    ],
)
def test_the_channel_matches_the_bond_mode(mode: str, names: list[str], channel: str) -> None:
    found = configs(cluster(mode), cabling(tor=ONE))
    assert not found.problems
    assert [i.name for i in found.switches[0].interfaces] == names
    assert {i.channel.value for i in found.switches[0].interfaces} == {channel}


def test_vlans_and_the_native_one() -> None:
    tagged = configs(cluster(), cabling(tor=ONE)).switches[0].interfaces[0]
    assert (tagged.tagged, tagged.native) == (VidSet.of([100]), 0), "nothing without a tag is used: it is dropped"
    plain = configs(cluster(nads='"promiscMode":true'), cabling(tor={**ONE, "native": 50})).switches[0].interfaces[0]
    assert (plain.tagged, plain.native) == (VidSet(), 50)


def codes(found: Configs) -> set[str]:
    return {p.code for p in errors(found.problems)}


def test_what_switches_cannot_do_is_refused_and_has_no_statements() -> None:
    apart = cabling(a={"ports": {"Ethernet1": "n/eth1"}}, b={"ports": {"Ethernet1": "n/eth2"}})
    pair = cabling(
        a={"shared": "b", "ports": {"Ethernet1": "n/eth1"}}, b={"shared": "a", "ports": {"Ethernet1": "n/eth2"}}
    )
    assert codes(configs(cluster("balance-xor"), cabling(tor=ONE), "sonic")) == {"channel-static"}
    assert codes(configs(cluster("balance-xor"), apart)) == {"channel-two-switches"}
    assert codes(configs(cluster("balance-xor"), pair)) == {"channel-two-switches"}
    assert codes(configs(cluster("802.3ad"), apart)) == {"lacp-two-switches"}
    assert codes(configs(cluster("802.3ad"), pair)) == set()
    assert codes(configs(cluster(), apart)) == set(), "no channel: two switches are fine"
    assert codes(configs(cluster(nads='"vlan":4000'), cabling(tor=ONE), "nxos")) == {"vid-reserved"}
    assert codes(configs(cluster(nads='"promiscMode":true'), cabling(tor=ONE), "sonic")) == {"vid-reserved"}
    refused = configs(cluster("802.3ad"), apart)
    assert (refused.switches, refused.refused) == ((), {"a", "b"})
    assert codes(configs(cluster(), cabling(tor=ONE), "")) == {"switch-system"}


def test_both_switches_of_a_pair_give_the_channel_one_number() -> None:
    pair = cabling(
        a={"shared": "b", "ports": {"Ethernet7": "n/eth1"}}, b={"shared": "a", "ports": {"Ethernet9": "n/eth2"}}
    )
    found = configs(cluster("802.3ad"), pair)
    assert [i.number for s in found.switches for i in s.interfaces] == [7, 7]


TWO = {
    "ports": {"Ethernet1/1": "n/eth1", "Ethernet1/2": "n/eth2", "Ethernet2/1": "m/eth1", "Ethernet2/2": "m/eth2"},
}


def numbers(nodes: tuple[str, ...], plugged: Cabling, kept: tuple[SwitchConfig, ...] = ()) -> dict[str, int]:
    wanted = cluster("802.3ad")
    found = configs_of(needs_of(wanted, nodes), plugged, wanted, "eos", kept=kept)
    for one in found.switches:
        assert len({i.name for i in one.interfaces}) == len(one.interfaces), "one channel, one name"
    return {i.wanted_by: i.number for one in found.switches for i in one.interfaces}


def test_channels_whose_ports_have_one_number_get_two_and_keep_them() -> None:
    both = numbers(("m", "n"), cabling(tor=TWO))
    assert both == {"m/oob": 1, "n/oob": 2}
    alone = configs_of(needs_of(cluster("802.3ad"), ("n",)), cabling(tor=TWO), cluster("802.3ad"), "eos")
    assert numbers(("m", "n"), cabling(tor=TWO), kept=alone.switches) == {"m/oob": 2, "n/oob": 1}
    said = configs_of(needs_of(cluster("802.3ad"), ("m", "n")), cabling(tor=TWO), cluster("802.3ad"), "eos")
    assert [(p.code, p.severity) for p in said.problems] == [("channel-number-taken", Severity.WARNING)]
    assert "`n/oob: 2`" in said.problems[0].hint


def test_what_is_taken_on_one_switch_of_a_pair_is_taken_on_both() -> None:
    pair = cabling(
        a={"shared": "b", "ports": {"Ethernet7": "n/eth1"}},
        b={"shared": "a", "ports": {"Ethernet7": "m/eth1", "Ethernet8": "m/eth2", "Ethernet9": "n/eth2"}},
    )
    found = configs_of(needs_of(cluster("802.3ad"), ("m", "n")), pair, cluster("802.3ad"), "eos")
    assert [(s.name, i.wanted_by, i.number) for s in found.switches for i in s.interfaces] == [
        ("a", "n/oob", 8),
        ("b", "m/oob", 7),
        ("b", "n/oob", 8),
    ]
    named = cabling(
        a={"shared": "b", "ports": {"Ethernet7": "n/eth1"}, "channels": {"n/oob": 30}},
        b={"shared": "a", "ports": {"Ethernet9": "n/eth2"}},
    )
    both = configs_of(needs_of(cluster("802.3ad"), ("n",)), named, cluster("802.3ad"), "eos")
    assert [i.number for s in both.switches for i in s.interfaces] == [30, 30]


def test_one_switch_alone_is_told_nothing_of_the_others() -> None:
    plugged = cabling(a={"ports": {"Ethernet1": "n/eth1", "Ethernet2": "n/eth2"}}, b={"ports": {"X1": "m/eth9"}})
    found = configs_of(needs_of(cluster(), ("n",)), plugged, cluster(), "eos", only="a")
    assert ([s.name for s in found.switches], found.problems) == (["a"], ())


def test_a_vlan_that_is_native_and_needed_with_its_tag_is_refused() -> None:
    wanted = cluster().replace(load_documents(PLAIN, "plain.yaml").objects)
    assert codes(configs(wanted, cabling(tor={**ONE, "native": 100}))) == {"native-tagged"}
    assert codes(configs(wanted, cabling(tor={**ONE, "native": 50}))) == set()


PLAIN = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: plain, namespace: default}
spec: {config: '{"cniVersion":"0.3.1","name":"p","type":"bridge","bridge":"oob-br"}'}
"""
NAMED = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: "{name}", namespace: {namespace}}}
spec: {{config: '{{"cniVersion":"0.3.1","name":"p","type":"bridge","bridge":"oob-br","vlan":{vid}}}'}}
"""


def test_each_vlan_has_a_name_of_its_own() -> None:
    """Junos would give the second one's id to the first, and takes `200` for VLAN 200."""
    nads = [("web", "a", 101), ("web", "b", 102), ("200", "a", 103), ("vlan105", "a", 104), ("default", "a", 106)]
    texts = [NAMED.format(name=name, namespace=space, vid=vid) for name, space, vid in nads]
    wanted = cluster().replace(load_documents("---\n".join(texts)).objects)
    vlans = configs(wanted, cabling(tor=ONE)).switches[0].vlans
    assert vlans == {
        100: "web-100",
        101: "web",
        102: "web-102",
        103: "vlan103",
        104: "vlan105-104",
        106: "default-106",
    }
    assert len({name.lower() for name in vlans.values()}) == len(vlans)
    assert all(name[0].isalpha() for name in vlans.values())


def test_what_is_not_cabled_and_what_nobody_uses_is_said() -> None:
    found = configs(cluster(), cabling(tor={"ports": {"Ethernet1": "n/eth1", "Ethernet9": "n/eth9", "X1": "m/eth0"}}))
    assert not errors(found.problems)
    said = " ".join(str(p) for p in found.problems)
    assert "n/eth2 is plugged is not known" in said
    assert "no cluster network uses eth9 of n" in said
    assert "m has no uplink" in said


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (None, ""),
        ({"switches": []}, ""),
        ({"switches": [{"name": "a"}], "more": 1}, "more"),
        ({"switches": ["a"]}, "switches[0]"),
        ({"switches": [{"name": "a b"}]}, "switches[0].name"),
        ({"switches": [{"name": "a", "ports": {"e1\nreload": "n/eth1"}}]}, "switches[0].ports"),
        ({"switches": [{"name": "a", "ports": {"e1": "eth1"}}]}, "switches[0].ports.e1"),
        ({"switches": [{"name": "a", "ports": []}]}, "switches[0].ports"),
        ({"switches": [{"name": "a", "native": 4095}]}, "switches[0].native"),
        ({"switches": [{"name": "a", "native": True}]}, "switches[0].native"),
        ({"switches": [{"name": "a", "system": "ios"}]}, "switches[0].system"),
        ({"switches": [{"name": "a", "Ports": {}}]}, "switches[0].Ports"),
        ({"switches": [{"name": "a"}, {"name": "a"}]}, "switches[1].name"),
        ({"switches": [{"name": "a", "shared": "b"}, {"name": "b"}]}, "switches[0].shared"),
        ({"switches": [{"name": "a", "ports": {"e1": "n/x", "e2": "n/x"}}]}, "switches[0].ports.e2"),
        ({"switches": [{"name": True}]}, "switches[0].name"),
        ({"switches": [{"name": "-a"}]}, "switches[0].name"),
        ({"switches": [{"name": "a;reload"}]}, "switches[0].name"),
        ({"switches": [{"name": "a", "ports": {"e1": "n/eth1; reload"}}]}, "switches[0].ports.e1"),
        ({"switches": [{"name": "a", "ports": {"e1": "n/x/eth1"}}]}, "switches[0].ports.e1"),
        ({"switches": [{"name": "a", "shared": "a"}]}, "switches[0].shared"),
        ({"switches": [{"name": "a", "channels": {"oob": 1}}]}, "switches[0].channels.oob"),
        ({"switches": [{"name": "a", "channels": {"n/oob": 1, "m/oob": 1}}]}, "switches[0].channels[m/oob]"),
        (
            {
                "switches": [
                    {"name": "a", "shared": "b", "channels": {"n/oob": 1}},
                    {"name": "b", "shared": "a", "channels": {"n/oob": 2}},
                ]
            },
            "switches[1].channels[n/oob]",
        ),
    ],
)
def test_a_wrong_cabling_file(document: Any, path: str) -> None:
    found = read_cabling(document, "c.yaml", {path: 7})
    assert [(p.path, p.line) for p in found.problems] == [(path, 7)], found.problems
    assert all(p.file == "c.yaml" for p in found.problems)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["switches", "name", "ports", "native", "shared", "channels", "x"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_no_cabling_file_ends_in_an_exception(document: Any) -> None:
    found = read_cabling(document, "c.yaml")
    assert found.problems or found.switches


# What is seen -------------------------------------------------------------------------------------


def port(name: str = "Ethernet1", system: str = "tor", **more: Any) -> SwitchPort:
    fields = {
        "source": Kind.LLDP,
        "chassis": Identity(kind="mac", text="00:1c:73:00:00:01"),
        "port": Identity(kind="ifname", text=name),
        "system": system,
        "system_description": "Arista Networks EOS version 4.31",
        "is_bridge": True,
    }
    return SwitchPort(**{**fields, **more})


def seen(*nics: NicEvidence, heard: tuple[Heard, ...] = (), probed: dict[str, VidSet] | None = None) -> Evidence:
    node = NodeEvidence(
        node="n",
        at=0.0,
        nics={nic.name: nic for nic in nics},
        heard=heard,
        probed={IfName(k): v for k, v in (probed or {}).items()},
    )
    return Evidence(nodes={"n": node})


def nic(name: str, *ports: SwitchPort, lacp: LacpLeg | None = None) -> NicEvidence:
    return NicEvidence(name=IfName(name), mac=Mac("52:54:00:00:00:01"), carrier=True, neighbours=ports, lacp=lacp)


def test_a_cabling_from_lldp() -> None:
    junos = port("547", "spine", port_description="ge-0/0/3", system_description="Juniper Networks, Inc. ex4300")
    junos = replace(junos, port=Identity(kind="local", text="547"))
    found = seen_cabling(seen(nic("eth1", port(pvid=50)), nic("eth2", junos), nic("eth3"), nic("eth4", port(), junos)))
    assert cabling_document(found) == {
        "switches": [
            {"name": "spine", "system": "junos", "ports": {"ge-0/0/3": "n/eth2"}},
            {"name": "tor", "system": "eos", "native": 50, "ports": {"Ethernet1": "n/eth1"}},
        ]
    }
    assert [p.code for p in found.problems] == ["cabling-unseen", "cabling-unseen"]
    assert read_cabling(cabling_document(found), "again").switches == tuple(
        replace(s, seen={}) for s in found.switches
    ), "what is printed can be read"


def test_a_switch_that_speaks_cdp_too_is_one_switch() -> None:
    """As Cisco's do; CDP alone is good enough."""
    cdp = replace(port("Ethernet1"), source=Kind.CDP, chassis=Identity(kind="local", text="tor(FDO1)"), system="")
    found = seen_cabling(seen(nic("eth1", cdp, port()), nic("eth2", replace(cdp, system="old"))))
    assert not found.problems
    assert [(s.name, dict(s.ports)) for s in found.switches] == [
        ("old", {"Ethernet1": Leg("n", ETH2)}),
        ("tor", {"Ethernet1": Leg("n", ETH1)}),
    ]


def test_switches_that_call_themselves_alike_are_not_one() -> None:
    other = port(chassis=Identity(kind="mac", text="00:1c:73:00:00:02"))
    found = seen_cabling(seen(nic("eth1", port()), nic("eth2", other)))
    assert [p.code for p in found.problems] == ["cabling-namesakes"]
    assert {s.name: dict(s.ports) for s in found.switches} == {
        "tor-001c73000001": {"Ethernet1": Leg("n", ETH1)},
        "tor-001c73000002": {"Ethernet1": Leg("n", ETH2)},
    }
    assert not read_cabling(cabling_document(found), "again").problems


def test_a_port_that_two_nics_hear_is_nobodys() -> None:
    found = seen_cabling(seen(nic("eth1", port()), nic("eth2", port())))
    assert ([p.code for p in found.problems], found.switches) == (["cabling-one-port"], ())
    assert "n/eth1 and n/eth2 hear the same port, Ethernet1 of tor" in found.problems[0].message


def test_names_that_are_too_long_for_a_cabling_file_are_not_written_into_one() -> None:
    found = seen_cabling(seen(nic("eth1", port("e" * 65)), nic("eth2", port("Ethernet2", "s" * 200))))
    assert [p.code for p in found.problems] == ["cabling-name"]
    assert not read_cabling(cabling_document(found), "again").problems


def test_a_port_that_is_called_like_a_statement_is_not_used() -> None:
    found = seen_cabling(seen(nic("eth1", port("Ethernet1\nno vlan 1-4094"))))
    assert not found.switches
    assert [p.code for p in found.problems] == ["cabling-name"]


def test_a_cabling_file_that_contradicts_lldp_is_an_error_that_names_both() -> None:
    found = merged(cabling(tor=ONE), seen_cabling(seen(nic("eth1", port("Ethernet9")))))
    assert [p.code for p in found.problems] == ["cabling-contradicts"]
    assert "Ethernet1 of tor" in found.problems[0].message
    assert "Ethernet9 of tor" in found.problems[0].message
    taken = merged(cabling(tor=ONE), seen_cabling(seen(nic("eth9", port("Ethernet2")))))
    assert [p.code for p in taken.problems] == ["cabling-contradicts"], "somebody else is plugged in there"
    assert "n/eth2" in taken.problems[0].message
    assert "n/eth9" in taken.problems[0].message
    cisco = merged(cabling(tor={**ONE, "system": "nxos"}), seen_cabling(seen(nic("eth1", port()))))
    assert [(p.code, p.severity) for p in cisco.problems] == [("cabling-system", Severity.WARNING)]
    agreeing = merged(cabling(tor={"ports": {"Ethernet2": "n/eth2"}}), seen_cabling(seen(nic("eth1", port()))))
    assert not agreeing.problems
    assert agreeing.switches[0].ports == {"Ethernet2": Leg("n", ETH2), "Ethernet1": Leg("n", ETH1)}


@pytest.mark.parametrize(
    ("words", "system"),
    [
        ("Arista Networks EOS version 4.31.1F running on an Arista DCS-7050", "eos"),
        ("Cisco Nexus Operating System (NX-OS) Software 10.3(1)", "nxos"),
        ("SONiC Software Version: SONiC.202311 - HwSku: x - Distribution: Debian 11 - Kernel: 5.10 Linux", "sonic"),
        ("Cumulus Linux version 5.6.0 running on Mellanox", "nvue"),
        ("Debian GNU/Linux 12 (bookworm) Linux 6.1.0", "linux"),
        ("MikroTik RouterOS 7.16 (stable) CRS326", "routeros"),
        ("a fridge", ""),
    ],
)
def test_a_system_is_known_by_what_it_calls_itself(words: str, system: str) -> None:
    found = guess(words)
    assert (found.name if found else "") == system


def rows(evidence: Evidence, mode: str = "active-backup") -> dict[tuple[str, str], Compared]:
    plugged = merged(cabling(tor=ONE), seen_cabling(evidence))
    found = configs(cluster(mode), plugged)
    return {(r.port, r.what): r for r in compare(found.switches[0], plugged, evidence)}


def test_absence_proves_nothing() -> None:
    for told in (port(), port(vlans={Vid(7): "x"}, vlans_cut=True)):
        found = rows(seen(nic("eth1", told)))
        assert found["Ethernet1", "tagged VLANs"].verdict is Verdict.UNTOLD
        assert found["Ethernet2", "tagged VLANs"].verdict is Verdict.UNTOLD


def test_differences_from_lldp() -> None:
    named = {Vid(7): "x", Vid(1): "default"}
    found = rows(seen(nic("eth1", port(vlans=named, pvid=1)), nic("eth2", port("Ethernet2", pvid=0))))
    assert found["Ethernet1", "tagged VLANs"].verdict is Verdict.DIFFERS
    assert found["Ethernet1", "native VLAN"].verdict is Verdict.DIFFERS
    assert found["Ethernet2", "native VLAN"].verdict is Verdict.SAME
    right = rows(seen(nic("eth1", port(vlans={Vid(100): "web"}, pvid=0))))
    assert {r.verdict for key, r in right.items() if key[0] == "Ethernet1" and key[1] != "channel"} == {Verdict.SAME}


def test_a_pvid_alone_does_not_say_that_frames_without_a_tag_pass() -> None:
    """NX-OS tells VLAN 1 of a trunk on which it is not allowed: what our own statements make is no difference."""
    for vlans, verdict in (({}, Verdict.UNTOLD), ({Vid(100): "web"}, Verdict.SAME)):
        found = rows(seen(nic("eth1", port(vlans=vlans, pvid=1))))["Ethernet1", "native VLAN"]
        assert (found.verdict, found.seen) == (verdict, "1, if it is allowed there")


def test_a_channel_is_seen_by_lacp_before_lldp() -> None:
    def side(system: str) -> LacpSide:
        return LacpSide(system=Mac(system), key=1, port=1, state=61)

    lldp = port(aggregation=Aggregation(capable=True, active=True, port_id=9))
    answered, mute = LacpLeg(partner=side("00:1c:73:00:00:01")), LacpLeg(partner=side("00:00:00:00:00:00"))
    assert rows(seen(nic("eth1", lldp)))["Ethernet1", "channel"].verdict is Verdict.DIFFERS
    assert rows(seen(nic("eth1", lldp)), "802.3ad")["Ethernet1", "channel"].verdict is Verdict.SAME
    assert rows(seen(nic("eth1", lldp, lacp=answered)), "802.3ad")["Ethernet1", "channel"].verdict is Verdict.SAME
    assert rows(seen(nic("eth1", lldp, lacp=mute)), "802.3ad")["Ethernet1", "channel"].verdict is Verdict.DIFFERS


def test_probes_say_what_passes() -> None:
    here, there = Leg("n", ETH1), Leg("m", ETH1)

    def both(vid: int) -> tuple[Heard, ...]:
        pairs = ((here, there), (there, here))
        return tuple(Heard(sender=a, receiver=b, vid=vid, arrived=vid, sent=3, count=3) for a, b in pairs)

    def verdict(heard: tuple[Heard, ...]) -> Verdict:
        found = rows(seen(nic("eth1"), heard=heard, probed={"eth1": VidSet.of([100])}))
        return found["Ethernet1", "VLANs that pass"].verdict

    assert verdict(both(100)) is Verdict.SAME
    assert verdict(both(100)[:1]) is Verdict.DIFFERS, "one way is not enough"
    assert verdict(tuple(replace(h, arrived=7) for h in both(100))) is Verdict.DIFFERS
    assert ("Ethernet1", "VLANs that pass") not in rows(seen(nic("eth1")))


def test_a_delta_from_what_lldp_shows() -> None:
    evidence = seen(nic("eth1", port(vlans={Vid(7): "x", Vid(100): "web"}, pvid=0)), nic("eth2", port("Ethernet2")))
    plugged = merged(cabling(tor=ONE), seen_cabling(evidence))
    wanted = configs(cluster(), plugged).switches[0]
    there, untold = seen_config(wanted, plugged, {})
    assert untold == ("Ethernet2",)
    found = change(there, replace(wanted, interfaces=wanted.interfaces[:1]))
    assert [(c.add, c.remove) for c in found.changes] == [(VidSet(), VidSet.of([7]))]


def test_a_delta_from_what_probes_show() -> None:
    """LLDP names no VLANs, as most switches do: what probes found to be missing is to be added, and nothing is taken
    away, for of what else a port carries nothing is known."""
    plugged = merged(cabling(tor=ONE), seen_cabling(seen(nic("eth1", port(pvid=1)))))
    assert configs(cluster(), plugged).switches[0].interfaces[0].native == 0
    wanted = configs(cluster(), plugged).switches[0]
    wanted = replace(wanted, interfaces=wanted.interfaces[:1])
    leg = Leg("n", ETH1)
    found, untold = seen_config(wanted, plugged, {leg: VidSet.of([100])})
    assert not untold
    assert [(c.add, c.remove) for c in change(found, wanted).changes] == [(VidSet.of([100]), VidSet())]
    assert seen_config(wanted, plugged, {leg: VidSet()})[0].interfaces[0].tagged == VidSet.of([100])
    assert seen_config(wanted, plugged, {})[1] == ("Ethernet1",), "no probe tells of it"


def test_a_delta_creates_a_vlan_that_passes_nowhere_on_the_switch() -> None:
    """LLDP says what is allowed, not what is created."""
    named = {"vlans": {Vid(100): "web"}, "pvid": 0}
    plugged = merged(
        cabling(tor=ONE), seen_cabling(seen(nic("eth1", port(**named)), nic("eth2", port("Ethernet2", **named))))
    )
    wanted = configs(cluster(), plugged).switches[0]
    gone = {Leg("n", nic): VidSet.of([100]) for nic in (ETH1, ETH2)}
    assert dict(change(seen_config(wanted, plugged, gone)[0], wanted).new_vlans) == {100: "web"}
    one = {**gone, Leg("n", ETH2): VidSet()}
    assert not change(seen_config(wanted, plugged, one)[0], wanted).new_vlans, "it passes on the other port"
    assert change(seen_config(wanted, plugged, {})[0], wanted).none


def test_a_delta_of_a_channel_is_what_each_of_its_ports_needs() -> None:
    def told(*vids: int) -> dict[str, Any]:
        return {"vlans": {Vid(vid): "" for vid in vids}, "pvid": 0}

    evidence = seen(nic("eth1", port(**told(100, 7))), nic("eth2", port("Ethernet2", **told(8))))
    plugged = merged(cabling(tor=ONE), seen_cabling(evidence))
    wanted = configs(cluster("802.3ad"), plugged).switches[0]
    (found,) = change(seen_config(wanted, plugged, {})[0], wanted).changes
    assert (found.add, found.remove) == (VidSet.of([100]), VidSet.of([7, 8]))


# Texts --------------------------------------------------------------------------------------------


def test_a_template_that_fails_says_where() -> None:
    one = configs(cluster(), cabling(tor=ONE)).switches[0]
    document = document_of(change(replace(one, interfaces=()), one))
    for template, line in [
        ("ok\n{{ coming[0].nothing }}\n", 2),
        ("ok\nok\n{% for i in coming %}\n", 3),
        ("{{ 1 / 0 }}", 1),
        ("\n\n\n{{ title.__class__.__mro__ }}", 4),
        ("{{ switch + 1 }}", 1),
        ("{% macro a() %}{{ a() }}{% endmacro %}\n{{ a() }}", 1),
        ("ok\n{% include 'passwd' %}", 2),
        ("ok\n{{ title | shout }}", 2),
        ("ok\n{% for i in range(10 ** 9) %}{% endfor %}", 2),
    ]:
        with pytest.raises(ProblemsError) as caught:
            statements(document, template, "mine.j2")
        (problem,) = caught.value.problems
        assert (problem.file, problem.line) == ("mine.j2", line), problem


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_change_and_its_inverse_are_each_others(system: str) -> None:
    a = Interface(name="p1", members=("p1",), wanted_by="n/oob", legs=(Leg("n", ETH1),), tagged=VidSet.of([1 + 99]))
    b = replace(a, tagged=VidSet.of([200]), native=5)
    before = SwitchConfig(name="s", system=system, vlans={100: "a"}, interfaces=(a,))
    after = SwitchConfig(name="s", system=system, vlans={200: "b", 5: "n"}, interfaces=(b,))
    found = change(before, after)
    assert found.inverse().inverse() == found
    assert (found.changes[0].add, found.inverse().changes[0].remove) == (VidSet.of([200]), VidSet.of([200]))
    assert change(after, after).none
