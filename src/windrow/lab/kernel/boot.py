"""Which kernel: User-Mode Linux, or the host's own."""

from __future__ import annotations

from windrow.lab.errors import LabError
from windrow.lab.kernel import native, uml
from windrow.lab.kernel.machine import Guest, Log, Machine

KERNELS = ("uml", "native")


def boot(kind: str, guest: Guest, *, memory: str = uml.MEMORY, log: Log | None = None) -> Machine:
    """`memory`: of User-Mode Linux. Raises LabError, BootError."""
    machine = uml.boot(guest, memory=memory, log=log) if kind == "uml" else native.boot(guest, log=log)
    if missing := machine.about.get("missing"):
        machine.close()
        raise LabError(
            f"this kernel has no {', no '.join(missing)}",
            hint="use --kernel uml" if kind == "native" else "apt-get install --reinstall user-mode-linux",
        )
    return machine
