"""Asks in VLANs: who gives addresses, who has the gateway's, who else has ours, which routers there are.

Polite: into no VLAN but those that it is asked about, from the uplink's own MAC, from no address, never a REQUEST; at
most one DISCOVER in a VLAN within five minutes, whoever looks how often; at most a hundred frames a second. It is sent
and heard on the link that has the VLANs: the bond hands it to the leg that carries its traffic, and answers of all legs
come up through it.
"""

from __future__ import annotations

import heapq
import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from windrow.frames import arp, dhcp, ethernet, neighbour
from windrow.frames.reading import ip_text, mac_text
from windrow.model.evidence import Absent, Answer, DhcpOffer, Kind, RouterAdvert, VlanEvidence
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac
from windrow.netlink.errors import KernelError
from windrow.netlink.packets import LONGEST, Packet, PacketSocket, Rule, byte, ethertype, udp_port
from windrow.sense.manners import Manners

PAUSE_S = 0.01
"""From one frame to the next."""
TIMES, ANSWER_S = 3, 1.0
"""How often an address is asked for that nobody has answered for yet, and how long an answer may take."""
ROUTERS_TIMES, ROUTERS_S = 2, 4.0
"""RFC 4861 §10, RTR_SOLICITATION_INTERVAL."""
OFFER_S = 4.0
"""A server may look first whether somebody has the address: dnsmasq for 3 s, others for one."""
ANSWERS_MAX = 16
"""Offers, routers, and MACs of one address that are kept in one VLAN."""
_UDP, _ICMPV6 = 17, 58
RULES: tuple[Rule, ...] = (
    ((ethertype(ethernet.ARP),), LONGEST),
    ((ethertype(ethernet.IPV4), byte(23, _UDP), udp_port(68)), LONGEST),
    ((ethertype(ethernet.IPV6), byte(20, _ICMPV6)), LONGEST),
)
_IPV4, _IPV6, _SOURCE = 14, 14, slice(6, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """About one VLAN. `link`: whose bond or NIC carries it; `tag` None: without one. `gateways` and `own`: addresses
    of both families, without prefix. `dhcp` and `routers`: whether to ask for them. `client`: the MAC that a DISCOVER
    is for, where it is not the link's: a server that serves reservations only answers nobody else."""

    cluster_network: str
    vid: int
    link: IfName
    tag: int | None
    gateways: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    dhcp: bool = True
    routers: bool = True
    client: Mac | None = None


@dataclass(slots=True)
class _Inquiry:
    """What goes on about one question."""

    question: Question
    macs: dict[str, dict[Mac, None]] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    """What was sent and is answered, or had its time: before that, silence says nothing."""
    offers: dict[tuple[str, Mac], DhcpOffer] = field(default_factory=dict)
    routers: dict[tuple[str, Mac], RouterAdvert] = field(default_factory=dict)
    """Two may have one address: a rogue says it is the other."""
    transaction: int = 0

    def whats(self) -> list[str]:
        """What there is to ask: an address, or the name of a Kind."""
        question = self.question
        addresses = dict.fromkeys((*question.gateways, *question.own))
        kinds = {Kind.DHCP: question.dhcp, Kind.RA: question.routers}
        return [*addresses, *(kind for kind, wanted in kinds.items() if wanted)]

    def answered(self, what: str) -> bool:
        """Of DHCP servers there may be more: they all have their time."""
        return bool(self.routers if what == Kind.RA else what != Kind.DHCP and self.macs.get(_plain(what)))

    def asked(self) -> frozenset[Kind]:
        """The kinds of which all is done."""
        kinds = {what: _kind(what) for what in self.whats()}
        return frozenset(kinds.values()) - {kind for what, kind in kinds.items() if what not in self.done}


@dataclass(frozen=True, slots=True, order=True)
class _Turn:
    """Something to send, and not before `at`."""

    at: float
    order: int
    what: str
    """An address, or the name of a Kind."""
    number: int
    """Of the question."""


class Asking:
    """Goes on in steps: `step` sends what is due, `hear` takes what came. Times are monotonic seconds."""

    def __init__(self, questions: Sequence[Question], own: frozenset[Mac], manners: Manners, now: float) -> None:
        """`own`: MACs of this host, whose answers are none."""
        self._own, self._manners = own, manners
        self._inquiries = [_Inquiry(question) for question in questions]
        self._in_vlan: dict[tuple[IfName, int], list[_Inquiry]] = defaultdict(list)
        for inquiry in self._inquiries:
            self._in_vlan[inquiry.question.link, inquiry.question.tag or 0].append(inquiry)
        self._absent: list[Absent] = []
        self._sockets: dict[IfName, PacketSocket] = {}
        self._failed: set[IfName] = set()
        for link in dict.fromkeys(question.link for question in questions):
            self._open(link)
        self._turns = sorted(self._first_turns(now))  # a heap
        self._free_at = now

    def _open(self, link: IfName) -> None:
        try:
            self._sockets[link] = PacketSocket(link, RULES)
        except KernelError as error:
            self._failed.add(link)
            for kind in (Kind.ARP, Kind.ND, Kind.DHCP, Kind.RA):
                self._lacks(kind, link, str(error))

    def _lacks(self, kind: Kind, link: IfName, reason: str) -> None:
        self._absent.append(Absent(kind=kind, nic=link, reason=reason))

    def _first_turns(self, now: float) -> Iterator[_Turn]:
        for number, inquiry in enumerate(self._inquiries):
            if inquiry.question.link in self._failed:
                continue
            yield from (_Turn(now, order, what, number) for order, what in enumerate(inquiry.whats()))

    @property
    def questions(self) -> tuple[Question, ...]:
        """In the order of the evidence."""
        return tuple(inquiry.question for inquiry in self._inquiries)

    def sockets(self) -> Sequence[PacketSocket]:
        return tuple(self._sockets.values())

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()

    def due(self, now: float) -> float | None:
        """In how many seconds there is something to send; None: never again."""
        return max(0.0, self._turns[0].at - now, self._free_at - now) if self._turns else None

    def step(self, now: float, clock: float) -> None:
        """Send at most one frame. `clock`: Unix time."""
        if not self._turns or self._turns[0].at > now or self._free_at > now:
            return
        turn = heapq.heappop(self._turns)
        inquiry = self._inquiries[turn.number]
        self._free_at = now + PAUSE_S
        again = self._send(inquiry, turn.what, clock)
        if again is not None:
            heapq.heappush(self._turns, replace(turn, at=now + again))

    def _send(self, inquiry: _Inquiry, what: str, clock: float) -> float | None:
        """After how long it is looked at again; None: it is done."""
        question = inquiry.question
        times, answer_s = _patience(what)
        tries = inquiry.tries.get(what, 0)
        if tries >= times or (tries and inquiry.answered(what)):
            if inquiry.sent.get(what) or inquiry.answered(what):
                inquiry.done.add(what)
            if what == Kind.DHCP and what in inquiry.done:
                self._manners.heard((question.cluster_network, question.vid), tuple(inquiry.offers.values()))
            return None
        inquiry.tries[what] = tries + 1
        if what == Kind.DHCP:
            return answer_s if self._discover(inquiry, clock) else None
        if not self._sockets[question.link].send(self._frame(question, what)):
            inquiry.sent[what] = inquiry.sent.get(what, 0) + 1
        return answer_s

    def _frame(self, question: Question, what: str) -> bytes:
        mac = self._sockets[question.link].mac
        if what == Kind.RA:
            return neighbour.routers_wanted(mac, question.tag)
        if ":" in what:
            return neighbour.whose(mac, socket.inet_pton(socket.AF_INET6, what), question.tag)
        return arp.whose(mac, socket.inet_aton(what), question.tag)

    def _discover(self, inquiry: _Inquiry, clock: float) -> bool:
        """Whether it was sent."""
        question, one = inquiry.question, self._sockets[inquiry.question.link]
        place, words = (question.cluster_network, question.vid), f"VLAN {question.vid} of {question.cluster_network}"
        wait = self._manners.wait_s(place, clock)
        if wait > 0:
            known = self._manners.known(place)
            if known is None:
                reason = f"{words} was asked less than five minutes ago: again in {wait:.0f} s"
                self._lacks(Kind.DHCP, question.link, reason)
            else:
                inquiry.done.add(Kind.DHCP)
                inquiry.offers = {(offer.server, offer.server_mac): offer for offer in known}
            return False
        inquiry.transaction = self._manners.transaction()
        client = ethernet.mac_bytes(question.client) if question.client else b""
        if refused := one.send(dhcp.discover(one.mac, inquiry.transaction, question.tag, client)):
            self._lacks(Kind.DHCP, question.link, f"{words} was not asked: {question.link} takes no frame: {refused}")
            return False
        inquiry.sent[Kind.DHCP] = 1
        self._manners.asked(place, clock)
        return True

    def hear(self, one: PacketSocket) -> None:
        """All that has come in on a socket."""
        for packet in one.receive():
            for inquiry in self._in_vlan.get((one.link, packet.tag), ()):
                self._take(inquiry, packet)

    def _take(self, inquiry: _Inquiry, packet: Packet) -> None:
        frame = packet.frame
        if mac_text(frame[_SOURCE]) in self._own:
            return
        match int.from_bytes(frame[12:14], "big"):
            case ethernet.ARP:
                told = arp.parse(frame[14:])
                if told is not None and told.sender != arp.NOBODY:
                    self._answer(inquiry, ip_text(told.sender), mac_text(told.sender_mac))
            case ethernet.IPV4:
                self._offer(inquiry, frame)
            case ethernet.IPV6:
                said = neighbour.parse(frame[14:], frame[_SOURCE])
                if isinstance(said, neighbour.Advertisement):
                    self._answer(inquiry, ip_text(said.address), mac_text(said.mac))
                elif isinstance(said, RouterAdvert) and len(inquiry.routers) < ANSWERS_MAX:
                    inquiry.routers[said.router, said.mac] = said
            case _:
                pass

    def _answer(self, inquiry: _Inquiry, address: str, mac: Mac) -> None:
        """Of an address that we asked for; who has it may say so without being asked, too."""
        question = inquiry.question
        if mac in self._own or address not in {_plain(a) for a in (*question.gateways, *question.own)}:
            return
        macs = inquiry.macs.setdefault(address, {})
        if len(macs) < ANSWERS_MAX:
            macs[mac] = None

    def _offer(self, inquiry: _Inquiry, frame: bytes) -> None:
        reply = dhcp.parse(frame[14:])
        if not isinstance(reply, dhcp.Reply) or not inquiry.transaction or reply.transaction != inquiry.transaction:
            return
        offer = dhcp.offer(reply, frame[_SOURCE])
        if isinstance(offer, DhcpOffer) and len(inquiry.offers) < ANSWERS_MAX:
            inquiry.offers[offer.server, offer.server_mac] = offer

    def settled(self, now: float) -> bool:
        """All is answered, or had its time."""
        return not self._turns and now >= self._free_at

    def evidence(self) -> tuple[tuple[VlanEvidence, ...], tuple[Absent, ...]]:
        return tuple(map(_evidence, self._inquiries)), tuple(self._absent)


def _evidence(inquiry: _Inquiry) -> VlanEvidence:
    question = inquiry.question
    answers: Mapping[str, Answer] = {
        address: Answer(
            address=address, macs=tuple(inquiry.macs.get(_plain(address), ())), asked=inquiry.sent.get(address, 0)
        )
        for address in (*question.gateways, *question.own)
    }
    return VlanEvidence(
        cluster_network=question.cluster_network,
        vid=question.vid,
        asked=inquiry.asked(),
        offers=tuple(inquiry.offers.values()),
        gateways=tuple(answers[a] for a in question.gateways if a in inquiry.done or answers[a].macs),
        duplicates=tuple(answers[a] for a in question.own if answers[a].macs),
        routers=tuple(inquiry.routers.values()),
    )


def _kind(what: str) -> Kind:
    if what in (Kind.DHCP, Kind.RA):
        return Kind(what)
    return Kind.ND if ":" in what else Kind.ARP


def _patience(what: str) -> tuple[int, float]:
    """How often it is asked, and for how long it is waited for an answer each time."""
    match what:
        case Kind.DHCP:
            return 1, OFFER_S
        case Kind.RA:
            return ROUTERS_TIMES, ROUTERS_S
        case _:
            return TIMES, ANSWER_S


def _plain(address: str) -> str:
    """As `ip_text` writes it: of IPv6 there are several ways to write one."""
    return ip_text(socket.inet_pton(socket.AF_INET6, address)) if ":" in address else address
