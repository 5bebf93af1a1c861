"""The meta plugin on a real kernel: pods with many NICs, and nothing left of them whatever goes wrong.

In the lab kernel the bridge filters VLANs and the networks are in VLAN 100; a kernel without VLAN filtering has the
same networks untagged.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.cni.dispatch import Answer, answer
from windrow.apps.cni.host import Host
from windrow.apps.cni.podinfo import CAPABILITY
from windrow.model.ports import PORT_GROUP
from windrow.model.values import IfName
from windrow.netlink import netns
from windrow.netlink.kernel import Kernel
from windrow.netlink.links import create, set_link
from windrow.netlink.sock import RTM_DELLINK, Message, Rtnl
from windrow.port.errors import (
    DELEGATE_FAILED,
    FORBIDDEN,
    IN_THE_WAY,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    MISSING,
    NOT_AVAILABLE,
    TRY_AGAIN,
    UNDECODABLE,
)
from windrow.port.networks import DEFAULT_NETWORK, NETWORKS, WINDROW_DEFAULT_NETWORK
from windrow.store.attachments import AttachmentRecords, status

PLUGINS = "/usr/lib/cni"
MAC = "52:54:00:12:34:56"
KUBEVIRT_NAME = "pod1dba23260aa"
NAD = "NetworkAttachmentDefinition"
POD = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=vm;K8S_POD_UID=u1"
NODE_ADDRESS, OUTSIDE_ADDRESS = "192.0.2.10", "192.0.2.1"
START_S = 60.0
"""Python starts slowly in the lab kernel."""
_MARKS = ("10.52.", "10.6", "8080")
SLOW = """\
#!/bin/sh
touch {root}/$CNI_COMMAND-begun
[ $CNI_COMMAND = ADD ] || exit 0
for _ in $(seq 600); do [ -e {root}/go ] && exit 0; sleep 0.1; done
"""
"""It is at work for a minute, or until somebody lets it go."""


@cache
def firewall() -> tuple[tuple[str, ...], str]:
    """What shows the rules of this kernel, and the variant of iptables that it knows: Debian has two."""

    def works(*argv: str) -> bool:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def look() -> tuple[tuple[str, ...], str]:
        variants = [v for v in ("iptables-nft", "iptables-legacy") if works(v, "-t", "nat", "-N", "probe")]
        shows = {"iptables-nft": "nft list ruleset", "iptables-legacy": "iptables-legacy-save -t nat"}
        return tuple(shows[v] for v in variants), variants[0].removeprefix("iptables")

    return netns.in_new(look)


class Node:
    """A host with a bridge of a cluster network, a root for Windrow's files, and pods."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        netns.create(name)
        self.kernel = Kernel(name)
        self.filtering = self.kernel.features().vlan_filtering
        self.vlan = 100 if self.filtering else 0
        self.pods: list[str] = []
        self.kernel.rtnl.run(
            set_link("lo", up=True),
            create("oob-br", "bridge", data={"vlan_filtering": 1} if self.filtering else {}, up=True),
        )
        self.manifests = root / "etc/windrow/manifests"
        self.manifests.mkdir(parents=True)
        self.bin = root / "bin"
        self.bin.mkdir()
        self.firewalls, variant = firewall()
        for program in ("iptables", "ip6tables"):  # portmap runs what it finds under these names
            (self.bin / program).symlink_to(shutil.which(program + variant) or f"/usr/sbin/{program}{variant}")
        self.nad("vlan100", self.bridge())
        self.nad("addressed", self.bridge(ipam=self.ipam("10.61.0.0/24")))
        self.nad("pods", self.bridge(ipam=self.ipam("10.62.0.0/24", "fd62::/64")) | {"cniVersion": "1.0.0"})

    def close(self) -> None:
        self.kernel.close()
        for name in [*self.pods, self.name]:
            with contextlib.suppress(Exception):
                netns.delete(name)

    # Configurations -------------------------------------------------------------------------------

    def bridge(self, **more: Any) -> dict[str, Any]:
        """What Harvester writes for a VM network."""
        config = {"cniVersion": "0.3.1", "type": "bridge", "bridge": "oob-br", "promiscMode": True, "ipam": {}}
        return config | ({"vlan": self.vlan} if self.vlan else {}) | more

    def ipam(self, *subnets: str, **more: Any) -> dict[str, Any]:
        ranges = [[{"subnet": subnet}] for subnet in subnets]
        return {"type": "host-local", "dataDir": str(self.root / "leases"), "ranges": ranges, **more}

    def nad(self, name: str, config: Any, namespace: str = "default") -> Path:
        document = {
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"config": json.dumps({"name": name} | config)},
        }
        return self.manifest(f"nad-{namespace}-{name}.json", json.dumps(document))

    def manifest(self, name: str, text: str) -> Path:
        path = self.manifests / name
        path.write_text(text)
        return path

    def plugin(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    # Pods -----------------------------------------------------------------------------------------

    def pod(self) -> str:
        """The path of a new namespace."""
        name = f"{self.name}-{len(self.pods)}"
        netns.create(name)
        self.pods.append(name)
        return f"/run/netns/{name}"

    def env(self, command: str, pod: str, args: str = POD) -> dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": Path(pod).name if pod else "gone",
            "CNI_NETNS": pod,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": f"{self.bin}:{PLUGINS}",
            "CNI_ARGS": args,
            "PATH": f"{self.bin}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "WINDROW_ROOT": str(self.root),
            "WINDROW_NODE": "node-0",
        }

    def config(self, annotations: Mapping[str, str] | None = None, **more: Any) -> bytes:
        config: dict[str, Any] = {"cniVersion": "1.1.0", "name": "windrow", "type": "windrow"}
        config |= {"clusterNetwork": "default/pods"} | more
        if annotations is not None:
            config["runtimeConfig"] = {CAPABILITY: annotations}
        return json.dumps({key: value for key, value in config.items() if value is not None}).encode()

    def did(self, env: Mapping[str, str], config: bytes) -> None:
        """It says nothing, and that it was done."""
        found = self.call(env, config)
        assert (found.exit, found.stdout) == (0, ""), found.stdout

    def call(self, env: Mapping[str, str], config: bytes) -> Answer:
        def inside() -> Answer:
            host = Host.of_environment(env)
            try:
                return answer(env, config, host)
            finally:
                host.close()

        return netns.opened_in(self.name, inside)

    def add(self, pod: str, networks: object = "", **more: Any) -> dict[str, Any]:
        """The result. `networks`: the annotation, as text or as what its JSON says."""
        found = self.call(self.env("ADD", pod), self.config(annotation(networks), **more))
        assert found.exit == 0, found.stdout
        result: dict[str, Any] = json.loads(found.stdout)
        return result

    def refused(self, env: Mapping[str, str], config: bytes) -> dict[str, Any]:
        """The error; and the kernel, the leases and the records are as they were."""
        before = self.everything()
        found = self.call(env, config)
        assert found.exit == 1, found.stdout
        assert self.everything() == before
        error: dict[str, Any] = json.loads(found.stdout)
        return error

    def delete(self, pod: str, **more: Any) -> None:
        self.did(self.env("DEL", pod), self.config(**more))

    def gc(self, *valid: str) -> None:
        listed = [{"containerID": Path(pod).name, "ifname": "eth0"} for pod in valid]
        env = self.env("GC", "") | {"CNI_CONTAINERID": "", "CNI_IFNAME": ""}
        self.did(env, self.config(**{"cni.dev/valid-attachments": listed}))

    # Looking --------------------------------------------------------------------------------------

    def run(self, *argv: str, at: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        def inside() -> subprocess.CompletedProcess[str]:
            return subprocess.run(argv, capture_output=True, text=True, check=False)

        done = netns.opened_in(at or self.name, inside)
        assert done.returncode == 0 or not check, done
        return done

    def links(self) -> dict[str, tuple[object, object]]:
        return {name: (link.master, link.vlans) for name, link in self.kernel.observe().state.links.items()}

    def leases(self) -> list[str]:
        found = (self.root / "leases").rglob("*")
        return sorted(
            str(p)
            for p in found
            if p.is_file()
            and p.name[0].isalnum()
            and p.name not in ("lock",)
            and not p.name.startswith("last_reserved")
        )

    def records(self) -> list[str]:
        found, broken = AttachmentRecords(Host(self.root).paths).all()
        assert broken == ()
        return [record.container_id for record in found]

    def rules(self) -> list[str]:
        """Of nftables and iptables, whichever the kernel knows, without counters."""
        found = []
        for program in (
            ["nft", "list", "ruleset"],
            ["iptables-legacy-save", "-t", "nat"],
            ["iptables-save", "-t", "nat"],
        ):
            done = self.run(*program, check=False)
            found += [line for line in done.stdout.splitlines() if any(mark in line for mark in _MARKS)]
        return found

    def everything(self) -> tuple[object, ...]:
        ports = self.root / "run/windrow/ports"
        return (
            self.links(),
            self.leases(),
            self.records(),
            sorted(p.name for p in ports.glob("*.json")) if ports.is_dir() else [],
            self.rules(),
            sorted(str(p) for p in (self.root / "run/windrow/pod-status").rglob("*.json")),
        )

    def inside(self, pod: str) -> dict[str, dict[str, Any]]:
        """The interfaces in a pod, as `ip -j addr` tells."""
        found = json.loads(self.run("ip", "-j", "addr", at=pod).stdout)
        return {one["ifname"]: one for one in found if one["ifname"] != "lo"}

    def ports(self) -> dict[str, Any]:
        """VLANs of the ports of pods."""
        links = self.kernel.observe().state.links
        return {name: link.vlans for name, link in links.items() if link.master == "oob-br"}

    def host_end(self, pod: str, ifname: str) -> str:
        peer = self.inside(pod)[ifname]["link_index"]
        found = json.loads(self.run("ip", "-j", "link").stdout)
        return next(one["ifname"] for one in found if one["ifindex"] == peer)


def annotation(networks: object) -> dict[str, str]:
    return {NETWORKS: networks if isinstance(networks, str) else json.dumps(networks)}


def addresses(interface: Mapping[str, Any], family: str = "inet") -> list[str]:
    return [
        f"{one['local']}/{one['prefixlen']}"
        for one in interface["addr_info"]
        if one["family"] == family and one["scope"] == "global"
    ]


@pytest.fixture
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    made = Node(tmp_path, f"wm{os.getpid()}-{abs(hash(request.node.name)) % 10**6}")
    yield made
    made.close()


# Many NICs ----------------------------------------------------------------------------------------


def test_default_network_vlan_network_and_one_with_addresses(node: Node) -> None:
    pod = node.pod()
    before = node.everything()
    result = node.add(pod, [{"name": "vlan100", "mac": MAC, "interface": KUBEVIRT_NAME}, {"name": "addressed"}])

    here = node.inside(pod)
    assert list(here) == ["eth0", KUBEVIRT_NAME, "net2"]
    assert here[KUBEVIRT_NAME]["address"] == MAC
    assert addresses(here[KUBEVIRT_NAME]) == []
    assert addresses(here["eth0"]) == ["10.62.0.2/24"]
    assert addresses(here["eth0"], "inet6") == ["fd62::2/64"]
    assert addresses(here["net2"]) == ["10.61.0.2/24"]
    assert all(one["operstate"] == "UP" for one in here.values())

    # The default network's result is the container's.
    assert result["cniVersion"] == "1.1.0"
    (own,) = [one for one in result["interfaces"] if one.get("sandbox")]
    assert (own["name"], own["mac"], own["sandbox"]) == ("eth0", here["eth0"]["address"], pod)
    assert [ip["address"] for ip in result["ips"]] == ["10.62.0.2/24", "fd62::2/64"]

    if node.filtering:
        assert {str(vlans.all) for vlans in node.ports().values()} == {"100"}

    said = status(Host(node.root).paths, Path(pod).name)
    assert json.loads((node.root / "run/windrow/pod-status/default/vm.json").read_text()) == list(said)
    assert [(one["name"], one["interface"], one.get("ips"), one.get("default")) for one in said] == [
        ("default/pods", "eth0", ["10.62.0.2", "fd62::2"], True),
        ("default/vlan100", KUBEVIRT_NAME, None, None),
        ("default/addressed", "net2", ["10.61.0.2"], None),
    ]
    assert said[1]["mac"] == MAC

    node.did(node.env("CHECK", pod), node.config())
    node.delete(pod)
    assert node.inside(pod) == {}
    assert node.everything() == before
    node.delete(pod)


def test_pods_reach_each_other_by_each_of_their_networks(node: Node) -> None:
    one, other = node.pod(), node.pod()
    node.add(one, "addressed")
    node.add(other, "addressed@x")
    for address in ("10.62.0.3", "10.61.0.3"):
        node.run("ping", "-c1", "-W5", address, at=one)


def test_one_network_twice(node: Node) -> None:
    pod = node.pod()
    node.add(pod, "addressed,addressed")
    here = node.inside(pod)
    assert [addresses(here[name]) for name in ("net1", "net2")] == [["10.61.0.2/24"], ["10.61.0.3/24"]]
    node.delete(pod)
    assert node.leases() == []


def test_addresses_that_a_pod_asks_for(node: Node) -> None:
    pod = node.pod()
    dual = node.bridge(ipam=node.ipam("10.63.0.0/24", "fd63::/64"))
    node.nad("dual", dual)
    node.nad("capable", dual | {"capabilities": {"ips": True, "mac": True}})
    node.nad("static", node.bridge(ipam={"type": "static"}))
    node.add(
        pod,
        [
            {"name": "addressed", "ips": ["10.61.0.77"]},
            {"name": "dual", "ips": ["10.63.0.78", "fd63::78"]},
            {"name": "capable", "ips": ["10.63.0.79/24", "fd63::79/64"], "mac": MAC},
            {"name": "static", "ips": ["10.64.0.7/24", "fd64::7/64"]},
        ],
    )
    here = node.inside(pod)
    assert [addresses(here[name]) for name in ("net1", "net2", "net3", "net4")] == [
        ["10.61.0.77/24"],
        ["10.63.0.78/24"],
        ["10.63.0.79/24"],
        ["10.64.0.7/24"],
    ]
    assert addresses(here["net2"], "inet6") == ["fd63::78/64"]
    assert addresses(here["net4"], "inet6") == ["fd64::7/64"]
    assert here["net3"]["address"] == MAC


def test_a_list_of_plugins(node: Node) -> None:
    """tuning, bandwidth and portmap after the bridge, with what the annotation says for them."""
    pod = node.pod()
    before = node.everything()
    bridge = node.bridge(ipam=node.ipam("10.61.0.0/24")) | {"cniVersion": "0.4.0"}
    tuning = {"type": "tuning", "sysctl": {"net.ipv4.conf.all.arp_ignore": "1"}, "mtu": 1400}
    bandwidth = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    node.nad("shaped", {"cniVersion": "0.4.0", "plugins": [bridge, tuning, bandwidth]})
    # Version 1.1.1 of portmap cannot CHECK: it looks for the rules of one family in the chains of the other.
    node.nad("mapped", {"cniVersion": "0.4.0", "disableCheck": True, "plugins": [bridge, portmap]})
    rates = {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000}
    mappings = [{"hostPort": 8080, "containerPort": 80}]
    node.add(pod, [{"name": "shaped", "bandwidth": rates}, {"name": "mapped", "portMappings": mappings}])

    assert node.run("cat", "/proc/sys/net/ipv4/conf/all/arp_ignore", at=pod).stdout == "1\n"
    assert node.inside(pod)["net1"]["mtu"] == 1400
    assert "tbf" in node.run("tc", "qdisc", "show", "dev", node.host_end(pod, "net1")).stdout
    assert any("8080" in rule for rule in node.rules()), node.rules()
    node.did(node.env("CHECK", pod), node.config())

    node.delete(pod)
    assert [rule for rule in node.rules() if "10.61." in rule or "8080" in rule] == []
    assert (node.links(), node.leases(), node.records()) == before[:3]


def test_a_pod_without_a_default_network(node: Node) -> None:
    """A VM whose NICs are all on bridge networks, on a host that has no addresses for pods."""
    pod = node.pod()
    annotations = annotation([{"name": "vlan100", "mac": MAC, "interface": KUBEVIRT_NAME}])
    annotations[WINDROW_DEFAULT_NETWORK] = "none"
    found = node.call(node.env("ADD", pod), node.config(annotations, clusterNetwork=None))
    assert found.exit == 0, found.stdout
    assert list(node.inside(pod)) == [KUBEVIRT_NAME]
    (own,) = [one for one in json.loads(found.stdout)["interfaces"] if one.get("sandbox")]
    assert (own["name"], own["mac"]) == (KUBEVIRT_NAME, MAC)
    node.delete(pod, clusterNetwork=None)
    assert node.inside(pod) == {}


def test_a_default_network_of_the_pods_own(node: Node) -> None:
    pod = node.pod()
    annotations = {DEFAULT_NETWORK: json.dumps([{"name": "addressed", "namespace": "default", "mac": MAC}])}
    found = node.call(node.env("ADD", pod), node.config(annotations))
    assert found.exit == 0, found.stdout
    here = node.inside(pod)
    assert (list(here), here["eth0"]["address"], addresses(here["eth0"])) == (["eth0"], MAC, ["10.61.0.2/24"])


def test_two_calls_for_one_container(node: Node) -> None:
    """podman calls once for each of its networks; a NIC that is plugged in later comes in a call of its own, too."""
    pod = node.pod()
    node.add(pod)
    second = node.env("ADD", pod) | {"CNI_IFNAME": "eth1"}
    found = node.call(second, node.config(clusterNetwork="default/addressed", name="other"))
    assert found.exit == 0, found.stdout
    assert list(node.inside(pod)) == ["eth0", "eth1"]
    told = node.root / "run/windrow/pod-status/default/vm.json"
    assert [one["interface"] for one in json.loads(told.read_text())] == ["eth0", "eth1"]
    found = node.call(second | {"CNI_COMMAND": "DEL"}, node.config(clusterNetwork="default/addressed", name="other"))
    assert found.exit == 0
    assert list(node.inside(pod)) == ["eth0"]
    assert [one["interface"] for one in json.loads(told.read_text())] == ["eth0"]
    node.delete(pod)
    assert not told.exists()


def test_annotations_from_a_file(node: Node) -> None:
    pod = node.pod()
    directory = node.root / "run/windrow/pods/default"
    directory.mkdir(parents=True)
    document = {"kind": "Pod", "metadata": {"name": "vm", "uid": "u1", "annotations": {NETWORKS: "vlan100"}}}
    (directory / "vm.json").write_text(json.dumps(document))
    found = node.call(node.env("ADD", pod), node.config())
    assert found.exit == 0, found.stdout
    assert list(node.inside(pod)) == ["eth0", "net1"]


def test_annotations_from_cni_args(node: Node) -> None:
    pod = node.pod()
    args = "WINDROW_NETWORKS=vlan100,default/addressed@x;WINDROW_DEFAULT_NETWORK=none"
    found = node.call(node.env("ADD", pod, args), node.config())
    assert found.exit == 0, found.stdout
    assert list(node.inside(pod)) == ["net1", "x"]


# Routers ------------------------------------------------------------------------------------------


def test_a_further_network_of_others_is_nobodys_router(node: Node) -> None:
    """Every plugin's: the link begins with it. What is made later, by whomever, begins as before."""

    def takes(pod: str, *names: str) -> list[str]:
        files = [f"/proc/sys/net/ipv6/conf/{name}/accept_ra_defrtr" for name in names]
        return node.run("cat", *files, at=pod).stdout.split()

    ptp = {"cniVersion": "1.0.0", "type": "ptp", "ipam": node.ipam("10.70.0.0/24")}
    node.nad("ptp", ptp)
    node.nad("wanted", ptp | {"routerAdvertisements": True, "ipam": node.ipam("10.71.0.0/24")})
    pod = node.pod()
    node.add(pod, "ptp,wanted")
    assert takes(pod, "eth0", "net1", "net2", "default") == ["1", "0", "1", "1"]
    alone = node.pod()
    node.add(alone, "ptp", clusterNetwork="none")
    assert takes(alone, "net1", "default") == ["1", "1"]


# Default routes -----------------------------------------------------------------------------------


def default_routes(node: Node, pod: str) -> list[tuple[str, str]]:
    found = json.loads(node.run("ip", "-j", "route", "show", "default", at=pod).stdout)
    found += json.loads(node.run("ip", "-j", "-6", "route", "show", "default", at=pod).stdout)
    return [(one["gateway"], one["dev"]) for one in found]


@pytest.fixture
def routed(node: Node) -> Node:
    """The default network has default routes of both families."""
    ipam = node.ipam("10.62.0.0/24", "fd62::/64", routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
    node.nad("pods", node.bridge(ipam=ipam) | {"cniVersion": "1.0.0"})
    return node


def test_the_default_route_moves_family_by_family(routed: Node) -> None:
    pod = routed.pod()
    result = routed.add(pod, [{"name": "addressed", "default-route": ["10.61.0.9"]}])
    assert default_routes(routed, pod) == [("10.61.0.9", "net1"), ("fd62::1", "eth0")]
    assert [route["dst"] for route in result["routes"]] == ["::/0"]
    first, second = status(Host(routed.root).paths, Path(pod).name)
    assert (first["gateway"], second["gateway"]) == (["fd62::1"], ["10.61.0.9"])
    assert routed.call(routed.env("CHECK", pod), routed.config()).exit == 0


def test_a_plugins_own_default_route_wins(routed: Node) -> None:
    pod = routed.pod()
    ipam = routed.ipam("10.65.0.0/24", routes=[{"dst": "0.0.0.0/0"}])
    routed.nad("gateway", routed.bridge(ipam=ipam))
    routed.add(pod, [{"name": "gateway", "default-route": []}])
    assert default_routes(routed, pod) == [("10.65.0.1", "net1"), ("fd62::1", "eth0")]


def test_a_claim_without_a_default_route_takes_nobodys(routed: Node) -> None:
    pod = routed.pod()
    result = routed.add(pod, [{"name": "addressed", "default-route": []}])
    assert default_routes(routed, pod) == [("10.62.0.1", "eth0"), ("fd62::1", "eth0")]
    assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(
    "edit", [{"clusterNetwork": 5}, {"delegates": "x"}, {"cniVersion": "7.0.0"}, {"clusterNetwork": "nowhere/x"}]
)
def test_del_goes_by_the_record_whatever_the_configuration_says_by_now(routed: Node, edit: dict[str, Any]) -> None:
    pod = routed.pod()
    routed.add(pod, [{"name": "addressed"}])
    config = json.loads(routed.config())
    ended = routed.call(routed.env("DEL", pod), json.dumps(config | edit).encode())
    assert (ended.exit, ended.stdout) == (0, "")
    assert routed.inside(pod) == {}
    again = routed.call(routed.env("DEL", pod), json.dumps(config | edit | {"cniVersion": "1.0.0"}).encode())
    assert again.exit == 0, "there is nothing to do"


@pytest.mark.parametrize("stdin", [b"", b"{not json", b"[]", b"{}", b'{"name": "n"}', b'{"name": "n", "type": "x"}'])
def test_del_goes_by_the_record_where_the_configuration_cannot_be_read(routed: Node, stdin: bytes) -> None:
    pod = routed.pod()
    routed.add(pod, [{"name": "addressed"}])
    ended = routed.call(routed.env("DEL", pod), stdin)
    assert (ended.exit, ended.stdout) == (0, "")
    assert routed.inside(pod) == {}
    assert routed.call(routed.env("DEL", pod), stdin).exit == 1, "nobody knows what it is about"


def test_two_claims_that_meet_are_refused_and_nothing_is_left(routed: Node) -> None:
    routed.nad("one", routed.bridge(ipam=routed.ipam("10.65.0.0/24", routes=[{"dst": "0.0.0.0/0"}])))
    routed.nad("two", routed.bridge(ipam=routed.ipam("10.66.0.0/24", routes=[{"dst": "0.0.0.0/0"}])))
    pod = routed.pod()
    networks = [{"name": "one", "default-route": []}, {"name": "two", "default-route": []}]
    error = routed.refused(routed.env("ADD", pod), routed.config(annotation(networks)))
    assert "two networks claim the default route of IPv4" in error["msg"]
    assert routed.inside(pod) == {}


def test_a_default_route_that_leads_nowhere(routed: Node) -> None:
    pod = routed.pod()
    networks = [{"name": "addressed", "default-route": ["10.99.0.1"]}]
    error = routed.refused(routed.env("ADD", pod), routed.config(annotation(networks)))
    assert "default-route: add route default via 10.99.0.1 dev net1" in error["msg"]
    assert routed.inside(pod) == {}


# The network that Windrow brings ------------------------------------------------------------------


def node_manifest(node: Node, spec: str = "") -> None:
    node.manifest("node.yaml", f"apiVersion: v1\nkind: Node\nmetadata: {{name: node-0}}\n{spec}")


@pytest.fixture
def outside(node: Node) -> Iterator[str]:
    """A host at the other end of the node's management network, that knows nothing of pods."""
    name = f"{node.name}-out"
    netns.create(name)
    node.run("ip", "link", "add", "mgmt-br", "mtu", "1400", "type", "bridge")
    node.run("ip", "link", "add", "up0", "mtu", "1400", "type", "veth", "peer", "name", "eth0", "netns", name)
    node.run("ip", "link", "set", "up0", "master", "mgmt-br", "up")
    node.run("ip", "link", "set", "mgmt-br", "up")
    node.run("ip", "addr", "add", f"{NODE_ADDRESS}/24", "dev", "mgmt-br")
    node.run("ip", "addr", "add", f"{OUTSIDE_ADDRESS}/24", "dev", "eth0", at=name)
    node.run("ip", "link", "set", "eth0", "up", at=name)
    yield name
    netns.delete(name)


def test_pods_of_a_host_without_kubernetes(node: Node, outside: str) -> None:
    node_manifest(node, "spec: {podCIDR: 10.52.7.0/24}\n")
    one, other = node.pod(), node.pod()
    before = node.everything()
    for pod in (one, other):
        node.add(pod, "vlan100", clusterNetwork=None)
    here = node.inside(one)
    assert (list(here), addresses(here["eth0"]), here["eth0"]["mtu"]) == (["eth0", "net1"], ["10.52.7.2/24"], 1400)
    assert default_routes(node, one) == [("10.52.7.1", "eth0")]
    assert "wn-pods" in node.links()

    node.run("ping", "-c1", "-W5", "10.52.7.3", at=one)
    # The outside has no route to pods: an answer comes only because the node puts its own address in.
    node.run("ping", "-c1", "-W5", OUTSIDE_ADDRESS, at=one)
    assert node.rules() != before[4]

    for pod in (one, other):
        node.delete(pod, clusterNetwork=None)
    assert [rule for rule in node.rules() if "10.52.7.2" in rule or "10.52.7.3" in rule] == []
    assert node.leases() == []
    leases = node.root / "var/lib/cni/networks/windrow-pods"
    assert [p.name for p in leases.iterdir() if p.name.startswith("10.")] == []


ALONE = {"clusterNetwork": None, "pointToPoint": True}
SHARED = {"clusterNetwork": None}
BOTH = "spec: {podCIDRs: [10.52.7.0/24, 'fd52:7::/64']}\n"


def reaches(node: Node, pod: str, address: str) -> bool:
    return node.run("ping", "-c1", "-W5", address, at=pod, check=False).returncode == 0


def test_pods_with_a_link_to_their_host_alone(node: Node, outside: str) -> None:
    """Addresses of their own, a route of the host's to each, in both families; and nothing is left."""
    node_manifest(node, BOTH)
    one, other = node.pod(), node.pod()
    before = node.everything()
    results = [node.add(pod, **ALONE) for pod in (one, other)]
    here = node.inside(one)
    assert addresses(here["eth0"]) == ["10.52.7.2/32"] and here["eth0"]["mtu"] == 1400
    assert addresses(here["eth0"], "inet6") == ["fd52:7::2/128"]
    assert default_routes(node, one) == [("169.254.1.1", "eth0"), ("fe80::1", "eth0")]
    ways = {w["dst"]: w for w in json.loads(node.run("ip", "-j", "route").stdout) if w["dst"].startswith("10.52.7.")}
    assert set(ways) == {"10.52.7.2", "10.52.7.3"} and len({way["dev"] for way in ways.values()}) == 2
    assert all(way["scope"] == "link" and "gateway" not in way for way in ways.values())
    assert "wn-pods" not in node.links()

    assert reaches(node, one, "10.52.7.3") and reaches(node, other, "fd52:7::2")
    # The outside has no route to pods: an answer comes only because the node puts its own address in.
    assert reaches(node, one, OUTSIDE_ADDRESS)
    assert node.run("ping", "-c1", "-W5", "10.52.7.2").returncode == 0
    source = json.loads(node.run("ip", "-j", "route", "get", "10.52.7.2").stdout)[0]["prefsrc"]
    assert source == NODE_ADDRESS, "the router's address is this host's alone, and no source of its packets"

    config = json.loads(node.config(annotation(""), **ALONE)) | {"prevResult": results[0]}
    node.did(node.env("CHECK", one), json.dumps(config).encode())
    node.run("ip", "route", "del", "10.52.7.2")
    found = node.call(node.env("CHECK", one), json.dumps(config).encode())
    assert "there is no route to 10.52.7.2/32" in found.stdout

    for pod in (one, other):
        node.delete(pod, **ALONE)
    assert node.everything() == before
    assert "10.52.7" not in node.run("ip", "route").stdout and "fd52:7" not in node.run("ip", "-6", "route").stdout


@pytest.mark.parametrize("first", [SHARED, ALONE])
def test_what_is_there_goes_on_when_the_setting_changes(node: Node, first: dict[str, Any]) -> None:
    node_manifest(node, BOTH)
    then = ALONE if first is SHARED else SHARED
    old, new, third = node.pod(), node.pod(), node.pod()
    node.add(old, **first)
    node.add(new, **then)
    node.add(third, **first)
    pods = {old: 2, new: 3, third: 4}
    for pod in pods:
        for other, number in pods.items():
            if other != pod:
                assert reaches(node, pod, f"10.52.7.{number}"), (pod, number)
                assert reaches(node, pod, f"fd52:7::{number}"), (pod, number)
    # By the setting of today: each goes by the record of how it was made.
    for pod in pods:
        node.delete(pod, **then)
    assert not [name for name in node.links() if name.startswith("wn-") and name != "wn-pods"]
    assert node.run("ip", "-6", "neigh", "show", "proxy").stdout == ""


def test_a_gc_takes_away_what_is_left_of_pods_alone(node: Node) -> None:
    node_manifest(node, BOTH)
    pods = [node.pod(), node.pod()]
    for pod in pods:
        node.add(pod, **ALONE)
    listed = [{"containerID": Path(pods[1]).name, "ifname": "eth0"}]
    netns.delete(node.pods.pop(0))
    env = node.env("GC", "") | {"CNI_CONTAINERID": "", "CNI_IFNAME": ""}
    node.did(env, node.config(**ALONE, **{"cni.dev/valid-attachments": listed}))
    bridges = [name for name in node.links() if name.startswith("wn-")]
    assert len(bridges) == 1
    assert "10.52.7.2" not in node.run("ip", "route").stdout and "10.52.7.3" in node.run("ip", "route").stdout


@pytest.mark.parametrize("spec", ["", "spec: {}\n"])
def test_a_node_without_addresses_for_pods(node: Node, spec: str) -> None:
    node_manifest(node, spec)
    pod = node.pod()
    error = node.refused(node.env("ADD", pod), node.config(clusterNetwork=None))
    assert error["code"] == MISSING
    assert "node node-0 has no podCIDR" in error["msg"]
    assert "spec.podCIDR" in error["details"]
    found = node.call(node.env("STATUS", ""), node.config(clusterNetwork=None))
    assert json.loads(found.stdout)["code"] == NOT_AVAILABLE
    node.delete(pod, clusterNetwork=None)


def test_status(node: Node) -> None:
    node.did(node.env("STATUS", ""), node.config())
    missing = node.root / "ready"
    found = node.call(node.env("STATUS", ""), node.config(readinessindicatorfile=str(missing)))
    assert json.loads(found.stdout)["code"] == NOT_AVAILABLE
    found = node.call(node.env("ADD", node.pod()), node.config(readinessindicatorfile=str(missing)))
    assert json.loads(found.stdout)["code"] == TRY_AGAIN
    missing.touch()
    found = node.call(node.env("STATUS", ""), node.config(readinessindicatorfile=str(missing)))
    assert found.exit == 0


# When something fails -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("echo rubbish", DELEGATE_FAILED, "printed what is no result"),
        ("exit 3", DELEGATE_FAILED, "exit code 3"),
        ("true", DELEGATE_FAILED, "printed no result"),
        ('echo \'{"cniVersion": "1.0.0", "ips": 5}\'', DELEGATE_FAILED, "not the result of a CNI plugin"),
        ('echo \'{"code": 11, "msg": "come back", "details": "later"}\'; exit 1', 11, "come back"),
    ],
)
def test_a_delegate_that_fails_undoes_all_the_others(node: Node, script: str, code: int, said: str) -> None:
    node.plugin("bad", f"#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\n{script}\n")
    node.nad("bad", {"cniVersion": "1.0.0", "type": "bad"})
    pod = node.pod()
    error = node.refused(node.env("ADD", pod), node.config(annotation("addressed,bad")))
    assert (error["code"], said in error["msg"]) == (code, True), error
    assert error["msg"].startswith("[default/vm:default/bad] ADD of net2: ")
    assert node.inside(pod) == {}


