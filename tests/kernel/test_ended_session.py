"""A process is gone, and its session goes on: what the lab's kernel says of its number."""

from __future__ import annotations

import subprocess

from windrow.services import process


def test_one_that_is_gone_while_its_session_goes_on_is_gone() -> None:
    """Its number is that of its session, so pidfd_open(2) of Linux 6.1 says EINVAL, not ESRCH (`pidfd_create`)."""
    popen = subprocess.Popen(
        ["sh", "-c", "read line; sleep 60 >/dev/null & echo $!"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    leader = process.found(popen.pid)
    said, _ = popen.communicate("go\n")
    left = process.found(int(said))
    try:
        assert leader is not None and process.alive(left)
        assert not process.end(leader, patience_s=0.0)
        assert process.wait_for_end(leader, 0.0)
    finally:
        process.end(left, patience_s=0.0)
