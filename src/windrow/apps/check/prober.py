"""Probing as a machine of values: what is to be sent and when, what came in, and what is known from it.

No socket, no clock and no thread: whoever drives it says what time it is (`now` never jumps, `clock` is Unix time) and
carries the frames. So thirty-two nodes can be tried in one process, and a night in a second.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import field, replace

from windrow.apps.check.alarm import Alarm
from windrow.apps.check.intent import Intent, ProbedLeg, ProbedNetwork
from windrow.apps.check.peers import Peer, Peers, When
from windrow.apps.check.sweep import BROADCASTS, Plan, Shot, gap_s, report_shots, report_vids, sending_legs
from windrow.apps.check.tally import Freshness
from windrow.frames.probe import Foreign, Probe, Refusal, Run, Secret, decode, encode, ethernet, mac_of
from windrow.frames.probe import Kind as FrameKind
from windrow.frames.report import chunks, pack
from windrow.model.evidence import Absent, Evidence, ForeignCluster, Kind, Leg, NicEvidence, NodeEvidence, Relay
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, VidSet
from windrow.model.wire.evidence import heard_rows
from windrow.render.vlanmatrix import Seen
from windrow.sense.gather import joined

CALL_PAUSE_S = 10.0
"""From one sweep to the next that somebody else asks for."""
CALLED_S = 0.3
"""So long after a call the answer begins: the caller's first frames have come to all by then."""
ONE_CALL_S = 2.0
"""Sweeps that begin so close to each other answer one call."""
REPORT_PAUSE_S = 0.5
"""From one report to the next, if something else is heard."""
LARGE_EVERY = 12
"""Sweeps from one try of the longest frames to the next, while nothing changes."""
DROPPED_S = 2.0
"""A carrier that goes so soon after a frame may have gone because of it (port security)."""
DROPS_MAX = 2
FOREIGN_MAX = 64

Emit = Callable[[IfName, bytes], str]
"""Sends a frame from a NIC; the reason where it cannot, else an empty text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """`interval_s`: from the begin of a sweep to that of the next; None: only when somebody asks."""

    interval_s: float | None = 300.0
    calls: bool = False
    """Whether this one asks the others to sweep, too."""


@dataclass(slots=True)
class _Sending:
    """A leg's frames that wait, and when the next may go."""

    queue: deque[Shot]
    leg: ProbedLeg
    at: float


@dataclass(slots=True)
class _Carrier:
    up: bool
    since: float | None = None
    """Unix time."""
    sent: float = float("-inf")
    """When the last frame left."""
    drops: int = 0
    """How often it went right after that, sweep after sweep."""


@dataclass(slots=True)
class _Sweep:
    number: int
    begun: float
    vids: dict[IfName, VidSet] = field(default_factory=dict)
    call: bool = False
    every: bool = False
    """Of all legs."""


