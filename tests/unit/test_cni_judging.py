"""A new port on a host with network policies, before its link is made: what it asks of the packet filter."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_port_rules import record

from windrow.apps.cni import judging
from windrow.apps.cni.host import Host
from windrow.apps.cni.judging import Gate
from windrow.apps.policyfilter import PolicyFilter
from windrow.model.portguards import PortGuards
from windrow.model.ruletable import MemberChange
from windrow.netlink import errors
from windrow.port.errors import KERNEL_REFUSED, CniError
from windrow.services.errors import ServiceError

Shut = Callable[..., Gate]
THERE, MISSING = errno.EEXIST, errno.ENOENT


class Kernel:
    """`answers`: what it says to each transaction in turn, which may be one of nft (`heard` as `nft`); 0: it takes it.
    `judged`: what it says of the port when it is asked."""

    def __init__(self, *answers: int, judged: Sequence[bool | int] = ()) -> None:
        self.answers, self.judged, self.heard = list(answers), list(judged), list[str]()

    def has_table(self, table: str) -> bool:
        return False

    def is_there(self, variant: str) -> bool:
        return True

    def load(self, program: str, *, as_json: bool, tries: int) -> None:
        assert as_json and tries == 1 and json.loads(program)["nftables"]
        self.heard.append("nft")
        if said := self.answers.pop(0):
            raise ServiceError("nft", f"Could not process rule: {os.strerror(said)}")

    def change(self, table: tuple[str, str], changes: Sequence[MemberChange]) -> None:
        assert table == ("bridge", "windrow-policy")
        self.heard.append(changes[0].verb)
        if said := self.answers.pop(0):
            raise errors.of(said, "change a set")

    def has(self, table: tuple[str, str], name: str, member: str) -> bool:
        assert (name, member) == ("judged", record(1).host)
        said = self.judged.pop(0)
        if isinstance(said, bool):
            return said
        raise errors.of(said, "look for it")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path, "n1")
    monkeypatch.setattr(Host, "rtnl", lambda _: None)
    monkeypatch.setattr(judging.ports, "every", lambda _: [])
    monkeypatch.setattr(judging, "JUDGED_S", 0.2)
    monkeypatch.setattr(judging, "ALONE_S", 0.05)
    monkeypatch.setattr(judging, "_ASK_S", 0.01)
    made.paths.memory.parent.mkdir(parents=True)
    made.paths.memory.write_text('{"policed": true, "judges": true}')
    return made


@pytest.fixture
def gate(host: Host, monkeypatch: pytest.MonkeyPatch) -> Shut:
    def shut(kernel: Kernel, **more: Any) -> Gate:
        monkeypatch.setattr(judging, "nftsets", kernel)
        made = Gate(replace(record(1), **more), host, "", None)
        made._firewall = kernel  # type: ignore[assignment]
        made.shut()
        assert not kernel.answers
        return made

    return shut


def waits(made: Gate, capsys: pytest.CaptureFixture[str]) -> bool:
    made.wait()
    return "is closed until the network policies are applied" in capsys.readouterr().err


def test_no_policies_no_waiting(host: Host, gate: Shut, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Kernel(0)
    assert not waits(gate(kernel), capsys) and kernel.heard == ["create"]


def test_policies_that_go_meanwhile_are_waited_for_no_longer(
    host: Host, gate: Shut, capsys: pytest.CaptureFixture[str]
) -> None:
    made = gate(Kernel(THERE))
    host.paths.memory.write_text('{"policed": true, "judges": false}')
    assert not waits(made, capsys)


def test_a_list_of_before_says_nothing_of_a_port_that_was_closed_anew(
    host: Host, gate: Shut, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine's port has the same name after each start, and without an agent nobody makes the list anew."""
    host.paths.judged.parent.mkdir(parents=True)
    host.paths.judged.write_text(f"{record(1).host}\n")
    for judged, closed in ([False] * 9, True), ([False, errno.EBUSY, True], False):
        made = gate(Kernel(0, THERE, judged=judged), guards=PortGuards(dhcp=True))
        assert waits(made, capsys) is closed


def test_of_a_namespace_with_policies_it_waits_until_it_is_judged(
    host: Host, gate: Shut, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waits(gate(Kernel(THERE)), capsys)
    host.paths.judged.parent.mkdir(parents=True)
    host.paths.judged.write_text(f"veth0\n{record(1).host}\n")
    assert not waits(gate(Kernel(THERE)), capsys)


def test_without_a_table_one_is_made_that_closes_it(host: Host, gate: Shut, capsys: pytest.CaptureFixture[str]) -> None:
    for made in (0, THERE):  # by this call, or by another one meanwhile
        kernel = Kernel(MISSING, made)
        assert waits(gate(kernel), capsys) and kernel.heard == ["create", "nft"]
    assert not waits(gate(Kernel(MISSING, 0, 0), pod=""), capsys), "of no pod: no policy is about it"


def test_where_iptables_closes_it_no_nft_is_started(
    host: Host, gate: Shut, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PolicyFilter, "covers", lambda _, bridge: bridge == record(1).bridge)
    for more, answers in ({}, [MISSING]), ({"pod": ""}, [MISSING]), ({}, [errno.EOPNOTSUPP]):
        kernel = Kernel(*answers)
        assert waits(gate(kernel, **more), capsys) and "nft" not in kernel.heard


def test_guards_of_its_own_are_waited_for_whoever_has_policies(
    host: Host, gate: Shut, capsys: pytest.CaptureFixture[str]
) -> None:
    guards = PortGuards(dhcp=True)
    for before in (0, MISSING):
        kernel = Kernel(before, THERE, judged=[False] * 9)
        assert waits(gate(kernel, guards=guards), capsys) and kernel.heard == ["delete", "nft"]


@pytest.mark.parametrize("answers", [(errno.EOPNOTSUPP,), (errno.EPERM,), (MISSING, MISSING)])
def test_where_nothing_can_close_it_the_call_is_refused(gate: Shut, answers: tuple[int, ...]) -> None:
    """ENOENT is also what a kernel says that has no conntrack of bridges."""
    with pytest.raises(CniError) as refused:
        gate(Kernel(*answers))
    assert refused.value.code == KERNEL_REFUSED


@pytest.mark.parametrize(
    ("text", "judges"),
    [
        ('{"policed": true, "judges": true}', True),
        ('{"policed": true, "judges": false}', False),  # the overlay's rules are in that table, too
        ('{"policed": true}', True),  # by an older Windrow
        ('{"judges": 1}', False),
        ("[", False),
    ],
)
def test_that_there_are_policies_is_on_the_disk(host: Host, text: str, judges: bool) -> None:
    host.paths.memory.unlink()
    assert not host.judges
    host.paths.memory.write_text(text)
    assert host.judges is judges
