"""The verbs that only look, the options of all, and what becomes of errors."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from windrow import __version__
from windrow.apps.cli.main import VERBS, cli
from windrow.apps.cli.session import Session
from windrow.apps.site import Site
from windrow.model.host import Bond, Bridge, Observed
from windrow.model.values import IfName, Mac, VidSet
from windrow.testing.builders import link
from windrow.testing.fake import FakeKernel

OOB = """\
{apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: oob}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob-all}
spec:
  clusterNetwork: oob
  description: the second pair
  uplink: {nics: [eth1, eth2]}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v100, namespace: default}
spec:
  config: '{"type":"bridge","bridge":"oob-br","vlan":100}'
"""


class Host:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel = FakeKernel().add_nic("eth1", up=True).add_nic("eth2", up=True)
        self.held: dict[IfName, VidSet] = {}
        """VLANs that an interface in another network namespace has."""
        self.querier = ""
        """The bridge that has heard one."""

    def on_site(self, site: Site) -> Site:
        def held(_: object, asked: Mapping[IfName, VidSet]) -> dict[IfName, VidSet]:
            return {link: self.held[link] & vids for link, vids in asked.items() if link in self.held}

        def holders(_: object, asked: Sequence[tuple[IfName, str]]) -> dict[tuple[IfName, str], Mac]:
            return {one: Mac(self.kernel.taken[one[1]]) for one in asked if one[1] in self.kernel.taken}

        return replace(site, held=held, holders=holders, querier=lambda _, bridge: self.querier == bridge)

    def run(self, *words: str, env: dict[str, str] | None = None) -> Result:
        session = Session(
            root=self.root, node="n1", open_kernel=lambda: self.kernel, permitted=lambda: True, on_site=self.on_site
        )
        return CliRunner().invoke(cli, words, obj=session, env=env, prog_name="windrow")


NAD = """
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v200, namespace: team-a}
spec:
  config: '{"type":"bridge","bridge":"oob-br","vlan":200}'
