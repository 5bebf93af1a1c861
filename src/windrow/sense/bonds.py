"""LACP of each leg, as this kernel has it: what netlink says, and what only /proc/net/bonding does.

Per leg netlink has the aggregator and both states, and in newer kernels whether one side waits for the other for too
long (churn). The partner's system, key and port are in /proc/net/bonding/BOND, which shows them to who has
CAP_NET_ADMIN in the first user namespace (`bond_info_show_slave`), and to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windrow.model.evidence import LacpSide
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, parse_mac

_CHURN = 1
"""AD_CHURN of include/net/bond_3ad.h; 0 is that it watches, 2 that all is well."""
_SLAVE, _ACTOR, _PARTNER = "Slave Interface", "details actor lacp pdu", "details partner lacp pdu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcLeg:
    """What the file says of one leg; None: it does not."""

    actor: LacpSide | None = None
    partner: LacpSide | None = None
    churned: bool | None = None
    """The kernel waits for its partner's agreement for over a minute: `Partner Churn State`, or `Actor`."""


def churned(slave: Mapping[str, Any], known: ProcLeg) -> bool | None:
    """What netlink says of it (IFLA_BOND_SLAVE_AD_CHURN_*), or else the file; None: neither does."""
    states = [slave[name] for name in ("actor_churn", "partner_churn") if name in slave]
    return _CHURN in states if states else known.churned


def read_proc(bond: IfName) -> str:
    """The file of this thread's network namespace; empty where it cannot be read."""
    try:
        with open(f"/proc/thread-self/net/bonding/{bond}", encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def parse_proc(text: str) -> Mapping[IfName, ProcLeg]:
    """By the name of the leg. What is not as it should be is left out."""
    found: dict[IfName, ProcLeg] = {}
    for block in text.split(f"{_SLAVE}: ")[1:]:
        name, _, rest = block.partition("\n")
        found[IfName(name.strip())] = _leg(rest)
    return found


def _leg(text: str) -> ProcLeg:
    values: dict[str, dict[str, str]] = {"": {}}
    part = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if line and not line[0].isspace():
            part = key if key in (_ACTOR, _PARTNER) else ""
            values.setdefault(part, {})
        values[part][key.strip()] = value.strip()
    churn = [values[""].get(f"{side} Churn State") for side in ("Actor", "Partner")]
    return ProcLeg(
        actor=_side(values.get(_ACTOR, {})),
        partner=_side(values.get(_PARTNER, {})),
        churned=None if churn == [None, None] else "churned" in churn,
    )


def _side(said: Mapping[str, str]) -> LacpSide | None:
    """`port key` is the actor's word for it, `oper key` the partner's."""
    try:
        return LacpSide(
            system=parse_mac(said["system mac address"]),
            key=int(said["port key"] if "port key" in said else said["oper key"]),
            port=int(said["port number"]),
            state=int(said["port state"]),
            system_priority=int(said["system priority"]),
            port_priority=int(said["port priority"]),
        )
    except (KeyError, ValueError):
        return None
