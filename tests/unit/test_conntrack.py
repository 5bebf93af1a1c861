"""Which connections are forgotten with an address, by the bytes of the kernel's list."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import pytest

from windrow.netlink import conntrack
from windrow.netlink.codec import pack_attr, write_ip
from windrow.netlink.sock import Message

NUMBER = 12
"""CTA_ID."""


class Kernel:
    """One list for each family, and what is to be deleted of it."""

    def __init__(self, *connections: tuple[str, str, str, str]) -> None:
        """(source, destination) of the packets that began it, and of their answers."""
        self.entries = [entry(number, *ends) for number, ends in enumerate(connections)]
        self.gone: list[bytes] = []

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def dump(self, message: Message) -> list[tuple[bytes, int, int]]:
        family = message.body[0]
        return [(b"head" + data, 4, 4 + len(data)) for data in self.entries if data[0] == family]

    def burst(self, messages: Iterable[Message]) -> list[None]:
        self.gone = [message.body for message in messages]
        return [None] * len(self.gone)


def entry(number: int, *ends: str) -> bytes:
    packed = [write_ip(one) for one in ends]
    family = socket.AF_INET if len(packed[0]) == 4 else socket.AF_INET6
    first = 1 if family == socket.AF_INET else 3
    body = bytes([family, 0, 0, 0])
    for way, (source, target) in enumerate((packed[:2], packed[2:]), 1):
        body += pack_attr(way | 0x8000, pack_attr(1 | 0x8000, pack_attr(first, source) + pack_attr(first + 1, target)))
    return body + pack_attr(NUMBER, number.to_bytes(4, "big"))


def test_what_begins_or_ends_at_an_address_before_or_behind_a_translation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that look like an address are none: those of 0.0.0.3 are the number of the fourth."""
    kernel = Kernel(
        ("10.1.0.2", "10.9.9.9", "10.9.9.9", "10.1.0.2"),
        ("10.3.0.1", "10.96.0.10", "10.1.0.2", "10.3.0.1"),
        ("10.1.0.3", "10.9.9.9", "10.9.9.9", "10.1.0.3"),
        ("10.4.0.1", "10.4.0.2", "10.4.0.2", "10.4.0.1"),
        ("fd00::2", "fd00::9", "fd00::9", "fd00::2"),
    )
    monkeypatch.setattr(conntrack, "Rtnl", lambda _: kernel)
    assert conntrack.forget(["10.1.0.2", "fd00::2", "0.0.0.3"]) == 3
    assert [data[-4:] for data in kernel.gone] == [bytes([0, 0, 0, number]) for number in (0, 1, 4)]
    assert conntrack.forget(["10.1.0.99"]) == 0
