"""The lock of a host: shared by those who make ports, alone for a plan."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import pytest

from windrow.netlink.errors import KernelError
from windrow.netlink.lock import locked


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (False, False)])
def test_alone_is_alone(tmp_path: Path, first: bool, second: bool) -> None:
    path = tmp_path / "lock"
    with locked(path, shared=first):
        with pytest.raises(KernelError) as caught, locked(path, shared=second, timeout_s=0.03):
            pass
        assert caught.value.errno == errno.EAGAIN
    with locked(path, shared=second, timeout_s=0):
        pass


def test_shared_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, shared=True), locked(str(path), shared=True, timeout_s=0), locked(path, shared=True):
        pass


def test_the_directory_is_made(tmp_path: Path) -> None:
    path = tmp_path / "run/windrow/lock"
    with locked(path, shared=True, timeout_s=1):
        assert path.exists()


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = threading.Event()

    def hold() -> None:
        with locked(path):
            held.set()
            time.sleep(0.1)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with locked(path, shared=True, timeout_s=5):
        pass
    thread.join()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(KernelError) as caught, locked(tmp_path):
        pass
    assert caught.value.errno == errno.EISDIR
