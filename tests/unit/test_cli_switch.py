"""`windrow switch`: from stored manifests, a cabling file and what was heard."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from windrow.apps.check import alone
from windrow.apps.check.told import Told
from windrow.apps.cli import hearing
from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.model.evidence import (
    Evidence,
    Heard,
    Identity,
    Kind,
    Leg,
    NicEvidence,
    NodeEvidence,
    SwitchPort,
)
from windrow.model.values import IfName, Mac, VidSet
from windrow.netlink.errors import NoPermission
from windrow.testing.fake import FakeKernel

ETH1, ETH2 = IfName("eth1"), IfName("eth2")

NETWORK = """\
{apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: oob}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1, eth2]}}
---
"""
NAD = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: v{vid}, namespace: default}}
spec: {{config: '{{"type":"bridge","bridge":"oob-br","vlan":{vid}}}'}}
"""
CABLING = "switches: [{name: tor, system: eos, ports: {Ethernet1: n1/eth1, Ethernet2: n1/eth2}}]\n"


class Host:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel = FakeKernel().add_nic("eth1", up=True).add_nic("eth2", up=True)
        self.file("etc/windrow/cabling.yaml", CABLING)
        applied = self.run("apply", "-f", self.file("oob.yaml", NETWORK + NAD.format(vid=100)))
        assert applied.exit_code == 0, applied.output

    def file(self, name: str, text: str) -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def run(self, *words: str) -> Result:
        session = Session(root=self.root, node="n1", open_kernel=lambda: self.kernel, permitted=lambda: True)
        return CliRunner().invoke(cli, words, obj=session, prog_name="windrow")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_whole_and_its_inverse(host: Host) -> None:
    found = host.run("switch", "config")
    assert found.exit_code == 0, found.output
    assert "switchport trunk allowed vlan 100\n" in found.stdout
    assert found.stdout.count("interface Ethernet") == 2
    back = host.run("switch", "config", "--inverse")
    assert "default interface Ethernet1" in back.stdout


