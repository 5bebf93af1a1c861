"""What a kernel can do, and what others change meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from windrow.model.facts import KernelFeatures
from windrow.netlink import features


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
