"""Is it true? One small function for each kind of check; what it found is a value."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, assert_never

from windrow.lab import changes, closing, machinechecks, outage, probe
from windrow.lab.errors import LabError
from windrow.lab.guest.run import run_in
from windrow.lab.questions import ask
from windrow.lab.scenario import (
    ApiOutage,
    BondIs,
    CablePull,
    Change,
    Check,
    Closed,
    Command,
    ForgedMac,
    Isolated,
    Lease,
    Matrix,
    PlanEmpty,
    Reach,
    Recreate,
    Steady,
    SwitchFault,
)
from windrow.lab.verdict import Verdict
from windrow.lab.world import World
from windrow.model.bonding import BondMode
from windrow.model.lazy import dataclass

REACH_S = 15.0
"""How long the first answer may take: ports come up, and LACP has its say."""
BOND_S = 40.0
"""A slow LACP partner sends every 30 s (IEEE 802.1AX §6.4.4, Slow_Periodic_Time)."""
IDLE_S, BEFORE_S, AFTER_S, CALM_S = 1.0, 0.5, 2.0, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`measured`: numbers for a script; `detail`: the same in words."""

    name: str
    kind: str
    ok: bool
    detail: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "ok": self.ok,
            "detail": self.detail,
            "measured": dict(self.measured),
        }


