"""A new port on a host with network policies, before its link is made: what it asks of the packet filter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_port_rules import record

from windrow.apps.cni import judging
from windrow.apps.cni.host import Host
from windrow.apps.cni.judging import Gate
from windrow.model.portguards import PortGuards
from windrow.port.errors import KERNEL_REFUSED, CniError
from windrow.services.errors import ServiceError

THERE, MISSING = "Could not process rule: File exists", "Could not process rule: No such file or directory"


class Nft:
    """`answers`: what it says to each program in turn; empty: it takes it."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.heard = list(answers), list[str]()

    def has_table(self, table: str) -> bool:
        return False

    def is_there(self, variant: str) -> bool:
        return True

    def load(self, program: str, *, as_json: bool, tries: int) -> None:
        assert as_json and tries == 1
        self.heard.append(next(iter(json.loads(program)["nftables"][0])))
        if said := self.answers.pop(0):
            raise ServiceError("nft", said)


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


def gate(host: Host, nft: Nft, **more: Any) -> Gate:
    made = Gate(replace(record(1), **more), host, "", None)
    made._firewall = nft  # type: ignore[assignment]
    made.shut()
    assert not nft.answers
    return made


def waits(made: Gate, capsys: pytest.CaptureFixture[str]) -> bool:
    made.wait()
    return "is closed until the network policies are applied" in capsys.readouterr().err


def test_no_policies_no_waiting(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    nft = Nft("")
    assert not waits(gate(host, nft), capsys) and nft.heard == ["create"]


def test_policies_that_go_meanwhile_are_waited_for_no_longer(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    made = gate(host, Nft(THERE))
    host.paths.memory.write_text('{"policed": true, "judges": false}')
    assert not waits(made, capsys)


def test_a_list_of_before_says_nothing_of_a_port_that_was_closed_anew(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine's port has the same name after each start, and without an agent nobody makes the list anew."""
    host.paths.judged.parent.mkdir(parents=True)
    host.paths.judged.write_text(f"{record(1).host}\n")
    for answers, closed in (("",) * 9, True), ((MISSING, "Resource busy", THERE), False):
        nft = Nft("", THERE)
        made = gate(host, nft, guards=PortGuards(dhcp=True))
        nft.answers += answers
        assert waits(made, capsys) is closed


def test_of_a_namespace_with_policies_it_waits_until_it_is_judged(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waits(gate(host, Nft(THERE)), capsys)
    host.paths.judged.parent.mkdir(parents=True)
    host.paths.judged.write_text(f"veth0\n{record(1).host}\n")
    assert not waits(gate(host, Nft(THERE)), capsys)


def test_without_a_table_one_is_made_that_closes_it(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    for made in ("", THERE):  # by this call, or by another one meanwhile
        assert waits(gate(host, Nft(MISSING, made)), capsys)
    assert not waits(gate(host, Nft(MISSING, "", ""), pod=""), capsys), "of no pod: no policy is about it"


def test_guards_of_its_own_are_waited_for_whoever_has_policies(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    guards = PortGuards(dhcp=True)
    for before in ("", MISSING):
        nft = Nft(before, THERE)
        assert waits(gate(host, nft, guards=guards), capsys) and nft.heard == ["delete", "add"]


@pytest.mark.parametrize("answers", [("Operation not supported",), (MISSING, MISSING), (MISSING, "is not installed")])
def test_where_nothing_can_close_it_the_call_is_refused(host: Host, answers: tuple[str, ...]) -> None:
    """ENOENT is also what a kernel says that has no conntrack of bridges."""
    with pytest.raises(CniError) as refused:
        gate(host, Nft(*answers))
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
