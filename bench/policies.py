"""Network policies: how long until the rules of a large node stand, what one label costs, and what a packet pays.

python -m bench.policies WHERE    as root, in a namespace that may be filled (`unshare --net`)
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.cni import NODE, START_S, Call, Caller, sandbox, serving, windrow
from bench.measure import MARK, Group, NotMeasured, Row, Way, compare, encode
from bench.vm import batch
from windrow.apps.cni.install import Origin, install
from windrow.apps.filters import PortFilters
from windrow.model.cluster import Cluster
from windrow.model.meta import Meta
from windrow.model.policies import Namespace, Pod
from windrow.model.policyrules import PolicyRules
from windrow.model.ruletable import RuleTable
from windrow.model.steps import Impact, Phase, SetPolicies, Step
from windrow.model.values import IfName, Ref
from windrow.model.wire import load_documents
from windrow.netlink import features, netns
from windrow.policy import Endpoint, compile_policies, iptables, nft
from windrow.port.identity import host_end
from windrow.store.paths import Paths

PORTS, POLICIES, NAMESPACES = 500, 1000, 10
PACKETS, CONNECTIONS = 2000, 200
BRIDGE = IfName("br-pods")
Compiled = Callable[[Cluster], RuleTable]
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p{number}, namespace: ns{space}}}
spec:
  podSelector: {{matchLabels: {{app: a{app}}}}}
  ingress: [{{from: [{{podSelector: {{matchLabels: {{role: r{number}}}}}}}], ports: [{{port: {port}}}]}}]
"""


ALLOWED = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allowed, namespace: ns0}
spec:
  podSelector: {}
  ingress: [{from: [{podSelector: {matchLabels: {app: a0}}}], ports: [{port: 9000}, {port: 9001, protocol: UDP}]}]
