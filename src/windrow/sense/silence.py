"""Why something was not heard: each reason says what to do, where there is something."""

from __future__ import annotations

from collections.abc import Mapping

from windrow.model.evidence import Kind, NicEvidence

USUAL_S = 30.0
"""How often a switch tells of itself by LLDP, unless it is told otherwise (IEEE 802.1AB §9.2.5.7); by CDP: 60 s."""
_FIRMWARE = {
    "i40e": "; try `ethtool --set-priv-flags {nic} disable-fw-lldp on`",
    "ice": "; try `ethtool --set-priv-flags {nic} fw-lldp-agent off`",
    "bnxt_en": "",
    "qede": "",
}
"""Drivers of cards whose firmware may take LLDP for itself, and what tells it not to, where that is known."""


def no_neighbour(one: NicEvidence, listened_s: float, unreadable: Mapping[Kind, str]) -> str:
    """`unreadable`: what came and could not be read, in words."""
    if not one.carrier:
        return f"{one.name} has no carrier"
    if unreadable:
        said = "; ".join(f"{kind}: {words}" for kind, words in unreadable.items())
        return f"what was heard on {one.name} cannot be read ({said})"
    said = f"no LLDP heard on {one.name} in {listened_s:.0f} s"
    if one.driver in _FIRMWARE:
        hint = _FIRMWARE[one.driver].format(nic=one.name)
        return f"{said}: the driver {one.driver} may keep LLDP in its firmware{hint}"
    if listened_s < USUAL_S:
        return f"{said}: switches tell of themselves every {USUAL_S:.0f} s; listen for longer"
    return f"{said}: the switch sends none on this port, or something between does not pass it on"


def no_partner(one: NicEvidence) -> str:
    return (
        f"the LACP partner of {one.name} is known from its frames alone: /proc/net/bonding tells it only with "
        "CAP_NET_ADMIN in the host's own user namespace"
    )