def test_a_plugin_of_a_list_that_fails_undoes_those_before_it(node: Node) -> None:
    node.plugin("bad", "#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\nexit 1\n")
    plugins = [node.bridge(ipam=node.ipam("10.61.0.0/24")), {"type": "bad"}]
    node.nad("bad", {"cniVersion": "0.4.0", "plugins": plugins})
    pod = node.pod()
    error = node.refused(node.env("ADD", pod), node.config(annotation("bad")))
    assert error["code"] == DELEGATE_FAILED
    assert node.inside(pod) == {}


def test_an_ipam_plugin_that_fails(node: Node) -> None:
    """The range is used up."""
    node.nad("small", node.bridge(ipam=node.ipam("10.66.0.0/30")))
    first, second = node.pod(), node.pod()
    node.add(first, "small")
    error = node.refused(node.env("ADD", second), node.config(annotation("addressed,small")))
    assert "no IP addresses available" in f"{error['msg']} {error.get('details')}"


def test_a_plugin_that_is_not_there(node: Node) -> None:
    node.nad("nowhere", {"cniVersion": "1.0.0", "type": "nowhere"})
    error = node.refused(node.env("ADD", node.pod()), node.config(annotation("nowhere")))
    assert (error["code"], "failed to find plugin 'nowhere'" in error["msg"]) == (DELEGATE_FAILED, True)


