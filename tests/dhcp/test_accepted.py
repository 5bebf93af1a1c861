"""What is written for DHCP servers, asked of the servers themselves: dnsmasq, Kea, ISC dhcpd.

Outside `make test`, because two of them are 60 MB of packages: `make test-dhcp` installs them, and here they must be.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "dhcp"
CASES = sorted(p.parent for p in GOLDEN.glob("*/manifests.yaml"))
CHECKS = {
    "dnsmasq.conf": ["dnsmasq", "--test", "-C"],
    "kea.json": ["kea-dhcp4", "-t"],
    "dhcpd.conf": ["dhcpd", "-t", "-lf", "/dev/null", "-cf"],
}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_takes_it(case: Path, name: str) -> None:
    done = subprocess.run([*CHECKS[name], str(case / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CHECKS)
def test_the_server_refuses_what_is_wrong(name: str, tmp_path: Path) -> None:
    """The check can fail: the same file with addresses that are none."""
    broken = tmp_path / name
    broken.write_text((GOLDEN / "several" / name).read_text().replace("10.1.0.", "10.x.0."))
    done = subprocess.run([*CHECKS[name], str(broken)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
