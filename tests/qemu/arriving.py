"""A host with a bridge on which ports come by CNI calls, and an agent's rounds; and a train of frames beside them."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.qemu.conftest import Ns

from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.cni.dispatch import Answer, answer
from windrow.apps.cni.host import Host
from windrow.apps.round.here import here
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths

STATION, MAC = "02:00:00:00:00:01", "02:00:00:00:00:09"
INTO, OUT_OF = b"into the pod", b"out of the pod"
CLOSED_DB = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
"""


def datagram(text: bytes, *, source: str, target: str) -> bytes:
    """Ethernet, IPv4, UDP: 10.52.0.1 and 10.52.0.9, port 80; without a checksum of UDP."""
    macs = bytes.fromhex((target + source).replace(":", "") + "0800")
    ends = socket.inet_aton("10.52.0.1") + socket.inet_aton("10.52.0.9")
    if source == MAC:
        ends = ends[4:] + ends[:4]
    head = bytes.fromhex("4500") + (28 + len(text)).to_bytes(2, "big") + bytes.fromhex("0000400040110000") + ends
    total = sum(int.from_bytes(head[i : i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + (~total & 0xFFFF).to_bytes(2, "big") + head[12:]
    udp = bytes.fromhex("00500050") + (8 + len(text)).to_bytes(2, "big") + b"\0\0"
    return macs + head + udp + text


@dataclass
class Train:
    """What was sent, and what came out at the other end."""

    sent: int = 0
    left: int = 0
    arrived: int = 0
    came_out: int = 0


class Node:
    """A host with a bridge, a station on it that nobody guards, and an agent's rounds when they are asked for."""

    def __init__(self, root: Path) -> None:
        self.ns, self.station = Ns(), Ns()
        self.paths = Paths(root)
        self.host = Host(root, "n1")
        self.ns.ip(
            "link add br0 type bridge forward_delay 0",
            "link set br0 up",
            f"link add station type veth peer name eth0 netns /proc/{os.getpid()}/fd/{self.station.fd}",
            "link set station master br0 up",
        )
        self.station.ip(f"link set eth0 address {STATION} up")
        self.kernel = Kernel(self.ns.fd)
        self.keeper = Keeper(here(self.paths, "n1", self.kernel), Log(io.StringIO()))
        self.paths.manifests.mkdir(parents=True)

    def close(self) -> None:
        self.ns.inside(self.host.close)
        self.kernel.close()
        for one in (self.ns, self.station):
            os.close(one.fd)

    def store(self, text: str) -> None:
        """Old enough to be whole."""
        path = self.paths.manifests / "policy.yaml"
        path.write_text(text)
        os.utime(path, (time.time() - 60,) * 2)

    def call(self, command: str, pod: Ns, name: str, **keys: Any) -> Answer:
        env, config = self.request(command, pod, name, **keys)
        return self.ns.inside(lambda: answer(env, config, self.host))

    @staticmethod
    def request(command: str, pod: Ns, name: str, **keys: Any) -> tuple[dict[str, str], bytes]:
        """Environment and standard input of a CNI call. `keys` go into the configuration."""
        namespace, _, short = name.partition("/")
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"{namespace}-{short}",
            "CNI_NETNS": f"/proc/{os.getpid()}/fd/{pod.fd}",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={short}" if short else "",
            "CNI_PATH": "/usr/lib/cni",
            "PATH": "/usr/sbin:/sbin:/usr/bin:/bin",
        }
        config: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net", "type": "windrow-bridge", "bridge": "br0"}
        config |= {"runtimeConfig": {"mac": MAC}, **keys}
        return env, json.dumps(config).encode()

    def listed(self) -> str:
        return self.ns.run("nft", "list", "table", "bridge", "windrow-policy").stdout

    @staticmethod
    def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.05)

    @contextmanager
    def agent(self) -> Iterator[None]:
        """Its rounds, one after the other. What follows is what the loop has it do when a link comes."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(0.05):
                self.keeper.round(reread=True)

        self.keeper.round(reread=True)
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    @contextmanager
    def train(self, pod: Ns) -> Iterator[Train]:
        """Frames from the station to the pod and back, without a pause, whether there is a port or not."""
        ended, counts = threading.Event(), Train()

        def packets(where: Ns) -> socket.socket:
            made = where.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
            made.setblocking(False)
            return made

        hears = {packets(pod): INTO, packets(self.station): OUT_OF}

        def out_of() -> None:
            frame = datagram(OUT_OF, source=MAC, target=STATION)
            with packets(pod) as sender:
                while not ended.wait(0.003):
                    try:
                        sender.sendto(frame, ("eth0", 0x0800))
                        counts.left += 1
                    except OSError:  # it is not there yet, or not up
                        continue

        def into() -> None:
            frame = datagram(INTO, source=STATION, target=MAC)
            with packets(self.station) as sender:
                while not ended.wait(0.003):
                    sender.sendto(frame, ("eth0", 0x0800))
                    counts.sent += 1

        def listen() -> None:
            while not ended.wait(0.01):
                self._count(hears, counts)
            time.sleep(0.1)
            self._count(hears, counts)

        threads = [threading.Thread(target=one) for one in (out_of, into, listen)]
        for one in threads:
            one.start()
        try:
            yield counts
        finally:
            ended.set()
            for one in threads:
                one.join()
            for heard in hears:
                heard.close()

    @staticmethod
    def _count(hears: dict[socket.socket, bytes], counts: Train) -> None:
        for heard, text in hears.items():
            while True:
                try:
                    data, (_, _, kind, *_) = heard.recvfrom(2048)
                except BlockingIOError:
                    break
                if data.endswith(text) and kind != socket.PACKET_OUTGOING:
                    counts.arrived += text == INTO
                    counts.came_out += text == OUT_OF
