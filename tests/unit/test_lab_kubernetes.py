"""A Kubernetes in a lab, as far as it goes without a kernel: its scenario, its images, and what is said where it cannot
be."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.kube.installed import ROOT, granted

from windrow.apps.cli.main import cli
from windrow.lab import picture
from windrow.lab.errors import LabError
from windrow.lab.guest.run import Place
from windrow.lab.kernel.boot import Needs, boot
from windrow.lab.kernel.machine import Guest
from windrow.lab.kernel.uml import memory_for_cluster
from windrow.lab.kubernetes import cluster, control, flannel, image, programs
from windrow.lab.kubernetes.control import Control
from windrow.lab.scenario import ApiOutage, Kubernetes, PodNic, Role, Scenario
from windrow.lab.scenario_file import Texts, parse, read
from windrow.model.problems import ProblemsError
from windrow.model.values import Cidr, IfName
from windrow.services import process
from windrow.services.errors import ServiceError
from windrow.services.kubernetes import parts

HEAD = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: small}
spec:
  kubernetes: true
  nodes:
    - {name: n0, nics: [eth0, eth1], management: {nics: [eth0], address: 10.0.0.1/24}}
  switches:
    - {name: sw, ports: [{names: [p1, p2]}]}
  hosts:
    - {name: control, role: control-plane, nics: [{name: eth0, addresses: {untagged: 10.0.0.2/24}}]}
  cables:
    - ["n0:eth0", "sw:p1"]
    - ["control:eth0", "sw:p2"]
"""
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations: {k8s.v1.cni.cncf.io/networks: "a, prod/b@db0, c"}
spec: {nodeName: n0, containers: []}
"""


LAUNCHER = """\
apiVersion: v1
kind: Pod
metadata:
  name: virt-launcher-a
  annotations: {k8s.v1.cni.cncf.io/networks: '[{"name": "lan", "namespace": "default", "interface": "podd02b1dbcefd"}]'}
spec:
  nodeName: n0
  containers:
    - name: compute
      env:
        - name: STANDALONE_VMI
          value: |
            apiVersion: kubevirt.io/v1
            kind: VirtualMachineInstance
            metadata: {name: a, namespace: default}
            spec:
              domain:
                memory: {guest: 112Mi}
                devices: {interfaces: [{name: default, masquerade: {}}, {name: lan, bridge: {}}]}
              networks: [{name: default, pod: {}}, {name: lan, multus: {networkName: lan}}]
