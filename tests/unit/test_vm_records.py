"""Records of machines that run, the lock of a machine, and processes that are found again."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from windrow.model.wire.virtualmachine import NAME_MAX
from windrow.services import process
from windrow.services.errors import ServiceError
from windrow.store.errors import StoreError
from windrow.store.machines import MachineRecord, Machines, NicRecord, Phase

NIC = NicRecord(network="vlan100", nad="default/vlan100", binding="bridge", pod="pod1", addresses=("10.0.0.1/24",))
RECORD = MachineRecord(
    namespace="default", name="web", node="n", container_id="vm-1", netns="windrow-1", since=1.5, nics=(NIC,)
)


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def test_a_record_comes_back_as_it_was(machines: Machines) -> None:
    assert machines.get("default", "web") is None
    later = dataclasses.replace(RECORD, phase=Phase.RUNNING, pid=7, started=9, places=5)
    for record in (RECORD, later):
        machines.put(record)
        assert machines.get("default", "web") == record
    assert machines.all() == ((later,), ())
    assert sorted(p.name for p in machines.directory("default", "web").iterdir()) == ["record.json"]


def test_nothing_is_left_of_what_is_removed(machines: Machines, tmp_path: Path) -> None:
    machines.put(RECORD)
    directory = machines.directory("default", "web")
    (directory / "seed").mkdir()
    (directory / "seed" / "meta-data").write_text("x")
    (directory / "qmp.sock").write_text("")
    machines.remove("default", "web")
    assert not list(machines.paths.machines.iterdir())
    machines.remove("default", "web")


def test_one_removed_leaves_the_others(machines: Machines) -> None:
    other = dataclasses.replace(RECORD, name="db")
    machines.put(RECORD)
    machines.put(other)
    machines.remove("default", "web")
    assert machines.all() == ((other,), ())


def test_what_a_newer_one_wrote_is_read_as_far_as_it_is_known(machines: Machines) -> None:
    machines.put(RECORD)
    path = machines.directory("default", "web") / "record.json"
    document = json.loads(path.read_text())
    document["new"] = document["nics"][0]["new"] = {"a": 1}
    path.write_text(json.dumps(document))
    assert machines.get("default", "web") == RECORD


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"phase": "flying"}', '{"phase": "running"}'])
def test_a_broken_record_says_what_to_do(machines: Machines, text: str) -> None:
    machines.put(RECORD)
    path = machines.directory("default", "web") / "record.json"
    path.write_text(text)
    with pytest.raises(StoreError) as caught:
        machines.get("default", "web")
    assert str(path) in str(caught.value)
    assert "windrow vm stop --force" in str(caught.value)
    records, failures = machines.all()
    assert records == ()
    assert [str(f) for f in failures] == [str(caught.value)]


@pytest.mark.parametrize(
    "change",
    [
        {"pid": "12"},
        {"pid": True},
        {"started": None},
        {"since": "yesterday"},
        {"since": 1e300},
        {"netns": "../../etc/passwd"},
        {"netns": ""},
        {"name": "other"},
        {"namespace": "other"},
        {"container_id": ""},
        {"nics": {}},
        {"nics": [{**dataclasses.asdict(NIC), "addresses": [1]}]},
        {"nics": [{**dataclasses.asdict(NIC), "addresses": "10.0.0.1"}]},
        {"nics": [{**dataclasses.asdict(NIC), "network": {}}]},
        {"nics": [{**dataclasses.asdict(NIC), "bridge": "../../x"}]},
        {"nics": [{**dataclasses.asdict(NIC), "index": -1}]},
    ],
)
def test_a_record_that_is_changed_by_hand_is_not_believed(machines: Machines, change: dict[str, object]) -> None:
    machines.put(RECORD)
    path = machines.directory("default", "web") / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StoreError, match="this is not the record of a machine"):
        machines.get("default", "web")


def test_a_record_of_nothing_but_brackets(machines: Machines) -> None:
    machines.put(RECORD)
    (machines.directory("default", "web") / "record.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match="this is not the record of a machine"):
        machines.get("default", "web")


def test_the_longest_names_can_be_locked_and_recorded(machines: Machines) -> None:
    longest = dataclasses.replace(RECORD, namespace="n" * 63, name="x" * NAME_MAX)
    with machines.locked(longest.namespace, longest.name):
        machines.put(longest)
    assert machines.all() == ((longest,), ())


def test_nics_are_put_in_place_and_taken_out() -> None:
    changed = dataclasses.replace(NIC, bound=True)
    assert RECORD.with_nic(changed).nics == (changed,)
    second = dataclasses.replace(NIC, network="vlan200")
    both = RECORD.with_nic(second)
    assert both.nics == (NIC, second)
    assert both.without_nic("vlan100").nics == (second,)
    assert both.nic("vlan200") == second
    assert both.nic("vlan300") is None


# The lock -----------------------------------------------------------------------------------------


def test_two_do_not_change_one_machine(machines: Machines) -> None:
    with machines.locked("default", "web"):
        with (
            pytest.raises(StoreError, match="another command is at work"),
            machines.locked("default", "web", timeout_s=0),
        ):
            pass
        with machines.locked("default", "db", timeout_s=0):
            pass  # another machine
    with machines.locked("default", "web", timeout_s=0):
        pass
    assert not list(machines.paths.machines.iterdir())


def test_many_take_turns(machines: Machines) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(10):
            with machines.locked("default", "web", timeout_s=20):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 40


def test_many_come_and_go_at_once(machines: Machines) -> None:
    """The directories that they share go with the last one, while another one is about to come."""
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(50):
                with machines.locked("default", name):
                    machines.put(dataclasses.replace(RECORD, name=name))
                    machines.remove("default", name)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=work, args=[f"m{number}"]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not list(machines.paths.machines.iterdir())


# Processes ----------------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    one = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield one
    one.kill()
    one.wait()


def test_a_pid_alone_names_nobody(sleeper: subprocess.Popen[bytes]) -> None:
    found = process.found(sleeper.pid)
    assert process.alive(found)
    other = process.Process(pid=sleeper.pid, started=1)
    assert not process.alive(other)
    assert not process.end(other)
    assert process.alive(found), "it was another one that was to be ended"
    assert not process.alive(None)


def test_a_process_ends_and_a_zombie_counts_as_ended(sleeper: subprocess.Popen[bytes]) -> None:
    found = process.found(sleeper.pid)
    assert not process.wait_for_end(found, 0.01)
    assert process.end(found)
    assert not process.alive(found)
    assert Path(f"/proc/{sleeper.pid}").exists(), "nobody has waited for it"
    assert not process.end(found)
    assert process.wait_for_end(found, 0)


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    text = "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    log = tmp_path / "log"
    one = process.start([sys.executable, "-c", text], directory=tmp_path, log=log)
    while "on" not in log.read_text():
        time.sleep(0.01)
    assert process.end(one.process, patience_s=0.1)
    assert not process.alive(one.process)
    while (error := one.died()) is None:
        time.sleep(0.01)
    assert error.reason == "on"


def test_a_started_program_is_on_its_own(tmp_path: Path) -> None:
    text = "print(os.getsid(0) == os.getpid(), os.getcwd(), sys.stdin.read() == '', len(os.listdir('/proc/self/fd')))"
    argv = [sys.executable, "-c", f"import os, sys; {text}"]
    one = process.start(argv, directory=tmp_path, log=tmp_path / "log")
    assert process.wait_for_end(one.process, 20)
    assert (tmp_path / "log").read_text().split() == ["True", str(tmp_path), "True", "4"]


def test_why_a_program_died(tmp_path: Path) -> None:
    one = process.start(["sh", "-c", "echo 'no such disk' >&2; exit 3"], directory=tmp_path, log=tmp_path / "log")
    process.wait_for_end(one.process, 20)
    while (error := one.died()) is None:
        time.sleep(0.01)
    assert str(error) == "sh: no such disk"
    assert one.exit == 3
    (tmp_path / "log").write_text("sh: a\nsh: b: sh: c\n")
    assert str(one.died()) == "sh: a; b: sh: c", "its name is said once"


def test_programs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="qemu-nobody: cannot be started: No such file"):
        process.start(["qemu-nobody"], directory=tmp_path, log=tmp_path / "log")
    with pytest.raises(ServiceError) as caught:
        process.run([str(tmp_path / "dnsmasq")])
    assert "hint: install the package dnsmasq-base" in str(caught.value)
    with pytest.raises(ServiceError, match="false: it ended with exit code 1 and said nothing"):
        process.run(["false"])
    with pytest.raises(ServiceError, match="did not end within 0 s"):
        process.run(["sleep", "60"], timeout_s=0.1)


def test_who_lives_in_a_network_namespace() -> None:
    inode = os.stat("/proc/self/ns/net").st_ino
    assert os.getpid() in {one.pid for one in process.in_netns(inode)}
    assert process.in_netns(1) == ()