def test_a_cluster_network_that_is_not_on_this_node(node: Node) -> None:
    node.manifest(
        "cn.yaml", "apiVersion: network.harvesterhci.io/v1beta1\nkind: ClusterNetwork\nmetadata: {name: data}\n"
    )
    node.nad("far", node.bridge(bridge="data-br"))
    error = node.refused(node.env("ADD", node.pod()), node.config(annotation("addressed,far")))
    assert error["code"] == MISSING
    assert error["msg"].startswith("[default/vm:default/far] ADD of net2: ")
    assert "data" in error["msg"]


@pytest.mark.parametrize(
    ("networks", "code", "said"),
    [
        ("vlan100,", INVALID_CONFIG, "[1]: there is nothing between the commas"),
        ("[", UNDECODABLE, "this is not JSON"),
        ('[{"name": "vlan100", "mac": "x"}]', INVALID_CONFIG, "is not a MAC address"),
        ("nowhere", MISSING, "NetworkAttachmentDefinition default/nowhere, which annotation"),
        ("vlan100@eth0", INVALID_CONFIG, "asks for the interface eth0"),
        ("vlan100@averyveryverylongname", INVALID_CONFIG, "bytes, the kernel allows 15"),
        ("wrong", INVALID_CONFIG, "NetworkAttachmentDefinition default/wrong, which annotation"),
        ("path", INVALID_CONFIG, "[default/vm:default/path] network default/path has no type"),
        (
            '[{"name": "vlan100", "bandwidth": {"ingressRate": 8, "ingressBurst": 8}}]',
            INVALID_CONFIG,
            "[default/vm:default/vlan100] network default/vlan100: no plugin of the network has the capability",
        ),
        (
            "empty",
            MISSING,
            "default/empty, which annotation k8s.v1.cni.cncf.io/networks of pod default/vm asks for, has",
        ),
    ],
)
def test_annotations_that_cannot_be_followed(node: Node, networks: str, code: int, said: str) -> None:
    node.nad("wrong", node.bridge(vlan=5000))
    node.nad("path", {"cniVersion": "1.0.0", "type": "../path"})
    node.manifest(
        "empty.yaml", f"{{apiVersion: k8s.cni.cncf.io/v1, kind: {NAD}, metadata: {{name: empty, namespace: default}}}}"
    )
    pod = node.pod()
    error = node.refused(node.env("ADD", pod), node.config(annotation(networks)))
    assert (error["code"], said in error["msg"]) == (code, True), error
    assert node.inside(pod) == {}


