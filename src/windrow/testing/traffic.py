"""Which links carry frames, and what a step took from them: the monitor by which "hitless" is asserted."""

from __future__ import annotations

from windrow.model.bonding import BondMode
from windrow.model.host import PortVlans
from windrow.model.lazy import dataclass
from windrow.model.steps import Step
from windrow.model.values import VidSet
from windrow.testing.machine import Device, Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A link that carries frames, and all that its users would notice a change of."""

    paths: frozenset[str] = frozenset()
    """A bond: the slaves that carry its frames; a bridge: its ports that do."""
    within: str = ""
    mac: str = ""
    mtu: int = 0
    filtering: bool | None = None
    pvid: int | None = None
    tagged: VidSet = VidSet()
    untagged: VidSet = VidSet()
    addrs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """`step` cost frames on `link`. `vids`: the ones concerned, where `why` speaks of VLANs."""

    step: Step
    link: str
    why: str
    vids: VidSet = VidSet()

    def __str__(self) -> str:
        return f"{self.link}: {self.why}{f' {self.vids}' if self.vids else ''}"


def lanes(machine: Machine) -> dict[str, Lane]:
    """The links that carry frames now, by name."""
    return {name: _lane(machine, d) for name, d in machine.devices.items() if _carries(machine, d)}


def _carries(machine: Machine, device: Device) -> bool:
    if not machine.carrier(device):
        return False
    if device.addrs or any(v.up for v in machine.vlans_on(device)):
        return True
    if device.kind in ("bridge", "vlan"):
        return True
    if device.master is None:
        return False
    if device.master.bridge is not None:
        filtering = device.master.bridge.vlan_filtering
        return device.master.up and (not filtering or bool(device.vlans and device.vlans.all))
    return _carries(machine, device.master) and device.name in _paths(machine, device.master)


def _paths(machine: Machine, device: Device) -> frozenset[str]:
    if device.bond is not None:
        able = {s.name for s in machine.within(device) if machine.slave_up(s)}
        one = device.bond.mode is BondMode.ACTIVE_BACKUP
        return frozenset({device.active.name} & able if one and device.active else able)
    return frozenset()


def _lane(machine: Machine, device: Device) -> Lane:
    vlans = device.self_vlans or device.vlans or PortVlans()
    slave = device.master is not None and device.master.bond is not None
    return Lane(
        paths=_paths(machine, device),
        within=device.master.name if device.master else "",
        mac="" if slave else device.mac,
        mtu=device.mtu,
        filtering=device.bridge.vlan_filtering if device.bridge else None,
        pvid=vlans.pvid,
        tagged=vlans.tagged,
        untagged=vlans.untagged,
        addrs=frozenset(device.addrs),
    )


def interruptions(step: Step, before: dict[str, Lane], after: dict[str, Lane]) -> list[Interruption]:
    """What the users of the links that carried frames before the step have lost by it."""
    found: list[Interruption] = []
    for link, was in before.items():
        now = after.get(link)
        if now is None:
            found.append(Interruption(step=step, link=link, why="carries nothing any more"))
            continue
        found += (Interruption(step=step, link=link, why=why, vids=vids) for why, vids in _losses(was, now))
    return found


def _losses(was: Lane, now: Lane) -> list[tuple[str, VidSet]]:
    none = VidSet()
    losses = [
        ("a path is gone", none, bool(was.paths - now.paths)),
        ("is in another master", none, was.within != now.within),
        ("MAC changed", none, was.mac != now.mac),
        ("MTU lowered", none, now.mtu < was.mtu),
        ("VLAN filter switched", none, was.filtering != now.filtering),
        ("PVID changed", none, was.pvid is not None and was.pvid != now.pvid),
        ("address gone", none, bool(was.addrs - now.addrs)),
        ("lost VLANs", was.tagged - now.tagged, bool(was.tagged - now.tagged)),
        ("lost untagged VLANs", was.untagged - now.untagged, bool(was.untagged - now.untagged)),
    ]
    return [(why, vids) for why, vids, lost in losses if lost]
