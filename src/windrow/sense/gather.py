"""One look of one node, by a process that has no agent: it listens and asks, and ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from windrow.model.evidence import NodeEvidence
from windrow.netlink import netns
from windrow.sense.asking import Question
from windrow.sense.manners import Manners
from windrow.sense.senses import Senses

LEAST_S = 3.0
"""Counters of less say nothing."""
_STEP_S = 0.25


def gather(
    node: str,
    seconds: float,
    questions: Sequence[Question] = (),
    place: netns.Netns = None,
    manners: Manners | None = None,
) -> NodeEvidence:
    """For so many seconds; for less, and `LEAST_S` at least, where each NIC has heard its neighbour and all questions
    had their time. Raises KernelError."""
    begun = time.monotonic()
    with Senses(node, place, manners=manners) as senses:
        senses.ask(questions)
        while (now := time.monotonic()) < begun + seconds and not (now >= begun + LEAST_S and senses.settled):
            senses.listen(min(begun + seconds, now + _STEP_S))
        return senses.look()


_SENSED = ("speed", "full_duplex", "mtu", "driver", "firmware", "neighbours", "lacp", "counters")


def joined(probed: NodeEvidence, sensed: NodeEvidence) -> NodeEvidence:
    """What the probes of a node found and what its senses did, as one; of the moment of the later one."""
    nics = dict(sensed.nics)
    for name, nic in probed.nics.items():
        ours = sensed.nics.get(name)
        if ours is not None:
            # In a channel all legs are at work: that one of them is in the aggregator does not make it the active one.
            active = ours.active if nic.active is not None else None
            nic = replace(nic, active=active, **{field: getattr(ours, field) for field in _SENSED})
        nics[name] = nic
    return replace(
        probed,
        at=max(probed.at, sensed.at),
        nics=nics,
        vlans=(*probed.vlans, *sensed.vlans),
        absent=(*probed.absent, *sensed.absent),
    )