def test_namespace_isolation(node: Node) -> None:
    node.nad("theirs", node.bridge(), "prod")
    pod = node.pod()
    env = node.env("ADD", pod, "K8S_POD_NAMESPACE=dev;K8S_POD_NAME=vm")
    error = node.refused(env, node.config(annotation("default/vlan100,prod/theirs"), namespaceIsolation=True))
    assert error["code"] == FORBIDDEN
    found = node.call(env, node.config(annotation("default/vlan100"), namespaceIsolation=True))
    assert found.exit == 0, found.stdout


@pytest.mark.parametrize(
    ("env", "config", "code"),
    [
        ({}, b"{", UNDECODABLE),
        ({}, b'{"cniVersion": "1.0.0", "type": "windrow"}', INVALID_CONFIG),
        ({}, b'{"cniVersion": "9.0.0", "name": "x", "type": "windrow"}', 1),
        ({}, b'{"cniVersion": "1.0.0", "name": "x", "type": "windrow", "delegates": 5}', INVALID_CONFIG),
        ({"CNI_CONTAINERID": ""}, None, INVALID_ENVIRONMENT),
        ({"CNI_CONTAINERID": "../x"}, None, INVALID_ENVIRONMENT),
        ({"CNI_IFNAME": "x" * 16}, None, INVALID_ENVIRONMENT),
        ({"CNI_NETNS": "/run/netns/nowhere"}, None, MISSING),
    ],
)
def test_calls_that_are_wrong(node: Node, env: dict[str, str], config: bytes | None, code: int) -> None:
    error = node.refused(node.env("ADD", node.pod()) | env, config or node.config(annotation("vlan100")))
    assert error["code"] == code, error