@dataclass(frozen=True, slots=True)
class Checker:
    """`steps_left`: how many steps a new plan for this node would take; `change`: other manifests for a node, applied.
    The applications know both."""

    world: World
    steps_left: Callable[[str], int]
    change: changes.ChangeNode
    follow: outage.Follow = lambda _: {}

    def run(self, check: Check) -> Result:
        """Raises KernelError, LabError for what is no answer."""
        try:
            kind, (ok, detail, measured) = self._run(check)
        except OSError as error:  # ENODEV: an endpoint whose bridge is not there has no NIC to send from
            raise LabError(f"{check.name}: {error}", hint="are all nodes applied, all endpoints plugged in?") from error
        return Result(name=check.name, kind=kind, ok=ok, detail=detail, measured=measured)

    def _run(self, check: Check) -> tuple[str, Verdict]:
        match check:
            case Reach():
                return "reach", self._reach(check)
            case Matrix():
                return "matrix", machinechecks.matrix(check, self.world)
            case Isolated():
                return "isolated", machinechecks.isolated(check, self.world)
            case ForgedMac():
                return "forged-mac", machinechecks.forged(check, self.world)
            case Recreate():
                return "recreate", machinechecks.recreate(check, self.world, self.change, self.steps_left)
            case Command():
                return "command", self._command(check)
            case BondIs():
                return "bond", self._bond(check)
            case CablePull():
                return "cable-pull", self._pull(check)
            case SwitchFault():
                from windrow.lab import switchfaults  # with what one scenario alone needs

                return "switch-fault", switchfaults.switch_fault(check, self.world)
            case PlanEmpty():
                return "plan-empty", self._plan_empty(check)
            case Lease():
                return "lease", self._lease(check)
            case Steady():
                return "steady", changes.steady(check, self.world)
            case Change():
                return "change", changes.change(check, self.world, self.change)
            case ApiOutage():
                return "api-outage", outage.api_outage(check, self.world, self.follow)
            case Closed():
                return "closed", closing.closed(check, self.world, self.change)
            case _:
                assert_never(check)

    def _stations(self, names: Sequence[str]) -> list[probe.Station]:
        return [self.world.station(name) for name in names]

    def _reach(self, check: Reach) -> Verdict:
        pairs = [(a, b) for a in check.sources for b in check.targets if a != b]
        answers = ask(self.world, pairs, patience_s=REACH_S)
        silent = [f"{a} → {b}" for (a, b), answer in answers.items() if answer is None]
        if silent:
            return False, f"no answer: {', '.join(silent)}", {"silent": silent}
        slowest = max((found.ms for found in answers.values() if found and found.ms is not None), default=0.0)
        measured = {"pairs": len(answers), "slowest_ms": round(slowest, 2)}
        return True, f"{len(answers)} of {len(answers)} answer, the slowest in {slowest:.1f} ms", measured

    def _command(self, check: Command) -> Verdict:
        code, out, err = run_in(self.world.place(check.node), check.argv)
        out = _COLOUR.sub("", out)
        said = (err or out).strip() or "(no output)"
        if code != check.exit:
            return False, f"exit code {code}, not {check.exit}: {said}", {"exit": code}
        if check.stdout is not None and _lines(out) != _lines(check.stdout):
            return False, f"it printed\n{out.rstrip()}\nand not\n{check.stdout.rstrip()}", {"exit": code, "stdout": out}
        if check.says and check.says not in " ".join(f"{out} {err}".split()):
            return False, f"it does not say {check.says!r}: {said}", {"exit": code, "stdout": out}
        return True, out.rstrip(), {"exit": code, "stdout": out}

    def _bond(self, check: BondIs) -> Verdict:
        end = time.monotonic() + BOND_S
        while True:
            text = self.world.inside(check.node, lambda: _proc_net_bonding(check.bond))
            wrong = bond_faults(text, check.mode, check.nics)
            if not wrong or time.monotonic() > end:
                break
            time.sleep(0.25)
        measured = {"proc": text}
        return not wrong, "; ".join(wrong) or bond_words(text), measured

    def _pull(self, check: CablePull) -> Verdict:
        a, b = self._stations(check.between)
        if any(ms is None for ms in probe.ping([(a, b), (b, a)], deadline_s=REACH_S).values()):
            return False, f"{a.name} and {b.name} do not reach each other before the cable is pulled", {}
        idle = _calm(a, b)
        if any(way.lost for way in idle):
            return False, f"frames are lost before the cable is pulled: → {idle[0]}, ← {idle[1]}", {}
        pulled = _flow_while(a, b, lambda: self.world.pull(check.cable))
        plugged = _flow_while(a, b, lambda: self.world.plug(check.cable))
        directions = {"idle": idle, "pulled": pulled, "plugged": plugged}
        worst = max(way.longest_ms for way in pulled)
        alive = all(way.received > way.sent // 2 for way in (*pulled, *plugged))
        measured = {
            phase: {way: {"sent": d.sent, "lost": d.lost, "longest_ms": d.longest_ms, "doubled": d.duplicated}}
            for phase, ways in directions.items()
            for way, d in zip(("there", "back"), ways, strict=True)
        }
        said = "; ".join(f"{phase}: → {ways[0]}, ← {ways[1]}" for phase, ways in directions.items())
        return alive and worst <= check.within_ms, f"{said} (allowed: a gap of {check.within_ms} ms)", measured

    def _plan_empty(self, check: PlanEmpty) -> Verdict:
        left = {node: self.steps_left(node) for node in check.nodes}
        busy = [f"{node}: {count} steps" for node, count in left.items() if count]
        return not busy, ", ".join(busy) or "0 steps", {"steps": left}

    def _lease(self, check: Lease) -> Verdict:
        if self.world.scenario.vm_nic(check.endpoint):
            return self._guest_lease(check)
        address = self.world.leases.get(check.endpoint)
        if address is None:
            return False, "no DHCP server answered", {}
        return _within(address, check.network), f"{address}", {"address": address}

    def _guest_lease(self, check: Lease) -> Verdict:
        found = machinechecks.lease(check, self.world)
        if found is None:
            return False, "the guest has no lease", {}
        address, server = found
        host = next((h for h in self.world.scenario.hosts if h.name == check.server), None)
        servers = {a.partition("/")[0] for nic in host.nics for a in nic.addresses.values()} if host else {server}
        measured = {"address": address, "server": server}
        return (
            _within(address, check.network) and server in servers,
            f"{address} from {server}, says the guest",
            measured,
        )


# Pieces -------------------------------------------------------------------------------------------


def _flow_while(a: probe.Station, b: probe.Station, act: Callable[[], None]) -> tuple[probe.Direction, probe.Direction]:
    with probe.Flow(a, b) as flow:
        time.sleep(BEFORE_S)
        act()
        time.sleep(AFTER_S)
    return flow.result


def _calm(a: probe.Station, b: probe.Station) -> tuple[probe.Direction, probe.Direction]:
    """The first second in which nothing is lost; the last one, if there is none in CALM_S (LACP may still talk)."""
    end = time.monotonic() + CALM_S
    while True:
        with probe.Flow(a, b) as idle:
            time.sleep(IDLE_S)
        if time.monotonic() > end or not any(way.lost for way in idle.result):
            return idle.result


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""`bridge -c` colours its words, also into a pipe."""


def _proc_net_bonding(bond: str) -> str:
    """The file of the calling thread's namespace; empty where there is no such bond."""
    try:
        with open(f"/proc/thread-self/net/bonding/{bond}", encoding="ascii", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


_MODE_WORDS = {
    BondMode.BALANCE_RR: "load balancing (round-robin)",
    BondMode.ACTIVE_BACKUP: "fault-tolerance (active-backup)",
    BondMode.BALANCE_XOR: "load balancing (xor)",
    BondMode.BROADCAST: "fault-tolerance (broadcast)",
    BondMode.LACP: "IEEE 802.3ad Dynamic link aggregation",
    BondMode.BALANCE_TLB: "transmit load balancing",
    BondMode.BALANCE_ALB: "adaptive load balancing",
}
"""`bond_mode_name` in drivers/net/bonding/bond_main.c."""


def bond_faults(text: str, mode: BondMode, nics: int) -> list[str]:
    """What `/proc/net/bonding/<bond>` says otherwise."""
    if not text:
        return ["there is no such bond"]
    found = _field(text, "Bonding Mode")
    faults = [] if found == _MODE_WORDS[mode] else [f"the mode is {found!r}"]
    slaves = text.split("\nSlave Interface: ")[1:]
    up = [s for s in slaves if _field(s, "MII Status") == "up"]
    if len(up) != nics:
        faults.append(f"{len(up)} of {len(slaves)} NICs are up, not {nics}")
    if mode is BondMode.LACP:
        ids = {_field(s, "Aggregator ID") for s in slaves}
        if len(ids) != 1:
            faults.append(f"the NICs are in {len(ids)} aggregators")
        if _field(text, "Partner Mac Address") in ("", "00:00:00:00:00:00"):
            faults.append("there is no LACP partner")
        if _field(text, "Number of ports") != str(nics):
            faults.append(f"the active aggregator has {_field(text, 'Number of ports')} ports, not {nics}")
    return faults


def bond_words(text: str) -> str:
    slaves = text.split("\nSlave Interface: ")[1:]
    words = [_field(text, "Bonding Mode"), f"{' and '.join(s.splitlines()[0] for s in slaves)} up"]
    if active := _field(text, "Currently Active Slave"):
        words.append(f"active {active}")
    if partner := _field(text, "Partner Mac Address"):
        words.append(f"LACP partner {partner}, both in aggregator {_field(slaves[0], 'Aggregator ID')}")
    return ", ".join(words)


def _field(text: str, name: str) -> str:
    found = re.search(rf"^\s*{re.escape(name)}: *(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _within(address: str, network: str) -> bool:
    return ipaddress.ip_interface(address).ip in ipaddress.ip_network(network)