"""


def parsed(text: str = HEAD, pods: str = "") -> Scenario:
    return parse(Texts("small.yaml", text, {}, {}, {"pods.yaml": pods} if pods else {}))


def said(text: str = HEAD, pods: str = "") -> str:
    with pytest.raises(ProblemsError) as caught:
        parsed(text, pods)
    return "\n".join(f"{problem.path}: {problem.message} {problem.hint}" for problem in caught.value.problems)


# The scenario --------------------------------------------------------------------------------------


def test_a_small_one() -> None:
    scenario = parsed()
    assert scenario.kubernetes == Kubernetes(kubelets=True)
    assert scenario.control_plane is not None and scenario.control_plane.address == "10.0.0.2/24"
    assert set(scenario.stations()) == {"n0", "control"}


@pytest.mark.parametrize(
    ("addresses", "server", "words"),
    [
        (
            '["fd00::1/64", 10.0.0.1/24]',
            "10.0.0.2/24",
            "control and others know n0 by fd00::1/64, its first address put the one in 10.0.0.0/24 first: 10.0.0.1/24",
        ),
        ('"fd00::1/64"', "10.0.0.2/24", "n0 has no address in 10.0.0.0/24, in which control is"),
        ('"fd00::1/64"', '"fd00::2/64"', "the API server of a lab has an address of IPv4, and control has fd00::2/64"),
    ],
)
def test_the_first_address_of_a_node_is_where_the_api_server_is(addresses: str, server: str, words: str) -> None:
    both = HEAD.replace("address: 10.0.0.1/24", f"address: {addresses}")
    assert words in said(both.replace("untagged: 10.0.0.2/24", f"untagged: {server}"))


def test_every_kind_of_host_can_be_drawn() -> None:
    assert set(picture._ROLES) == set(Role)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("false", None),
        ("{}", Kubernetes()),
        ("{kubelets: false}", Kubernetes(kubelets=False)),
        ("{controllers: true, agents: false}", Kubernetes(controllers=True, agents=False)),
    ],
)
def test_what_may_stand_there(value: str, found: Kubernetes | None) -> None:
    text = HEAD.replace("kubernetes: true", f"kubernetes: {value}")
    if found is None:
        text = text.replace("role: control-plane", "role: host")
    assert parsed(text).kubernetes == found


def test_it_needs_one_control_plane_in_the_nodes_network() -> None:
    assert "0 hosts are its control plane, not one a host with role: control-plane" in said(
        HEAD.replace("role: control-plane", "role: host")
    )
    assert "n0 has no address in 10.9.0.0/24, in which control is" in said(HEAD.replace("10.0.0.2", "10.9.0.2"))
    assert "n0 has no address in" in said(HEAD.replace(", management: {nics: [eth0], address: 10.0.0.1/24}", ""))
    bare = said(HEAD.replace(", addresses: {untagged: 10.0.0.2/24}", ""))
    assert "spec.kubernetes: control is its control plane, and has no address a host with role: control-plane" in bare


def test_a_control_plane_that_nobody_reaches_is_told_before_anything_starts() -> None:
    uncabled = HEAD.replace('    - ["control:eth0", "sw:p2"]\n', "")
    assert "no cable is in control:eth0" in said(uncabled)
    assert "n0 has the address of control, 10.0.0.2" in said(HEAD.replace("10.0.0.1/24", "10.0.0.2/24"))


@pytest.mark.parametrize("value", ['"true"', "1", "[]", "kubelets", "1.34"])
def test_what_may_not_stand_there_is_one_complaint(value: str) -> None:
    found = said(HEAD.replace("kubernetes: true", f"kubernetes: {value}"))
    assert found.startswith("spec.kubernetes: must be true, false or a map, and is") and "\n" not in found
    assert "kubernetes: {kubelets: false}" in found


@pytest.mark.parametrize("key", ["kubelet", "Kubelets", "version"])
def test_a_field_that_it_does_not_have_is_refused(key: str) -> None:
    """It costs minutes to see that the lab has what it was told to leave out."""
    assert said(HEAD.replace("kubernetes: true", f"kubernetes: {{{key}: false}}")).startswith(
        f"spec.kubernetes.{key}: "
    )


@pytest.mark.parametrize("value", ["{agents: false}", "{agents: false, controllers: true, kubelets: false}"])
def test_without_agents_there_have_to_be_pods(value: str) -> None:
    assert "pods have to make the networks" in said(HEAD.replace("kubernetes: true", f"kubernetes: {value}"))


def test_pods_need_kubelets_and_names_of_their_own() -> None:
    alone = HEAD.replace("kubernetes: true", "kubernetes: {kubelets: false}")
    assert "pods/: web has nobody to run it take kubelets: false out" in said(alone, POD)
    assert "pods/pods.yaml: Pod web: is there twice" in said(pods=f"{POD}---\n{POD}")
    assert "pods/pods.yaml: a Pod: it has no metadata.name" in said(pods=POD.replace("  name: web\n", ""))


def test_a_control_plane_without_kubernetes_has_nothing_to_do() -> None:
    text = HEAD.replace("  kubernetes: true\n", "")
    found = said(text, POD)
    assert "control has nothing to do write kubernetes: true" in found and "web" not in found


def test_pods_without_kubernetes_are_places_of_the_lab() -> None:
    alone = HEAD.replace("  kubernetes: true\n", "").replace("role: control-plane, ", "")
    scenario = parsed(alone, POD)
    assert "web" in scenario.places() and "web/eth0" in scenario.pod_nics()
    twice = f"{POD}---\n{POD.replace('  name: web', '  namespace: other' + chr(10) + '  name: web')}"
    assert "web is the name of something else already" in said(alone, twice)
    assert "n9 is no node" in said(alone, POD.replace("nodeName: n0", "nodeName: n9"))


def test_a_policy_that_closes_names_what_there_is() -> None:
    alone = HEAD.replace("  kubernetes: true\n", "").replace("role: control-plane, ", "")
    check = "  checks:\n    - closed: {manifests: [x.yaml], to: web/eth0, open: [a], closed: [nobody]}\n"
    found = said(alone + check, POD)
    assert "x.yaml is no file in changes/" in found and "nobody is no endpoint, host or NIC of a pod" in found
    assert "the nodes follow the API server" in said(HEAD + check, POD)


def test_checks_that_go_past_the_api_are_refused() -> None:
    check = "  checks:\n    - change: {name: x, node: n0, between: [a, b], delete: [VlanConfig/oob], impact: none}\n"
    assert "the nodes follow the API server" in said(HEAD + check)
    outage = "  checks:\n    - api-outage: {node: n0, between: [a, b]}\n"
    assert "there is no API server to stop" in said(HEAD.replace("kubernetes: true", "kubernetes: false") + outage)
    assert "nx is no node" in said(HEAD + outage.replace("n0", "nx"))


def test_the_nics_of_a_pod_are_stations() -> None:
    scenario = parsed(HEAD + "  checks:\n    - reach: {among: [web/db0, web/net3, n0]}\n", POD)
    (pod,) = scenario.pods
    assert pod.reference == "default/web"
    assert pod.nics == (
        PodNic(interface=IfName("eth0")),
        PodNic(interface=IfName("net1"), nad="default/a"),
        PodNic(interface=IfName("db0"), nad="prod/b"),
        PodNic(interface=IfName("net3"), nad="default/c"),
    )


def test_a_pod_that_cannot_be_is_told_with_its_file() -> None:
    assert "pods/pods.yaml: Pod web: it has no spec.nodeName, and a lab has no scheduler" in said(
        pods=POD.replace("nodeName: n0, ", "")
    )
    for name in ("../web", "a/b", "We b", "x" * 254, "-x"):
        assert "is no name of one" in said(pods=POD.replace("name: web", f'name: "{name}"'))
    assert "is no name of one" in said(pods=POD.replace("name: web", "name: web\n  namespace: a/b"))
    assert "pods/web.spec.nodeName: n9 is no node" in said(pods=POD.replace("n0", "n9"))
    assert "pods/pods.yaml" in said(pods=POD.replace("prod/b", "prod/b/c"))
    assert "pods/pods.yaml" in said(pods="{")


def test_an_agent_may_do_what_the_chart_lets_it_and_a_cni_server_what_the_page_says() -> None:
    """So what works in a lab works where the chart is installed."""
    (role,) = (document for _, document in control._rights() if document["kind"] == "ClusterRole")
    lab = granted([{**role, "metadata": {"name": "windrow-agent"}}], "agent")
    chart = granted(filter(None, yaml.safe_load_all((ROOT / "deploy/manifests/windrow.yaml").read_text())), "agent")
    assert chart and not chart - lab
    assert lab - chart == {
        ("", "nodes", "get"),
        ("k8s.cni.cncf.io", "network-attachment-definitions", "get"),
        ("network.harvesterhci.io", "clusternetworks", "get"),
        ("", "pods", "get"),
        ("", "pods/status", "patch"),
    }


def test_what_ships_is_the_same_but_for_pods() -> None:
    whole, links = parse(read("kubernetes")), parse(read("kubernetes-links"))
    assert whole.manifests == links.manifests and whole.cables == links.cables and whole.switches == links.switches
    assert whole.pods and not links.pods
    outages = [check for one in (whole, links) for check in one.checks if isinstance(check, ApiOutage)]
    assert [check.seconds for check in outages] == [60, 10]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("[n9]", "spec.kubernetes.flannel[0]: "),
        ("n0", "spec.kubernetes.flannel: must be a list"),
        ("[1]", "spec.kubernetes.flannel[0]: must be a text"),
    ],
)
def test_flannel_is_on_nodes_that_there_are(value: str, place: str) -> None:
    assert said(HEAD.replace("kubernetes: true", f"kubernetes: {{flannel: {value}}}")).startswith(place)


def test_flannel_gets_the_overlay_that_windrow_reads() -> None:
    scenario = parsed(HEAD.replace("kubernetes: true", "kubernetes: {kubelets: false, flannel: [n0]}"))
    assert scenario.kubernetes == Kubernetes(kubelets=False, flannel=("n0",))
    assert "flannel" in programs.built(scenario.kubernetes)
    conf = '{"Network": "10.52.0.0/16"}'
    mgmt = f"metadata: {{name: mgmt, annotations: {{windrow.io/overlay: '{conf}'}}}}"
    text = f"apiVersion: network.harvesterhci.io/v1beta1\nkind: ClusterNetwork\n{mgmt}\n"
    assert flannel.net_conf({"a.yaml": text}) == conf
    with pytest.raises(LabError, match="flannel has no configuration"):
        flannel.net_conf({"a.yaml": text.replace("mgmt", "oob")})


def test_each_flannel_has_a_node_and_a_key_of_its_own(tmp_path: Path) -> None:
    one, other = (flannel.environment(node, tmp_path / node / "run") for node in ("n0", "n1"))
    assert not set(one) & set(other)
    assert f"WIREGUARD_KEY_FILE={tmp_path}/n1/run/flannel/wgkey" in other


def test_the_pods_of_a_node_of_flannel_have_a_network_of_the_reference_plugin(tmp_path: Path) -> None:
    one = flannel.Flannel(conf="{}", link=IfName("eth0"), kubeconfig=tmp_path, pod_cidrs=[Cidr("10.52.3.0/24")])
    one.write_network(tmp_path / "net.d")
    (file,) = (tmp_path / "net.d").iterdir()
    (bridge,) = json.loads(file.read_text())["plugins"]
    assert (bridge["type"], bridge["ipam"]["ranges"]) == ("bridge", [[{"subnet": "10.52.3.0/24"}]])
    assert bridge["type"] in programs.OF_FLANNEL
    assert "ipMasq" not in bridge, "a pod is known to all others by its own address"


def test_a_node_of_flannel_with_pods_needs_addresses_for_them() -> None:
    with_pods = HEAD.replace("kubernetes: true", "kubernetes: {flannel: [n0]}")
    assert "give it pod-cidr" in said(with_pods)
    parsed(with_pods.replace("address: 10.0.0.1/24}", "address: 10.0.0.1/24}, pod-cidr: 10.52.3.0/24"))


# Images --------------------------------------------------------------------------------------------


def test_an_archive_is_the_image_layout() -> None:
    layer = image.busybox_layer(b"program", ["sh", "ip", "busybox"])
    data = image.archive({image.PAUSE: image.Start(["/bin/sleep", "9"]), image.BUSYBOX: image.SHELL}, layer)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}

        def load(name: str) -> dict[str, list[dict[str, dict[str, str]]]]:
            found = files[name]
            assert found is not None
            document: dict[str, list[dict[str, dict[str, str]]]] = json.loads(found.read())
            return document

        index = load("index.json")["manifests"]
        assert [one["annotations"]["io.containerd.image.name"] for one in index] == [image.PAUSE, image.BUSYBOX]
        layers = set()
        for one in index:
            manifest = load(f"blobs/sha256/{str(one['digest']).partition(':')[2]}")
            layers.add(str(manifest["layers"][0]["digest"]))
        assert len(layers) == 1, "both have the same files"
        assert set(files) >= {f"blobs/sha256/{digest.partition(':')[2]}" for digest in layers}
    assert image.archive({image.PAUSE: image.Start(["/bin/sleep", "9"]), image.BUSYBOX: image.SHELL}, layer) == data


def test_a_layer_has_the_program_under_all_its_names() -> None:
    with tarfile.open(fileobj=io.BytesIO(image.busybox_layer(b"program", ["sh", "ip", "busybox"]))) as tar:
        links = {member.name: member.linkname for member in tar if member.issym()}
        assert links == {"bin/ip": "busybox", "bin/sh": "busybox"}
        assert tar.getmember("bin/busybox").mode == 0o755
        assert tar.getmember("tmp").mode == 0o1777
    layer = image.busybox_layer(b"program", ["sh", "nc"], {"/bin/nc": b"another"})
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getnames().count("bin/nc") == 1 and tar.getmember("bin/nc").isreg(), (
            "of the two, the one that is named"
        )


def test_a_shell_of_the_suites_pods_runs_what_is_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """busybox' own shell runs busybox' `nc` whatever PATH has, and that knows no `nc -u` of a spec's."""
    any_program = dict.fromkeys(("curl", "netcat-openbsd"), Path("/usr/bin/env"))
    monkeypatch.setattr(cluster, "IN_PODS", programs.IN_PODS | any_program)
    shell, beside = tmp_path / "sh", tmp_path / "nc"
    shell.write_bytes(cluster._suite_files(Path("/usr/bin/env"))["/bin/sh"])
    beside.write_text("#!/bin/sh\necho the one beside it\n")
    for program in (shell, beside):
        program.chmod(0o755)
    said = process.run(["env", f"PATH={tmp_path}", str(shell), "-c", "nc -u"], timeout_s=10)
    assert said == "the one beside it\n"


