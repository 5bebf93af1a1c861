"""Tests of the bridge plugin as a runtime meets it: an executable, run in a network namespace.

    WINDROW_CNI_PLUGIN=/usr/lib/cni/bridge windrow lab test -- tests/cni

runs the same tests on another plugin, without those of what is Windrow's own on purpose: they carry the marker
`ours("why")`. Without the variable the plugin is Windrow's compiled shim with a server behind it, because starting
Python takes half a second in the lab kernel; where there is no compiler, or with WINDROW_CNI_PLUGIN=python, it is
Python alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.cni.install import Origin, build_shim
from windrow.apps.cni.server import about
from windrow.lab.guest import init
from windrow.model.host import Link, Observed, Runtime
from windrow.model.values import IfName
from windrow.netlink import features, netns, sysctl
from windrow.netlink.errors import NoSuchLink
from windrow.netlink.kernel import Kernel
from windrow.netlink.links import create, delete, set_link
from windrow.netlink.sock import Message
from windrow.services import child
from windrow.store.paths import Paths
from windrow.store.ports import AddressedPorts, PortRecords

HERE = Path(__file__).parent
VARIABLE = "WINDROW_CNI_PLUGIN"
PYTHON = "python"
REFERENCE = "/usr/lib/cni"
MODULES = ("nf_tables", "nft_compat", "ip_tables", "iptable_nat", "ip6table_nat", "xt_comment", "xt_MASQUERADE")
START_S = 60.0
SERVE = """\
import sys
from pathlib import Path
from windrow.apps.cni.server import serve
from windrow.store.paths import Paths
serve(Paths(Path(sys.argv[1])), "n1", say=lambda text: print(text, file=sys.stderr, flush=True))
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ours(why): behaviour that is Windrow's own, on purpose")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.is_relative_to(HERE)]
    if not here:
        return
    try:
        found = features.probe()
    except OSError as error:
        raise pytest.UsageError(f"these tests need root: {error}") from error
    if not found.vlan_filtering:
        raise pytest.UsageError(
            "this kernel's bridges do not filter VLANs: run them with `windrow lab test -- tests/cni`"
        )
    if other():
        unfit = [item for item in here if item.path.parent != HERE or "bridge" not in item.path.name or is_ours(item)]
        config.hook.pytest_deselected(items=unfit)
        items[:] = [item for item in items if item not in unfit]


def other() -> str:
    """The plugin of somebody else that is to be tested, if it is to be."""
    named = os.environ.get(VARIABLE, "")
    return "" if named == PYTHON else named


def is_ours(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("ours")
    assert marker is None or marker.args, f"{item.nodeid}: ours() needs a reason"
    return marker is not None


@dataclass(frozen=True)
class Done:
    """A call that has ended."""

    exit: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout) if self.stdout.strip() else {}
        return found

    @property
    def code(self) -> int:
        return int(self.document.get("code", 0))

    @property
    def message(self) -> str:
        return f"{self.document.get('msg', '')} {self.document.get('details', '')}"