def test_an_interface_that_is_there_already(node: Node) -> None:
    pod = node.pod()
    node.run("ip", "link", "add", "net1", "type", "bridge", at=pod)
    error = node.refused(node.env("ADD", pod), node.config(annotation("vlan100")))
    assert error["code"] == IN_THE_WAY, error
    assert list(node.inside(pod)) == ["net1"]


def test_a_container_that_is_attached_already(node: Node) -> None:
    pod = node.pod()
    node.add(pod, "vlan100")
    error = node.refused(node.env("ADD", pod), node.config(annotation("vlan100")))
    assert error["code"] == IN_THE_WAY
    assert list(node.inside(pod)) == ["eth0", "net1"]


def test_a_container_that_comes_back_with_another_namespace(node: Node) -> None:
    """After a reboot podman starts it under its old id, and its leases are still there."""
    first, second = node.pod(), node.pod()
    node.add(first, "addressed")
    netns.delete(node.pods.pop(0))
    env = node.env("ADD", second) | {"CNI_CONTAINERID": Path(first).name}
    found = node.call(env, node.config(annotation("addressed")))
    assert found.exit == 0, found.stdout
    assert len(node.leases()) == 3
    assert list(node.inside(second)) == ["eth0", "net1"]


def test_a_namespace_that_is_made_anew_under_its_name(node: Node) -> None:
    """The kernel gives it the inode of the one before, more often than not."""
    pod = node.pod()
    for _ in range(8):
        node.add(pod, "vlan100")
        assert list(node.inside(pod)) == ["eth0", "net1"]
        netns.delete(Path(pod).name)
        netns.create(Path(pod).name)
    assert node.inside(pod) == {}
    node.delete(pod)