# What is missing -----------------------------------------------------------------------------------


def test_what_each_kind_of_cluster_is_made_of() -> None:
    assert programs.installed(Kubernetes(kubelets=False)) == ("etcd",)
    assert set(programs.installed(Kubernetes())) == set(parts.DEBIAN)
    assert set(programs.built(Kubernetes())) <= set(parts.PROGRAMS)
    assert "kubelet" not in programs.built(Kubernetes(kubelets=False))
    controlled = programs.built(Kubernetes(controllers=True))
    assert set(controlled) - set(programs.built(Kubernetes())) == {"kube-controller-manager", "kube-scheduler"}
    both = programs.built(Kubernetes(controllers=True, conformance=True))
    assert len(both) == len(set(both))


@pytest.mark.parametrize("verb", ["run", "up"])
def test_a_missing_package_is_told_before_anything_starts(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> None:
        raise ServiceError("etcd", "it is not installed", "apt-get install etcd-server")

    monkeypatch.setattr(parts, "installed", missing)
    done = CliRunner().invoke(cli, ["lab", verb, "kubernetes-links"])
    assert done.exit_code == 1
    assert "etcd: it is not installed" in done.output and "apt-get install etcd-server" in done.output
    assert "starting" not in done.output


def test_missing_plugins_are_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "PLUGINS", tmp_path)
    done = CliRunner().invoke(cli, ["lab", "up", "kubernetes"])
    assert done.exit_code == 1
    assert f"{tmp_path} has no host-local and no loopback" in done.output
    assert "containernetworking-plugins" in done.output and "starting" not in done.output


