"""What goes wrong with programs of others.

ServiceError      one could not be started, ended, or did not do what it was asked: which one, why, what to do
└── QmpError      QEMU refused a command, or its monitor does not answer
"""

from __future__ import annotations

from windrow.model.problems import WindrowError


class ServiceError(WindrowError):
    """`program`: its name ("dnsmasq"); `reason`: its own words, where it had some."""

    def __init__(self, program: str, reason: str, hint: str = "") -> None:
        self.program, self.reason, self.hint = program, reason, hint
        text = f"{program}: {reason}"
        super().__init__(f"{text}\n    hint: {hint}" if hint else text)


class QmpError(ServiceError):
    """`kind`: QEMU's class of the error (`GenericError`, `DeviceNotFound`), empty where it said nothing."""

    def __init__(self, reason: str, *, kind: str = "", hint: str = "") -> None:
        self.kind = kind
        super().__init__("QEMU", reason, hint)
