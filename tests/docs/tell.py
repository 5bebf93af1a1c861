"""A switch of the lab tells of itself by LLDP, as one of another maker does: `tell.py SWITCH`, in its namespace."""

from __future__ import annotations

import socket
import sys
import time

from windrow.frames import lldp
from windrow.model.evidence import Aggregation, Identity, Kind, SwitchPort
from windrow.model.values import Mac, Vid

EVERY_S = 1.0
PORT = "p1"


def says(name: str, port: str, **more: object) -> SwitchPort:
    chassis, named = Identity(kind="local", text=name), Identity(kind="ifname", text=port)
    return SwitchPort(source=Kind.LLDP, chassis=chassis, port=named, system=name, is_bridge=True, hold_s=120, **more)  # type: ignore[arg-type]


def vlans(*vids: int) -> dict[Vid, str]:
    return {Vid(vid): f"vlan{vid}" for vid in vids}


SWITCHES = {
    "leaf1": says(
        "leaf1",
        "Ethernet1/7",
        pvid=1,
        vlans=vlans(1, 50, 100),
        aggregation=Aggregation(capable=True, active=True, port_id=12),
    ),
    "leaf2": says("leaf2", "Ethernet1/7", pvid=1, aggregation=Aggregation(capable=True, active=False, port_id=0)),
    "access": says(
        "access",
        "ether5",
        system_description=f"{lldp.TEN_AT_MOST} RouterOS 7.16",
        pvid=0,
        vlans=vlans(*range(100, 110)),
    ),
}

if __name__ == "__main__":
    frame = lldp.to_neighbour(Mac("02:00:00:00:00:77"), lldp.encode(SWITCHES[sys.argv[1]]))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        while True:
            sender.sendto(frame, (PORT, lldp.ETHERTYPE))
            time.sleep(EVERY_S)