def lab_up(directory: Path, kubernetes: str) -> str:
    """Of the small scenario with that instead of `true`: what is told where it cannot be."""
    path = directory / "small.yaml"
    path.write_text(HEAD.replace("kubernetes: true", f"kubernetes: {kubernetes}"))
    done = CliRunner().invoke(cli, ["lab", "up", str(path)])
    assert done.exit_code == 1 and "starting" not in done.output, done.output
    return done.output


def test_what_the_suites_pods_and_kube_proxy_run_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lacks = {"curl": tmp_path / "curl", "iptables": tmp_path / "iptables-legacy"}
    monkeypatch.setattr(programs, "OF_SUITE", lacks)
    monkeypatch.setattr(programs, "PLUGINS", Path("/"))
    monkeypatch.setattr(programs, "CALLED", ())
    said = lab_up(tmp_path, "{conformance: true}")
    assert f"there is no {tmp_path}/curl and no {tmp_path}/iptables-legacy" in said
    assert "apt-get install curl iptables" in said


def test_flannel_without_an_overlay_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(parts, "installed", lambda _: {})
    monkeypatch.setattr(parts, "build", lambda *_: pytest.fail("it is built for nothing"))
    assert "flannel has no configuration" in lab_up(tmp_path, "{kubelets: false, flannel: [n0]}")


