"""A port, from the runtime's side: what a call of the plugin takes, ours against the reference plugin.

    python -m bench.cni WHERE      as root of the namespace it runs in; prints one line per group, after a mark

Every call is a process that is started, gets its configuration and ends, as a container runtime has it; the time it
takes to start one from here is in all of them. The ways take turns. Where the kernel has no VLAN filtering, the
bridge is a plain one.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import MARK, Group, NotMeasured, Row, encode
from windrow.apps.cni.install import Origin, install
from windrow.apps.cni.server import about
from windrow.netlink import netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths

REFERENCE = Path("/usr/lib/cni")
RUNS, PODS, TOGETHER, TOGETHER_RUNS = 100, 50, 16, 5
WARM_UP = 3
START_S = 60.0
NODE = "bench"
BRIDGE = "bench-br"
SERVE = """\
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from windrow.apps.cli.main import main
main()
"""
"""`windrow`, by whatever interpreter this is: in the lab kernel it is not the virtual environment's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One start of a plugin."""

    plugin: str
    config: str
    ifname: str = "eth0"
    args: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A runtime with one directory of plugins. `root`: with a server, or without."""

    what: str
    plugins: Path
    root: Path

    @property
    def reference(self) -> bool:
        return self.plugins == REFERENCE

    def start(self, command: str, call: Call, sandbox: str, container: str) -> subprocess.Popen[bytes]:
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": sandbox,
            "CNI_IFNAME": call.ifname,
            "CNI_ARGS": call.args,
            "CNI_PATH": str(REFERENCE),
            "PATH": os.environ["PATH"],
            "WINDROW_ROOT": str(self.root),
        }
        pipe = subprocess.PIPE
        started = subprocess.Popen(
            [self.plugins / call.plugin], env=env, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT
        )
        assert started.stdin
        started.stdin.write(call.config.encode())
        started.stdin.close()
        return started

    def end(self, started: subprocess.Popen[bytes]) -> None:
        assert started.stdout
        said = started.stdout.read()
        started.stdout.close()
        if started.wait():
            raise NotMeasured(f"{self.what}: {said.decode()}")

    def run(self, command: str, calls: Sequence[Call], sandbox: str) -> float:
        """The seconds that it takes, one call after the other; DEL in reverse order."""
        gc.collect()
        began = time.perf_counter()
        for call in reversed(calls) if command == "DEL" else calls:
            self.end(self.start(command, call, sandbox, "bench0"))
        return time.perf_counter() - began


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """`sandboxes`: paths of the pods' namespaces."""

    where: str
    sandboxes: Sequence[str]
    directory: Path
    filtering: bool

    @property
    def port(self) -> str:
        return "VLAN port" if self.filtering else "port"

    def network(self, name: str, **more: Any) -> dict[str, Any]:
        return {"cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": BRIDGE, **more}

    def vlan(self) -> dict[str, Any]:
        return self.network("vlan", **({"vlan": 100} if self.filtering else {}))

    def addressed(self, **more: Any) -> dict[str, Any]:
        subnet = [[{"subnet": "10.99.0.0/22"}]]
        return self.network("addressed", ipam=host_local(subnet, self.directory), **more)


def host_local(ranges: Any, directory: Path) -> dict[str, Any]:
    return {"type": "host-local", "ranges": ranges, "dataDir": str(directory / "leases")}


def measure(where: str, *, all_ways: bool) -> Iterator[Group]:
    """`all_ways`: also the slower ones of ours; that is too slow in the lab kernel, where a Python takes 0.1 s."""
    with tempfile.TemporaryDirectory(prefix="wb") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        with Kernel() as kernel:
            filtering = kernel.features().vlan_filtering
        option = " vlan_filtering 1" if filtering else ""
        lines = f"link add {BRIDGE} type bridge{option}\nlink set {BRIDGE} up\n"
        subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
        sandboxes = [stack.enter_context(sandbox()) for _ in range(TOGETHER)]
        bench = Bench(where=where, sandboxes=sandboxes, directory=directory, filtering=filtering)
        ours, reference, *others = stack.enter_context(calling(bench))
        callers = [ours, reference, *(others if all_ways else ())]
        vlan, addressed = (Call(plugin="bridge", config=json.dumps(c)) for c in (bench.vlan(), bench.addressed()))
        port = f"a {bench.port} on a bridge"
        yield from in_turns(bench, RUNS, port, [(caller, [vlan]) for caller in callers])
        yield from in_turns(bench, RUNS, f"{port}, with host-local", [(caller, [addressed]) for caller in callers])
        yield from in_turns(
            bench, PODS, "a pod with two networks", [(caller, pod(bench, caller)) for caller in callers]
        )
        yield from together(bench, callers, vlan)
        subprocess.run(["ip", "link", "del", BRIDGE], check=True)


