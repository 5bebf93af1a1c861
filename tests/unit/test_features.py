"""What a kernel can do, and what others change meanwhile."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from windrow.model.facts import KernelFeatures
from windrow.netlink import features, sysctl
from windrow.netlink.errors import KernelError


def test_nft_counts_where_it_would_be_run_from_and_as_soon_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "sbin"
    monkeypatch.setattr(features, "DIRECTORIES", (str(place),))
    monkeypatch.setenv("PATH", str(elsewhere))
    install(elsewhere)
    assert not features.settled(KernelFeatures()).bridge_rules
    assert not features.settled(KernelFeatures()).bridge_conntrack
    install(place)
    assert features.settled(KernelFeatures()).bridge_rules and features.settled(KernelFeatures()).bridge_conntrack
    assert not features.settled(KernelFeatures(bridge_conntrack=False)).bridge_conntrack
    assert not features.settled(KernelFeatures(bridge_rules=False)).bridge_rules


def install(place: Path) -> None:
    place.mkdir()
    (place / "nft").touch(mode=0o755)


@pytest.mark.parametrize(
    ("loadable", "built_in", "connections"),
    [
        ("kernel/net/netfilter/nf_tables.ko: x.ko\n", "", False),
        ("kernel/net/netfilter/nf_tables.ko.xz:\nkernel/net/bridge/netfilter/nf_conntrack_bridge.ko.xz:\n", "", True),
        ("nf_tables.ko:\n", "kernel/net/bridge/netfilter/nf_conntrack_bridge.ko\n", True),
        ("nf_tables.ko: not_nf_conntrack_bridge.ko\n", "kernel/nf_conntrack_bridge.ko2\n", False),
    ],
)
def test_a_kernel_before_conntrack_of_bridges_need_not_load_nftables_to_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loadable: str, built_in: str, connections: bool
) -> None:
    """Nobody's modules are loaded by asking, and iptables has to do it from the agent's first round on."""
    monkeypatch.setattr(features, "KERNELS", tmp_path)
    monkeypatch.setattr(os.path, "exists", lambda path: path != "/sys/module/nf_tables")
    monkeypatch.setattr(sysctl, "read", {"kernel.modprobe": sys.executable}.get)
    lists = tmp_path / os.uname().release
    lists.mkdir()
    (lists / "modules.dep").write_text(loadable)
    (lists / "modules.builtin").write_text(built_in)
    assert features.takes_bridge_rules() == (True, connections)


@pytest.mark.parametrize(
    ("on_disk", "bonding"), [("", False), ("kernel/drivers/net/bonding/bonding.ko:\n", True), (None, True)]
)
def test_who_may_make_no_namespace_goes_by_the_disk_and_what_is_hidden_counts_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: str | None, bonding: bool
) -> None:
    """Of systemd's settings RestrictNamespaces is the one, ProtectKernelModules the other: after a start of the host no
    module is loaded yet, and an agent that took that for a kernel without bonds brought no network up."""

    def refused(_: object) -> KernelFeatures:
        raise KernelError(errno.EPERM, "make a network namespace")

    monkeypatch.setattr(features, "KERNELS", tmp_path)
    monkeypatch.setattr(features.netns, "in_new", refused)
    monkeypatch.setattr(os.path, "exists", lambda _: False)
    monkeypatch.setattr(sysctl, "read", {"kernel.modprobe": sys.executable}.get)
    if on_disk is not None:
        (tmp_path / os.uname().release).mkdir()
        (tmp_path / os.uname().release / "modules.dep").write_text(on_disk)
    assert features.tried().bonding is bonding
