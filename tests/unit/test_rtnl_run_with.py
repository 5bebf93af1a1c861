"""A message that keeps whoever sends it waiting, and what is done meanwhile. The kernel is played by a socket."""

from __future__ import annotations

import errno
import threading

import pytest

from windrow.netlink import sock
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import NLMSG_ERROR, RTM_DELLINK, Message, Rtnl

MESSAGE = Message(RTM_DELLINK, b"\0" * 16, doing="delete link p1")
PATIENCE_S = 20.0


class Kernel:
    """Takes a message, and keeps its sender until something was done meanwhile."""

    def __init__(self, error: int = 0, refuses: int = 0) -> None:
        self.done = threading.Event()
        self.has_it = threading.Event()
        self._error, self._refuses = error, refuses
        self._answers: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.has_it.set()
        assert self.done.wait(PATIENCE_S), "nothing was done while it had the message"
        if self._refuses:
            raise OSError(self._refuses, "")
        sequence = sock._HEADER.unpack_from(data)[3]
        body = sock._ERRNO.pack(-self._error) + data[:16]
        self._answers.append(sock._HEADER.pack(16 + len(body), NLMSG_ERROR, 0, sequence, 0) + body)

    def recvmsg(self, *_: int) -> tuple[bytes, list[object], int, None]:
        if not self._answers:
            raise BlockingIOError
        return self._answers.pop(0), [], 0, None

    def meanwhile(self) -> None:
        assert self.has_it.wait(PATIENCE_S)
        self.done.set()


def rtnl(kernel: Kernel) -> Rtnl:
    one = Rtnl.__new__(Rtnl)
    one._sequence, one._socket = 7, kernel  # type: ignore[assignment]
    return one


def test_it_is_done_while_the_kernel_has_the_message() -> None:
    kernel = Kernel()
    rtnl(kernel).run_with(MESSAGE, kernel.meanwhile)
    assert kernel.done.is_set()


@pytest.mark.parametrize("how", [{"error": errno.EBUSY}, {"refuses": errno.EBUSY}], ids=["answered", "not sent"])
def test_what_the_kernel_refuses_is_told(how: dict[str, int]) -> None:
    kernel = Kernel(**how)
    with pytest.raises(KernelError, match="delete link p1") as caught:
        rtnl(kernel).run_with(MESSAGE, kernel.meanwhile)
    assert caught.value.errno == errno.EBUSY


def test_what_fails_meanwhile_is_raised_once_the_kernel_is_done() -> None:
    kernel = Kernel()

    def fail() -> None:
        kernel.meanwhile()
        raise ValueError("no memory")

    one = rtnl(kernel)
    with pytest.raises(ValueError, match="no memory"):
        one.run_with(MESSAGE, fail)
    one.run_with(MESSAGE, lambda: None)  # the answer to the first is still there, and is not taken for this one's