def test_this_hosts_own_kernel_is_refused() -> None:
    with pytest.raises(LabError, match="control groups") as refused:
        boot("native", Guest(entry="nobody:nothing"), Needs(cluster=True))
    assert "--kernel uml" in refused.value.hint


def test_what_the_lab_cannot_see_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot see") as refused:
        control.install({"kubectl": str(tmp_path / "nowhere")}, tmp_path)
    assert "XDG_CACHE_HOME" in refused.value.hint


def test_kubectl_and_the_api_server_are_of_a_lab_that_is_up() -> None:
    for words in (["kubectl", "--name", "nobody", "get", "nodes"], ["api-server", "stop", "--name", "nobody"]):
        done = CliRunner().invoke(cli, ["lab", *words])
        assert done.exit_code == 1
        assert "there is no lab 'nobody'" in done.output


AWAY = "Unable to connect to the server: net/http: TLS handshake timeout"
WRONG = 'error validating "a.yaml": unknown field "spec.x"'


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[int, str, str]]:
    """What kubectl does each time; the last one from then on."""
    found: list[tuple[int, str, str]] = []
    monkeypatch.setattr(control, "run_in", lambda *_: found.pop(0) if len(found) > 1 else found[0])
    monkeypatch.setattr(control, "DIRECTORY", tmp_path)
    monkeypatch.setattr(control, "AGAIN_S", 0.0, raising=False)
    return found


