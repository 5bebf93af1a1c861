"""What a node remembers: which card is which, and what it gave to bridges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from windrow.apps.engine import Converged, converge
from windrow.model.facts import Known, Memory
from windrow.model.host import Bond
from windrow.model.values import Cidr, IfName, Mac
from windrow.store.memory import read_memory, write_memory
from windrow.store.paths import Paths
from windrow.testing.builders import cluster, cluster_network, vlan_config
from windrow.testing.fake import FakeKernel

A, B = Mac("02:00:00:00:00:0a"), Mac("02:00:00:00:00:0b")


def run(kernel: FakeKernel, memory: Memory, *nics: str, **options: str) -> Converged:
    objects = cluster(cluster_network("oob"), vlan_config("oob", nics, **options))
    return converge(objects, kernel, "n1", knowing=lambda: Known(memory=memory))


def slaves(kernel: FakeKernel) -> set[str]:
    return {n for n, link in kernel.observe().state.links.items() if link.master == "oob-bo"}


def rename(kernel: FakeKernel, old: str, new: str) -> None:
    """As at a boot: nothing of the network is there, and the kernel counts otherwise."""
    machine = kernel.machine
    for name in ("oob-br", "oob-bo"):
        if name in machine.devices:
            machine.vanish(machine.get(name))
    machine.close(machine.get(old))
    machine.rename(machine.get(old), new)


def test_a_card_is_found_again_under_another_name() -> None:
    kernel = FakeKernel().add_nic("eth1", mac=A).add_nic("eth2", mac=B)
    first = run(kernel, Memory(), "eth1", "eth2", mode="active-backup", primary="eth1")
    assert first.memory.nics == {"eth1": A, "eth2": B}
    rename(kernel, "eth1", "enp3s0")
    again = run(kernel, first.memory, "eth1", "eth2", mode="active-backup", primary="eth1")
    assert again.ok and slaves(kernel) == {"enp3s0", "eth2"}
    assert [p.code for p in again.planned.compiled.problems] == ["nic-renamed"]
    bond = kernel.observe().state.links[IfName("oob-bo")].spec
    assert isinstance(bond, Bond) and bond.primary == "enp3s0"
    assert again.memory == first.memory


def test_two_cards_that_swapped_their_names() -> None:
    kernel = FakeKernel().add_nic("eth1", mac=A).add_nic("eth2", mac=B)
    memory = run(kernel, Memory(), "eth1").memory
    rename(kernel, "eth1", "tmp")
    rename(kernel, "eth2", "eth1")
    rename(kernel, "tmp", "eth2")
    assert run(kernel, memory, "eth1").ok
    assert slaves(kernel) == {"eth2"}, "the card that was meant, not the one that bears its name"


def test_a_new_card_in_the_place_of_a_dead_one() -> None:
    kernel = FakeKernel().add_nic("eth1", mac=B)
    report = run(kernel, Memory(nics={"eth1": A}), "eth1")
    assert slaves(kernel) == {"eth1"} and report.memory.nics == {"eth1": B}


def test_a_card_that_is_away_is_not_forgotten() -> None:
    kernel = FakeKernel().add_nic("eth2", mac=B)
    assert run(kernel, Memory(nics={"eth1": A}), "eth1", "eth2").memory.nics == {"eth1": A, "eth2": B}


def test_names_that_no_manifest_has_are_forgotten() -> None:
    kernel = FakeKernel().add_nic("eth1", mac=A)
    assert run(kernel, Memory(nics={"eth7": B}), "eth1").memory.nics == {"eth1": A}


def test_memory_is_written_and_read(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert read_memory(paths) == Memory()
    memory = Memory(nics={"eth1": A}, given={IfName("oob-br"): frozenset({Cidr("192.0.2.1/24")})})
    write_memory(paths, memory)
    assert read_memory(paths) == memory
    stamp = paths.memory.stat().st_mtime_ns
    write_memory(paths, replace(memory))
    assert paths.memory.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"nics": {"a": "x"}, "given": {}}', '{"nics": [], "given": 3}'])
def test_rubbish_is_no_memory(tmp_path: Path, text: str) -> None:
    paths = Paths(tmp_path)
    paths.memory.parent.mkdir(parents=True)
    paths.memory.write_text(text)
    assert read_memory(paths) == Memory()
    write_memory(paths, Memory(nics={"eth1": A}))
    assert read_memory(paths).nics == {"eth1": A}
