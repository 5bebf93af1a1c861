"""A Debian that `windrow vm start` started says its addresses: `make test-guest`.

The lab is one that people bring up, and the commands are theirs. The machine's card is in a VLAN, so nobody in its pod
gives it an address: only the guest's own agent knows the one that its administrator gives it, on the serial line. Its
disk is the one of `scripts/debian-disk`, behind an image that takes what it writes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.klab.conftest import UP_S, WINDROW, Lab

BUILT = Path(__file__).resolve().parents[2] / "build" / "systemd"
SCENARIO, NODE = "mode-active-backup", "node-0"
DISK = "/run/debian.qcow2"
MAC, ADDRESS = "52:54:00:64:00:07", "172.16.100.77/24"
ARGUMENTS = (
    "root=/dev/vda ro console=ttyS0 quiet loglevel=1 systemd.show_status=false random.trust_cpu=on tsc=reliable "
    "no_timer_check mitigations=off"
)
BOOT_S = 900.0
"""In software, within User-Mode Linux."""
MANIFEST = f"""
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: debian}}
spec:
  runStrategy: Manual
  template:
    spec:
      domain:
        cpu: {{cores: 1, model: qemu64}}
        memory: {{guest: 320Mi}}
        firmware:
          kernelBoot:
            container: {{kernelPath: {BUILT}/kernel, initrdPath: {BUILT}/initrd}}
            kernelArgs: {ARGUMENTS}
        devices:
          disks:
            - {{name: root, disk: {{bus: virtio}}}}
          interfaces:
            - {{name: vlan100, bridge: {{}}, macAddress: "{MAC}"}}
      networks:
        - {{name: vlan100, multus: {{networkName: oob-vlan100}}}}
      volumes:
        - {{name: root, hostDisk: {{path: {DISK}, type: Disk}}}}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    if not (BUILT / "ready").exists():
        pytest.fail(f"there is no Debian in {BUILT}: `make test-guest` makes one")
    found = Lab(f"guest-{os.getpid()}")
    try:
        found.said("up", SCENARIO, timeout_s=UP_S)
        yield found
    finally:
        found.run("down")


def on_node(lab: Lab, *command: str, stdin: str = "") -> str:
    return lab.said("exec", "-i", NODE, "--", *command, stdin=stdin, timeout_s=300.0)


def typed(lab: Lab, text: str) -> str:
    """On the guest's serial line; what it answers."""
    return on_node(lab, *WINDROW, "vm", "console", "debian", "--linger", "10", stdin=f"{text}\n")


def until(what: Callable[[], Any], said: Callable[[], str]) -> Any:
    end = time.monotonic() + BOOT_S
    while not (found := what()):
        assert time.monotonic() < end, said()
        time.sleep(3)
    return found


def test_a_machine_that_was_started_says_its_addresses(lab: Lab) -> None:
    backing = f"backing_file={BUILT}/disk.img,backing_fmt=raw"
    on_node(lab, "qemu-img", "create", "-q", "-f", "qcow2", "-o", backing, DISK)
    on_node(lab, *WINDROW, "apply", "-f", "-", stdin=MANIFEST)
    on_node(lab, *WINDROW, "vm", "start", "debian")

    def console() -> str:
        return on_node(lab, *WINDROW, "vm", "console", "debian", "--log")

    def instance() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(on_node(lab, *WINDROW, "get", "vmi", "debian", "-o", "json"))
        return found["status"]["interfaces"][0]

    until(lambda: "root@plain" in console(), console)
    typed(lab, f"ip link set ens4 up && ip address add {ADDRESS} dev ens4")
    card = until(lambda: (one := instance()).get("ipAddress") and one, console)
    assert (card["ipAddress"], card["interfaceName"], card["mac"]) == (ADDRESS.partition("/")[0], "ens4", MAC)
    assert "guest-agent" in card["infoSource"]
    listed = on_node(lab, *WINDROW, "vm", "list").splitlines()
    assert any("debian" in line and f"vlan100={ADDRESS.partition('/')[0]}" in line for line in listed), listed
    told = on_node(lab, *WINDROW, "vm", "addresses", "debian", "--source", "agent")
    assert ADDRESS in told and "ens4" in told
