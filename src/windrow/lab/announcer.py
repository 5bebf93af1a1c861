"""The lab's switches tell of themselves by LLDP, each in its habit, on every port that is up.

What they say of a port is what the kernel has of it at that moment: whatever is broken on a switch shows here, too.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice

from windrow.frames import lldp
from windrow.lab.scenario import Announces, End, Switch, mac_of
from windrow.model.evidence import Aggregation, Identity, Kind, SwitchPort
from windrow.model.host import Bond, Bridge, Observed, PortVlans
from windrow.model.problems import WindrowError
from windrow.model.values import IfName, Vid
from windrow.netlink import netns
from windrow.netlink.kernel import Kernel

EVERY_S = 2.0
"""A real one does so every 30 s, and every second after a link came up (IEEE 802.1AB §9.2.5.19, fast start)."""
HOLD_S = 120
TEN = 10
_AROUND_MTU = 22
"""Header, a tag and the check sequence: what the maximum frame size has beside the MTU."""
_DESCRIPTIONS = {Announces.TEN: f"{lldp.TEN_AT_MOST} RouterOS 7.16, a switch of the lab"}


class Announcer:
    """One thread for all switches of a lab that announce; it ends when `close` is called."""

    def __init__(self, switches: Mapping[Switch, int]) -> None:
        """By switch: an fd of its network namespace. Raises KernelError."""
        self._stop = threading.Event()
        self._kernels = {switch: Kernel(fd) for switch, fd in switches.items()}
        self._sockets = {
            switch: netns.opened_in(fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            for switch, fd in switches.items()
        }
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for kernel in self._kernels.values():
            kernel.close()
        for one in self._sockets.values():
            one.close()

    def _run(self) -> None:
        while True:
            for switch, kernel in self._kernels.items():
                with suppress(WindrowError):  # links come and go: the next look has them
                    self._announce(switch, kernel.observe())
            if self._stop.wait(EVERY_S):
                return

    def _announce(self, switch: Switch, seen: Observed) -> None:
        for port in (port.name for port in switch.ports):
            runtime = seen.runtime.get(port)
            if runtime is None or not runtime.carrier:
                continue
            frame = lldp.to_neighbour(mac_of(End(switch.name, port)), pdu_of(switch, port, seen))
            with suppress(OSError):  # pulled a moment ago
                self._sockets[switch].sendto(frame, (port, lldp.ETHERTYPE))


def pdu_of(switch: Switch, name: IfName, seen: Observed) -> bytes:
    """What the switch says on a port, in its habit. Where all VLANs do not fit into a frame it names none, as lldpd
    and Dell OS10 do."""
    link = seen.state.links[name]
    master = seen.state.links.get(IfName(link.master or ""))
    group = master if master is not None and isinstance(master.spec, Bond) else None
    member = group or link
    vlans = member.vlans if member.vlans is not None else PortVlans()
    aggregate = seen.runtime[group.name].ifindex if group is not None else 0
    told = _vlans(switch.announces, vlans)

    def port(told: Mapping[Vid, str]) -> SwitchPort:
        return SwitchPort(
            source=Kind.LLDP,
            chassis=Identity(kind="mac", text=mac_of(End(switch.name, IfName("br0")))),
            port=Identity(kind="ifname", text=name),
            system=switch.name,
            system_description=_DESCRIPTIONS.get(switch.announces, "a switch of the lab"),
            is_bridge=any(isinstance(one.spec, Bridge) for one in seen.state.links.values()),
            pvid=vlans.pvid or 0,
            vlans=told,
            aggregation=Aggregation(capable=True, active=group is not None, port_id=aggregate),
            max_frame=(link.mtu or 1500) + _AROUND_MTU,
            hold_s=HOLD_S,
        )

    return _fitting(port, told)


def _fitting(port: Callable[[Mapping[Vid, str]], SwitchPort], told: Mapping[Vid, str]) -> bytes:
    try:
        return lldp.encode(port(told))
    except ValueError:
        return lldp.encode(port({}))


def _vlans(habit: Announces, vlans: PortVlans) -> dict[Vid, str]:
    named = {vid: f"vlan{vid}" for vid in vlans.all}
    match habit:
        case Announces.ALL:
            return named
        case Announces.TEN:
            return dict(islice(named.items(), TEN))
        case _:
            return {}
