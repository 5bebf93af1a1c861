"""Probers in one process, joined by a network that is a function: no socket, no clock, no kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from zlib import crc32

from windrow.apps.check.intent import Intent, ProbedLeg, ProbedNetwork
from windrow.apps.check.prober import Habits, Prober
from windrow.frames.probe import Run, Secret, mac_of
from windrow.model.evidence import Evidence, Leg, NicEvidence
from windrow.model.values import IfName, Mac, VidSet
from windrow.render.vlanmatrix import State, matrix, seen_of

SECRET = Secret.of_key(b"k" * 32)
EPOCH = 1_800_000_000.0
BROADCAST = b"\xff" * 6

Passes = Callable[[Leg, Leg, int, bytes], int | None]
"""From a leg, to a leg, with a tag, a frame -> the tag on arrival; None: it is lost."""


def all_pass(_from: Leg, _to: Leg, vid: int, _frame: bytes) -> int | None:
    return vid


def leg_of(name: str, active: bool | None, mtu: int = 1500, speed: int | None = 10_000) -> ProbedLeg:
    return ProbedLeg(nic=IfName(name), mtu=mtu, speed=speed, carrier=True, active=active, sends=True)


def intent(node: str, nodes: Iterable[str], vids: VidSet, legs: Iterable[ProbedLeg]) -> Intent:
    listed = tuple(legs)
    nics = {
        leg.nic: NicEvidence(
            name=leg.nic,
            mac=Mac("02:00:00:00:00:01"),
            carrier=True,
            cluster_network="oob",
            bond=IfName("oob-bo"),
            active=leg.active,
            mtu=leg.mtu,
        )
        for leg in listed
    }
    network = ProbedNetwork(name="oob", legs=listed, vids=vids)
    return Intent(node=node, networks=(network,), nodes=frozenset(nodes), nics=nics)


@dataclass
class Net:
    """Time begins at 0; `clock_of` says by how much a node's clock is wrong."""

    passes: Passes = all_pass
    now: float = 0.0
    probers: dict[str, Prober] = field(default_factory=dict)
    skew: dict[str, float] = field(default_factory=dict)
    sent: dict[Leg, list[float]] = field(default_factory=dict)
    frames: list[bytes] = field(default_factory=list)
    wanted: dict[str, VidSet] = field(default_factory=dict)
    carriers: dict[Leg, bool] = field(default_factory=dict)

    def add(self, one: Intent, *, interval_s: float | None = 30.0, nonce: int = 0, secret: Secret = SECRET) -> Prober:
        run = Run(
            started=int((EPOCH + self.now + self.skew.get(one.node, 0.0)) * 1000),
            nonce=nonce or crc32(one.node.encode()),
        )
        prober = self.probers[one.node] = Prober(one, secret, run, Habits(interval_s=interval_s), now=self.now)
        self.wanted[one.node] = one.networks[0].vids
        return prober

    def clock(self, node: str) -> float:
        return EPOCH + self.now + self.skew.get(node, 0.0)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        looked = self.now
        while self.now < end:
            due = [at for prober in self.probers.values() if (at := prober.due()) is not None]
            self.now = max(self.now, min([*due, looked + 0.5, end]))
            for node, prober in self.probers.items():
                if (at := prober.due()) is not None and at <= self.now:
                    prober.send(
                        self.now, self.clock(node), lambda nic, data, node=node: self._emit(Leg(node, nic), data)
                    )
            if self.now >= looked + 0.5:
                looked = self.now
                for node, prober in self.probers.items():
                    prober.look(self.now, self.clock(node))

    def _emit(self, sender: Leg, data: bytes) -> str:
        if not self.carriers.get(sender, True):
            self.probers[sender.node].carrier(sender.nic, False, self.now, self.clock(sender.node))
            return "no carrier"
        self.sent.setdefault(sender, []).append(self.now)
        self.frames.append(data)
        self.carry(sender, data)
        return ""

    def carry(self, sender: Leg, data: bytes) -> None:
        tagged = data[12:14] == b"\x81\x00"
        vid, payload = (int.from_bytes(data[14:16], "big") & 0xFFF, data[18:]) if tagged else (0, data[14:])
        for node, prober in self.probers.items():
            for nic in [leg.nic for network in prober._intent.networks for leg in network.legs]:
                to = Leg(node, nic)
                mine = bytes.fromhex(mac_of(prober._secret, to).replace(":", ""))
                if to == sender or data[:6] not in (BROADCAST, mine) or node == sender.node:
                    continue
                if (arrived := self.passes(sender, to, vid, data)) is not None:
                    prober.received(nic, arrived, payload, now=self.now, clock=self.clock(node))

    def evidence(self, node: str) -> Evidence:
        return self.probers[node].evidence(self.now, self.clock(node))

    def states(self, node: str) -> dict[tuple[str, int], State]:
        found = self.evidence(node)
        wanted = {name: {"oob": self.wanted[name]} for name in (*found.nodes, *found.silent) if name in self.wanted}
        return {(row.node, vid): state for row in matrix(seen_of(found), wanted) for vid, state in row.cells.items()}

    def wrong(self, node: str) -> dict[tuple[str, int], State]:
        return {at: state for at, state in self.states(node).items() if state is not State.PASSES}


def net(*nodes: str, vids: str = "10,20,30", passes: Passes = all_pass, **more: float | None) -> Net:
    """Nodes with an active leg and a backup."""
    found = Net(passes)
    for name in nodes:
        found.add(intent(name, nodes, VidSet.parse(vids), (leg_of("eth0", True), leg_of("eth1", False))), **more)  # type: ignore[arg-type]
    return found
