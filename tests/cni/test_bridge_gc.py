"""GC, and what calls that were killed have left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from windrow.apps.cni.install import Origin
from windrow.netlink import links, netns

pytestmark = pytest.mark.ours("the reference's GC does nothing, and 1.1.1 does not know the command")

INVALID, DELEGATE = 7, 104


def gc(host: Any, *valid: tuple[str, str], config: dict[str, Any] | None = None, key: str = "valid-attachments") -> Any:
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    found = {**(config or host.config()), "cniVersion": "1.1.0", f"cni.dev/{key}": listed}
    return host.call("GC", "", found, CNI_CONTAINERID=None, CNI_IFNAME=None, CNI_NETNS=None)


def test_it_takes_away_what_is_not_in_the_list(host: Any, nft: Any, masquerades: Any) -> None:
    config = host.addressed(isGateway=True, ipMasq=True, macspoofchk=True)
    pods = [host.pod() for _ in range(3)]
    for number, pod in enumerate(pods):
        host.add(pod, config, CNI_CONTAINERID=f"c{number}")
    assert gc(host, ("c1", "eth0"), ("elsewhere", "eth0"), config=config).exit == 0
    assert [pod.links() for pod in pods] == [set(), {"eth0"}, set()]
    assert len(host.ports()) == 1 and host.leased() == ["10.1.2.3"]
    assert [record.key for record in host.records.all()] == [("c1", "eth0")]
    listing = nft()
    assert "c1-eth0" in listing and "c0-eth0" not in listing and "c2-eth0" not in listing
    assert masquerades().count("MASQUERADE") == 1
    host.delete(pods[1], config, CNI_CONTAINERID="c1")
    assert host.leased() == [] and host.ports() == []


def test_only_of_this_network(host: Any) -> None:
    one, two = host.pod(), host.pod()
    host.add(one, host.config(), CNI_CONTAINERID="c1")
    host.add(two, {**host.config(), "name": "other"}, CNI_CONTAINERID="c2")
    assert gc(host).exit == 0
    assert one.links() == set() and two.links() == {"eth0"}


def test_an_interface_is_named_by_both(host: Any, pod: Any) -> None:
    host.add(pod, host.config(), CNI_IFNAME="eth0")
    host.add(pod, host.config(), CNI_IFNAME="net1")
    assert gc(host, ("c1", "net1"), ("net1", "eth0")).exit == 0
    assert pod.links() == {"net1"}


def test_the_older_name_of_the_list(host: Any, pod: Any) -> None:
    host.add(pod, host.config())
    assert gc(host, ("c1", "eth0"), key="attachments").exit == 0
    assert pod.links() == {"eth0"}


@pytest.mark.parametrize("keys", [{}, {"cni.dev/valid-attachments": 5}, {"cni.dev/valid-attachments": [5]}])
def test_without_a_list_nothing_is_garbage(host: Any, pod: Any, keys: dict[str, Any]) -> None:
    host.add(pod, host.config())
    host.refused("GC", "", {**host.config(), "cniVersion": "1.1.0", **keys}, INVALID)
    assert pod.links() == {"eth0"}


def test_the_record_says_how_it_was_made(host: Any, pod: Any) -> None:
    """The configuration of the GC is another one by now: no addresses, another bridge."""
    host.add(pod, host.addressed())
    assert gc(host, config=host.config("br9")).exit == 0
    assert host.leased() == [] and host.ports() == [] and host.records.all() == []


def test_it_goes_on_after_an_error_and_tells(host: Any, stub: Any) -> None:
    answer = '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.2/24"}]}'
    stub("stub", f"cat > /dev/null; [ $CNI_COMMAND = ADD ] && echo '{answer}'; [ $CNI_COMMAND != DEL ] || exit 7")
    pods = [host.pod(), host.pod()]
    host.add(pods[0], host.config(ipam={"type": "stub"}), CNI_CONTAINERID="c1")
    host.add(pods[1], host.config(), CNI_CONTAINERID="c2")
    done = gc(host)
    assert done.code == DELEGATE and "eth0 of c1" in done.message and "exit code 7" in done.message
    assert host.ports() == [] and [record.key for record in host.records.all()] == [("c1", "eth0")]
    stub("stub", "cat > /dev/null")
    assert gc(host).exit == 0 and host.records.all() == []


def test_a_record_that_cannot_be_read(host: Any, pod: Any) -> None:
    host.add(pod, host.config())
    path = next((host.root / "run/windrow/ports").glob("*.json"))
    path.write_text("{broken")
    assert gc(host).exit == 0
    assert path.exists() and pod.links() == {"eth0"}, "whose it is nobody knows, and it is in use"
    host.delete(pod, host.config())
    assert pod.links() == set() and not path.exists()
    path.write_text("{broken")
    assert gc(host).exit == 0 and not path.exists()


def test_what_a_killed_process_was_writing(host: Any, pod: Any) -> None:
    host.add(pod, host.config())
    left = host.root / "run/windrow/ports/.0123.json.99.99"
    left.write_text("{")
    os.utime(left, (1, 1))
    gc(host, ("c1", "eth0"))
    assert not left.exists() and len(host.records.all()) == 1


# A reboot -----------------------------------------------------------------------------------------


def test_a_reboot_leaves_leases_and_gc_frees_them(host: Any, pod: Any) -> None:
    from windrow.apps.cni.host import Host
    from windrow.apps.cni.upkeep import left_overs

    def look() -> Any:
        there = Host(host.root, "n1")
        try:
            return left_overs(there)
        finally:
            there.close()

    host.add(pod, host.addressed())
    host.add(pod, host.config(), CNI_IFNAME="net1")
    assert netns.opened_in(host.fd, look).gone == ()
    host.reboot()
    assert host.leased() == ["10.1.2.2"]
    (call,) = netns.opened_in(host.fd, look).gone
    assert call.about.startswith("leases of port veth") and "eth0 of container c1" in call.about
    assert host.run(host.command, {**host.environment("DEL", ""), **call.env}, call.config).exit == 0
    assert (host.leased(), host.lasting.all(), netns.opened_in(host.fd, look).gone) == ([], [], ())


@pytest.mark.parametrize("by", ["GC", "DEL", "ADD", "another ADD"])
def test_leases_from_before_a_reboot_are_freed(host: Any, by: str) -> None:
    ipam = host.addressed()["ipam"] | {
        "ranges": [[{"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.9"}]]
    }
    config = host.config(ipam=ipam)
    host.add(host.pod(), config)
    host.reboot()
    assert host.leased() == ["10.1.2.9"]
    match by:
        case "GC":
            assert gc(host, config=config).exit == 0
        case "DEL":
            host.delete("", host.config())  # the configuration is another one by now
        case _:
            container = "c1" if by == "ADD" else "c2"
            assert host.add(host.pod(), config, CNI_CONTAINERID=container)["ips"][0]["address"] == "10.1.2.9/24"
            assert [record.container_id for record in host.lasting.all()] == [container]
            return
    assert host.leased() == [] and host.lasting.all() == []


def test_leases_of_who_lives_stay_though_the_records_are_lost(host: Any, pod: Any) -> None:
    config = host.addressed()
    host.add(pod, config)
    for path in (host.root / "run/windrow/ports").glob("*.json"):
        path.unlink()
    assert gc(host, config=config).exit == 0
    assert host.add(host.pod(), config, CNI_CONTAINERID="c2")["ips"][0]["address"] == "10.1.2.3/24"
    assert host.leased() == ["10.1.2.2", "10.1.2.3"]
    host.delete(pod, host.config())
    assert host.leased() == ["10.1.2.3"] and pod.links() == set()


def test_a_namespace_whose_path_is_somebody_elses_by_now(host: Any) -> None:
    """Its port went with it."""
    from windrow.apps.cni.host import Host
    from windrow.apps.cni.upkeep import left_overs

    def look() -> Any:
        there = Host(host.root, "n1")
        try:
            return [call.about for call in left_overs(there).gone]
        finally:
            there.close()

    gone, other = host.pod(), host.pod()
    host.add(gone, host.addressed())
    path = next((host.root / "run/windrow/ports").glob("*.json"))
    path.write_text(path.read_text().replace(gone.path, other.path))
    assert netns.opened_in(host.fd, look) == []
    host.send(links.delete(host.ports()[0]))
    assert netns.opened_in(host.fd, look) == [], "an ADD may be about to make it"
    os.utime(path, (1, 1))
    (about,) = netns.opened_in(host.fd, look)
    assert "eth0 of container c1" in about


def test_a_new_namespace_under_the_path_of_the_old_one(host: Any) -> None:
    """The kernel takes a namespace apart some time after it is gone, and gives its inode to the next one at once."""
    old, new = host.pod(), host.pod()
    host.add(old, host.addressed())
    message = host.refused("ADD", new, host.addressed(), 102)
    assert "attached already" in message, "the old one lives"
    path = next((host.root / "run/windrow/ports").glob("*.json"))
    path.write_text(path.read_text().replace(old.path, new.path))
    host.add(new, host.addressed())
    assert (old.links(), new.links(), len(host.ports()), len(host.leased())) == (set(), {"eth0"}, 1, 1)


# kill -9 ------------------------------------------------------------------------------------------


def started(host: Any, pod: Any, config: dict[str, Any], container: str) -> subprocess.Popen[bytes]:
    """The Python of an ADD, alone, for it is the one that does the work."""
    argv = [sys.executable, "-I", "-S", "-c", Origin(root=str(host.root)).program]
    env = host.environment("ADD", pod, CNI_CONTAINERID=container)
    pipe = subprocess.PIPE

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, env=env, stdin=pipe, stdout=subprocess.DEVNULL)

    process: subprocess.Popen[bytes] = netns.opened_in(host.fd, start)
    assert process.stdin
    process.stdin.write(json.dumps(config).encode())
    process.stdin.close()
    return process


@pytest.mark.parametrize("by", ["GC", "DEL", "ADD"])
def test_whatever_a_killed_add_has_left_is_taken_away(host: Any, nft: Any, by: str) -> None:
    """Killed at moments all over its work; then by GC, by DEL, or by the ADD that comes after it."""
    config = host.addressed(macspoofchk=True)
    chance = random.Random(by)
    begun = time.monotonic()
    process = started(host, host.pod(), config, "whole")
    assert process.wait() == 0
    takes = time.monotonic() - begun
    host.delete("", config, CNI_CONTAINERID="whole")
    states = set()
    for number in range(4):
        pod, container = host.pod(), f"c{number}"
        process = started(host, pod, config, container)
        time.sleep(takes * chance.uniform(0.4, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        states.add((len(host.records.all()), len(host.ports()), len(host.leased())))
        if by == "ADD" and not host.ports():
            host.add(pod, config, CNI_CONTAINERID=container)
        if by != "GC":
            host.delete(pod, config, CNI_CONTAINERID=container)
        else:
            assert gc(host, config=config).exit == 0
        left = host.records.all(), host.ports(), host.leased(), pod.links()
        assert left == ([], [], [], set()), f"killed at {states}, and left: {left}"
    assert "cni-br-iface" not in nft()


@pytest.mark.parametrize("by", ["GC", "DEL", "ADD"])
def test_what_a_killed_add_had_started_goes_on_and_is_waited_for(host: Any, stub: Any, by: str) -> None:
    """Its IPAM plugin is a process of its own: it gives the address after the call is gone, and would after the DEL."""
    given, begun = host.root / "given", host.root / "begun"
    answer = '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.2/24"}]}'
    adds = f"touch {begun}; sleep 0.7; touch {given}; echo '{answer}'"
    stub("slow", f"cat > /dev/null; case $CNI_COMMAND in ADD) {adds};; DEL) rm -f {given};; esac")
    config, pod = host.config(ipam={"type": "slow"}), host.pod()
    process = started(host, pod, config, "c1")
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not given.exists()
    if by == "ADD":
        host.add(pod, config)
        assert given.exists()
    if by == "GC":
        assert gc(host, config=config).exit == 0
    else:
        host.delete(pod, config)
    time.sleep(1.0)
    assert (given.exists(), host.records.all(), host.lasting.all(), pod.links()) == (False, [], [], set())


def test_an_add_after_a_killed_one_takes_its_remains_away_first(host: Any, pod: Any) -> None:
    """As after a kill between the lease and the end: a record and a lease, and no port any more."""
    host.add(pod, host.addressed())
    host.send(links.delete(host.ports()[0]))
    assert host.leased() == ["10.1.2.2"] and host.records.all()
    assert host.add(pod, host.addressed())["ips"][0]["address"] == "10.1.2.3/24"
    assert host.leased() == ["10.1.2.3"]