"""
"""One more, in another namespace."""


def applied(root: Path, text: str) -> Host:
    """A host with these manifests in its store and its kernel."""
    found = Host(root)
    path = root / "oob.yaml"
    path.write_text(text)
    result = found.run("apply", "-f", str(path))
    assert result.exit_code == 0, result.output
    return found


@pytest.fixture
def empty(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return applied(tmp_path, OOB)


@pytest.mark.parametrize(
    "words", [("status",), ("plan",), ("diff",), ("describe", "vc/oob-all"), ("get", "vlanstatus", "-o", "yaml")]
)
def test_what_takes_a_vlan_in_another_namespace_is_told(host: Host, words: tuple[str, ...]) -> None:
    text = "another network namespace takes VLAN 100 on eth1 from machines and pods"
    said = host.run(*words)
    assert text not in " ".join(said.output.split())
    host.held = {IfName("eth1"): VidSet.of([77, 100])}
    assert text in " ".join(host.run(*words).output.split())
    assert host.run(*words).exit_code == said.exit_code, "a warning stops nothing"


@pytest.mark.parametrize("taken", ["10.8.0.1", "2001:db8::1"])
def test_an_address_that_somebody_else_has_is_told_without_an_agent(host: Host, taken: str) -> None:
    path = host.root / "storage.yaml"
    path.write_text(
        "{apiVersion: network.harvesterhci.io/v1beta1, kind: HostNetworkConfig, metadata: {name: storage}, spec: "
        '{clusterNetwork: oob, vlanID: 300, mode: static, ips: {n1: "10.8.0.1/24,2001:db8::1/64"}}}'
    )
    host.kernel.taken[taken] = "52:54:00:00:00:99"
    assert host.run("apply", "-f", str(path)).exit_code == 1
    text = f"oob-br.300: somebody else has {taken} (MAC 52:54:00:00:00:99)"
    said = host.run("get", "hostnetworkconfig", "storage", "-o", "yaml").stdout
    assert "AddressInUse" in said and text in " ".join(said.split())
    assert text in " ".join(host.run("status").stdout.split())
    assert host.run("get", "cn", "oob").stdout == "NAME   READY\noob    True\n", (
        "it is no trouble of the cluster network"
    )
    host.kernel.taken.clear()
    said = host.run("get", "hostnetworkconfig", "storage", "-o", "yaml").stdout
    assert "AddressInUse" not in said and "Drifted" in said


@pytest.mark.parametrize("snooping", [True, False])
def test_a_management_bridge_that_snoops_for_all_vlans_together_is_told_where_somebody_asks(
    host: Host, snooping: bool
) -> None:
    host.kernel.add(link("mgmt-br", Bridge(vlan_filtering=True, mcast_snooping=snooping), up=True))
    host.kernel.add(link("mgmt-bo", Bond(), up=True, master="mgmt-br"))
    path = host.root / "mgmt.yaml"
    path.write_text(OOB.split("---\n")[2].replace("v100", "m200").replace("oob-br", "mgmt-br").replace("100", "200"))
    assert host.run("apply", "-f", str(path)).exit_code == 0
    text = "mgmt-br snoops for multicast groups in all VLANs together"
    for words in (("status",), ("plan",)):
        host.querier = ""
        assert text not in " ".join(host.run(*words).output.split()), "no alarm where nobody asks"
        host.querier = "mgmt-br"
        assert (text in " ".join(host.run(*words).output.split())) == snooping


# -- get -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["vc", "vcs", "vlanconfig", "VlanConfigs", "vlanconfig.network.harvesterhci.io"])
def test_kinds_have_their_kubectl_names(host: Host, word: str) -> None:
    assert host.run("get", word).stdout == (
        "NAME      CLUSTERNETWORK   DESCRIPTION\n"
        "oob-all   oob              the second pair\n"
    )  # fmt: skip


def test_several_kinds_and_names(host: Host) -> None:
    text = host.run("get", "cn,vc").stdout
    assert "clusternetwork/mgmt   True" in text
    assert "vlanconfig/oob-all   oob" in text
    assert host.run("get", "cn", "oob").stdout == "NAME   READY\noob    True\n"
    assert host.run("get", "cn/oob", "vc/oob-all", "-o", "name").stdout.splitlines() == [
        "clusternetwork.network.harvesterhci.io/oob",
        "vlanconfig.network.harvesterhci.io/oob-all",
    ]


def test_get_all_has_every_kind_there_is(host: Host) -> None:
    text = host.run("get", "all").stdout
    for word in ("clusternetwork/oob", "vlanstatus/oob-n1-58185098", "linkmonitor/oob", "node/n1"):
        assert word in text


def test_yaml_and_json_are_the_same_documents(host: Host) -> None:
    as_yaml = yaml.safe_load(host.run("get", "vs", "-o", "yaml").stdout)
    as_json = json.loads(host.run("get", "vs", "-o", "json").stdout)
    assert as_yaml == as_json
    assert (as_json["kind"], as_json["items"][0]["status"]["node"]) == ("List", "n1")
    one = json.loads(host.run("get", "cn", "oob", "-o", "json").stdout)
    assert (one["kind"], one["metadata"]["name"]) == ("ClusterNetwork", "oob")


def test_what_get_prints_can_be_applied(host: Host) -> None:
    path = host.root / "again.yaml"
    path.write_text(host.run("get", "vc", "oob-all", "-o", "yaml").stdout)
    result = host.run("apply", "-f", str(path))
    assert result.exit_code == 0, result.output


def test_namespaces(host: Host) -> None:
    assert "v100" in host.run("get", "nad").stdout
    assert "v100" in host.run("get", "nad", "-n", "default").stdout
    assert host.run("get", "nad", "-n", "other").stderr == "No resources found\n"
    assert "v100" in host.run("get", "nad", "-A").stdout


def test_not_found_says_what_there_is(host: Host) -> None:
    result = host.run("get", "vc", "nope")
    assert result.exit_code == 1
    assert result.stderr == 'error: vlanconfigs "nope" not found\n    hint: there is: oob-all\n'


def test_a_kind_that_does_not_exist_is_wrong_usage(host: Host) -> None:
    result = host.run("get", "deployments")
    assert result.exit_code == 2
    assert "there is no kind 'deployments'" in result.stderr
    assert "vlanconfigs (vc)" in result.stderr


def test_a_store_that_is_not_there_is_empty(empty: Host) -> None:
    assert "mgmt" in empty.run("get", "cn").stdout
    assert empty.run("status").exit_code == 0
    assert empty.run("plan").exit_code == 0
    assert not (empty.root / "etc").exists()


def test_get_works_without_a_kernel(host: Host) -> None:
    from windrow.netlink.errors import KernelError

    def silent() -> FakeKernel:
        raise KernelError(1, "open a netlink socket")

    session = Session(root=host.root, node="n1", open_kernel=silent)
    result = CliRunner().invoke(cli, ["get", "vc"], obj=session)
    assert result.exit_code == 0
    assert "oob-all" in result.stdout
    assert "no status is shown" in result.stderr


def test_get_shows_the_rest_of_a_store_with_a_bad_file(host: Host) -> None:
    (host.root / "etc/windrow/manifests/bad.yaml").write_text("kind: [")
    result = host.run("get", "vc")
    assert "oob-all" in result.stdout
    assert "bad.yaml" in result.stderr
    assert result.exit_code == 0


# -- describe, diff, plan, status, topology --------------------------------------------------------


def test_describe_shows_what_is_left_to_do(host: Host) -> None:
    host.kernel.machine.devices["oob-bo"].mtu = 1400
    text = host.run("describe", "vc/oob-all").stdout
    assert text.startswith("Name:         oob-all\n")
    assert "  Cluster Network: oob\n" in text
    assert "To do:\n  ~ oob-bo  MTU 1500  VlanConfig/oob-all" in text
    both = host.run("describe", "cn", "oob", "mgmt").stdout
    assert both.count("Name:  ") == 2


MACHINE = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web}
spec:
  template:
    spec:
      domain: {devices: {}}
      volumes: [{name: root, persistentVolumeClaim: {claimName: root}}]
"""