"""


RULED, FREE = "ns0", "free"
"""A namespace with policies, and one without."""
ADDS, WARM_UP = 20, 3
CNI_PORT = host_end("bench0", "eth0")


def measure(where: str) -> Iterator[Group]:
    yield adding(where)
    ways: list[tuple[str, Compiled]] = [(" by iptables and ipset", by_iptables)]
    if features.probe().bridge_conntrack:
        ways.insert(0, ("", by_nft))
    for words, compiled in ways:
        yield loading(where, words, compiled)
        yield sending(where, words, compiled)


# -- a node, in objects ----------------------------------------------------------------------------


def cluster() -> Cluster:
    """Ten policies are about each pod."""
    texts = (
        POLICY.format(number=n, space=n % NAMESPACES, app=n // NAMESPACES % 10, port=8000 + n) for n in range(POLICIES)
    )
    loaded = load_documents("---\n".join(texts))
    if loaded.problems:
        raise NotMeasured(str(loaded.problems[0]))
    spaces = [Namespace(meta=Meta(name=f"ns{n}")) for n in range(NAMESPACES)]
    return Cluster.of([*spaces, *map(pod, range(PORTS)), *loaded.objects])


def pod(number: int) -> Pod:
    labels = {"app": f"a{number // NAMESPACES % 10}", "role": f"r{number}"}
    meta = Meta(name=f"pod{number}", namespace=f"ns{number % NAMESPACES}", labels=labels)
    return Pod(meta=meta, addresses=(address(number),))


def address(number: int) -> str:
    return f"10.52.{number // 250}.{number % 250 + 2}"


def port(number: int) -> IfName:
    """As a CNI call names it: iptables finds the rules of a port by how its name begins."""
    return host_end(f"bench-{number}", "eth0")


def rules_of(wanted: Cluster) -> PolicyRules:
    ends = [Endpoint(port=port(n), pod=Ref("Pod", f"pod{n}", f"ns{n % NAMESPACES}")) for n in range(PORTS)]
    return compile_policies(wanted, ends, ["10.52.255.1"])


def by_nft(wanted: Cluster) -> RuleTable:
    return nft.table(rules_of(wanted))


def by_iptables(wanted: Cluster) -> RuleTable:
    places = {port(n): iptables.RoutedPort(bridge=BRIDGE, addresses=(address(n),)) for n in range(PORTS)}
    return iptables.table(rules_of(wanted), places, [BRIDGE])


def load(wanted: RuleTable) -> None:
    action = SetPolicies(wanted)
    link = IfName("windrow-policy")
    step = Step(phase=Phase.OPTIONS, link=link, action=action, why=Ref("Bench", "policies"), impact=Impact.HITLESS)
    if (failure := PortFilters().run([step], ())) is not None:
        raise NotMeasured(failure.reason)


# -- rules -----------------------------------------------------------------------------------------


def loading(where: str, words: str, compiled: Compiled) -> Group:
    before = cluster()
    labelled = pod(7)
    after = before.replace([replace(labelled, meta=replace(labelled.meta, labels={"app": "a0", "role": "r17"}))])
    whole = compiled(before)
    ways = [
        Way(what="compile", run=lambda: compiled(Cluster(before.objects))),
        Way(
            what="compile and load, until the first rule is in force, which is all of them",
            run=lambda: load(compiled(Cluster(before.objects))),
            prepare=lambda: load(RuleTable()),
        ),
        Way(what="read back what is in the kernel", run=PortFilters().policies),
        Way(
            what="another label of one pod: compile, read back, change members",
            run=lambda: load(compiled(after)),
            prepare=lambda: load(whole),
        ),
    ]
    rows = compare(3, ways)
    seen = PortFilters().policies()
    if seen.table not in (whole, compiled(after)):
        raise NotMeasured(f"the rules are not those that were loaded: {seen.unread}")
    load(RuleTable())
    return Group(title=f"Policies{words}: {POLICIES:,} at {PORTS} ports", where=where, rows=rows)


# -- a pod that comes ------------------------------------------------------------------------------


def adding(where: str) -> Group:
    """ADD of a pod's port, with an agent on the host: by what there is of policies, one after the other."""
    ways = (
        ("no policy on the host", 0, FREE),
        ("ten policies, none of them in the pod's namespace", 10, FREE),
        ("ten policies in the pod's namespace, until a round has judged the port", 10, RULED),
    )
    batch("ip", f"link add {BRIDGE} type bridge forward_delay 0", f"link set {BRIDGE} up")
    with tempfile.TemporaryDirectory(prefix="wb") as name, sandbox() as pod_ns:
        root, plugins = Path(name, "root"), Path(name, "plugins")
        install(Paths(root), Origin(node=NODE), plugins, replace=True, compiled=True)
        caller = Caller(what="windrow", plugins=plugins, root=root)
        with serving(root):
            rows = [Row(what=w, seconds=tuple(added(caller, pod_ns, count, ns))) for w, count, ns in ways]
    batch("ip", f"link del {BRIDGE}")
    load(RuleTable())
    return Group(title="CNI ADD of a pod's port, by the policies that there are", where=where, rows=tuple(rows))


def added(caller: Caller, pod_ns: str, count: int, namespace: str) -> Iterator[float]:
    """Seconds of each."""
    paths = Paths(caller.root)
    paths.manifests.mkdir(parents=True, exist_ok=True)
    texts = (POLICY.format(number=n, space=0, app=n, port=8000 + n) for n in range(count))
    (paths.manifests / "policies.yaml").write_text("---\n".join(texts))
    leases = {"dataDir": str(paths.root / "leases"), "ranges": [[{"subnet": "10.52.0.0/16"}]]}
    network = {"cniVersion": "1.0.0", "name": "pods", "type": "bridge", "bridge": BRIDGE}
    config = json.dumps({**network, "ipam": {"type": "host-local", **leases}})
    whose = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=p"
    with looking_after(paths):
        for turn in range(-WARM_UP, ADDS):
            spent = caller.run("ADD", [Call(plugin="bridge", config=config, args=whose)], pod_ns)
            if namespace == RULED and CNI_PORT not in paths.judged.read_text().split():
                raise NotMeasured("the port was not judged when ADD had ended")
            caller.run("DEL", [Call(plugin="bridge", config=config, args=whose)], pod_ns)
            if turn >= 0:
                yield spent


