"""The nodes whose probes come in: who is believed, what of them was heard, and what they told.

Whoever is heard for the first time, or again after a start, must be of today: its clock says about what ours says, or
it has heard our own nonce. From then on sequence numbers do, so no clock that jumps changes anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from windrow.apps.check.relays import Relays
from windrow.apps.check.tally import Arrival, Freshness, SweepTally, Window
from windrow.frames import relay
from windrow.frames.probe import UNCOUNTED, Kind, Probe, Refusal, Run, Secret
from windrow.frames.report import Assembly, text_of, unpack, unpack_rows
from windrow.model.evidence import Heard, Leg, NodeEvidence, Relay
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, VidSet
from windrow.model.wire.evidence import HeardRow

PEERS_MAX = 256
NICS_MAX = 64
"""Of one node: what claims to be more is not believed."""
ECHOES_MAX = 256
CLOCKS_APART_S = 300
"""The clocks of a cluster may differ by so much, and a node is believed at its first frame."""
SETTLED_S = 3.0
"""A sweep is done of which one to us alone has come, and then nothing for so long: its report, a broadcast, is lost."""
READ_S = 2.0
"""A frame may have waited for so long until it was read: a sweep that seems to begin so soon after this node began to
listen is heard as a whole only if its first frame is."""
FORGET_S = 60.0
"""A node that does not say when it sweeps again is forgotten after so long."""
SLACK_S, SLACK = 15.0, 1.1


@dataclass(frozen=True, slots=True)
class When:
    """`now`: on the clock that never jumps; `clock`: Unix time."""

    now: float
    clock: float


@dataclass(frozen=True, slots=True)
class Said:
    """Of a report: the sender's last sweep, and whom it has heard in which of their sweeps."""

    sweep: int
    heard: Mapping[str, int]


