"""Whatever a switch is to be: the whole makes it so, a delta leads from one to another, and the inverses back.

The switches are those of tests/unit/switchmachines.py, which refuse what the systems refuse.
"""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.switchmachines import MACHINES, Machine, wanted

from windrow.model.evidence import Leg
from windrow.model.values import IfName, VidSet
from windrow.switches.config import Interface, SwitchChange, SwitchConfig, change, nothing
from windrow.switches.systems import SYSTEMS
from windrow.switches.text import beside, document_of, statements
from windrow.switches.wanted import Channel

PORTS = tuple(f"e{n}" for n in range(1, 6))


@st.composite
def interfaces(draw: st.DrawFn, system: str) -> tuple[Interface, ...]:
    """Of the five ports: some in a channel of two or three, some alone, some unused."""
    found: list[Interface] = []
    left = list(draw(st.permutations(PORTS)))
    kinds = [Channel.NONE, Channel.LACP, *([Channel.STATIC] if SYSTEMS[system].static else [])]
    for number in draw(st.permutations((1, 2, 40)))[: draw(st.integers(0, 3))]:
        channel = draw(st.sampled_from(kinds))
        count = 1 if channel is Channel.NONE else draw(st.integers(1, 3))
        ports, left = left[:count], left[count:]
        if not ports:
            break
        native = draw(st.sampled_from((0, 0, 50, 100)))
        tagged = VidSet.of(draw(st.sets(st.sampled_from((50, 100, 200, 201, 202, 300))))) - VidSet.of([native])
        found.append(
            Interface(
                name=ports[0] if channel is Channel.NONE else SYSTEMS[system].channel.format(number),
                members=tuple(sorted(ports)),
                wanted_by=f"n{number}/oob",
                legs=tuple(Leg(f"n{number}", IfName(port)) for port in sorted(ports)),
                channel=channel,
                number=0 if channel is Channel.NONE else number,
                fast=channel is Channel.LACP and draw(st.booleans()),
                tagged=tagged,
                native=native,
                mtu=draw(st.sampled_from((1500, 9000))),
            )
        )
    return tuple(found)


def switch(system: str, made: tuple[Interface, ...]) -> SwitchConfig:
    vids = {vid for i in made for vid in i.vids}
    return SwitchConfig(name="s", system=system, vlans={v: f"vlan{v}" for v in sorted(vids)}, interfaces=made)


def tell(machine: Machine, one: SwitchChange) -> None:
    if one.none:
        return
    template = (files("windrow.switches") / "templates" / f"{one.after.system}.j2").read_text()
    document = document_of(one)
    text = statements(document, template, "built-in")
    try:
        machine.told(text, beside(document))
        assert machine.carries() == wanted(one.after)
    except (AssertionError, KeyError) as error:
        raise AssertionError(f"{error!r} after\n{text}") from error


@pytest.mark.parametrize("system", SYSTEMS)
@settings(max_examples=40)
@given(data=st.data())
def test_there_and_back(system: str, data: st.DataObject) -> None:
    before, after = (switch(system, data.draw(interfaces(system))) for _ in range(2))
    machine = MACHINES[system](system, PORTS)
    tell(machine, change(nothing(before), before))
    tell(machine, change(before, after))
    tell(machine, change(before, after).inverse())
    tell(machine, change(nothing(before), before).inverse())