@contextlib.contextmanager
def looking_after(paths: Paths) -> Iterator[None]:
    """An agent, from its first round on."""
    paths.agent_status.unlink(missing_ok=True)
    agent = windrow(paths.root, "agent")
    try:
        end = time.monotonic() + START_S
        while not paths.agent_status.exists():
            if agent.poll() is not None or time.monotonic() > end:
                agent.kill()
                raise NotMeasured(f"there is no round: {agent.communicate()[0].decode()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        agent.terminate()
        agent.communicate()


# -- packets ---------------------------------------------------------------------------------------


def sending(where: str, words: str, compiled: Compiled) -> Group:
    """Between the first two pods of a namespace; the second one's policies let it, or none selects either."""
    ends = [netns.new(), netns.new()]
    first, second = 0, NAMESPACES
    batch("ip", f"link add {BRIDGE} type bridge forward_delay 0", f"link set {BRIDGE} up")
    for number, fd in zip((first, second), ends, strict=True):
        peer = f"q{number}"
        batch("ip", f"link add {port(number)} type veth peer name {peer} netns /proc/{os.getpid()}/fd/{fd}")
        batch("ip", f"link set {port(number)} master {BRIDGE} up")
        netns.opened_in(fd, partial(batch, "ip", f"addr add {address(number)}/16 dev {peer}", f"link set {peer} up"))
    (allowed,) = load_documents(ALLOWED).objects
    whole = compiled(cluster().replace([allowed]))
    selected = [pod(number) for number in (first, second)]
    unselected = [replace(one, meta=replace(one.meta, labels={})) for one in selected]
    elsewhere = compiled(cluster().replace(unselected))
    server, client = (
        netns.opened_in(fd, partial(bound, address(number)))
        for number, fd in zip((second, first), reversed(ends), strict=True)
    )
    listener = netns.opened_in(ends[1], lambda: socket.create_server((address(second), 9000)))

    def packets() -> None:
        for _ in range(PACKETS):
            client.sendto(b"x" * 64, (address(second), 9001))
            server.sendto(server.recv(128), (address(first), 9001))
            client.recv(128)

    def connections() -> None:
        for _ in range(CONNECTIONS):
            opened = netns.opened_in(ends[0], lambda: socket.create_connection((address(second), 9000), timeout=5))
            listener.accept()[0].close()
            opened.close()

    ways = [
        Way(what=f"{what}, {words}", run=run, prepare=prepare)
        for what, run in (
            (f"{PACKETS:,} packets there and back", packets),
            (f"{CONNECTIONS} connections", connections),
        )
        for words, prepare in (
            ("no policy", without_any),
            ("neither port isolated", lambda: load(elsewhere)),
            ("both ports isolated", lambda: load(whole)),
        )
    ]
    rows = compare(5, ways)
    for one in (server, client, listener):
        one.close()
    load(RuleTable())
    batch("ip", *(f"link del {name}" for name in (port(first), port(second), BRIDGE)))
    return Group(title=f"Policies{words}: packets of a node with {POLICIES:,} at {PORTS} ports", where=where, rows=rows)


def without_any() -> None:
    """Nor does the bridge show its frames, which is what most of iptables costs."""
    load(RuleTable())
    batch("ip", f"link set {BRIDGE} type bridge nf_call_iptables 0 nf_call_ip6tables 0")


def bound(own: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((own, 9001))
    made.settimeout(5)
    return made


if __name__ == "__main__":
    for group in measure(sys.argv[1]):
        print(f"{MARK}{encode(group)}", flush=True)