def test_a_delta_is_what_the_files_change(host: Host) -> None:
    more = host.file("more.yaml", NAD.format(vid=300))
    found = host.run("switch", "config", "-f", more, "--delta", "-o", "json")
    assert found.exit_code == 0, found.output
    (one,) = json.loads(found.stdout)["switches"]
    assert [(c["name"], c["add"], c["remove"]) for c in one["changing"]] == [
        ("Ethernet1", "300", ""),
        ("Ethernet2", "300", ""),
    ]
    assert not one["coming"]
    same = host.run("switch", "config", "-f", host.file("same.yaml", NAD.format(vid=100)), "--delta")
    assert same.stdout == "# tor: nothing to change\n"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there to be heard: a second of listening does as well as a quarter of a minute."""
    monkeypatch.setattr(alone, "LEAST_S", 1.0)


def test_a_delta_from_nothing_known_says_so(host: Host, soon: None) -> None:
    found = host.run("switch", "config", "--delta")
    assert found.exit_code == 1
    assert "what Ethernet1, Ethernet2 of tor carry now is not known" in found.stderr
    assert found.stdout == ""


def test_a_system_that_cannot_is_named_and_says_nothing_else(host: Host) -> None:
    static = NETWORK.replace("[eth1, eth2]", "[eth1, eth2], bondOptions: {mode: balance-xor}")
    cabling = host.file("sonic.yaml", CABLING.replace("eos", "sonic"))
    found = host.run("switch", "config", "-f", host.file("static.yaml", static), "--cabling", cabling)
    assert found.exit_code == 1
    assert "which SONiC (community) has not" in found.stderr
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--switch", "core"), "there is no switch 'core' in the cabling"),
        (("--node", "n9"), "no cluster network has an uplink on a node 'n9'"),
        (("--cabling", "/nowhere/c.yaml"), "cannot read /nowhere/c.yaml"),
        (("--evidence", "/nowhere/e.json"), "cannot read /nowhere/e.json"),
        (("--template", "/nowhere/t.j2"), "cannot read /nowhere/t.j2"),
        (("--cabling", "/dev/zero"), "cannot read /dev/zero: this is a device, not a file"),
        (("--evidence", "/dev/zero"), "cannot read /dev/zero: this is a device, not a file"),
        (("--template", "/dev/zero"), "cannot read /dev/zero: this is a device, not a file"),
        (("--format", "ios"), "'ios' is not one of"),
    ],
)
def test_wrong_words(host: Host, words: tuple[str, ...], said: str) -> None:
    found = host.run("switch", "config", *words)
    assert found.exit_code != 0
    assert said in found.stderr


def test_a_wrong_cabling_file_is_told_with_its_line(host: Host) -> None:
    path = host.file("c.yaml", "switches:\n- name: tor\n  ports:\n    e1: eth1\n")
    found = host.run("switch", "config", "--cabling", path)
    assert found.exit_code == 1
    assert f"{path}:4: switches[0].ports.e1: 'eth1' is no NIC of a node" in found.stderr


def test_a_second_document_is_not_left_out_in_silence(host: Host) -> None:
    path = host.file("c.yaml", CABLING + "---\n" + CABLING)
    found = host.run("switch", "config", "--cabling", path)
    assert found.exit_code == 1
    assert f"{path}:2: there are several documents in this file" in found.stderr


@pytest.mark.parametrize("text", ["[" * 100_000, '{"evidence": ' * 50_000, "\x00", '{"nodes": {"n1": 7}}'])
def test_evidence_that_is_none_is_named(host: Host, text: str) -> None:
    path = host.file("seen.json", text)
    found = host.run("switch", "config", "--evidence", path)
    assert found.exit_code == 1
    assert f"{path} is not what `windrow check -o json` prints" in found.stderr


def test_no_cabling_at_all(tmp_path: Path, soon: None) -> None:
    host = Host(tmp_path)
    (tmp_path / "etc/windrow/cabling.yaml").unlink()
    found = host.run("switch", "config")
    assert found.exit_code == 1
    assert "which NIC is plugged into which switch is not known" in found.stderr


def test_a_template_of_ones_own(host: Host) -> None:
    shown = host.run("switch", "template", "eos")
    assert "default interface" in shown.stdout
    mine = host.file("mine.j2", "{% for i in coming %}{{ i.name }}={{ i.tagged }}\n{% endfor %}")
    assert host.run("switch", "config", "--template", mine).stdout == "Ethernet1=100\nEthernet2=100\n"
    wrong = host.file("wrong.j2", "fine\n{{ coming[0].vlan }}\n")
    found = host.run("switch", "config", "--template", wrong)
    assert found.exit_code == 1
    assert f"{wrong}:2: the template fails" in found.stderr


MIXED = """\
switches:
- {name: tor, system: eos, ports: {Ethernet1: n1/eth1}}
- {name: ber, system: junos, ports: {ge-0/0/2: n1/eth2}}
"""


def test_a_template_that_no_switch_is_printed_with_is_told(host: Host) -> None:
    """As one for a system that was mistaken for the switch's."""
    mine = host.file("mine.j2", "mine")
    found = host.run("switch", "config", "--template", f"nxos={mine}")
    assert found.exit_code == 0 and "mine" not in found.stdout
    assert f"--template nxos={mine}: nothing is printed for nxos here" in found.stderr


def test_the_cabling_file_of_the_help_and_of_the_documentation_is_one(host: Host) -> None:
    page = Path(__file__).parents[2] / "docs/user/switches.md"
    documented = page.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    helped = host.run("switch", "cabling", "--help").stdout.partition("A cabling file:\n")[2]
    file = re.sub(r"(?<=\S) {2,}.*", "", textwrap.dedent(helped))  # what is said of each line
    for text in (documented, file):
        found = host.run("switch", "config", "--cabling", host.file("cabling.yaml", text), "--format", "eos")
        assert found.exit_code == 0, found.output


def test_a_template_for_one_system_leaves_the_others_theirs(host: Host) -> None:
    host.file("etc/windrow/cabling.yaml", MIXED)
    mine = host.file("mine.j2", "mine: {{ switch }}\n")
    found = host.run("switch", "config", "--template", f"eos={mine}")
    assert found.exit_code == 0, found.output
    assert "mine: tor\n" in found.stdout
    assert "set vlans v100 vlan-id 100\n" in found.stdout
    both = host.run("switch", "config", "--template", f"junos={host.file('j.j2', 'theirs')}", "--template", mine)
    assert both.stdout.split() == ["mine:", "tor", "theirs"]
    twice = host.run("switch", "config", "--template", mine, "--template", mine)
    assert twice.exit_code == 2
    assert "two templates for one system" in twice.stderr


def test_what_one_switch_cannot_is_no_error_of_another(host: Host) -> None:
    host.file("etc/windrow/cabling.yaml", MIXED)
    static = host.file("static.yaml", NETWORK.replace("[eth1, eth2]", "[eth1, eth2], bondOptions: {mode: balance-xor}"))
    assert host.run("switch", "config", "-f", static).exit_code == 1, "a channel over two switches"
    sonic = "{name: ber, system: sonic, ports: {Ethernet0: n2/eth1, Ethernet4: n2/eth2}}"
    host.file("etc/windrow/cabling.yaml", CABLING.replace("}]", f"}}, {sonic}]"))
    node = host.file("n2.yaml", "{apiVersion: v1, kind: Node, metadata: {name: n2}}\n")
    assert host.run("switch", "config", "-f", static, "-f", node).exit_code == 1, "one that SONiC has not"
    static, node = f"-f{static}", f"-f{node}"
    found = host.run("switch", "config", static, node, "--switch", "tor")
    assert found.exit_code == 0, found.output


