"""Port records on the disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from windrow.model.portguards import PortGuards, Rate
from windrow.model.ports import PortRecord
from windrow.model.values import IfName, Mac, PortVlans, VidSet
from windrow.port.identity import digest, host_end
from windrow.services import child
from windrow.store.paths import Paths
from windrow.store.ports import AddressedPorts, PortRecords

RECORD = PortRecord(
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/x",
    network="net1",
    bridge=IfName("oob-br"),
    host=IfName("veth01234567"),
    mac=Mac("02:00:00:00:00:0a"),
    vlans=PortVlans(pvid=100, untagged=VidSet.of([100]), tagged=VidSet.parse("101,200-210")),
    pod="default/web",
    config='{"name": "net1", "bytes": "\udcff"}',
    path="/opt/cni/bin",
    args="K8S_POD_NAME=web",
)


@pytest.fixture
def records(tmp_path: Path) -> PortRecords:
    return PortRecords(Paths(tmp_path))


def file_of(tmp_path: Path, record: PortRecord = RECORD) -> Path:
    return tmp_path / "run/windrow/ports" / f"{digest(*record.key)}.json"


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, mac=None, vlans=None),
        replace(RECORD, vlans=PortVlans()),
        replace(RECORD, pod=""),
        replace(RECORD, isolated=True, hairpin=False),
        replace(RECORD, addresses=("10.1.0.2", "fd00::2"), guards=PortGuards(addresses=True, routers=True)),
        replace(RECORD, guards=PortGuards(dhcp=True, egress=Rate(bits=8, burst=16))),
        replace(RECORD, any_source=True),
    ],
)
def test_there_and_back(records: PortRecords, record: PortRecord) -> None:
    records.put(record)
    assert records.get(record.key) == record and records.all() == [record] and records.broken() == []


def test_why_a_record_cannot_be_read_is_told_without_its_path_again(records: PortRecords, tmp_path: Path) -> None:
    path = file_of(tmp_path)
    path.mkdir(parents=True)
    assert records.broken() == [(str(path), "Is a directory")]


def test_a_record_without_something_says_what(records: PortRecords, tmp_path: Path) -> None:
    records.put(RECORD)
    path = file_of(tmp_path)
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "host"}))
    assert records.broken() == [(str(path), "host is missing")]


def test_whose_port_it_is_can_be_shown_on_a_terminal() -> None:
    hostile = replace(RECORD, pod="default/\x1b[31mred\n# x")
    assert (hostile.user, str(hostile.ref)) == ("pod default/?[31mred?# x", "Port/default/?[31mred?# x/eth0")


def test_both_ways_to_the_same_place(records: PortRecords, tmp_path: Path) -> None:
    records.put(RECORD)
    assert file_of(tmp_path).is_file()
    assert PortRecords.of(str(tmp_path)).all() == [RECORD]


def test_where_nothing_is(records: PortRecords) -> None:
    assert (records.all(), records.broken(), records.get(("c1", "eth0"))) == ([], [], None)
    assert records.written(("c1", "eth0")) is None
    records.remove(("c1", "eth0"))
    records.sweep()


def test_written_anew(records: PortRecords) -> None:
    records.put(RECORD)
    records.put(replace(RECORD, netns="/run/netns/y"))
    assert [record.netns for record in records.all()] == ["/run/netns/y"]


def test_in_the_order_of_containers_and_interfaces(records: PortRecords) -> None:
    keys = [("c2", "eth0"), ("c1", "net1"), ("c1", "eth0")]
    for container, ifname in keys:
        records.put(replace(RECORD, container_id=container, ifname=ifname))
    assert [record.key for record in records.all()] == sorted(keys)
    records.remove(("c1", "net1"))
    assert [record.key for record in records.all()] == [("c1", "eth0"), ("c2", "eth0")]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "5", "{}", "[" * 100_000, "\0"),
        '{"container_id": 5, "ifname": "x", "bridge": "b", "host": "h"}',
        '{"container_id": "c2", "ifname": "x", "bridge": "b", "host": "h", "isolated": "no"}',
    ],
)
def test_a_broken_file_is_told_of_and_stops_nobody(records: PortRecords, tmp_path: Path, text: str) -> None:
    records.put(RECORD)
    other = replace(RECORD, container_id="c2")
    records.put(other)
    file_of(tmp_path, other).write_text(text)
    assert records.all() == [RECORD] and records.get(other.key) is None
    [(path, reason)] = records.broken()
    assert path == str(file_of(tmp_path, other)) and reason
    assert records.port_of(path) == host_end("c2", "eth0")
    records.put(other)
    assert records.broken() == []


def test_what_a_later_windrow_adds_does_not_matter(records: PortRecords, tmp_path: Path) -> None:
    records.put(RECORD)
    path = file_of(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": [1]}))
    assert records.all() == [RECORD]


def test_what_an_earlier_one_did_not_write_is_empty(records: PortRecords, tmp_path: Path) -> None:
    records.put(RECORD)
    path = file_of(tmp_path)
    document = json.loads(path.read_text())
    for name in ("pod", "config", "path", "args", "vlans", "mac", "netns", "network"):
        del document[name]
    path.write_text(json.dumps(document))
    assert records.all() == [
        replace(RECORD, pod="", config="", path="", args="", vlans=None, mac=None, netns="", network="")
    ]


def test_other_files_are_nobodys_records(records: PortRecords, tmp_path: Path) -> None:
    records.put(RECORD)
    file_of(tmp_path).with_name("README").write_text("x")
    file_of(tmp_path).with_name(".half.json.1.2").write_text("{")
    assert records.all() == [RECORD] and records.broken() == []


def test_half_written_files_are_swept_when_they_are_old(records: PortRecords, tmp_path: Path) -> None:
    records.put(RECORD)
    old, new = (file_of(tmp_path).with_name(name) for name in (".old.json.1.2", ".new.json.1.2"))
    for path in (old, new):
        path.write_text("{")
    os.utime(old, (1, 1))
    records.sweep()
    assert not old.exists() and new.exists() and records.all() == [RECORD]


# MAC addresses ------------------------------------------------------------------------------------


def test_an_address_is_claimed_once_on_a_bridge(records: PortRecords) -> None:
    other = replace(RECORD, container_id="c2")
    for record in (RECORD, other):
        records.put(record)
    assert records.claim(RECORD) is None
    assert records.claim(RECORD) is None, "who has it may ask again"
    assert records.claim(other) == RECORD
    assert records.claim(replace(other, bridge=IfName("two-br"))) is None
    assert records.claim(replace(other, mac=Mac("02:00:00:00:00:0b"))) is None
    records.remove(RECORD.key)
    assert records.claim(other) is None


def test_whoever_claims_in_vain_takes_nothing_away_when_it_goes(records: PortRecords) -> None:
    other, third = replace(RECORD, container_id="c2"), replace(RECORD, container_id="c3")
    for record in (RECORD, other, third):
        records.put(record)
    records.claim(RECORD)
    records.claim(other)
    records.remove(other.key)
    assert records.claim(third) == RECORD


def test_a_port_without_a_record_has_no_address(records: PortRecords, tmp_path: Path) -> None:
    other = replace(RECORD, container_id="c2")
    for record in (RECORD, other):
        records.put(record)
    records.claim(RECORD)
    file_of(tmp_path).unlink()
    assert records.claim(other) is None
    records.put(RECORD)
    assert records.claim(RECORD) == other


def test_the_address_of_a_port_that_is_gone_is_taken(records: PortRecords) -> None:
    other = replace(RECORD, container_id="c2")
    for record in (RECORD, other):
        records.put(record)
    records.claim(RECORD)
    assert records.claim(other, lambda _: False) == RECORD
    assert records.claim(other, lambda holder: holder == RECORD) is None
    assert records.claim(RECORD) == other
    records.remove(RECORD.key)
    assert records.claim(replace(RECORD, container_id="c3")) == other


def test_of_several_that_find_a_dead_holder_one_wins(records: PortRecords, tmp_path: Path) -> None:
    """Real processes, all at once, as a runtime that starts a crashed host's containers again."""
    rivals, rounds = 6, 60
    keys = [f"r{i}" for i in range(rivals)]
    context = multiprocessing.get_context("fork")
    start, end = context.Barrier(rivals + 1), context.Barrier(rivals + 1)
    wins = context.Array("i", rivals)
    dead = replace(RECORD, container_id="dead")

    def call(i: int) -> None:
        mine, mac = PortRecords(Paths(tmp_path)), RECORD
        for number in range(rounds):
            mac = replace(RECORD, container_id=keys[i], mac=Mac(f"02:00:00:00:01:{number:02x}"))
            mine.put(mac)
            start.wait(60)
            won = mine.claim(mac, lambda holder: holder.container_id == "dead") is None
            wins[i] = int(won)
            end.wait(60)
            start.wait(60)

    calls = [context.Process(target=call, args=[i], daemon=True) for i in range(rivals)]
    for process in calls:
        process.start()
    won = []
    for number in range(rounds):
        holder = replace(dead, mac=Mac(f"02:00:00:00:01:{number:02x}"))
        records.put(holder)
        assert records.claim(holder) is None
        start.wait(60)
        end.wait(60)
        won.append(sum(wins[:]))
        records.remove(holder.key)
        start.wait(60)
    for process in calls:
        process.join(60)
    assert won == [1] * rounds