def applied() -> str:
    return Control.apply(object.__new__(Control), {"a.yaml": "{}"}, Place(name="control"))


def test_a_server_that_is_away_for_a_moment_is_asked_again(answers: list[tuple[int, str, str]]) -> None:
    answers += [(1, "", AWAY), (1, "", AWAY), (0, "made", "")]
    assert applied() == "made"


def test_what_is_wrong_is_said_at_once(answers: list[tuple[int, str, str]]) -> None:
    answers += [(1, "", WRONG), (0, "made", "")]
    with pytest.raises(LabError, match=r"spec\.x"):
        applied()
    assert answers == [(0, "made", "")]


def test_a_server_that_stays_away_is_not_asked_for_ever(
    answers: list[tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "APPLY_S", 0.1, raising=False)
    answers += [(1, "", AWAY)]
    with pytest.raises(LabError, match="TLS handshake timeout"):
        applied()


# Machines in Pods ----------------------------------------------------------------------------------


def test_a_launchers_machine_is_one_of_the_scenario() -> None:
    scenario = parsed(pods=LAUNCHER)
    (vm,) = scenario.vms
    assert (vm.name, vm.node, vm.pod, vm.memory >> 20) == ("a", "n0", "default/virt-launcher-a", 112)
    assert scenario.vm_stations() == ("a/default", "a/lan")
    assert [(str(nic.interface), nic.nad) for nic in vm.nics] == [("eth0", ""), ("eth1", "default/lan")]


def test_what_is_no_machine_is_said_with_its_pod() -> None:
    network = "apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: a}"
    other = f"{LAUNCHER.partition('value: |')[0]}value: '{{{network}}}'\n"
    assert said(pods=other).startswith("pods/pods.yaml: Pod virt-launcher-a: STANDALONE_VMI is not one Virtual")
    wrong = said(pods=LAUNCHER.replace("{name: lan, bridge: {}}", "{name: lan, bridge: {}, masquerade: {}}"))
    assert wrong.startswith("pods/pods.yaml: Pod virt-launcher-a: STANDALONE_VMI:")


def test_the_lab_has_memory_for_it() -> None:
    with_one, without = memory_for_cluster(3, machines=[112 << 20]), memory_for_cluster(3)
    assert int(with_one[:-1]) - int(without[:-1]) > 112


def test_machines_that_the_lab_would_start_are_still_refused() -> None:
    vms = HEAD + "  vms:\n    - {name: a, node: n0}\n"
    manifest = "\n".join(
        line[12:] for line in LAUNCHER.splitlines()[LAUNCHER.splitlines().index("          value: |") + 1 :]
    )
    with pytest.raises(ProblemsError, match="are KubeVirt's to start"):
        parse(Texts("s.yaml", vms, {"a.yaml": manifest}, {}, {}))
