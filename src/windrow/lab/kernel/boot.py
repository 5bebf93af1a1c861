"""Which kernel: User-Mode Linux, a whole one under QEMU, or the host's own (docs/adr/0014-three-kernels.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import indent

from windrow.lab.errors import LabError
from windrow.lab.kernel import native, qemu, uml
from windrow.lab.kernel.machine import Guest, Log, Machine
from windrow.model.lazy import dataclass

KERNELS = ("uml", "qemu", "native")
"""In the order in which `AUTO` tries them."""
AUTO = "auto"

NAMES = {"uml": "User-Mode Linux", "qemu": "QEMU", "native": "this host's kernel"}
_REINSTALL = {
    "uml": "apt-get install --reinstall user-mode-linux",
    "qemu": "`make setup` fetches its kernel and modules anew",
    "native": "use --kernel uml or --kernel qemu",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a lab asks of its kernel. `memory`: a ceiling, as in `768M`. `machines`: whether virtual machines run in it.
    `cluster`: whether it is a Kubernetes, whose kubelets take all control groups for their own.

    `memory` and `cpus` mean nothing to the host's own kernel, which has what it has.
    """

    memory: str = uml.MEMORY
    cpus: int = 1
    machines: bool = False
    cluster: bool = False


def boot(kind: str, guest: Guest, needs: Needs = Needs(), *, log: Log | None = None) -> Machine:
    """One of `KERNELS`, or with `AUTO` the first of them that boots. Raises LabError, BootError.

    In `about`: `lab` is its kind, `instead` says why not an earlier one (kind -> reason in one line).
    """
    if kind != AUTO:
        return _one(kind, guest, needs, log)
    why: dict[str, str] = {}
    for name in KERNELS:
        try:
            machine = _one(name, guest, needs, log)
        except LabError as error:
            why[name] = str(error)
            continue
        machine.about["instead"] = {name: text.partition("\n")[0] for name, text in why.items()}
        return machine
    reasons = "\n".join(f"{NAMES[name]}: {text}" for name, text in why.items())
    raise LabError(f"no kernel for a lab boots here:\n{indent(reasons, '    ')}")


def refuse(kind: str, needs: Needs) -> None:
    """Raises LabError where no kernel of this kind can be such a lab, on any machine. Nothing is started for it."""
    if kind == "qemu" and needs.machines:
        raise LabError(
            "virtual machines are too slow in QEMU without a processor's help (over a minute to their first word)",
            hint="use --kernel uml, or --kernel native",
        )
    if kind == "native" and needs.cluster:
        raise LabError(
            "a kubelet would take this machine's own control groups", hint="use --kernel uml or --kernel qemu"
        )
    if kind == "uml" and needs.cpus > 1:
        raise LabError("User-Mode Linux has one processor", hint="use --kernel qemu for several")


def _one(kind: str, guest: Guest, needs: Needs, log: Log | None) -> Machine:
    refuse(kind, needs)
    machine = _STARTS[kind](guest, needs, log)
    machine.about["lab"] = kind
    if missing := machine.about.get("missing"):
        machine.close()
        raise LabError(f"{NAMES[kind]} has no {', no '.join(missing)}", hint=_REINSTALL[kind])
    return machine


_STARTS: Mapping[str, Callable[[Guest, Needs, Log | None], Machine]] = {
    "uml": lambda guest, needs, log: uml.boot(guest, memory=needs.memory, log=log),
    "qemu": lambda guest, needs, log: qemu.boot(guest, memory=needs.memory, cpus=needs.cpus, log=log),
    "native": lambda guest, needs, log: native.boot(guest, log=log),
}


def described(about: Mapping[str, object]) -> str:
    """Which kernel a lab has, in a few words, from its `about`."""
    how = {"kvm": " with KVM", "tcg": " in software"}.get(str(about.get("accelerator", "")), "")
    return f"{NAMES[str(about['lab'])]}{how}"