class Prober:
    """One node's probing. `want` says what; `due`, `send` and `received` carry it on; `evidence` is what is known."""

    def __init__(self, intent: Intent, secret: Secret, run: Run, habits: Habits, *, now: float) -> None:
        self._secret, self._run, self._habits = secret, run, habits
        self._me = intent.node
        self._peers = Peers(self._me, run, since=now)
        self._carriers: dict[IfName, _Carrier] = {}
        self._sending: dict[IfName, _Sending] = {}
        self._ready: dict[IfName, float] = {}
        """When a leg may send again."""
        self._sweep = _Sweep(0, float("-inf"))
        self._under_way = False
        self._next = now if habits.interval_s is not None else None
        self._locate = self._calls = self._called_to_locate = False
        self._alarm = Alarm()
        self._called = self._located = float("-inf")
        """When the last sweep began that was called for, by us or by others, and the last one of all legs."""
        self._is_called = False
        self._sequence = self._report = 0
        self._reported_at, self._reported_shape = float("-inf"), 0
        self._owes = False
        """Whether others have told something since: what was heard of their sweep is theirs to know."""
        self._probed: dict[IfName, VidSet] = {}
        self._foreign: Counter[tuple[str, int]] = Counter()
        self._rejected: Counter[str] = Counter()
        self._failed: dict[IfName, str] = {}
        self.sensed: NodeEvidence | None = None
        """What the other senses of this node found (LLDP, DHCP, …), to be told with the rest."""
        self.frames = 0
        """Sent so far."""
        self.news = 0
        """Grows with whatever changes what is known: sweeps, reports, who is heard."""
        self.want(intent, now)

    @property
    def sweeps(self) -> int:
        """Those that are done."""
        return self._sweep.number - (1 if self._under_way else 0)

    @property
    def under_way(self) -> bool:
        return self._under_way

    @property
    def locates(self) -> bool:
        """Whether the last sweep was of all legs, to find the place of what is missing."""
        return self._sweep.every

    @property
    def agreed(self) -> bool:
        """Whether all that is known is of one moment: all that are expected have swept with us, and told what they
        heard of it."""
        there = self._intent.nodes - {self._me} <= set(self._peers.names())
        since = self._sweep.begun - ONE_CALL_S
        return there and not self._under_way and self._peers.agree(self._told_number(self._sweep.number), since)

    def _told_number(self, number: int) -> int:
        """Of a sweep, as others are told: of no run before, whose first sweep was a first one, too."""
        return self._run.started + number

    # What to probe --------------------------------------------------------------------------------

    def want(self, intent: Intent, now: float) -> None:
        """From the next sweep on; what was to be sent from NICs that are no more, or into VLANs, is not."""
        self._intent = intent
        vids = {leg.nic: network.vids for network in intent.networks for leg in network.legs}
        for nic in [nic for nic in self._sending if nic not in vids]:
            del self._sending[nic]
        for nic, sending in self._sending.items():
            sending.queue = deque(shot for shot in sending.queue if shot.vid in vids[nic])
        for nic, leg in ((leg.nic, leg) for network in intent.networks for leg in network.legs):
            if nic not in self._carriers:
                self._carriers[nic] = _Carrier(leg.carrier)
                self._peers.since = now

    def sweep_now(self, now: float) -> None:
        """Somebody wants to know: the others are asked to sweep, too."""
        self._calls = True
        if not self._under_way:
            self._next = now

    def carrier(self, nic: IfName, up: bool, now: float, clock: float) -> None:
        """As it is at this moment."""
        known = self._carriers.setdefault(nic, _Carrier(up))
        if known.up == up:
            return
        known.up, known.since = up, clock if up else None
        if up:
            self._peers.since = now
        if not up:
            self._sending.pop(nic, None)
            known.drops += now - known.sent <= DROPPED_S

    def _able(self, network: ProbedNetwork) -> ProbedNetwork:
        """With the legs as they are now."""
        legs = (replace(leg, sends=self._sends(leg)) for leg in network.legs)
        return replace(network, legs=tuple(legs))

    def _sends(self, leg: ProbedLeg) -> bool:
        known = self._carriers[leg.nic]
        came_up = known.up and not leg.carrier
        return (leg.sends or came_up) and known.up and known.drops < DROPS_MAX

    # Sending --------------------------------------------------------------------------------------

    def due(self) -> float | None:
        """When there is something to do, on the clock that never jumps; None: not before somebody asks."""
        times = [sending.at for sending in self._sending.values() if sending.queue]
        if self._under_way and not times:
            return float("-inf")
        if self._next is not None and not self._under_way and not times:
            times.append(self._next)
        if self._owes and not self._under_way and not self._sending:
            times.append(self._reported_at + REPORT_PAUSE_S)
        return min(times, default=None)

    def send(self, now: float, clock: float, emit: Emit) -> None:
        """What is due."""
        # What the last sweep found is told before the next begins, however late that is.
        if self._next is not None and now >= self._next and not self._under_way and not self._sending:
            self._begin(now)
        for nic, sending in list(self._sending.items()):
            while sending.queue and sending.at <= now and nic in self._sending:
                shot = sending.queue.popleft()
                payload = self._payload(nic, shot, now, clock)
                source = mac_of(self._secret, Leg(self._me, nic))
                problem = emit(nic, ethernet(payload, to=shot.to, source=source, vid=shot.vid))
                self._note_sent(nic, shot, problem, now)
                self._ready[nic] = sending.at = max(now, sending.at) + gap_s(sending.leg, len(payload))
        self._sending = {nic: sending for nic, sending in self._sending.items() if sending.queue}
        if self._under_way and not self._sending:
            self._end(now, clock)
        if self._owes and not self._waits(now):
            self._owes = False
            self.look(now, clock)

    def _waits(self, now: float) -> bool:
        """Whether it is too early for a report."""
        return bool(self._under_way or self._sending) or now < self._reported_at + REPORT_PAUSE_S

    def _begin(self, now: float) -> None:
        interval = self._habits.interval_s
        self._next = now + interval if interval is not None else None
        every = self._locate or self._called_to_locate
        self._sweep = _Sweep(self._sweep.number + 1, now, call=self._habits.calls or self._calls, every=every)
        if self._sweep.call or self._is_called:
            self._called = now
        if every:
            self._located = now
        self._calls = self._is_called = self._called_to_locate = False
        self._under_way = True
        self.news += 1
        heard = tuple(self._peers.legs())
        number = self._sweep.number
        large = every or self._sweep.call or number % LARGE_EVERY == 2
        plan = Plan(self._me, self._secret, number, heard, every=every, large=large)
        queues = plan.shots(map(self._able, self._intent.networks))
        self._sending = {nic: self._to_be_sent(plan.legs[nic], queue, now) for nic, queue in queues.items()}

    def _end(self, now: float, clock: float) -> None:
        self._under_way = False
        self._probed = self._sweep.vids
        for nic in self._probed:
            if self._carriers[nic].up and self._carriers[nic].drops < DROPS_MAX:
                self._carriers[nic].drops = 0
        self.report(now, clock)

    def report(self, now: float, clock: float) -> None:
        """Tell the others what is known here; not in the middle of a sweep, of which it would say that it is done."""
        if self._under_way:
            return
        self._report += 1
        self.news += 1
        self._reported_at, self._reported_shape = now, self._shape(now)
        parts = chunks(self._report, pack(self.node_evidence(now, clock)))
        passed_on = self._peers.passed_on(now)
        others = chunks(self._report, passed_on) if passed_on else ()
        heard = tuple(self._peers.legs())
        for network in map(self._able, self._intent.networks):
            for leg in sending_legs(network, self._sweep.number, every=self._sweep.every) if network.vids else ():
                vids = report_vids(network, self._sweep.number, heard)
                shots = deque(report_shots(parts, vids))
                shots += report_shots(others, vids, FrameKind.RELAY)
                self._sending[leg.nic] = self._to_be_sent(leg, shots, now)

    def _to_be_sent(self, leg: ProbedLeg, shots: deque[Shot], now: float) -> _Sending:
        return _Sending(shots, leg, max(now, self._ready.get(leg.nic, now)))

    def _shape(self, now: float) -> int:
        self._peers.settle(now)
        # Of sweeps that are for one moment all have to know which they are of.
        sweeps = self._peers.sweeps() if self._sweep.every else None
        return hash((self._peers.shape(), sweeps, self._peers.passes_on(), _neighbours(self.sensed)))

    def look(self, now: float, clock: float) -> None:
        """To be called from time to time: whoever is heard anew, or no more, is told to the others at once."""
        if self._sweep.number and not self._waits(now) and self._shape(now) != self._reported_shape:
            self.report(now, clock)

    def _payload(self, nic: IfName, shot: Shot, now: float, clock: float) -> bytes:
        self._sequence += 1
        probe = Probe(
            kind=shot.kind,
            sender=Leg(self._me, nic),
            vid=shot.vid,
            run=self._run,
            sweep=self._told_number(self._sweep.number),
            sequence=self._sequence,
            time=int(clock),
            into=max(0, int((now - self._sweep.begun) * 1000)),
            echo=self._peers.echo(),
            broadcasts=BROADCASTS,
            aim=shot.aim,
            largest=shot.largest,
            again=min(int(self._habits.interval_s or 0) + (1 if self._habits.interval_s else 0), 0xFFFF),
            call=self._sweep.call and self._under_way,
            locate=self._sweep.call and self._sweep.every and self._under_way,
            chunk=shot.chunk,
            size=shot.size,
        )
        return encode(probe, self._secret)

    def _note_sent(self, nic: IfName, shot: Shot, problem: str, now: float) -> None:
        if problem:
            if self._carriers[nic].up:
                self._failed[nic] = problem
            if shot.size == 0:  # one that is too long for its NIC says nothing of the others
                self._sending.pop(nic, None)
            return
        self._failed.pop(nic, None)
        self.frames += 1
        self._carriers[nic].sent = now
        if self._under_way:
            self._sweep.vids[nic] = self._sweep.vids.get(nic, VidSet()) | VidSet.of([shot.vid])

    # Hearing --------------------------------------------------------------------------------------

    def received(self, nic: IfName, arrived: int, payload: bytes, *, now: float, clock: float) -> None:
        """What came in on a NIC with our EtherType, behind it. `arrived`: its tag; 0: none."""
        probe, when = decode(payload, self._secret), When(now, clock)
        if isinstance(probe, Foreign):
            self._count_foreign(probe, arrived)
            return
        found = self._peers.find(probe, when) if isinstance(probe, Probe) else probe
        if isinstance(found, Refusal):
            self._rejected[found.value] += 1
            return
        assert isinstance(probe, Probe)
        fresh, begun = self._peers.note(found, probe, nic, arrived, when)
        if fresh is Freshness.OLD:
            self._rejected[Refusal.REPLAYED.value] += 1
        if fresh is not Freshness.NEW or probe.sender.node == self._me:
            return
        self.news += self._peers.relayed(found, probe, self._secret, now)
        if found.told(probe, payload, now):
            self.news += 1
            self._owes = True
            self._heed(found, now)
        if begun and probe.call:
            self._answer(probe, now)

    def _heed(self, peer: Peer, now: float) -> None:
        """Where something of a node came no more that had come before, or comes again: all sweep at once with all legs,
        so that what is known is of one moment."""
        waits = self._under_way or self._called_to_locate
        answers = self._sweep.every and peer.began_since(self._sweep.begun - ONE_CALL_S)
        if peer.take_change() and not waits and not answers and self._alarm.raised(now):
            self._call_to_locate(now)

    def _call_to_locate(self, now: float) -> None:
        self._calls = self._called_to_locate = True
        self._next = now

    def _answer(self, probe: Probe, now: float) -> None:
        """A call. A sweep that is under way answers it, unless it is of one leg and all are asked for."""
        if self._under_way and (self._sweep.every or not probe.locate):
            return
        self._called_to_locate |= probe.locate
        self._is_called = True
        soon = max(now + CALLED_S, (self._located if probe.locate else self._called) + CALL_PAUSE_S)
        self._next = soon if self._next is None else min(soon, self._next)

    def _count_foreign(self, foreign: Foreign, vid: int) -> None:
        key = foreign.cluster, vid
        if key in self._foreign or len(self._foreign) < FOREIGN_MAX:
            self._foreign[key] += 1

    # What is known --------------------------------------------------------------------------------

    def locate(self, faulty: bool, now: float) -> None:
        """Whether something is missing. If so, and nobody has looked for the place yet, the next sweep is of all legs,
        at once, and the others are called to it."""
        if faulty and not self._locate and not self._sweep.every and not self._under_way:
            self._call_to_locate(now)
        self._locate = faulty

    def node_evidence(self, now: float, clock: float) -> NodeEvidence:
        """Of this node alone."""
        self._peers.settle(now)
        foreign = (ForeignCluster(cluster=c, vid=vid, frames=n) for (c, vid), n in sorted(self._foreign.items()))
        probed = NodeEvidence(
            node=self._me,
            at=clock,
            nics={nic: self._nic(found) for nic, found in self._intent.nics.items()},
            heard=tuple(self._peers.heard()),
            probed=dict(self._probed),
            foreign=tuple(foreign),
            rejected=dict(self._rejected),
            authenticated=self._secret.authentic,
            sweep=self._told_number(self.sweeps) if self.sweeps else 0,
            interval_s=self._habits.interval_s or 0.0,
            listens_s=round(max(0.0, now - self._peers.since), 1),
            absent=(*self._intent.absent, *self._lacks()),
        )
        return joined(probed, self.sensed) if self.sensed is not None else probed

    def _nic(self, found: NicEvidence) -> NicEvidence:
        carrier = self._carriers.get(found.name)
        if carrier is None:
            return found
        return replace(found, carrier=carrier.up, carrier_since=carrier.since or found.carrier_since)

    def _lacks(self) -> Iterable[Absent]:
        for nic, carrier in self._carriers.items():
            if carrier.drops >= DROPS_MAX:
                reason = (
                    "its carrier went right after it was probed, twice: no more is sent from it until a new start. "
                    "Does the switch shut the port on a second MAC address (port security)?"
                )
                yield Absent(kind=Kind.PROBE, nic=nic, reason=reason)
        for nic, reason in self._failed.items():
            yield Absent(kind=Kind.PROBE, nic=nic, reason=f"a probe could not be sent: {reason}")

    def evidence(self, now: float, clock: float) -> Evidence:
        """Of this node and of all that told."""
        own = self.node_evidence(now, clock)
        nodes = {own.node: own, **{told.node: told for told in self._peers.reports()}}
        return Evidence(nodes=dict(sorted(nodes.items())), silent=self.silent, relayed=self.relayed(now))

    def seen(self, now: float, clock: float) -> Seen:
        """The same for the table: of a large cluster it costs a tenth."""
        own = self.node_evidence(now, clock)
        told = {found.node: (found, rows) for found, rows in self._peers.rows()}
        return {own.node: (own, heard_rows(own.heard)), **told}

    def texts(self) -> dict[str, str]:
        """What the others told, as JSON."""
        return dict(self._peers.texts())

    def relayed(self, now: float) -> dict[str, Relay]:
        """The nodes of which others told."""
        return self._peers.relays(now)

    @property
    def hears(self) -> bool:
        """Whether any other node is there."""
        return bool(self._peers.names())

    @property
    def silent(self) -> frozenset[str]:
        """Of those that are expected, the ones of which nothing came."""
        return self._intent.nodes - {self._me, *self._peers.reported(), *self._peers.names()}

    @property
    def answered(self) -> bool:
        """Whether all that are expected have told what they know."""
        return self._intent.nodes - {self._me} <= set(self._peers.reported())


def _neighbours(sensed: NodeEvidence | None) -> frozenset[object]:
    """What the switches say of their ports, without when they said it: others are told when it changes."""
    if sensed is None:
        return frozenset()
    return frozenset(
        (nic.name, port.chassis, port.port, port.pvid, frozenset(port.vlans))
        for nic in sensed.nics.values()
        for port in nic.neighbours
    )