# DEL ----------------------------------------------------------------------------------------------


def test_del_needs_no_manifest_and_no_pod(node: Node) -> None:
    pod = node.pod()
    before = node.everything()
    node.add(pod, "vlan100,addressed")
    shutil.rmtree(node.manifests)
    node.delete(pod)
    assert node.everything() == before


@pytest.mark.parametrize("how", ["gone", "unsaid"])
def test_del_needs_no_namespace(node: Node, how: str) -> None:
    pod = node.pod()
    before = node.everything()
    node.add(pod, "vlan100,addressed")
    name = Path(pod).name
    netns.delete(node.pods.pop())
    env = node.env("DEL", pod) | {"CNI_CONTAINERID": name, "CNI_NETNS": pod if how == "gone" else ""}
    found = node.call(env, node.config())
    assert (found.exit, found.stdout) == (0, "")
    wait_for(lambda: node.everything() == before)


def reboot(node: Node) -> None:
    """What it takes: the pods, all that a pod is attached by, and what is on tmpfs."""
    for name in node.pods:
        netns.delete(name)
    node.pods.clear()
    shutil.rmtree(node.root / "run/windrow")
    wait_for(lambda: set(node.links()) == {"lo", "oob-br"})


@pytest.mark.parametrize("how", ["del", "gc", "gc of others"])
@pytest.mark.parametrize("also", ["", ",listed"])
def test_leases_outlive_a_reboot_and_are_freed(node: Node, how: str, also: str) -> None:
    """Of ports the bridge plugin's own record tells it, of plugins of others the meta plugin's; of all networks, though
    the configuration names only one."""
    node.nad("listed", {"cniVersion": "1.0.0", "plugins": [node.bridge(), {"type": "tuning"}]})
    node.nad("more", node.bridge(ipam=node.ipam("10.63.0.0/24")))
    pod = node.pod()
    node.add(pod, f"addressed,more{also}")
    assert len(node.leases()) == 4
    assert bool(list((node.root / "var/lib/windrow").glob("attachments/*.json"))) == bool(also)
    reboot(node)
    assert len(node.leases()) == 4
    if how == "del":
        node.delete(pod)
    else:
        node.gc(*[f"/run/netns/{how[6:]}"] if how != "gc" else [])
    assert node.leases() == [] and node.records() == []
    node.delete(pod)


