"""FakeKernel against the real kernel: the same scripts, the same errno, the same state after every step.

What is left out of the comparison: ifindexes, random MACs, carrier; the MACs of slaves in the modes that swap
them (balance-tlb, balance-alb, fail_over_mac); IPv6 routes of slaves; neighbours of bonds and slaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from random import Random
from typing import Protocol

import pytest

from windrow.model.bonding import BondMode
from windrow.model.host import Bond, BridgePort, Link, Observed, Route, StaticNeighbour
from windrow.model.steps import Step
from windrow.model.values import IfName, Mac
from windrow.netlink import links
from windrow.netlink.kernel import Kernel
from windrow.netlink.sock import Rtnl
from windrow.testing.fake import FakeKernel
from windrow.testing.generate import SCRIPT_NICS, random_script

SCRIPTS, STEPS = 90, 40
CHOSEN_MACS = ("02:00:00:00:", "02:ad:00:00:", "00:00:00:00:00:00")


class Ns(Protocol):
    kernel: Kernel
    rtnl: Rtnl


NewNs = Callable[[], Ns]


@pytest.mark.parametrize("block", range(3))
def test_scripts_end_the_same_way_on_both(new_ns: NewNs, block: int) -> None:
    accepted = refused = 0
    for seed in range(block * SCRIPTS // 3, (block + 1) * SCRIPTS // 3):
        for code in _run_both(new_ns(), seed):
            accepted, refused = accepted + (code == 0), refused + (code != 0)
    print(f"certification: {accepted} steps done alike, {refused} refused alike")
    assert accepted > SCRIPTS / 3 * STEPS / 3
    assert refused > SCRIPTS / 3 * STEPS / 5


def _run_both(ns: Ns, seed: int) -> Iterator[int]:
    """The errno of every step, after both were found to agree on it and on what it left."""
    fake = FakeKernel()
    for number, nic in enumerate(SCRIPT_NICS):
        mac = f"02:00:00:00:00:{number + 1:02x}"
        ns.rtnl.run(links.create(nic, "dummy", mac=mac))
        fake.add_nic(nic, mac=mac, kind="dummy")
    history: list[str] = []
    for step in random_script(Random(seed), STEPS):
        ours, theirs = fake.run([step]), ns.kernel.run([step])
        codes = [failure.errno if failure else 0 for failure in (theirs, ours)]
        history.append(f"{step.link}: {_said(step)} -> {codes[0]}")
        differences = [] if codes[0] == codes[1] else [f"errno: kernel {codes[0]}, fake {codes[1]}"]
        differences += _differences(ns.kernel.observe(), fake.observe())
        assert not differences, "\n".join([f"seed {seed}", *history, *differences])
        yield codes[0]


def _said(step: Step) -> str:
    return ", ".join(p for p in str(step.action).split(", ") if not p.endswith("=None"))


def _differences(real: Observed, fake: Observed) -> Iterator[str]:
    theirs, ours = _links(real), _links(fake)
    if theirs.keys() != ours.keys():
        yield f"links: kernel {sorted(theirs)}, fake {sorted(ours)}"
        return
    for name, link in theirs.items():
        for field in (f for f in fields(link) if f.compare):  # details and settings the fake one has only where given
            values = getattr(link, field.name), getattr(ours[name], field.name)
            if values[0] != values[1]:
                yield f"{name} {field.name}: kernel {values[0]}, fake {values[1]}"
        if real.runtime[name].group != fake.runtime[name].group:
            yield f"{name}: group"
    if _routes(real) != _routes(fake):
        yield f"routes: only kernel {_routes(real) - _routes(fake)}, only fake {_routes(fake) - _routes(real)}"


def _links(observed: Observed) -> dict[IfName, Link]:
    return {
        name: replace(link, mac=_mac(observed, link), port=_port(link), neighbours=_neighbours(observed, link))
        for name, link in observed.state.links.items()
        if name in SCRIPT_NICS or link.kind in ("bond", "bridge", "vlan")
    }


def _neighbours(observed: Observed, link: Link) -> frozenset[StaticNeighbour]:
    """A bond sets the MAC addresses of its slaves and its own at many moments, and each forgets them."""
    master = observed.state.links.get(IfName(link.master or ""))
    bonded = any(one is not None and isinstance(one.spec, Bond) for one in (link, master))
    return frozenset() if bonded else link.neighbours


def _port(link: Link) -> BridgePort | None:
    """A port forwards some time after it has carrier: that is compared where it is waited for."""
    return replace(link.port, forwarding=None) if link.port else None


def _mac(observed: Observed, link: Link) -> Mac:
    master = observed.state.links.get(IfName(link.master or ""))
    if master is not None and isinstance(master.spec, Bond) and _swaps(master.spec):
        return Mac("a slave's")
    return Mac(link.mac if link.mac and link.mac.startswith(CHOSEN_MACS) else "random")


def _swaps(bond: Bond) -> bool:
    if bond.mode is BondMode.ACTIVE_BACKUP:
        return bond.fail_over_mac == "follow"
    return bond.mode in (BondMode.BALANCE_TLB, BondMode.BALANCE_ALB)


def _routes(observed: Observed) -> frozenset[Route]:
    def of_a_slave(route: Route) -> bool:
        link = observed.state.links[route.dev or IfName("lo")]
        master = observed.state.links.get(IfName(link.master or ""))
        return ":" in route.dst and master is not None and isinstance(master.spec, Bond)

    return frozenset(r for r in observed.state.routes if not of_a_slave(r))