class Host:
    """A network namespace to be the host, for one test; a root for files; and the plugin."""

    def __init__(self, fd: int, root: Path, command: list[str], server: bool) -> None:
        self.fd, self.root, self.command, self.served = fd, root, command, server
        self.kernel = Kernel(fd)
        self.leases = root / "leases"
        self.pods: list[Pod] = []

    # Calls ----------------------------------------------------------------------------------------

    def config(self, bridge: str = "br0", **keys: Any) -> dict[str, Any]:
        return {"cniVersion": "1.0.0", "name": "net1", "type": "bridge", "bridge": bridge, **keys}

    def addressed(self, *subnets: str, **keys: Any) -> dict[str, Any]:
        """With the IPAM plugin host-local."""
        ranges = [[{"subnet": subnet}] for subnet in subnets or ("10.1.2.0/24",)]
        routes = keys.pop("routes", [])
        ipam = {"type": "host-local", "ranges": ranges, "dataDir": str(self.leases), "routes": routes}
        return self.config(**{"ipam": ipam, **keys})

    def environment(self, command: str, pod: Pod | str, **more: str | None) -> dict[str, str]:
        env: dict[str, str | None] = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": pod if isinstance(pod, str) else pod.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": f"{self.root}/plugins:{REFERENCE}",
            "PATH": f"{self.root}/tools:{os.environ['PATH']}:/usr/sbin:/sbin",
            "WINDROW_ROOT": str(self.root),
            "WINDROW_NODE": "n1",
            **more,
        }
        return {name: value for name, value in env.items() if value is not None}

    def call(self, command: str, pod: Pod | str, config: Any, **more: str | None) -> Done:
        """Run the plugin. `config` is written as JSON, bytes as they are; `more` are variables."""
        stdin = config if isinstance(config, bytes) else json.dumps(config).encode()
        env = self.environment(command, pod, **more)
        return self.run(self.command, env, stdin)

    def run(self, argv: list[str], env: Mapping[str, str], stdin: bytes = b"") -> Done:
        ended = netns.opened_in(self.fd, lambda: child.run(argv, env=env, stdin=stdin, timeout_s=START_S))
        return Done(ended.exit, ended.stdout.decode(), ended.stderr.decode())

    def add(self, pod: Pod, config: Any, **more: str | None) -> dict[str, Any]:
        return self._good(self.call("ADD", pod, config, **more))

    def delete(self, pod: Pod | str, config: Any, **more: str | None) -> None:
        done = self.call("DEL", pod, config, **more)
        assert done.exit == 0 and not done.stdout, done

    def check(self, pod: Pod, config: dict[str, Any], result: dict[str, Any], **more: str | None) -> Done:
        return self.call("CHECK", pod, {**config, "prevResult": result}, **more)

    def refused(self, command: str, pod: Pod | str, config: Any, *codes: int, **more: str | None) -> str:
        """The message of an error; it must have one of the codes, or 999, which is the reference's for most."""
        done = self.call(command, pod, config, **more)
        assert done.exit == 1, done
        assert done.code in {*codes, 999} if other() else done.code in codes, done
        assert done.stdout.lstrip().startswith("{"), done
        return done.message

    @staticmethod
    def _good(done: Done) -> dict[str, Any]:
        assert done.exit == 0, done
        return done.document

    # What is there --------------------------------------------------------------------------------

    def pod(self) -> Pod:
        self.pods.append(Pod(netns.new()))
        return self.pods[-1]

    def observe(self) -> Observed:
        return self.kernel.observe()

    def link(self, name: str) -> Link:
        return self.observe().state.links[IfName(name)]

    def runtime(self, name: str) -> Runtime:
        return self.observe().runtime[IfName(name)]

    def links(self) -> set[str]:
        return set(self.observe().state.links) - {"lo"}

    def ports(self, bridge: str = "br0") -> list[str]:
        return sorted(name for name, link in self.observe().state.links.items() if link.master == bridge)

    def send(self, *messages: Message) -> None:
        self.kernel.rtnl.run(*messages)

    def make_bridge(self, name: str = "br0", *, filtering: bool = False, **attributes: Any) -> None:
        data = {"vlan_filtering": int(filtering)}
        self.send(create(name, "bridge", data=data, up=True, **attributes))

    def sysctl(self, key: str) -> str | None:
        return netns.opened_in(self.fd, lambda: sysctl.read(key))

    def tool(self, *argv: str, stdin: str = "") -> str:
        """What a program prints in the host's namespace; it must succeed."""
        path = child.find(argv[0], [f"{self.root}/tools", *os.environ["PATH"].split(":"), "/usr/sbin", "/sbin"])
        assert path, f"{argv[0]} is not installed"
        done = self.run([path, *argv[1:]], os.environ, stdin.encode())
        assert done.exit == 0, done
        return done.stdout

    def leased(self) -> list[str]:
        return sorted(path.name for path in self.leases.glob("*/*") if path.name[0].isdigit())

    @property
    def records(self) -> PortRecords:
        return PortRecords(Paths(self.root))

    @property
    def lasting(self) -> PortRecords:
        return AddressedPorts.of(str(self.root))

    def reboot(self) -> None:
        """What a reboot takes: all links, and what is on tmpfs."""
        for pod in self.pods:
            pod.close()
        self.pods.clear()
        for name in self.links():
            with contextlib.suppress(NoSuchLink):
                self.send(delete(name))
        shutil.rmtree(self.root / "run/windrow/ports", ignore_errors=True)

    def untouched(self) -> State:
        """All that an ADD that fails must leave as it was."""
        observed = self.observe()
        links = {name: link for name, link in observed.state.links.items() if name != "lo"}
        pods = [dict(pod.kernel.observe().state.links) for pod in self.pods]
        kept = sorted({record.key for records in (self.records, self.lasting) for record in records.all()})
        return State(links, pods, self.leased(), kept)

    def tidy(self) -> None:
        """As new, for the next test."""
        for pod in self.pods:
            pod.close()
        self.pods.clear()
        for name in self.links():
            with contextlib.suppress(NoSuchLink):  # the other end of a cable
                self.send(delete(name))
        for place in ("leases", "run/windrow/ports", "var/lib/windrow/ports", "etc", "plugins"):
            shutil.rmtree(self.root / place, ignore_errors=True)
        (self.root / "run/windrow/clusternetworks").unlink(missing_ok=True)