def test_describe_says_why_a_machine_cannot_be_started_here(host: Host) -> None:
    path = host.root / "machine.yaml"
    path.write_text(MACHINE)
    assert host.run("apply", "-f", str(path)).exit_code == 0
    text = host.run("describe", "vm", "web").stdout
    assert "Namespace:    default" in text
    assert "Problems:" in text
    assert "persistentVolumeClaim is not to be had here: it is a volume of Kubernetes" in text
    assert host.run("get", "vm").stdout.splitlines()[-1].startswith("default     web")


def test_diff_ends_as_kubectls(host: Host) -> None:
    result = host.run("diff")
    assert (result.exit_code, result.output) == (0, "")
    host.kernel.machine.devices["oob-bo"].mtu = 1400
    result = host.run("diff")
    assert (result.exit_code, result.stdout) == (1, "oob-bo  (VlanConfig/oob-all)\n  ~ mtu: 1400 → 1500\n")
    found = json.loads(host.run("diff", "-o", "json").stdout)
    assert [(d["link"], d["field"], d["have"], d["want"]) for d in found["differences"]] == [
        ("oob-bo", "mtu", 1400, 1500)
    ]


def test_diff_of_given_manifests(host: Host) -> None:
    path = host.root / "new.yaml"
    path.write_text(OOB.replace("the second pair", "other words"))
    assert host.run("diff", "-f", str(path)).exit_code == 0
    path.write_text(OOB.replace('"vlan":100', '"vlan":200'))
    result = host.run("diff", "-f", str(path))
    assert result.exit_code == 1
    assert "~ vlans: untagged 1, tagged 100, PVID 1 → untagged 1, tagged 200, PVID 1" in result.stdout


def test_plan_of_given_manifests_stores_nothing(empty: Host) -> None:
    path = empty.root / "oob.yaml"
    path.write_text(OOB)
    result = empty.run("plan", "-f", str(path))
    assert result.exit_code == 0
    assert "+ oob-br  create bridge" in result.stdout
    assert not (empty.root / "etc").exists()
    value = json.loads(empty.run("plan", "-f", str(path), "-o", "json").stdout)
    assert (value["kind"], value["empty"]) == ("Plan", False)


def test_a_refused_plan_ends_with_1(empty: Host) -> None:
    from windrow.testing.builders import link

    empty.kernel.add(link("oob-br", "dummy"))
    path = empty.root / "oob.yaml"
    path.write_text(OOB)
    result = empty.run("plan", "-f", str(path))
    assert result.exit_code == 1
    assert "✗ VlanConfig/oob-all: oob-br (dummy) exists" in result.stdout


def test_status_as_text_and_json(host: Host) -> None:
    assert host.run("status").stdout.startswith("Node n1: all is well\n")
    host.kernel.pull("eth1")
    assert "oob-bo: eth1 without carrier" in host.run("status").stdout
    value = json.loads(host.run("status", "-o", "json").stdout)
    assert (value["kind"], value["well"], value["findings"][0]["code"]) == ("Status", False, "nic-down")


