"""Who wants the host's lock alone gets it, while others come and go that share it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from windrow.netlink.lock import locked


def test_one_is_not_kept_out_by_many(tmp_path: Path) -> None:
    path, stop = tmp_path / "lock", threading.Event()
    rounds = 0

    def share() -> None:
        nonlocal rounds
        while not stop.is_set():
            with locked(path, shared=True, timeout_s=10):
                time.sleep(0.02)
                rounds += 1

    threads = [threading.Thread(target=share) for _ in range(16)]
    for thread in threads:
        thread.start()
        time.sleep(0.002)  # so that they do not all let go at once
    waited = []
    try:
        for _ in range(5):
            began = time.monotonic()
            with locked(path, timeout_s=5):
                waited.append(time.monotonic() - began)
                before = rounds
                time.sleep(0.03)
                assert rounds == before
            time.sleep(0.05)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert rounds > 16
    assert max(waited) < 1