def test_a_format_counts_whatever_the_file_says(host: Host) -> None:
    found = host.run("switch", "config", "--format", "nxos", "-o", "json")
    assert [one["system"] for one in json.loads(found.stdout)["switches"]] == ["nxos"]


def test_json_has_no_comments_so_they_are_told_beside_it(host: Host) -> None:
    found = host.run("switch", "config", "--format", "openconfig", "--inverse")
    assert json.loads(found.stdout) == {}
    assert "Not run on such a switch" in found.stderr
    assert "/interfaces/interface[name=Ethernet1]/ethernet/switched-vlan" in found.stderr


def test_one_node_has_the_channels_that_it_has_among_all(host: Host) -> None:
    """Two whose ports end in the same number, as those of a breakout do."""
    ports = "{Ethernet1/1: n0/eth1, Ethernet1/2: n0/eth2, Ethernet2/1: n1/eth1, Ethernet2/2: n1/eth2}"
    host.file("etc/windrow/cabling.yaml", f"switches: [{{name: tor, system: eos, ports: {ports}}}]\n")
    node = "{apiVersion: v1, kind: Node, metadata: {name: n0}}\n---\n"
    lacp = host.file("lacp.yaml", node + NETWORK.replace("[eth1, eth2]", "[eth1, eth2], bondOptions: {mode: 802.3ad}"))

    def names(*words: str) -> set[str]:
        found = host.run("switch", "config", "-f", lacp, "-o", "json", *words)
        assert found.exit_code == 0, found.output
        return {i["name"] for one in json.loads(found.stdout)["switches"] for i in one["coming"]}

    assert names() == {"Port-Channel1", "Port-Channel2"}
    assert names("--node", "n0") | names("--node", "n1") == names()
    assert not names("--node", "n0") & names("--node", "n1")


def test_what_is_completed(host: Host) -> None:
    from click.shell_completion import ShellComplete

    def completions(*words: str) -> list[str]:
        args = ["--root", str(host.root), "switch", *words]
        return [c.value for c in ShellComplete(cli, {}, "windrow", "_X").get_completions(args, "")]

    assert completions("config", "--switch") == ["tor"]
    assert completions("config", "--node") == ["n1"]
    assert "eos" in completions("config", "--format")
    host.file("etc/windrow/cabling.yaml", "switches: [")
    assert completions("diff", "--switch") == []


EVIDENCE = {
    "nodes": {
        "n1": {
            "node": "n1",
            "at": 1.0,
            "nics": {
                "eth1": {
                    "name": "eth1",
                    "mac": "52:54:00:00:00:01",
                    "carrier": True,
                    "neighbours": [
                        {
                            "source": "LLDP",
                            "chassis": {"kind": "mac", "text": "00:1c:73:00:00:01"},
                            "port": {"kind": "ifname", "text": "Ethernet1"},
                            "system": "tor",
                            "is_bridge": True,
                            "pvid": 0,
                            "vlans": {"200": "x"},
                        }
                    ],
                }
            },
        }
    }
}


def test_diff_ends_with_1_where_something_differs(host: Host) -> None:
    nothing = host.run("switch", "diff", "--evidence", host.file("none.json", '{"nodes": {}}'))
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "of 6 things of 6 nobody tells: --all shows them" in nothing.stderr
    static = host.file("s.yaml", NETWORK.replace("[eth1, eth2]", "[eth1, eth2], bondOptions: {mode: balance-xor}"))
    apart = host.file("apart.yaml", MIXED)
    words = ("-f", static, "--cabling", apart, "--evidence", str(host.root / "none.json"))
    assert host.run("switch", "diff", *words).exit_code == 1, "it cannot be at all"
    seen = host.file("seen.json", json.dumps({"evidence": EVIDENCE}))
    found = host.run("switch", "diff", "--evidence", seen)
    assert found.exit_code == 1
    assert "Ethernet1   n1/eth1   tagged VLANs   100" in found.stdout
    assert "Ethernet2" not in found.stdout, "nobody tells anything of it"
    assert host.run("switch", "diff", "--evidence", host.file("x.json", "[1]")).exit_code == 2