def test_topology_as_text_and_svg(host: Host) -> None:
    text = host.run("topology").stdout
    assert "oob-br  MTU 1500" in text
    assert "vlan 100 v100 (oob)" in text
    target = host.root / "host.svg"
    assert host.run("topology", "--svg", str(target)).exit_code == 0
    assert ET.fromstring(target.read_text()).tag.endswith("svg")
    assert host.run("topology", "--svg", str(host.root / "no" / "x.svg")).exit_code == 1


# -- what all verbs share --------------------------------------------------------------------------


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"lab"}))
def test_every_verb_has_help_with_examples(empty: Host, verb: str) -> None:
    result = empty.run(verb, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"windrow {verb}" in result.stdout


def test_the_help_lines_are_those_of_the_verbs(empty: Host) -> None:
    from click import Context

    for verb in set(VERBS) - {"lab"}:
        command = cli.get_command(Context(cli), verb)
        assert command is not None
        assert command.get_short_help_str(200) == VERBS[verb], verb


def test_colour_only_where_it_is_wanted(host: Host) -> None:
    host.kernel.machine.devices["oob-bo"].mtu = 1400
    assert "\x1b[" not in host.run("plan").stdout
    assert "\x1b[" in host.run("--color", "always", "plan").stdout
    assert "\x1b[" not in host.run("--color", "never", "plan").stdout


def test_root_and_node_come_from_the_environment(host: Host) -> None:
    session = Session(open_kernel=lambda: host.kernel)
    env = {"WINDROW_ROOT": str(host.root), "WINDROW_NODE": "n7"}
    result = CliRunner().invoke(cli, ["get", "vs", "-o", "json"], obj=session, env=env)
    (item,) = json.loads(result.stdout)["items"]
    assert item["status"]["node"] == "n7"


def test_an_unknown_verb_gets_a_suggestion(empty: Host) -> None:
    result = empty.run("aply")
    assert result.exit_code == 2
    assert "Did you mean windrow apply" in result.stderr


class Broken(FakeKernel):
    def observe(self) -> Observed:
        raise ZeroDivisionError("odd")


def test_an_unexpected_error_is_one_line_and_not_a_traceback(empty: Host) -> None:
    empty.kernel = Broken()
    result = empty.run("status")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: windrow itself failed: ZeroDivisionError: odd\n"
        "    hint: WINDROW_DEBUG=1 shows where; please report it\n"
    )
    assert isinstance(empty.run("status", env={"WINDROW_DEBUG": "1"}).exception, ZeroDivisionError)


def test_version(empty: Host) -> None:
    assert empty.run("--version").stdout == f"windrow {__version__}\n"
    assert json.loads(empty.run("version", "-o", "json").stdout)["version"] == __version__


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef windrow"), ("fish", "complete ")]
)
def test_completion_scripts(empty: Host, shell: str, word: str) -> None:
    assert word in empty.run("completion", shell).stdout
    assert empty.run("completion", "tcsh").exit_code == 2


def completions(host: Host, *words: str, incomplete: str = "") -> list[str]:
    from click.shell_completion import ShellComplete

    args = ["--root", str(host.root), *words]
    return [c.value for c in ShellComplete(cli, {}, "windrow", "_X").get_completions(args, incomplete)]


def test_kinds_and_names_are_completed(host: Host) -> None:
    assert "status" in completions(host, incomplete="st")
    assert completions(host, "get", incomplete="vlanc") == ["vlanconfig"]
    assert completions(host, "get", incomplete="cn,vlanc") == ["cn,vlanconfig"]
    assert completions(host, "get", "vc", incomplete="oo") == ["oob-all"]


def test_help_and_plan_start_without_loading_what_they_do_not_need() -> None:
    """Seconds are not tested; modules are. `--help` loads no verb, and nothing but the laboratory loads it."""
    code = "import sys; from windrow.apps.cli.main import cli; cli(['--help'], standalone_mode=False);"
    code += "print(*sorted(m for m in sys.modules if m == 'yaml' or m.startswith('windrow.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"yaml", "windrow.netlink.kernel", "windrow.plan", "windrow.apps.cli.plan", "windrow.lab"}