def test_a_pod_with_ports_alone_waits_for_no_disk(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: what is flushed is the bridge plugin's record of a port with an address, its content and its name; only
    for plugins of others also the meta plugin's, once. And nothing is started but what others wrote."""
    node.nad("listed", {"cniVersion": "1.0.0", "plugins": [node.bridge(), {"type": "tuning"}]})
    flushed: list[str] = []
    started: list[str] = []
    real_fsync, real_spawn = os.fsync, os.posix_spawn
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(os.readlink(f"/proc/self/fd/{fd}")), real_fsync(fd)))

    def spawn(program: str, *rest: Any, **more: Any) -> int:
        started.append(Path(program).name)
        return real_spawn(program, *rest, **more)

    monkeypatch.setattr(os, "posix_spawn", spawn)

    def counted(networks: str, **more: Any) -> tuple[int, list[str]]:
        flushed.clear(), started.clear()
        node.add(node.pod(), networks, **more)
        return len(flushed), list(started)

    counted(""), counted("listed")  # the directories are there
    assert counted("vlan100,vlan100@net7", clusterNetwork="none") == (0, [])
    assert counted("") == (2, ["host-local"])
    assert counted("vlan100", clusterNetwork="none") == (0, [])
    assert counted("listed", clusterNetwork="none")[1] == ["tuning"]
    assert [Path(path).parent.name for path in flushed] == ["attachments", "windrow"]