def test_a_cabling_with_what_lldp_shows(host: Host) -> None:
    seen = host.file("seen.json", json.dumps(EVIDENCE))
    found = host.run("switch", "cabling", "--cabling", host.file("c.yaml", CABLING), "--evidence", seen)
    assert found.exit_code == 0, found.output
    assert "Ethernet1: n1/eth1" in found.stdout
    wrong = host.file("w.yaml", CABLING.replace("Ethernet1: n1/eth1", "Ethernet9: n1/eth1"))
    for verb in ("cabling", "config"):
        found = host.run("switch", verb, "--cabling", wrong, "--evidence", seen)
        assert found.exit_code == 1
        assert "by the cabling file" in found.stderr
        assert not found.stdout, "no statement for a port that may be another's"


# Asking for it ------------------------------------------------------------------------------------


def port(nic: str, name: str) -> NicEvidence:
    """A switch that names its port and no VLANs, as most do."""
    said = SwitchPort(
        source=Kind.LLDP,
        chassis=Identity(kind="mac", text="02:00:00:00:00:01"),
        port=Identity(kind="ifname", text=name),
        system="tor-2",
        system_description="Arista Networks EOS version 4.30",
        is_bridge=True,
        pvid=1,
    )
    mac = Mac("52:54:00:00:00:01")
    return NicEvidence(
        name=IfName(nic), mac=mac, carrier=True, cluster_network="oob", active=nic == "eth1", neighbours=(said,)
    )


def known() -> Told:
    """Three nodes; VLAN 100 does not pass n1/eth1, and 200 does."""
    nodes = {}
    for node in ("n1", "n2", "n3"):
        heard = tuple(
            Heard(sender=Leg(other, ETH1), receiver=Leg(node, nic), vid=vid, arrived=vid, sent=3, count=3, sweep=2)
            for other in ("n1", "n2", "n3")
            for nic in (ETH1, ETH2)
            for vid in (100, 200)
            if other != node and (vid == 200 or Leg("n1", ETH1) not in (Leg(other, ETH1), Leg(node, nic)))
        )
        number = int(node[1])
        nics = {ETH1: port("eth1", f"Ethernet{number}"), ETH2: port("eth2", f"Ethernet{number + 10}")}
        probed = {ETH1: VidSet.of([100, 200])}
        nodes[node] = NodeEvidence(node=node, at=5.0, nics=nics, heard=heard, probed=probed, sweep=2)
    return Told(node="n1", at=5.0, evidence=Evidence(nodes=nodes), wanted={"oob": VidSet.of([100, 200])}, sweeps=2)


@pytest.fixture
def asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Without a cabling file and with another VLAN; whoever is asked knows this."""
    (host.root / "etc/windrow/cabling.yaml").unlink()
    assert host.run("apply", "-f", host.file("more.yaml", NAD.format(vid=200))).exit_code == 0
    calls: list[str] = []

    def hear(session: Session, skipped: Mapping[str, VidSet]) -> Told:
        calls.append(f"{session.node} without {skipped}")
        return known()

    monkeypatch.setattr(hearing, "hear", hear)
    return calls


def test_the_cabling_is_asked_for(host: Host, asked: list[str]) -> None:
    found = host.run("switch", "cabling", "--switch", "tor-2", "--skip-vlans", "oob:100")
    assert found.exit_code == 0, found.output
    assert "Ethernet1: n1/eth1" in found.stdout
    assert asked == [f"n1 without { ({'oob': VidSet.of([100])}) }"]


def test_a_delta_is_what_probes_miss(host: Host, asked: list[str]) -> None:
    found = host.run("switch", "config", "--delta", "-o", "json")
    assert found.exit_code == 0, found.output
    (one,) = json.loads(found.stdout)["switches"]
    assert [(c["name"], c["add"], c["remove"]) for c in one["changing"]] == [("Ethernet1", "100", "")]
    assert len(asked) == 1


def test_nobody_is_asked_where_it_is_known(host: Host, asked: list[str]) -> None:
    host.file("etc/windrow/cabling.yaml", CABLING)
    assert host.run("switch", "config").exit_code == 0
    assert host.run("switch", "config", "-f", host.file("v300.yaml", NAD.format(vid=300)), "--delta").exit_code == 0
    assert not asked


def test_who_may_not_ask_is_told_so_and_what_to_do(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.root / "etc/windrow/cabling.yaml").unlink()

    def hear(*_: object) -> Told:
        raise NoPermission(1, "send and hear probes of this host")

    monkeypatch.setattr(hearing, "hear", hear)
    found = host.run("switch", "config")
    assert found.exit_code == 1
    assert "nothing could be asked: " in found.output
    assert "write a cabling file" in found.output
