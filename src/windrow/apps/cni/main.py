"""The plugin's process where no server answers: reads a call, does it, prints the answer.

A container runtime starts it anew for every call. Most of its time is loading Python's modules, so nothing is
imported here that not every call needs.
"""

from __future__ import annotations

import gc
import os
import sys

from windrow.apps.cni import early

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CHUNK = 65536
SWITCH_S = 0.0002
"""So long a thread may keep the interpreter when another one wants it (sys.setswitchinterval: 5 ms): the one that has
an IPAM plugin at work must get on while the port is made."""


def main() -> NoReturn:
    """The call is in the environment and on standard input; never returns."""
    gc.disable()  # the process ends before there is anything to collect
    early.spare()
    sys.setswitchinterval(SWITCH_S)
    command = os.environ.get("CNI_COMMAND", "")
    if not command:
        os.write(2, _about().encode())
        os._exit(0)
    from windrow.apps.cni.dispatch import answer, unreadable
    from windrow.apps.cni.host import Host

    try:
        config = b"" if command == "VERSION" else _read()
    except OSError as error:
        found = unreadable(error)
    else:
        found = answer(dict(os.environ), config, Host.of_environment(os.environ))
    _print(found.stdout.encode())
    sys.stderr.flush()
    os._exit(found.exit)  # what is open ends with the process: no time for tidying


def _about() -> str:
    from windrow import __version__
    from windrow.port.result import VERSIONS

    return f"Windrow CNI plugin {__version__}\nCNI protocol versions supported: {', '.join(VERSIONS)}\n"


def _read() -> bytes:
    """All of standard input. Raises OSError."""
    return b"".join(iter(lambda: os.read(0, _CHUNK), b""))


def _print(data: bytes) -> None:
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:  # nobody listens any more
        pass


if __name__ == "__main__":
    main()
