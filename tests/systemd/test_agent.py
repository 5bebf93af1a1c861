"""The package in a Debian with a systemd of its own: the agent at work, hung, through a reboot, an upgrade, a removal.

One host goes through all of it, in this order. Run by `make test-systemd`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.deb import packages
from tests.docs.blocks import all_blocks
from tests.systemd.computers import Debian
from tests.systemd.conftest import Site

AGENT = "windrow-agent.service"
ADDRESS = "10.100.0.5"
SLOW = 100
"""Frames a second where something takes minutes: the numbers of ping's frames end at 65,535."""
WATCHDOG_S = 20


@pytest.fixture(scope="module")
def site(start: Callable[[], Site]) -> Site:
    """With the package of before."""
    found = start()
    found.debian.ok("cp -r /mnt/compiled/. /")
    found.debian.ok("apt-get install --yes /mnt/older/windrow_*.deb")
    return found


@pytest.fixture
def debian(site: Site) -> Debian:
    return site.debian


def asked(debian: Debian, name: str) -> str:
    """What systemd knows of the agent."""
    return debian.ok(f"systemctl show --value --property {name} {AGENT}")


_LINKS = r"ip -details -oneline link | grep -o ' [^ ]*: <\|master [^ ]*\|mtu [0-9]*\|state [A-Z]*'"


def network(debian: Debian) -> str:
    """Links, their masters and VLANs, addresses, routes; not the numbers of links, which another start gives anew."""
    return debian.ok(f"{_LINKS}; bridge -compressvlans vlan show; ip -brief address; ip route")


def test_the_package_starts_nothing(debian: Debian) -> None:
    assert debian.run(f"systemctl is-enabled {AGENT}")[0] == ["disabled"]
    assert debian.run(f"systemctl is-active {AGENT}")[0] == ["inactive"]


def test_a_network_is_applied(site: Site) -> None:
    site.debian.ok("windrow apply -f /mnt/hosts/bare/manifests --max-impact hitless")
    assert site.switch.reaches(ADDRESS)


def test_the_agent_says_that_it_is_ready_and_alive(debian: Debian) -> None:
    """Type=notify: `enable --now` waits until it has said READY=1 (systemd.service(5))."""
    debian.ok(f"mkdir -p /etc/systemd/system/{AGENT}.d")
    debian.ok(f"printf '[Service]\\nWatchdogSec={WATCHDOG_S}\\n' >/etc/systemd/system/{AGENT}.d/soon.conf")
    debian.ok(f"systemctl daemon-reload && systemctl enable --now {AGENT}")
    assert debian.ok(f"systemctl is-active {AGENT}") == "active"
    assert asked(debian, "Type") == "notify"
    begun = int(asked(debian, "WatchdogTimestampMonotonic"))
    time.sleep(2 * WATCHDOG_S)
    assert int(asked(debian, "WatchdogTimestampMonotonic")) > begun, "it said WATCHDOG=1 meanwhile"
    assert asked(debian, "NRestarts") == "0"
    assert "\nthe agent runs" in debian.ok("windrow status")


def test_an_agent_that_hangs_is_started_anew(site: Site) -> None:
    before = asked(site.debian, "MainPID")
    site.switch.begin_train(ADDRESS, rate=SLOW)
    site.debian.ok(f"kill -STOP {before}")
    end = time.monotonic() + 10 * WATCHDOG_S
    while asked(site.debian, "NRestarts") == "0" or asked(site.debian, "ActiveState") != "active":
        assert time.monotonic() < end, "systemd did not miss it"
        time.sleep(2)
    train = site.switch.end_train(rate=SLOW)
    assert "Watchdog timeout" in site.debian.ok(f"journalctl --no-pager --unit {AGENT}")
    assert asked(site.debian, "MainPID") != before
    print(f"hung: {train}")
    assert not train.lost


@pytest.mark.parametrize("again", ["reboot", "cut_power"])
def test_the_agent_alone_brings_the_network_back(site: Site, again: str) -> None:
    before = network(site.debian)
    assert ADDRESS in before
    getattr(site.debian, again)()
    assert site.switch.reaches(ADDRESS)
    assert asked(site.debian, "ActiveState") == "active"
    assert network(site.debian) == before
    assert "ready" in site.debian.ok("windrow status")


def test_an_upgrade_under_the_running_agent_loses_nothing(site: Site) -> None:
    before, shape = asked(site.debian, "MainPID"), network(site.debian)
    site.switch.begin_train(ADDRESS, rate=SLOW)
    site.debian.ok("apt-get install --yes /mnt/dist/windrow_*.deb", 600)
    train = site.switch.end_train(rate=SLOW)
    version = packages.built().name.split("_")[1]
    assert version in site.debian.ok("dpkg-query --show windrow")
    assert asked(site.debian, "ActiveState") == "active"
    assert asked(site.debian, "MainPID") != before, "the new one runs"
    assert network(site.debian) == shape
    print(f"upgraded: {train}")
    assert not train.lost


def test_what_the_page_says_of_an_upgrade_loses_nothing(site: Site) -> None:
    """docs/user/install.md, "Upgrading": what a package has done, typed once more."""
    before = asked(site.debian, "MainPID")
    site.debian.ok("systemctl enable --now windrow-cni && mkdir -p /opt/cni/bin")
    site.switch.begin_train(ADDRESS, rate=SLOW)
    for block in all_blocks():
        for command in block.commands if block.said("tried on:") == "bare" else ():
            print(site.debian.ok(command.text, 300))
    train = site.switch.end_train(rate=SLOW)
    assert asked(site.debian, "MainPID") not in ("0", before), "another one runs"
    assert site.debian.ok("systemctl is-active windrow-cni") == "active"
    assert "windrow-bridge" in site.debian.ok("ls /opt/cni/bin")
    print(f"restarted: {train}")
    assert not train.lost


@pytest.mark.parametrize("how", ["remove", "purge"])
def test_without_the_package_the_network_goes_on(site: Site, how: str) -> None:
    shape = network(site.debian)
    site.switch.begin_train(ADDRESS, rate=SLOW)
    site.debian.ok(f"apt-get {how} --yes windrow")
    train = site.switch.end_train(rate=SLOW)
    assert site.debian.run(f"systemctl is-active {AGENT}")[0] == ["inactive"]
    assert site.debian.run("pgrep -f windrow")[1] == 1, "nothing of it runs"
    assert network(site.debian) == shape
    print(f"{how}: {train}")
    assert not train.lost
    state = site.debian.run("ls -d /var/lib/windrow")[1] == 0
    assert state is (how == "remove")
    site.debian.ok("ls /etc/windrow/manifests/*.yaml")