def test_del_waits_once_for_all_cables(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one request, by a link group of the pod's ends: the host's keep the mark of whose they are. Those with further
    plugins, too: what these have to undo comes before."""
    node.plugin("looks", '#!/bin/sh\n[ $CNI_COMMAND = DEL ] || exec sed "s/.*\\"prevResult\\": //; s/}$//"\n'
                f"ip -n $(basename $CNI_NETNS) link show $CNI_IFNAME >> {node.root}/looked || exit 1\n")  # fmt: skip
    node.nad("listed", {"cniVersion": "1.0.0", "plugins": [node.bridge(), {"type": "looks"}]})
    pod = node.pod()
    before = node.everything()
    node.add(pod, "vlan100@a,listed@b,addressed@c,listed@d")
    requests: list[str] = []
    groups: set[int] = set()
    run = Rtnl.run

    def watched(rtnl: Rtnl, *messages: Message) -> None:
        requests.extend(m.doing for m in messages if m.type == RTM_DELLINK)
        if any(m.doing.startswith("delete group") for m in messages):
            groups.update(
                runtime.group for name, runtime in node.kernel.observe().runtime.items() if name.startswith("veth")
            )
        run(rtnl, *messages)

    monkeypatch.setattr(Rtnl, "run", watched)
    found = node.call(node.env("DEL", pod), node.config())
    assert found.exit == 0, found.stdout
    assert len(requests) == 1 and requests[0].startswith("delete group")
    assert groups == {PORT_GROUP}
    assert [name in (node.root / "looked").read_text() for name in ("b@", "d@")] == [True, True]
    assert (node.inside(pod), node.leases()) == ({}, []) and node.everything() == before


def test_del_without_a_record(node: Node) -> None:
    """The disk with it is gone; what is known of the default network is undone."""
    pod = node.pod()
    node.add(pod)
    shutil.rmtree(node.root / "var/lib/windrow")
    node.delete(pod)
    assert (node.inside(pod), node.leases()) == ({}, [])
    node.delete(node.pod())


def test_what_cannot_be_undone_is_tried_again(node: Node) -> None:
    node.plugin("stubborn", '#!/bin/sh\n[ $CNI_COMMAND = ADD ] && exec echo \'{"cniVersion": "1.0.0"}\'\nexit 1\n')
    node.nad("stubborn", {"cniVersion": "1.0.0", "type": "stubborn"})
    pod = node.pod()
    before = node.everything()
    node.add(pod, "addressed,stubborn,vlan100")
    found = node.call(node.env("DEL", pod), node.config())
    assert json.loads(found.stdout)["msg"].startswith("[default/vm:default/stubborn] DEL of net2: ")
    assert node.inside(pod) == {}
    (record,), _ = AttachmentRecords(Host(node.root).paths).all()
    assert [one.reference for one in record.attachments] == ["default/stubborn"]
    node.plugin("stubborn", "#!/bin/sh\nexit 0\n")
    node.delete(pod)
    assert node.everything() == before


def test_what_cannot_be_rolled_back_is_left_for_del(node: Node) -> None:
    node.plugin("bad", f"#!/bin/sh\n[ -e {node.root}/fixed ] && exit 0\nexit 1\n")
    node.nad("bad", {"cniVersion": "1.0.0", "type": "bad"})
    pod = node.pod()
    before = node.everything()
    found = node.call(node.env("ADD", pod), node.config(annotation("addressed,bad")))
    assert found.exit == 1
    assert node.records() == [Path(pod).name]
    (node.root / "fixed").touch()
    node.delete(pod)
    assert node.everything() == before


def test_a_plugin_that_does_not_serve_the_version_leaves_nothing_to_try_again(node: Node) -> None:
    """Of an ADD that never came about; what it has attached is not forgotten by it."""
    refuse = """echo '{"code": 1, "msg": "incompatible CNI versions"}'; exit 1"""
    node.plugin("old", f"#!/bin/sh\n{refuse}\n")
    node.nad("old", {"cniVersion": "1.0.0", "plugins": [node.bridge(ipam=node.ipam("10.61.0.0/24")), {"type": "old"}]})
    pod = node.pod()
    error = node.refused(node.env("ADD", pod), node.config(annotation("vlan100,old")))
    assert (error["code"], node.inside(pod)) == (1, {})

    node.plugin("old", f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] && exec cat {node.root}/result\n{refuse}\n")
    (node.root / "result").write_text('{"cniVersion": "1.0.0"}')
    node.add(pod, "old")
    for _ in range(2):
        assert node.call(node.env("DEL", pod), node.config()).exit == 1
    assert node.records() == [Path(pod).name]


def test_the_result_goes_with_del_where_the_version_has_it(node: Node) -> None:
    script = "#!/bin/sh\ncat > {root}/$CNI_COMMAND-$CNI_IFNAME\n[ $CNI_COMMAND = ADD ] && echo '{result}'\nexit 0\n"
    result = json.dumps({"cniVersion": "1.0.0", "interfaces": [{"name": "x"}], "unknown": 1})
    node.plugin("spy", script.format(root=node.root, result=result))
    node.nad("new", {"cniVersion": "1.0.0", "type": "spy", "answer": 42})
    node.nad("old", {"cniVersion": "0.3.1", "type": "spy"})
    pod = node.pod()
    node.add(pod, "new,old")
    node.delete(pod)
    added, deleted, old = (json.loads((node.root / name).read_text()) for name in ("ADD-net1", "DEL-net1", "DEL-net2"))
    assert added == {"cniVersion": "1.0.0", "type": "spy", "answer": 42, "name": "new"}
    assert deleted == added | {"prevResult": json.loads(result)}
    assert "prevResult" not in old


# Killed -------------------------------------------------------------------------------------------


def kill_in_the_middle(node: Node, pod: str) -> None:
    """kill -9 while the second of three networks is being added."""
    node.plugin("slow", SLOW.format(root=node.root))
    node.nad("slow", {"cniVersion": "1.0.0", "type": "slow"})
    argv = [sys.executable, "-m", "windrow.apps.cni.main"]
    config = node.config(annotation("slow,addressed"))

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **node.env("ADD", pod)},
            start_new_session=True,
        )

    process = netns.opened_in(node.name, start)
    assert process.stdin is not None
    process.stdin.write(config)
    process.stdin.close()
    wait_for((node.root / "ADD-begun").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("by", ["DEL", "GC", "ADD"])
def test_killed_in_the_middle(node: Node, by: str) -> None:
    pod = node.pod()
    before = node.everything()
    kill_in_the_middle(node, pod)
    assert node.records() == [Path(pod).name]
    assert list(node.inside(pod)) == ["eth0"]
    assert len(node.leases()) == 2
    (node.root / "go").touch()  # the plugin, which outlives the call; who comes next waits for it
    match by:
        case "DEL":
            node.delete(pod)
        case "GC":  # it waits for nobody, and takes it the next time
            wait_for(lambda: (node.gc(), node.records())[1] == [])
        case _:
            node.add(pod, "vlan100")
            assert list(node.inside(pod)) == ["eth0", "net1"]
            node.delete(pod)
    assert node.inside(pod) == {}
    assert node.everything() == before


def test_a_del_does_not_wait_for_ever_for_what_a_killed_add_had_started(node: Node) -> None:
    """A runtime asks again, and a leak is worse than a pod that ends late."""
    pod = node.pod()
    before = node.everything()
    kill_in_the_middle(node, pod)
    found = node.call(node.env("DEL", pod), node.config(annotation("slow,addressed")))
    assert found.exit == 1 and "another call for eth0" in found.stdout, found.stdout
    (node.root / "go").touch()
    node.delete(pod)
    assert node.everything() == before


def test_del_waits_for_the_add_of_its_container(node: Node) -> None:
    """The runtime lost its patience with an ADD that goes on."""
    node.plugin("slow", '#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\nsleep 2\necho \'{"cniVersion": "1.0.0"}\'\n')
    node.nad("slow", {"cniVersion": "1.0.0", "type": "slow"})
    pod = node.pod()
    before = node.everything()
    thread = threading.Thread(target=node.add, args=[pod, "slow,addressed"])
    thread.start()
    wait_for(node.records)
    node.gc()  # leaves alone what is being made
    node.delete(pod)
    thread.join()
    assert node.everything() == before


# GC and CHECK -------------------------------------------------------------------------------------


def test_gc_takes_what_is_not_valid_and_nothing_else(node: Node) -> None:
    alive, dead = node.pod(), node.pod()
    node.add(alive, "vlan100,addressed")
    before = node.everything()
    node.add(dead, "vlan100,addressed")
    netns.delete(node.pods.pop())
    node.gc(alive)
    wait_for(lambda: [*node.everything()[:5]] == [*before[:5]])
    assert list(node.inside(alive)) == ["eth0", "net1", "net2"]


def test_gc_is_for_its_own_network(node: Node) -> None:
    pod = node.pod()
    node.add(pod, "vlan100", name="another")
    node.gc()
    assert list(node.inside(pod)) == ["eth0", "net1"]


def test_gc_is_passed_on(node: Node) -> None:
    script = (
        '#!/bin/sh\ncat > {root}/$CNI_COMMAND\n[ $CNI_COMMAND = ADD ] && echo \'{{"cniVersion": "1.1.0"}}\'\nexit 0\n'
    )
    node.plugin("spy", script.format(root=node.root))
    node.nad("spy", {"cniVersion": "1.1.0", "type": "spy"})
    pod = node.pod()
    node.add(pod, "spy@x,spy@y")
    node.gc(pod)
    valid = [{"containerID": Path(pod).name, "ifname": name} for name in ("x", "y")]
    assert json.loads((node.root / "GC").read_text()) == {
        "cniVersion": "1.1.0",
        "name": "spy",
        "type": "spy",
        "cni.dev/valid-attachments": valid,
        "cni.dev/attachments": valid,
    }


def test_check_finds_what_is_gone(node: Node) -> None:
    pod = node.pod()
    node.nad("checked", node.bridge() | {"cniVersion": "1.0.0"})
    node.add(pod, "checked")
    assert node.call(node.env("CHECK", pod), node.config()).exit == 0
    node.run("ip", "link", "del", "net1", at=pod)
    found = json.loads(node.call(node.env("CHECK", pod), node.config()).stdout)
    assert found["msg"].startswith("[default/vm:default/checked] CHECK of net1: ")
    error = json.loads(node.call(node.env("CHECK", node.pod()), node.config()).stdout)
    assert error["code"] == MISSING


def test_many_at_once(node: Node) -> None:
    pods = [node.pod() for _ in range(8)]
    before = node.everything()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda pod: node.add(pod, "vlan100,addressed"), pods))
        assert len(node.leases()) == 24
        list(pool.map(node.delete, pods))
    assert node.everything() == before
    assert IfName("oob-br") in node.links()
