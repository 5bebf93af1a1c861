"""Is it true of virtual machines? What their guests reach, what their taps carry, and what they are left with."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from windrow.frames.ethernet import mac_bytes
from windrow.lab import probe
from windrow.lab.changes import ChangeNode
from windrow.lab.domains import Domains
from windrow.lab.errors import LabError
from windrow.lab.questions import Heard, Pair, ask
from windrow.lab.scenario import ForgedMac, Isolated, Lease, Matrix, Recreate, Scenario, Vm, VmNic
from windrow.lab.verdict import Verdict
from windrow.lab.world import World
from windrow.model.names import bond_of, bridge_of
from windrow.netlink import links
from windrow.port.vm.binding import MASQUERADE_MAC

MATRIX_S = 4.0
"""For every question alike, whether it should be answered or not."""
FORGED = "02:f0:f0:f0:f0:f0"
_SENDS = 2
"""Broadcasts of a guest, one a second: busybox' arping knows no other pace."""


# Who reaches whom ---------------------------------------------------------------------------------


def matrix(check: Matrix, world: World) -> Verdict:
    """What was measured, beside what the manifests say."""
    scenario = world.scenario
    world.fleet.look_again()
    sources = scenario.vm_stations()
    targets = check.targets or (*sources, *_others(scenario))
    pairs = [(a, b) for a in sources for b in targets if not _same_machine(a, b)]
    domains = Domains(scenario)
    expected = {pair: domains.expected(*pair) for pair in pairs}
    answers = ask(world, pairs, patience_s=MATRIX_S, arp=True)
    # So many questions at once are much for one processor that others use, too: who is missed is asked once more.
    missed = [pair for pair in pairs if expected[pair] and _fault(pair, answers[pair], True)]
    if missed:
        again = ask(world, missed, patience_s=MATRIX_S, arp=True)
        answers |= {pair: found for pair, found in again.items() if found is not None}
    wrong = [_fault(pair, answers[pair], expected[pair]) for pair in pairs]
    faults = [text for text in wrong if text]
    table = draw(sources, targets, {pair: _mark(answers[pair], expected[pair]) for pair in pairs})
    yes = sum(expected.values())
    measured = {
        "answered": sum(1 for answer in answers.values() if answer),
        "expected": yes,
        "silent": len(pairs) - yes,
        "asked_again": len(missed),
        "wrong": faults,
    }
    words = f"{yes} must answer and {len(pairs) - yes} must not: {len(pairs) - len(faults)} of {len(pairs)} are so"
    words += f", {len(missed)} of them asked twice" if missed else ""
    return not faults, "\n".join([table, words, *faults]), measured


def _others(scenario: Scenario) -> Iterator[str]:
    """Nodes, and hosts outside; endpoints only stand in for machines."""
    endpoints = {e.name for e in scenario.endpoints}
    yield from (name for name, one in scenario.stations().items() if one.place not in endpoints and one.address)


def _same_machine(a: str, b: str) -> bool:
    """A guest that asks itself asks nobody."""
    return a.partition("/")[0] == b.partition("/")[0]


def _fault(pair: Pair, answer: Heard | None, expected: bool) -> str:
    a, b = pair
    if expected and answer is None:
        return f"no answer: {a} → {b}"
    if expected and answer is not None and not answer.ping:
        return f"only ARP is answered: {a} → {b}"
    if answer is not None and not expected:
        return f"an answer that must not be: {a} → {b}" + ("" if answer.ping else " (by ARP)")
    return ""


def _mark(answer: Heard | None, expected: bool) -> str:
    """✓ and · are as they should be."""
    if expected:
        return "✓" if answer is not None and answer.ping else "✗"
    return "·" if answer is None else "!"


