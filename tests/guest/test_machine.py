"""A machine that `windrow vm start` started says its addresses: `make test-guest`.

The lab is one that people bring up, and the commands are theirs. The machine's card is in a VLAN, so nobody in its pod
gives it an address: only its own agent, Debian's qemu-ga, knows the one that it has.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.guest import agentimage
from tests.klab.conftest import UP_S, Lab

from windrow.lab.vm import image

BUILD = Path(__file__).resolve().parents[2] / "build"
SCENARIO, NODE = "mode-active-backup", "node-0"
MAC, ADDRESS = "52:54:00:64:00:07", "172.16.100.77"
BOOT_S = 300.0
MANIFEST = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: web}}
spec:
  runStrategy: Manual
  template:
    spec:
      domain:
        cpu: {{cores: 1, model: qemu64}}
        memory: {{guest: 192Mi}}
        firmware:
          kernelBoot:
            container: {{kernelPath: {kernel}, initrdPath: {initrd}}}
            kernelArgs: >-
              console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check noreplace-smp
              apparmor=0 lsm= audit=0 cryptomgr.notests ipv6.disable=1 guest.eth0={address}/24
        devices:
          interfaces:
            - {{name: vlan100, bridge: {{}}, macAddress: "{mac}"}}
      networks:
        - {{name: vlan100, multus: {{networkName: oob-vlan100}}}}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    found = Lab(f"guest-{os.getpid()}")
    try:
        found.said("up", SCENARIO, timeout_s=UP_S)
        yield found
    finally:
        found.run("down")


@pytest.fixture
def initrd() -> Iterator[Path]:
    """The lab sees the checkout; it has a /tmp of its own."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=BUILD, prefix="initrd-") as file:
        agentimage.write(Path(file.name))
        Path(file.name).chmod(0o644)
        yield Path(file.name)


def windrow(lab: Lab, *words: str, stdin: str = "") -> str:
    return lab.said("exec", "-i", NODE, "--", "windrow", *words, stdin=stdin, timeout_s=300.0)


def until(what: Callable[[], Any], said: Callable[[], str]) -> Any:
    end = time.monotonic() + BOOT_S
    while not (found := what()):
        assert time.monotonic() < end, said()
        time.sleep(5)
    return found


def test_a_machine_that_was_started_says_its_addresses(lab: Lab, initrd: Path) -> None:
    manifest = MANIFEST.format(kernel=image.find().kernel, initrd=initrd, address=ADDRESS, mac=MAC)
    windrow(lab, "apply", "-f", "-", stdin=manifest)
    windrow(lab, "vm", "start", "web")

    def instance() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(windrow(lab, "get", "vmi", "web", "-o", "json"))
        card: dict[str, Any] = found["status"]["interfaces"][0]
        return card

    def console() -> str:
        return windrow(lab, "vm", "console", "web", "--log")

    card = until(lambda: (one := instance()).get("ipAddress") and one, console)
    assert (card["ipAddress"], card["interfaceName"], card["mac"]) == (ADDRESS, "eth0", MAC)
    assert "guest-agent" in card["infoSource"]
    listed = windrow(lab, "vm", "list").splitlines()
    assert any(line.startswith("web ") and f"vlan100={ADDRESS}" in line for line in listed), listed
    told = windrow(lab, "vm", "addresses", "web", "--source", "agent")
    assert f"{ADDRESS}/24" in told and MAC in told
    windrow(lab, "vm", "stop", "web", "--force")