class Peer:
    """One run of one node."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.current: SweepTally | None = None
        self.done: SweepTally | None = None
        self.alive = False
        self.until = 0.0
        """When nothing of it counts any more if nothing new comes."""
        self.packed = b""
        """Its last report, as it came: unpacked it would be many times as much."""
        self.frames: dict[int, bytes] = {}
        """The frames of it, as it signed them, by their number."""
        self.said: Said | None = None
        self.told_at = 0.0
        self.nics: set[IfName] = set()
        self._windows: dict[IfName, Window] = {}
        self._assembly, self._relayed = Assembly(), Assembly()
        self._coming: dict[int, bytes] = {}
        self._before: int | None = None
        """The VLANs in which it was heard in the sweep before the last, as a bitmap; None: there was none, or what has
        changed since is told."""
        self._probed = 0
        self._passed = -1

    def note(self, probe: Probe, at: Arrival, when: When, since: float) -> tuple[Freshness, bool]:
        """How fresh it is, and whether a new sweep began with it. `since`: when listening began."""
        nic = at.nic
        window = self._windows.get(nic)
        if window is None:
            window = self._windows[nic] = Window()
        fresh = window.note(probe.sequence)
        begun = False
        if fresh is Freshness.NEW and (late := self._late_for(probe)) is not None:
            late.add(probe, at)
            return fresh, False
        if fresh is Freshness.OLD or probe.sweep < self._passed:
            return Freshness.OLD, False
        is_news = fresh is Freshness.NEW and probe.kind not in UNCOUNTED
        if is_news and (self.current is None or probe.sweep > self.current.sweep):
            self._settle()
            whole = probe.into == 0 or when.now - probe.into / 1000 >= since + READ_S
            self.current, begun = SweepTally(probe.sweep, when.now, whole=whole), True
            self._passed = probe.sweep
        if fresh is Freshness.NEW:
            self._lives(probe, when.now)
            self.nics.add(probe.sender.nic)
        if self.current is not None and self.current.sweep == probe.sweep:
            if probe.kind not in UNCOUNTED:
                self.current.add(probe, at, copy=fresh is Freshness.COPY)
                self.current.last, self.current.at = when.now, when.clock
            elif fresh is Freshness.NEW:
                self._settle()
        return fresh, begun

    def _late_for(self, probe: Probe) -> SweepTally | None:
        """The sweep before the one under way, if it is of that: NICs are read one after another, and on a busy host
        what waits on one may be older than what has come from another. Thrown away it would look like a dead NIC."""
        done = self.done
        if done is None or probe.kind in UNCOUNTED or not probe.sweep == done.sweep < self._passed:
            return None
        return done

    def _lives(self, probe: Probe, now: float) -> None:
        begun = self.current.begun if self.current is not None else now
        again = begun + SLACK * probe.again + SLACK_S if probe.again else 0.0
        self.alive = True
        self.until = max(again, now + (SLACK_S if probe.again else FORGET_S))

    def fall_silent(self) -> None:
        """Its windows stay: what was recorded of it does not bring it back."""
        self.alive = False
        self.current = self.done = self._before = self.said = None
        self.packed, self.frames, self._coming = b"", {}, {}
        self._assembly, self._relayed = Assembly(), Assembly()

    def _settle(self) -> None:
        """The sweep is done: its report came, or the next has begun. One that just stopped says nothing of the VLANs
        that were still to come, and one that had begun before we listened nothing of those that were past."""
        if self.current is not None and self.current.whole and self.current is not self.done:
            self._before = None if self.done is None else self.done.vids
            self.done = self.current

    def settle(self, now: float) -> None:
        """Where broadcasts are filtered no report comes. Those to us alone are sent after all broadcasts."""
        if self.current is not None and self.current.nearly_done and now >= self.current.last + SETTLED_S:
            self._settle()

    def told(self, probe: Probe, payload: bytes, now: float) -> bool:
        """Whether a report is whole with this part, and is one. `payload`: the frame that it came in."""
        if probe.chunk is None or probe.kind is not Kind.REPORT:
            return False
        if probe.chunk.report > self._assembly.report:
            self._coming = {}
        self._assembly = self._assembly.plus(probe.chunk)
        if probe.chunk.report == self._assembly.report:
            self._coming[probe.chunk.number] = payload[: probe.size]
        whole = self._assembly.whole
        if whole is None or whole == self.packed:
            return False
        found = unpack_rows(whole, probe.sender.node)
        if found is None:
            return False
        heard: dict[str, int] = {}
        for row in found[1]:
            heard[row.sender.node] = max(heard.get(row.sender.node, 0), row.sweep)
        self.packed, self.frames, self.told_at = whole, self._coming, now
        self.said = Said(found[0].sweep, heard)
        self._probed = 0
        for vids in found[0].probed.values():
            self._probed |= vids.bits
        return True

    def began_since(self, since: float) -> bool:
        """Whether its last sweep began since then."""
        return self.done is not None and self.done.begun >= since

    def relayed(self, probe: Probe) -> bytes | None:
        """What it passes on, once that is whole."""
        if probe.chunk is None or probe.kind is not Kind.RELAY:
            return None
        self._relayed = self._relayed.plus(probe.chunk)
        return self._relayed.whole

    def take_change(self) -> VidSet:
        """The VLANs in which its last sweep came and the one before had not, or came no more although it sent there.
        Told once."""
        if self._before is None or self.done is None or self.said is None or self.said.sweep != self.done.sweep:
            return VidSet()
        before, self._before = self._before, None
        now = self.done.vids
        return VidSet(now & ~before | before & ~now & self._probed)


class Peers:
    """All of them, and this node itself: of its own frames it hears what comes back."""

    def __init__(self, me: str, run: Run, *, since: float) -> None:
        self._me, self._run = me, run
        self.since = since
        """From when on all NICs have been listened on: of a sweep that began before a part is missing."""
        self._peers: OrderedDict[str, Peer] = OrderedDict()
        self._retired: OrderedDict[tuple[str, Run], None] = OrderedDict()
        self._echoes: OrderedDict[int, None] = OrderedDict()
        self._itself = Peer(run)
        self._relays = Relays(me)

    def find(self, probe: Probe, when: When) -> Peer | Refusal:
        """Whose it is, or why it is not believed."""
        node = probe.sender.node
        if node == self._me:
            return self._itself if probe.run == self._run else Refusal.NAMESAKE
        self._remember_nonce(probe.run.nonce)
        peer = self._peers.get(node)
        if peer is not None and peer.run == probe.run:
            known = probe.sender.nic in peer.nics or len(peer.nics) < NICS_MAX
            return peer if known else Refusal.TOO_MANY
        if (node, probe.run) in self._retired:
            return Refusal.REPLAYED
        if not self._is_of_today(probe, peer, when):
            return Refusal.STALE
        return self._welcome(node, probe.run)

    def _is_of_today(self, probe: Probe, peer: Peer | None, when: When) -> bool:
        if probe.echo == self._run.nonce:
            return True
        newer = peer is None or when.now >= peer.until or probe.run.started > peer.run.started
        return newer and abs(probe.time - when.clock) <= CLOCKS_APART_S

    def _welcome(self, node: str, run: Run) -> Peer | Refusal:
        if node not in self._peers and len(self._peers) >= PEERS_MAX:
            dead = next((name for name, peer in self._peers.items() if not peer.alive), None)
            if dead is None:
                return Refusal.TOO_MANY
            self._retire(dead, self._peers.pop(dead).run)
        if (before := self._peers.pop(node, None)) is not None:
            self._retire(node, before.run)
        peer = self._peers[node] = Peer(run)
        return peer

    def _retire(self, node: str, run: Run) -> None:
        self._retired[node, run] = None
        while len(self._retired) > 4 * PEERS_MAX:
            self._retired.popitem(last=False)

    def _remember_nonce(self, nonce: int) -> None:
        if nonce not in self._echoes:
            self._echoes[nonce] = None
            if len(self._echoes) > ECHOES_MAX:
                self._echoes.popitem(last=False)

    def echo(self) -> int:
        """A nonce to say in the next frame: each of those heard in turn; 0 where there is none."""
        if not self._echoes:
            return 0
        nonce = next(iter(self._echoes))
        self._echoes.move_to_end(nonce)
        return nonce

    def note(self, peer: Peer, probe: Probe, nic: IfName, arrived: int, when: When) -> tuple[Freshness, bool]:
        """`Peer.note` of what came in on a NIC of ours."""
        return peer.note(probe, Arrival(self._me, nic, arrived), when, self.since)

    # What is known --------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        for peer in self._peers.values():
            if peer.alive and now >= peer.until:
                peer.fall_silent()
        for peer in (self._itself, *self._peers.values()):
            peer.settle(now)
        self._relays.forget(now)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(node for node, peer in self._peers.items() if peer.alive))

    def legs(self) -> Iterator[tuple[Leg, int]]:
        """The legs of others that were heard in their last sweep, and in which VLANs, as a bitmap."""
        for node, peer in self._peers.items():
            heard = peer.done or peer.current
            for nic in sorted(peer.nics) if heard is not None else ():
                yield Leg(node, nic), heard.vids_from(nic) if heard is not None else 0

    def heard(self) -> Iterator[Heard]:
        for node, peer in ((self._me, self._itself), *self._peers.items()):
            if peer.done is not None:
                yield from peer.done.heard(node, self._me)

    def shape(self) -> int:
        """A number that differs where something else is heard."""
        done = ((node, peer.done.shape) for node, peer in self._peers.items() if peer.done is not None)
        return hash(frozenset(done))

    def sweeps(self) -> frozenset[tuple[str, int]]:
        """The last sweep of each that is done; of this node's own what came back to it."""
        every = ((self._me, self._itself), *self._peers.items())
        return frozenset((node, peer.done.sweep) for node, peer in every if peer.done is not None)

    def reports(self) -> Iterator[NodeEvidence]:
        for node, packed in self._told():
            if (found := unpack(packed, node)) is not None:
                yield found

    def rows(self) -> Iterator[tuple[NodeEvidence, tuple[HeardRow, ...]]]:
        """The reports, with what was heard as rows."""
        for node, packed in self._told():
            if (found := unpack_rows(packed, node)) is not None:
                yield found

    def texts(self) -> Iterator[tuple[str, str]]:
        """Node -> its report as JSON."""
        yield from ((node, text_of(packed)) for node, packed in self._told())

    def reported(self) -> tuple[str, ...]:
        return tuple(sorted(node for node, _ in self._told()))

    def _told(self) -> Iterator[tuple[str, bytes]]:
        """What they told themselves; of the others, what was passed on."""
        yield from ((node, peer.packed) for node, peer in self._peers.items() if peer.packed)
        yield from ((node, packed) for node, packed in self._relays.packed() if not self._has_told(node))

    def _has_told(self, node: str) -> bool:
        return node in self._peers and bool(self._peers[node].packed)

    def agree(self, sweep: int, since: float) -> bool:
        """Whether all that are heard have swept since then, and each has told what it heard of the last sweep of each:
        of `sweep` of this node, too."""
        alive = {node: peer for node, peer in self._peers.items() if peer.alive}
        last = {node: peer.done.sweep for node, peer in alive.items() if peer.done and peer.began_since(since)}
        own = self._itself.done
        if own is not None and own.sweep != sweep:
            return False
        if last.keys() != alive.keys() or any(not self._has_told(node) for node, _ in self._told()):
            return False
        last[self._me] = sweep
        return all(
            peer.said is not None
            and peer.said.sweep == last[node]
            and all(peer.said.heard.get(other, number) == number for other, number in last.items())
            for node, peer in alive.items()
        )

    # Passing on -----------------------------------------------------------------------------------

    def relayed(self, peer: Peer, probe: Probe, secret: Secret, now: float) -> bool:
        """What a node passes on. Whether something new is among it."""
        whole = peer.relayed(probe)
        return whole is not None and self._relays.take(probe.sender.node, relay.unpack(whole), secret, now)

    def relays(self, now: float) -> dict[str, Relay]:
        """By whom what is known of nodes that are not heard came."""
        return {node: one for node, one in self._relays.relays(now).items() if not self._has_told(node)}

    def to_pass_on(self) -> tuple[str, ...]:
        """The nodes that somebody who hears us does not hear, and whose report we are the one to pass on."""
        heard = {node: set(p.said.heard) for node, p in self._peers.items() if p.alive and p.said is not None}
        every = heard.keys()
        lacking = [(node, one) for node, theirs in heard.items() for one in every - theirs - {node}]
        return tuple(sorted({one for node, one in lacking if self._is_ours(node, one, heard)}))

    def _is_ours(self, node: str, one: str, heard: Mapping[str, set[str]]) -> bool:
        """Of those that hear `one`, and that `node` hears, the first by name does it."""
        between = (x for x in heard if x not in (node, one) and one in heard[x] and x in heard[node])
        return self._me in heard[node] and all(self._me < other for other in between)

    def passed_on(self, now: float) -> bytes:
        """Their reports, for a relay."""
        peers = (self._peers[node] for node in self.to_pass_on())
        return relay.pack(
            relay.Report(frames=tuple(frame for _, frame in sorted(peer.frames.items())), age_s=now - peer.told_at)
            for peer in peers
            if peer.frames
        )

    def passes_on(self) -> frozenset[tuple[str, bytes]]:
        """What differs where something else is to be passed on."""
        return frozenset((node, self._peers[node].packed) for node in self.to_pass_on())
