"""Who answers whom: asked by raw sockets where we are, and inside a guest by its own ping and arping.

A guest in a bridge network asks by ARP as well, out of the card that is meant: there is an answer if frames get there
and back, whatever the routing tables on the way say. In the pod network everything lies behind a router, and only ping
can ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from windrow.lab import probe
from windrow.lab.domains import routed
from windrow.lab.scenario import Vm, VmNic
from windrow.lab.world import World
from windrow.model.lazy import dataclass

_ANSWER = re.compile(r"^(ping|arp) (\S+) (\S+) ?(\S*)$")

_SCRIPT = """\
asks() {{
    n=1
    until out=$(ping -q -c 1 -W 2 -I $1 $2 2>&1) || [ $n -ge {tries} ]; do n=$((n + 1)); done
    case "$out" in *' = '*) echo "ping $1 $2 ${{out##* = }}" ;; esac
}}
arps() {{
    arping -q -f -c 2 -w 2 -I $1 $2 >/dev/null 2>&1 && echo "arp $1 $2"
}}
{asks}
wait
"""
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Heard:
    """`ms`: of the ping, None where only ARP was answered."""

    ms: float | None

    @property
    def ping(self) -> bool:
        return self.ms is not None


def ask(world: World, pairs: Iterable[Pair], *, patience_s: float, arp: bool = False) -> dict[Pair, Heard | None]:
    """Each first one asks each second one, all at once. None: no answer. Raises LabError.

    `patience_s`: how long answers are waited for. `arp`: guests in bridge networks ask by ARP, too.
    """
    wanted = [pair for pair in pairs if pair[0] != pair[1]]
    machines = {pair[0] for pair in wanted if world.scenario.vm_nic(pair[0])}
    ours = [pair for pair in wanted if pair[0] not in machines]
    stations = [(world.station(a), world.station(b)) for a, b in ours]
    answers = {
        pair: Heard(ms) if ms is not None else None for pair, ms in probe.ping(stations, deadline_s=patience_s).items()
    }
    theirs = [pair for pair in wanted if pair[0] in machines]
    return answers | _ask_guests(world, theirs, tries=max(1, round(patience_s / 2)), arp=arp)


def _ask_guests(world: World, pairs: list[Pair], *, tries: int, arp: bool) -> dict[Pair, Heard | None]:
    """A script for each guest, and in it a process for each question."""
    found: dict[Pair, Heard | None] = dict.fromkeys(pairs)
    asks: dict[str, list[str]] = {}
    back: dict[tuple[str, str, str], list[Pair]] = {}
    for pair in pairs:
        vm, nic = _card(world, pair[0])
        address = world.station(pair[1]).address
        if not address:
            continue
        for word in ("asks", "arps") if arp and not routed(nic) else ("asks",):
            asks.setdefault(vm.name, []).append(f"{word} {nic.interface} {address} &")
        back.setdefault((vm.name, nic.interface, address), []).append(pair)
    scripts = {name: _SCRIPT.format(tries=tries, asks="\n".join(dict.fromkeys(lines))) for name, lines in asks.items()}
    for name, answer in world.fleet.run_all(scripts, timeout_s=60.0 + 3 * tries).items():
        for (how, interface, address), ms in read_answers(answer.output).items():
            for pair in back.get((name, interface, address), ()):
                if how == "ping" or found[pair] is None:
                    found[pair] = Heard(ms)
    return found


def read_answers(text: str) -> Mapping[tuple[str, str, str], float | None]:
    """(ping or arp, interface, address) -> the fastest answer of ping, in milliseconds."""
    found: dict[tuple[str, str, str], float | None] = {}
    for line in text.splitlines():
        if match := _ANSWER.match(line.removesuffix(" ms")):
            times = match[4].split("/")
            found[match[1], match[2], match[3]] = float(times[0]) if times[0] else None
    return found


def _card(world: World, station: str) -> tuple[Vm, VmNic]:
    found = world.scenario.vm_nic(station)
    assert found is not None
    return found