def pod(bench: Bench, caller: Caller) -> list[Call]:
    """An address by host-local on the first network, a VLAN port on the second. The meta plugin does both in one call;
    the reference plugin is called twice, as a meta plugin would, whose own time is not counted."""
    if caller.reference:
        first = Call(plugin="bridge", config=json.dumps(bench.addressed()))
        return [first, Call(plugin="bridge", config=json.dumps(bench.vlan()), ifname="net1")]
    meta = {"cniVersion": "1.0.0", "name": "pods", "type": "windrow", "delegates": [bench.addressed()]}
    return [Call(plugin="windrow", config=json.dumps(meta), args="IgnoreUnknown=1;WINDROW_NETWORKS=default/vlan")]


@contextlib.contextmanager
def sandbox() -> Iterator[str]:
    """A pod's namespace, by a path that needs no mount."""
    fd = netns.new()
    try:
        yield f"/proc/{os.getpid()}/fd/{fd}"
    finally:
        os.close(fd)


@contextlib.contextmanager
def calling(bench: Bench) -> Iterator[list[Caller]]:
    """Ours with a server, the reference, then the others of ours."""
    served, alone = bench.directory / "served", bench.directory / "alone"
    compiled, scripts = bench.directory / "compiled", bench.directory / "scripts"
    for plugins, is_compiled in ((compiled, True), (scripts, False)):
        install(Paths(alone), Origin(node=NODE), plugins, replace=True, compiled=is_compiled)
    for root in (served, alone):
        manifests = Paths(root).manifests
        manifests.mkdir(parents=True)
        nad: dict[str, Any] = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition"}
        nad |= {"metadata": {"name": "vlan", "namespace": "default"}, "spec": {"config": json.dumps(bench.vlan())}}
        (manifests / "vlan.yaml").write_text(json.dumps(nad))
    with serving(served):
        yield [
            Caller(what="windrow, compiled plugin and server", plugins=compiled, root=served),
            Caller(what="the reference plugin", plugins=REFERENCE, root=alone),
            Caller(what="windrow, Python plugin and server", plugins=scripts, root=served),
            Caller(what="windrow, no server", plugins=compiled, root=alone),
        ]


def windrow(root: Path, *words: str) -> subprocess.Popen[bytes]:
    """The command with these words, on a host of its own."""
    words = ("--root", str(root), "--node", NODE, *words)
    argv = [sys.executable, "-I", "-S", "-c", SERVE, json.dumps(sys.path), *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def serving(root: Path, *options: str) -> Iterator[None]:
    """`options`: of `windrow`."""
    server = windrow(root, *options, "cni", "serve")
    try:
        end = time.monotonic() + START_S
        while about(Paths(root)) is None:
            if server.poll() is not None or time.monotonic() > end:
                server.kill()
                raise NotMeasured(f"the server does not answer: {server.communicate()[0].decode()}")
            time.sleep(0.05)
        yield
        found = about(Paths(root))
        if not found or not found["answered"]:
            raise NotMeasured(f"the server has answered nothing: {found}")
    finally:
        server.terminate()
        server.communicate()


def in_turns(bench: Bench, runs: int, title: str, ways: Sequence[tuple[Caller, Sequence[Call]]]) -> Iterator[Group]:
    """ADD, then DEL of the same, by each in turn."""
    found: dict[str, dict[str, list[float]]] = {c: {caller.what: [] for caller, _ in ways} for c in ("ADD", "DEL")}
    for turn in range(-WARM_UP, runs):
        for caller, calls in ways:
            for command, seconds in found.items():
                spent = caller.run(command, calls, bench.sandboxes[0])
                if turn >= 0:
                    seconds[caller.what].append(spent)
    adds, dels = found["ADD"], found["DEL"]
    found["ADD and DEL"] = {what: [a + d for a, d in zip(adds[what], dels[what], strict=True)] for what in adds}
    for words, seconds in found.items():
        yield Group(title=f"CNI {words} of {title}", where=bench.where, rows=rows(seconds))


def together(bench: Bench, callers: Sequence[Caller], call: Call) -> Iterator[Group]:
    """Sixteen at once: until the last one has ended."""
    found: dict[str, dict[str, list[float]]] = {c: {caller.what: [] for caller in callers} for c in ("ADD", "DEL")}
    for turn in range(-1, TOGETHER_RUNS):
        for caller in callers:
            for command, seconds in found.items():
                gc.collect()
                began = time.perf_counter()
                started = [caller.start(command, call, path, f"bench{n}") for n, path in enumerate(bench.sandboxes)]
                for process in started:
                    caller.end(process)
                spent = time.perf_counter() - began
                if turn >= 0:
                    seconds[caller.what].append(spent)
    for command, seconds in found.items():
        title = f"CNI {command} of {TOGETHER} {bench.port}s at once, until the last one is done"
        yield Group(title=title, where=bench.where, rows=rows(seconds))


def rows(found: dict[str, list[float]]) -> tuple[Row, ...]:
    return tuple(Row(what=what, seconds=tuple(seconds)) for what, seconds in found.items())


if __name__ == "__main__":
    for result in measure(sys.argv[1], all_ways=True):
        print(MARK + encode(result), flush=True)
