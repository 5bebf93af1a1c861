"""Members of nftables' sets where the kernel has no nfnetlink."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from windrow.model.ruletable import MemberChange, Verb
from windrow.netlink import nftsets
from windrow.netlink.errors import KernelError


def test_a_kernel_without_nfnetlink_refuses_as_one_without_nftables(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_protocol(_: int) -> Any:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(nftsets, "Rtnl", no_protocol)
    for ask in (
        lambda: nftsets.change(("bridge", "t"), [MemberChange(Verb.ADD, "s", "veth1")]),
        lambda: nftsets.has(("bridge", "t"), "s", "veth1"),
    ):
        with pytest.raises(KernelError) as refused:
            ask()
        assert refused.value.errno == errno.EPROTONOSUPPORT
