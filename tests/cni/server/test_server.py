"""The server and both plugins on a real kernel: ports that are there, whoever made them and whatever died meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from windrow.netlink import netns
from windrow.netlink.kernel import Kernel
from windrow.port import frame
from windrow.port.errors import TRY_AGAIN
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords


@pytest.fixture(params=["compiled", "launcher"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def begun(node: Any, command: str) -> None:
    end = time.monotonic() + node.patience_s
    while not (node.root / f"{command}-begun").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


# --------------------------------------------------------------------------------------------------


def test_served_and_alone_are_the_same(node: Any, kind: str) -> None:
    pod = node.pod()

    def round_() -> tuple[dict[str, Any], list[str], dict[str, Any]]:
        added = node.call("ADD", pod, node.addressed(), kind=kind)
        ports = node.ports()
        assert node.call("DEL", pod, node.addressed(), kind=kind) == {}
        assert node.clean()
        return added, ports, node.call("ADD", "/run/netns/nowhere", node.config(), kind=kind)

    alone = round_()
    node.serve()
    served = round_()
    assert node.answered() == 3
    assert (served[1], served[2]) == (alone[1], alone[2])
    assert served[2]["code"]
    assert [i["name"] for i in served[0]["interfaces"]] == [i["name"] for i in alone[0]["interfaces"]]
    assert len(served[0]["ips"]) == 1


def test_sixteen_at_once(node: Any) -> None:
    node.serve()
    config, pods = node.addressed(), {f"c{n}": node.pod() for n in range(16)}
    for command, count in (("ADD", 16), ("DEL", 0)):
        started = [node.start(command, pod, config, cid=cid) for cid, pod in pods.items()]
        assert [document.get("code") for document in map(node.ended, started)] == [None] * 16
        assert len(node.ports()) == len(node.leases()) == count
    assert node.answered() == 32
    assert node.clean()


def test_a_server_that_is_killed_between_calls(node: Any, kind: str) -> None:
    """Its socket stays; what it made is undone without it, and what was made without it by the next one."""
    pod, other = node.pod(), node.pod()
    node.serve()
    node.call("ADD", pod, node.addressed(), kind=kind)
    node.kill()
    assert Paths(node.root).cni_socket.exists()
    assert node.call("DEL", pod, node.addressed(), kind=kind) == {}
    assert "code" not in node.call("ADD", other, node.addressed(), kind=kind, cid="c2")
    node.serve()
    assert node.call("DEL", other, node.addressed(), kind=kind, cid="c2") == {}
    assert node.answered() == 1
    assert node.clean()


def test_a_server_that_is_killed_in_an_add(node: Any, kind: str) -> None:
    pod, config = node.pod(), node.addressed("slow-local")
    node.serve()
    adding = node.start("ADD", pod, config, kind=kind)
    begun(node, "ADD")
    node.kill()
    assert node.ended(adding)["code"] == TRY_AGAIN
    assert PortRecords(Paths(node.root)).all()
    time.sleep(1.5)  # the IPAM plugin, whom nobody hears any more, takes its lease in this time
    assert node.call("DEL", pod, config, kind=kind) == {}
    assert node.clean()


def test_a_server_that_is_killed_in_a_del(node: Any, kind: str) -> None:
    """What was begun is done again by the plugin."""
    pod, config = node.pod(), node.addressed("slow-local")
    node.serve()
    assert "code" not in node.call("ADD", pod, config, kind=kind)
    deleting = node.start("DEL", pod, config, kind=kind)
    begun(node, "DEL")
    node.kill()
    assert node.ended(deleting) == {}
    assert node.clean()


def test_a_plugin_that_is_killed_leaves_a_port_that_is_whole(node: Any) -> None:
    pod, config = node.pod(), node.addressed("slow-local")
    node.serve()
    adding = node.start("ADD", pod, config)
    begun(node, "ADD")
    adding.kill()
    adding.communicate()
    end = time.monotonic() + node.patience_s
    while node.answered() == 0 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(node.ports()) == len(node.leases()) == 1
    assert node.call("DEL", pod, config) == {}
    assert node.clean()


def test_sigterm_finishes_what_was_begun(node: Any) -> None:
    pod, config = node.pod(), node.addressed("slow-local")
    node.serve()
    adding = node.start("ADD", pod, config)
    begun(node, "ADD")
    said = node.kill(signal.SIGTERM)
    assert len(node.ended(adding)["ips"]) == 1
    assert b"finishing what was begun" in said
    assert not Paths(node.root).cni_socket.exists()
    assert node.call("DEL", pod, config) == {}
    assert node.clean()


def test_a_call_from_another_namespace_is_not_the_servers(node: Any, kind: str) -> None:
    """The same root, but other devices: the port is made where the call came from."""
    node.serve()
    elsewhere, pod = netns.new(), node.pod()
    with Kernel(elsewhere) as kernel:
        added = node.call("ADD", pod, node.config(bridge="br9"), kind=kind, place=elsewhere)
        assert added["interfaces"][0]["name"] == "br9"
        links = set(kernel.observe().state.links)
        assert {"br9", added["interfaces"][1]["name"]} <= links
        assert node.ports() == []
        assert node.call("DEL", pod, node.config(bridge="br9"), kind=kind, place=elsewhere) == {}
        assert added["interfaces"][1]["name"] not in kernel.observe().state.links
    os.close(elsewhere)
    assert node.answered() == 0


def test_rubbish_on_the_socket_does_not_reach_the_kernel(node: Any) -> None:
    import socket

    node.serve()
    for data in (b"", b"x" * 100, frame.MAGIC + bytes(8), frame.request({b"CNI_COMMAND": b"ADD"}, b"{}")):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(Paths(node.root).cni_socket))
            connection.sendall(data)
    pod = node.pod()
    assert "code" not in node.call("ADD", pod, node.config())
    assert node.call("DEL", pod, node.config()) == {}
    assert node.clean()
    found = node.about()
    assert found
    assert (found["answered"], found["busy"]) == (2, 0)


def test_a_second_server_says_so(node: Any) -> None:
    node.serve()
    argv = [sys.executable, "-m", "windrow.apps.cli.main", "--root", str(node.root), "cni", "serve"]
    second = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=node.patience_s)
    assert second.returncode == 1
    assert "another server is at work" in second.stderr
    assert node.about() is not None


def test_the_socket_is_roots(node: Any) -> None:
    node.serve()
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(Paths(node.root).cni_socket)!r})"
    for path in (node.root, Paths(node.root).runtime.parent, Paths(node.root).runtime):
        path.chmod(0o755)
    stranger = subprocess.run(
        ["/usr/bin/python3", "-c", script], user=65534, group=65534, capture_output=True, check=False
    )
    assert b"PermissionError" in stranger.stderr