@dataclass(frozen=True)
class State:
    links: dict[Any, Link]
    pods: list[dict[Any, Link]]
    leases: list[str]
    records: list[tuple[str, str]]


@dataclass
class Pod:
    """A network namespace to be a container's."""

    fd: int
    kernel: Kernel = field(init=False)

    def __post_init__(self) -> None:
        self.kernel = Kernel(self.fd)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def link(self, name: str = "eth0") -> Link:
        return self.kernel.observe().state.links[IfName(name)]

    def links(self) -> set[str]:
        return set(self.kernel.observe().state.links) - {"lo"}

    def sysctl(self, key: str) -> str | None:
        return self.inside(lambda: sysctl.read(key))

    def inside(self, fn: Callable[[], Any]) -> Any:
        return netns.opened_in(self.fd, fn)

    def tool(self, *argv: str) -> str:
        """What a program prints there."""
        done = self.inside(lambda: subprocess.run(argv, capture_output=True, text=True, check=False))
        printed: str = done.stdout
        return printed

    def packets(self, name: str = "eth0") -> socket.socket:
        """A packet socket on the interface."""

        def make() -> socket.socket:
            found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
            found.bind((name, 0x88B5))
            found.settimeout(2)
            return found

        return self.inside(make)

    def up(self, name: str = "eth0") -> None:
        self.kernel.rtnl.run(set_link(name, up=True))

    def close(self) -> None:
        self.kernel.close()
        os.close(self.fd)


# Fixtures -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _modules() -> None:
    """The firewall's, which nothing loads by itself in the lab kernel."""
    if os.environ.get("WINDROW_LAB") == "uml":
        init.MODULES = MODULES
        assert init.load_modules() == []


@pytest.fixture(scope="session")
def _host(_modules: None) -> Iterator[Host]:
    fd = netns.new()
    with tempfile.TemporaryDirectory(prefix="wcni-") as name:
        root = Path(name)
        _make_tools(root / "tools")
        server: subprocess.Popen[bytes] | None = None
        command = [other()] if other() else [sys.executable, "-I", "-S", "-c", Origin(root=name).program]
        if not os.environ.get(VARIABLE) and not build_shim(root / "shim", Origin(root=name, node="n1")):
            command = [str(root / "shim")]
            server = _serve(fd, root)
        host = Host(fd, root, command, server is not None)
        yield host
        host.kernel.close()
        if server:
            server.terminate()
            server.wait()
    os.close(fd)


def _make_tools(directory: Path) -> None:
    """Where the kernel has no nftables for IP, `iptables` is the legacy one, as a system's administrator sets it."""
    directory.mkdir()
    probe = ["/usr/sbin/nft", "add", "table", "ip", "probe"]
    if netns.in_new(lambda: subprocess.run(probe, capture_output=True, check=False)).returncode == 0:
        return
    for program in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (directory / f"{program}{suffix}").symlink_to(f"/usr/sbin/{program}-legacy{suffix}")


def _serve(fd: int, root: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", SERVE, str(root)]
    env = {**os.environ, "WINDROW_DEBUG": "1"}
    with open(root / "server.log", "wb") as log:
        server = netns.opened_in(fd, lambda: subprocess.Popen(argv, stderr=log, env=env))
    end = time.monotonic() + START_S
    while about(Paths(root)) is None:
        assert server.poll() is None and time.monotonic() < end, (root / "server.log").read_text()
        time.sleep(0.02)
    return server


@pytest.fixture
def host(_host: Host) -> Iterator[Host]:
    """A bare host."""
    _host.send(set_link("lo", up=True))
    yield _host
    _host.tidy()


@pytest.fixture
def pod(host: Host) -> Pod:
    return host.pod()


@pytest.fixture
def nft(host: Host) -> Iterator[Callable[[], str]]:
    """The rules of the host."""
    yield lambda: host.tool("nft", "list", "ruleset", "bridge")
    host.tool("nft", "flush", "ruleset")


@pytest.fixture
def masquerades(host: Host) -> Iterator[Callable[[], str]]:
    """What `iptables-save` says of NAT."""
    yield lambda: host.tool("iptables-save", "-t", "nat") + host.tool("ip6tables-save", "-t", "nat")
    for program in ("iptables", "ip6tables"):
        host.tool(program, "-t", "nat", "-F")
        host.tool(program, "-t", "nat", "-X")


@pytest.fixture
def stub(host: Host) -> Callable[[str, str], None]:
    """Put a plugin in CNI_PATH: `stub(name, shell script)`."""

    def write(name: str, script: str) -> None:
        path = host.root / "plugins" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write
