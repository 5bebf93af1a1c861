"""`--kernel native`: a lab in namespaces of the kernel that is there. Here that kernel can all that a lab needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windrow.lab.client import ask, run_program
from windrow.lab.kernel import boot
from windrow.lab.kernel.machine import Guest
from windrow.lab.scenario_file import read
from windrow.netlink import netns


def test_a_whole_scenario_in_namespaces_of_this_kernel() -> None:
    said: list[Mapping[str, Any]] = []
    with boot.boot("native", Guest(entry="windrow.apps.labguest:main")) as machine:
        assert not machine.about["own_kernel"]
        up = ask(machine.open, {"do": "up", "scenario": read("three-nodes").to_json()}, said.append)
        assert up["ok"], said
        checks = ask(machine.open, {"do": "check"}, said.append)
        assert checks["ok"], said
        assert run_program(machine.open, ["sh", "-c", "test -d /sys/class/net/prod-br"], node="node-a") == 0
        assert run_program(machine.open, ["sh", "-c", "test $$ -lt 200 && test -w /run && test ! -w /usr"]) == 0
    assert "node-a" not in netns.names()
