"""The golden statements for a Linux bridge, told to a real one: `ip` and `bridge` take each of them, and the kernel is
then where the switch in memory is that tests/property/test_switch_statements.py believes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.conftest import Ns
from tests.unit.switchmachines import Carries, Linux

from windrow.netlink import netns

CASES = Path(__file__).parents[1] / "golden/switches"
PORTS = [f"Ethernet{n}" for n in range(1, 8)]


def shell(ns: Ns, text: str) -> str:
    done = netns.opened_in(ns.fd, lambda: subprocess.run(["sh", "-ec", text], capture_output=True, text=True))
    assert done.returncode == 0, f"{done.stderr}\n{text}"
    return done.stdout


def carries(ns: Ns) -> dict[str, Carries]:
    """As `Machine.carries`."""
    links: list[dict[str, Any]] = json.loads(shell(ns, "ip -j -d link"))
    kinds = {"802.3ad": "lacp", "balance-xor": "static"}
    found: dict[str, Carries] = {}
    for port in json.loads(shell(ns, "bridge -j vlan show")):
        if port["ifname"] not in (link["ifname"] for link in links if link.get("master") == "br0"):
            continue
        vlans = {one["vlan"]: one.get("flags", ()) for one in port["vlans"]}
        spans = [range(one["vlan"], one.get("vlanEnd", one["vlan"]) + 1) for one in port["vlans"]]
        natives = [vid for vid, flags in vlans.items() if "PVID" in flags]
        assert all("Egress Untagged" in vlans[vid] for vid in natives)
        members = [link["ifname"] for link in links if link.get("master") == port["ifname"]]
        (info,) = (link["linkinfo"] for link in links if link["ifname"] == port["ifname"])
        tagged = frozenset(vid for span in spans for vid in span if vid not in natives)
        kind = kinds[info["info_data"]["mode"]] if members else "none"
        found[port["ifname"]] = (frozenset(members or [port["ifname"]]), kind, tagged, sum(natives))
    return found


@pytest.mark.parametrize(
    ("case", "texts"),
    [
        ("becomes", ("linux", "linux-delta", "linux-delta-inverse", "linux-inverse")),
        ("pair", ("linux", "linux-inverse")),
    ],
)
def test_the_kernel_takes_the_statements(ns: Ns, case: str, texts: tuple[str, ...]) -> None:
    shell(ns, "ip link add br0 type bridge vlan_filtering 1; ip link set br0 up")
    shell(ns, "\n".join(f"ip link add {port} type dummy" for port in PORTS))
    machine = Linux("linux", PORTS)
    for name in texts:
        text = (CASES / case / f"{name}.txt").read_text()
        first = "# Linux bridge" + text.split("# Linux bridge")[1]  # the other switch of a pair is another one
        shell(ns, first)
        machine.told(first)
        assert carries(ns) == machine.carries(), name
    assert not carries(ns), "the inverse takes it all back"
