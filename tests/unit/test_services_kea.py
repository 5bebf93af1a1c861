"""Kea where it is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from windrow.model.values import IfName
from windrow.services import kea
from windrow.services.errors import ServiceError


def test_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="install the package kea-dhcp4-server"):
        kea.start(tmp_path, IfName("lo"))
