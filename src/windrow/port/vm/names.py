"""The names of the devices between a pod and its guest: KubeVirt's, so that whoever knows them finds them.

The network's name is hashed because it may be longer than an interface's (15 bytes); 11 digits of the hash and
the longest affix (`k6t-`, `-nic`) fill them exactly.
"""

from __future__ import annotations

from windrow.model.lazy import dataclass
from windrow.model.machines import GuestNetwork, MachineSpec
from windrow.model.values import IfName

PRIMARY = IfName("eth0")
_DIGITS = 11
_LABEL_MAX = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class NicNames:
    """`pod`: what the CNI call makes; it is renamed to `renamed`, and then a dummy has that name."""

    pod: IfName
    bridge: IfName
    tap: IfName
    renamed: IfName


def host_name(machine: MachineSpec, name: str) -> str:
    """The guest's: a DNS label, also where the machine's name is more than that (KubeVirt's `SanitizeHostname`)."""
    return machine.hostname or name.partition(".")[0][:_LABEL_MAX]


def pod_ifname(network: GuestNetwork) -> IfName:
    """`eth0` for the pod network and for the NAD in its place, else `pod` and a hash: vlan100 -> pod1dba23260aa."""
    if is_primary(network):
        return PRIMARY
    import hashlib  # slow to load (it loads OpenSSL), and most networks need none of it

    return IfName(f"pod{hashlib.sha256(network.name.encode()).hexdigest()[:_DIGITS]}")


def is_primary(network: GuestNetwork) -> bool:
    return network.on_pod or network.default


def names_of(pod: str) -> NicNames:
    """All of them, by the name in the pod: `pod1dba23260aa` -> k6t-1dba23260aa, tap1dba23260aa, 1dba23260aa-nic."""
    stem = pod.removeprefix("pod")
    tap = "tap0" if pod == PRIMARY else f"tap{stem}"
    return NicNames(pod=IfName(pod), bridge=IfName(f"k6t-{stem}"), tap=IfName(tap), renamed=IfName(f"{stem}-nic"))