def test_claims_of_nobody_are_swept(records: PortRecords, tmp_path: Path) -> None:
    records.put(RECORD)
    records.claim(RECORD)
    claims = tmp_path / "run/windrow/ports/macs"
    assert len(list(claims.iterdir())) == 1
    records.sweep()
    assert len(list(claims.iterdir())) == 1
    file_of(tmp_path).unlink()
    records.sweep()
    assert list(claims.iterdir()) == []


# Ports with addresses -----------------------------------------------------------------------------


def test_a_record_on_the_disk_without_one_on_tmpfs_is_left_from_before_a_reboot(
    records: PortRecords, tmp_path: Path
) -> None:
    lasting = AddressedPorts.of(str(tmp_path))
    assert lasting.left_behind(records) == []
    other = replace(RECORD, container_id="c2")
    for record in (RECORD, other):
        records.put(record)
        lasting.put(record)
    assert lasting.left_behind(records) == []
    file_of(tmp_path).unlink()
    assert lasting.left_behind(records) == [RECORD]
    assert lasting.get(RECORD.key) == RECORD and len(list(Paths(tmp_path).addressed_ports.glob("*.json"))) == 2
    lasting.remove(RECORD.key)
    assert lasting.left_behind(records) == [] and lasting.all() == [other]


def test_what_was_being_written_to_the_disk_goes(records: PortRecords, tmp_path: Path) -> None:
    lasting = AddressedPorts.of(str(tmp_path))
    lasting.sweep()
    assert not Paths(tmp_path).addressed_ports.exists()
    lasting.put(RECORD)
    left = Paths(tmp_path).addressed_ports / ".half.json.1.1"
    left.write_text("{")
    os.utime(left, (1, 1))
    lasting.sweep()
    assert not left.exists() and lasting.all() == [RECORD]


# -- who is at work on one -------------------------------------------------------------------------


def test_a_record_is_held_until_the_last_program_that_works_for_it_has_ended(records: PortRecords) -> None:
    records.wait_for_others(RECORD.key, 60.0)  # there is no such record
    records.put(RECORD)
    records.wait_for_others(RECORD.key, 60.0)  # nobody holds it
    fd = records.hold(RECORD.key)
    began = time.monotonic()
    records.wait_for_others(RECORD.key, 0.1)
    assert time.monotonic() - began >= 0.1, "no longer than that"
    with subprocess.Popen(["sleep", "0.5"], pass_fds=[fd]) as started:
        os.close(fd)
        records.wait_for_others(RECORD.key, 60.0)
        assert started.wait(0.2) == 0


def test_a_program_holds_what_its_caller_holds(records: PortRecords) -> None:
    records.put(RECORD)
    fd = records.hold(RECORD.key)
    argv = ["/bin/sh", "-c", f"test -e /proc/self/fd/{fd}"]
    assert child.run(argv, env={}, timeout_s=20.0, holding=fd).exit == 0
    assert child.run(argv, env={}, timeout_s=20.0).exit == 1
    os.close(fd)