def draw(sources: Sequence[str], targets: Sequence[str], marks: Mapping[Pair, str]) -> str:
    """A table: the machines' NICs are numbered, and their columns are these numbers."""
    number = {name: str(n) for n, name in enumerate(sources, 1)}
    heads = [number.get(name, name) for name in targets]
    widths = [max(2, len(head)) for head in heads]
    names = [f"{number[name]:>2} {name}" for name in sources]
    first = max(map(len, names), default=0)
    lines = [" " * first + "  " + " ".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))]
    for name, label in zip(sources, names, strict=True):
        cells = [marks.get((name, target), " ") for target in targets]
        lines.append(f"{label:<{first}}  " + " ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    return "\n".join(line.rstrip() for line in lines)


# Addresses ----------------------------------------------------------------------------------------


def lease(check: Lease, world: World) -> tuple[str, str] | None:
    """(address, server) as the guest saw it; None: it has none, or its NIC another address by now."""
    vm, nic = _card(world, check.endpoint)
    world.fleet.look_again()
    seen = world.fleet.guest(vm.name).seen
    found = seen.leases.get(nic.interface)
    if found is None or seen.addresses.get(nic.interface) != found.address:
        return None
    return found.address, found.server


# What arrives -------------------------------------------------------------------------------------


def isolated(check: Isolated, world: World) -> Verdict:
    """Everybody sends and everybody captures; the captures of machines are on their taps."""
    names = [name for group in check.groups for name in group]
    stations = [world.station(name) for name in names]
    macs = {name: _mac(world, name) for name in names if world.scenario.vm_nic(name)}
    heard = probe.hear(stations, guests=macs, act=lambda: _broadcast(world, list(macs)))
    group_of = {name: number for number, group in enumerate(check.groups) for name in group}
    strays = {k: n for k, n in heard.frames.items() if group_of[k[0]] != group_of[k[1]]}
    found = [f"{a} → {b}: {n}" for (a, b), n in sorted(strays.items())]
    found += [
        f"{mac} → {listener}: {n}"
        for (mac, listener), n in sorted(heard.others.items())
        if not _belongs(world, heard, mac, listener, check.groups[group_of[listener]])
    ]
    at_home = sum(n for (a, b), n in heard.frames.items() if group_of[a] == group_of[b])
    alone = [name for name in names if len(check.groups[group_of[name]]) < 2]
    ears = {b for a, b in heard.frames if group_of[a] == group_of[b]}
    voices = {a for a, b in heard.frames if group_of[a] == group_of[b]}
    measured = {"strays": len(found), "at_home": at_home, "stations": len(names)}
    if found:
        return False, f"frames where they must not be: {', '.join(found)}", measured
    # A capture that hears nothing at all, and a sender whom nobody hears, would prove nothing.
    for who, what in ((ears, "heard nobody, not even of its own network"), (voices, "was heard by nobody")):
        mute = [name for name in names if name not in who and name not in alone]
        if mute:
            return False, f"{', '.join(mute)} {what}", measured
    taps = f", {len(macs)} of the captures on machines' taps" if macs else ""
    return True, f"0 frames strayed; {at_home} arrived in their own networks{taps}", measured


def _belongs(world: World, heard: probe.Heard, mac: str, listener: str, group: Sequence[str]) -> bool:
    """An answer that nobody of ours made up (ARP): from a card that is in the group, or from the guest's own pod."""
    _, nic = _card(world, listener)
    return any(heard.macs.get(name) == mac for name in group) or (not nic.nad and mac == MASQUERADE_MAC)


def _broadcast(world: World, stations: Sequence[str]) -> None:
    """Every guest asks everybody by ARP, on each of these NICs, for an address that nobody has."""
    scripts: dict[str, list[str]] = {}
    for station in stations:
        vm, nic = _card(world, station)
        scripts.setdefault(vm.name, []).append(f"{_shout(nic, _SENDS)} &")
    world.fleet.run_all({name: "\n".join([*lines, "wait"]) for name, lines in scripts.items()})


def _shout(nic: VmNic, count: int) -> str:
    """An address of TEST-NET-1 (RFC 5737): nobody answers, so it goes on by broadcast."""
    return f"arping -q -b -c {count} -w {count} -I {nic.interface} 192.0.2.1"


def forged(check: ForgedMac, world: World) -> Verdict:
    """Broadcasts with the NIC's own address, with a forged one, and with its own again."""
    vm, nic = _card(world, check.station)
    own, listener = _mac(world, check.station), world.station(check.listener)
    tap = world.station(check.station)
    counts: list[tuple[int, int]] = []
    for mac in (own, FORGED, own):
        sent, got = _heard_from(world, vm, nic, mac, (tap, listener))
        counts.append((sent, got))
    before, fake, after = counts
    measured = {"own": before, "forged": fake, "again": after}
    words = ", ".join(
        f"{what}: {sent} sent, {got} heard"
        for what, (sent, got) in zip(("its own address", "a forged one", "its own again"), counts, strict=True)
    )
    if not fake[0]:
        return False, f"the guest sent nothing with the forged address ({words})", measured
    fine = before[1] > 0 and after[1] > 0 and (fake[1] > 0) == check.heard
    return fine, words, measured


def _heard_from(
    world: World, vm: Vm, nic: VmNic, mac: str, stations: tuple[probe.Station, probe.Station]
) -> tuple[int, int]:
    """Frames with `mac` as source: out of the guest (at its tap), and at the listener."""
    card = nic.interface
    script = f"ip link set {card} down; ip link set {card} address {mac}; ip link set {card} up; {_shout(nic, _SENDS)}"
    source = mac_bytes(mac)
    found = [0, 0]
    done = threading.Event()

    def listen(number: int) -> None:
        frames = probe.capture_until(stations[number], done, lambda frame: frame.data[6:12] == source)
        found[number] = len(frames)

    threads = [threading.Thread(target=listen, args=[n]) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.2)  # both sockets are open
        world.fleet.run(vm.name, script)
        time.sleep(probe.SETTLE_S)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    return found[0], found[1]


# What it is left with -----------------------------------------------------------------------------


def recreate(check: Recreate, world: World, change: ChangeNode, left: Callable[[str], int]) -> Verdict:
    """Somebody deletes bond and bridge; one apply; the same questions are answered as before."""
    pairs = list(itertools.permutations(check.between, 2))
    pids = {name: guest.record.pid for name, guest in world.fleet.guests.items()}
    if silent := _silent(world, pairs, 15.0):
        return False, f"no answer before anything was done: {silent}", {}
    node = world.rtnl(check.node)
    for name in (bond_of(check.cluster_network), bridge_of(check.cluster_network)):
        node.run(links.delete(name))
    dead = ask(world, pairs, patience_s=2.0)
    if any(dead.values()):
        return False, f"{bridge_of(check.cluster_network)} is gone, and there are answers", {}
    started = time.monotonic()
    applied = change(check.node, (), ())
    took = time.monotonic() - started
    waited = _until_answered(world, pairs, check.within_ms / 1000)
    world.replug(check.node)
    steps = left(check.node)
    alive = all(world.fleet.guest(name).agent.wait(10.0) for name in pids)
    measured = {"steps": applied.steps, "apply_ms": round(took * 1000, 1), "left": steps}
    words = f"{applied.steps} steps in {took * 1000:.0f} ms"
    if not applied.ok or steps:
        return False, f"{words}: {applied.words}, {steps} left; {'; '.join(applied.complaints)}", measured
    if waited is None:
        return False, f"{words}; no answer {check.within_ms} ms later: {_silent(world, pairs, 1.0)}", measured
    measured["answered_ms"] = round(waited * 1000, 1)
    return alive, f"{words}; all answers are there {waited * 1000:.0f} ms later, from the same machines", measured


def _silent(world: World, pairs: Sequence[Pair], patience_s: float) -> str:
    end = time.monotonic() + patience_s
    while True:
        answers = ask(world, pairs, patience_s=2.0)
        missing = [f"{a} → {b}" for (a, b), answer in answers.items() if answer is None]
        if not missing or time.monotonic() > end:
            return ", ".join(missing)


def _until_answered(world: World, pairs: Sequence[Pair], within_s: float) -> float | None:
    started = time.monotonic()
    while time.monotonic() < started + within_s:
        if all(ask(world, pairs, patience_s=2.0).values()):
            return time.monotonic() - started
    return None


# Pieces -------------------------------------------------------------------------------------------


def _card(world: World, station: str) -> tuple[Vm, VmNic]:
    found = world.scenario.vm_nic(station)
    if found is None:
        raise LabError(f"{station} is no machine's NIC")
    return found


def _mac(world: World, station: str) -> str:
    vm, nic = _card(world, station)
    return world.fleet.guest(vm.name).nic(nic).mac
