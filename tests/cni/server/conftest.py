"""A host for calls of the plugins: a network namespace with a bridge, pods, plugins, and a server where asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.cni.install import Origin, install
from windrow.apps.cni.server import about
from windrow.model.ports import PORT_GROUP
from windrow.netlink import netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords

REFERENCE_PLUGINS = "/usr/lib/cni"
START_S = 60.0
"""Python starts slowly in the lab kernel."""
WINDROW = (sys.executable, "-m", "windrow.apps.cli.main")
SERVE = """\
import sys
from pathlib import Path
from windrow.apps.cni.server import serve
from windrow.store.paths import Paths
serve(Paths(Path(sys.argv[1])), "n1", say=lambda text: print(text, file=sys.stderr, flush=True))
"""
"""`windrow cni serve` without the command line, which takes a second to load in the lab kernel."""
SLOW = """\
#!/bin/sh
touch {root}/$CNI_COMMAND-begun
sleep 1
exec {plugins}/host-local
"""


@dataclass
class Node:
    """A host: a network namespace with a bridge, a root for Windrow's files, plugins, pods, perhaps a server."""

    root: Path
    plugins: Path
    """With a directory for each kind of plugin."""
    fd: int = field(default_factory=netns.new)
    pods: list[int] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    patience_s: float = START_S

    def __post_init__(self) -> None:
        self.kernel = Kernel(self.fd)
        self.filtering = self.kernel.features().vlan_filtering
        option = " vlan_filtering 1" if self.filtering else ""
        self.inside(["ip", "link", "add", "br0", "type", "bridge", *option.split()])
        self.inside(["ip", "link", "set", "br0", "up"])
        self.slow = self.root / "slow"
        self.slow.mkdir()
        script = self.slow / "slow-local"
        script.write_text(SLOW.format(root=self.root, plugins=REFERENCE_PLUGINS))
        script.chmod(0o755)

    def close(self) -> None:
        if self.server:
            self.kill()
        self.kernel.close()
        for fd in [self.fd, *self.pods]:
            os.close(fd)

    # Processes ------------------------------------------------------------------------------------

    def inside(self, argv: list[str]) -> str:
        """What a program prints there; it must succeed."""
        done = self.try_inside(argv)
        assert done.returncode == 0, done
        return done.stdout

    def try_inside(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(argv, capture_output=True, text=True, check=False)

        return netns.opened_in(self.fd, run)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.try_inside([*WINDROW, "--root", str(self.root), "--node", "n1", *words])

    def windrow(self, *words: str) -> str:
        """What the command line prints; it must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, done
        return done.stdout

    def serve(self) -> None:
        argv = [sys.executable, "-c", SERVE, str(self.root)]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(argv, stderr=subprocess.PIPE)

        self.server = netns.opened_in(self.fd, start)
        end = time.monotonic() + START_S
        while self.about() is None:
            assert self.server.poll() is None, self.server.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)

    def about(self) -> dict[str, Any] | None:
        return about(Paths(self.root))

    def answered(self) -> int:
        found = self.about()
        assert found
        return int(found["answered"])

    def kill(self, number: int = signal.SIGKILL) -> bytes:
        assert self.server
        self.server.send_signal(number)
        _, said = self.server.communicate(timeout=START_S)
        self.server = None
        return said

    # Calls ----------------------------------------------------------------------------------------

    def pod(self) -> str:
        self.pods.append(netns.new())
        return f"/proc/{os.getpid()}/fd/{self.pods[-1]}"

    def config(self, **more: Any) -> bytes:
        vlan = {"vlan": 100} if self.filtering else {}
        return json.dumps(
            {"cniVersion": "1.0.0", "name": "net", "type": "windrow-bridge", "bridge": "br0", **vlan, **more}
        ).encode()

    def addressed(self, plugin: str = "host-local") -> bytes:
        ranges = [[{"subnet": "10.9.0.0/24"}]]
        return self.config(ipam={"type": plugin, "ranges": ranges, "dataDir": str(self.root / "leases")})

    def environment(self, command: str, sandbox: str, container: str) -> dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": sandbox,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": f"{self.slow}:{REFERENCE_PLUGINS}",
            "PATH": os.environ["PATH"],
            "WINDROW_ROOT": str(self.root),
        }

    def start(
        self,
        command: str,
        sandbox: str,
        config: bytes,
        *,
        kind: str = "compiled",
        place: int | None = None,
        cid: str = "c1",
    ) -> subprocess.Popen[bytes]:
        env = self.environment(command, sandbox, cid)

        def start() -> subprocess.Popen[bytes]:
            pipe = subprocess.PIPE
            return subprocess.Popen([self.plugins / kind / "windrow-bridge"], env=env, stdin=pipe, stdout=pipe)

        process = netns.opened_in(self.fd if place is None else place, start)
        assert process.stdin
        process.stdin.write(config)
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, command: str, sandbox: str, config: bytes, **how: Any) -> dict[str, Any]:
        """The document that the plugin prints."""
        return self.ended(self.start(command, sandbox, config, **how))

    def ended(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        stdout, _ = process.communicate(timeout=START_S)
        document: dict[str, Any] = json.loads(stdout) if stdout else {}
        assert process.returncode == (1 if "code" in document else 0), document
        return document

    # What is there --------------------------------------------------------------------------------

    def ports(self) -> list[str]:
        links = self.kernel.observe()
        return sorted(name for name, link in links.state.links.items() if links.runtime[name].group == PORT_GROUP)

    def leases(self) -> list[str]:
        found = self.root / "leases" / "net"
        return sorted(p.name for p in found.glob("10.*")) if found.exists() else []

    def chains(self) -> list[str]:
        """The chains of macspoofchk."""
        lines = self.inside(["nft", "list", "chains", "bridge"]).split()
        return [word for word in lines if word.startswith("cni-br-iface")]

    def clean(self) -> bool:
        return self.ports() == self.leases() == PortRecords(Paths(self.root)).all() == []


@pytest.fixture(scope="session")
def plugins() -> Iterator[Path]:
    """Installed once: the compiler takes its time in the lab kernel."""
    with tempfile.TemporaryDirectory(prefix="wcni-") as name:
        home = Path(name)
        for kind, compiled in (("compiled", True), ("launcher", False)):
            install(Paths(home), Origin(node="n1"), home / kind, compiled=compiled)
        yield home


@pytest.fixture
def node(_modules: None, plugins: Path) -> Iterator[Node]:
    with tempfile.TemporaryDirectory(prefix="wcni-") as name:
        node = Node(Path(name), plugins)
        try:
            yield node
        finally:
            node.close()
