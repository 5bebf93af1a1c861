"""The switch systems: what each can and cannot do. Statements are in the templates; here is what no template may write.

Sources: the vendors' public syntax as in docs/user/switches.md. None of it was run on such a switch, but `linux`.
"""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.lazy import dataclass
from windrow.model.values import VidSet


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """`mtu`: what is written for jumbo frames, in the system's own way of counting; None: no statement is needed.
    `reserved`: VIDs that it keeps for itself. `announces`: words by which its LLDP description is known."""

    name: str
    title: str
    file: str
    """What the statements are called in a file name's ending."""
    channel: str
    """A channel's name; `{}` is its number."""
    channels: int = 4096
    """The highest number."""
    static: bool = True
    """Whether it has channels without LACP."""
    mtu: int | None = 9216
    reserved: VidSet = VidSet()
    announces: tuple[str, ...] = ()
    proven: bool = False
    """Whether its statements were run, and frames went through."""


SYSTEMS = {
    system.name: system
    for system in (
        System(
            name="eos",
            title="Arista EOS",
            file="eos",
            channel="Port-Channel{}",
            channels=2000,
            mtu=None,
            announces=("Arista",),
        ),
        System(
            name="nxos",
            title="Cisco NX-OS",
            file="nxos",
            channel="port-channel{}",
            reserved=VidSet.span(3968, 4094),
            announces=("NX-OS", "Nexus"),
        ),
        System(
            name="junos",
            title="Juniper Junos (ELS)",
            file="set",
            channel="ae{}",
            channels=127,
            announces=("Juniper", "Junos"),
        ),
        System(
            name="sonic",
            title="SONiC (community)",
            file="sh",
            channel="PortChannel{}",
            channels=9999,
            static=False,
            mtu=9100,
            reserved=VidSet.of([1]),
            announces=("SONiC",),
        ),
        System(
            name="nvue",
            title="NVIDIA Cumulus (NVUE)",
            file="nv",
            channel="bond{}",
            announces=("Cumulus",),
        ),
        System(
            name="dell-os10",
            title="Dell OS10",
            file="os10",
            channel="port-channel{}",
            channels=999,
            reserved=VidSet.of([4094]),
            announces=("OS10", "Dell EMC"),
        ),
        System(
            name="routeros",
            title="MikroTik RouterOS 7",
            file="rsc",
            channel="bond{}",
            announces=("MikroTik", "RouterOS"),
        ),
        System(
            name="linux",
            title="Linux bridge",
            file="sh",
            channel="po{}",
            mtu=9216,
            announces=("Linux",),
            proven=True,
        ),
        System(
            name="openconfig",
            title="OpenConfig (as JSON)",
            file="json",
            channel="Port-Channel{}",
        ),
    )
}


def guess(description: str) -> System | None:
    """Which system calls itself so in LLDP's system description; the most telling word wins, `Linux` last."""
    said = description.lower()
    return next((s for s in SYSTEMS.values() for word in s.announces if word.lower() in said), None)


def names() -> Iterator[str]:
    yield from SYSTEMS
