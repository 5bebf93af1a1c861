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
from windrow.sense.manners import Manners
from windrow.sense.packets import LONGEST, Packet, PacketSocket, Rule, byte, ethertype, udp_port

PAUSE_S = 0.01
"""From one frame to the next."""
TIMES, AGAIN_S = 3, 1.0
"""How often an address is asked for that nobody has answered for yet, and after how long again."""
ROUTERS_AGAIN_S = 4.0
"""RFC 4861 §10, RTR_SOLICITATION_INTERVAL."""
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
    asked: set[Kind] = field(default_factory=set)
    macs: dict[str, dict[Mac, None]] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    offers: dict[tuple[str, Mac], DhcpOffer] = field(default_factory=dict)
    routers: dict[str, RouterAdvert] = field(default_factory=dict)
    transaction: int = 0


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
            question = inquiry.question
            if question.link in self._failed:
                continue
            whats = list(dict.fromkeys((*question.gateways, *question.own)))
            whats += [Kind.DHCP] if question.dhcp else []
            whats += [Kind.RA] if question.routers else []
            yield from (_Turn(now, order, what, number) for order, what in enumerate(whats))

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
        """After how long it is to be asked again; None: not."""
        question = inquiry.question
        one = self._sockets[question.link]
        if what == Kind.DHCP:
            self._discover(inquiry, one, clock)
            return None
        times = inquiry.times.get(what, 0)
        if what != Kind.RA and inquiry.macs.get(_plain(what)):
            return None
        if what == Kind.RA:
            frame, kind, again = neighbour.routers_wanted(one.mac, question.tag), Kind.RA, ROUTERS_AGAIN_S
            if times and inquiry.routers:
                return None
        elif ":" in what:
            packed = socket.inet_pton(socket.AF_INET6, what)
            frame, kind, again = neighbour.whose(one.mac, packed, question.tag), Kind.ND, AGAIN_S
        else:
            frame, kind, again = arp.whose(one.mac, socket.inet_aton(what), question.tag), Kind.ARP, AGAIN_S
        if one.send(frame):
            inquiry.asked.add(kind)
            inquiry.times[what] = times + 1
        return again if times + 1 < TIMES else None

    def _discover(self, inquiry: _Inquiry, one: PacketSocket, clock: float) -> None:
        question = inquiry.question
        place = (question.cluster_network, question.vid)
        wait = self._manners.wait_s(place, clock)
        if wait > 0:
            if (known := self._manners.known(place)) is not None:
                inquiry.asked.add(Kind.DHCP)
                inquiry.offers = {(offer.server, offer.server_mac): offer for offer in known}
                return
            reason = f"VLAN {question.vid} of {question.cluster_network} was asked less than five minutes ago"
            self._lacks(Kind.DHCP, question.link, f"{reason}: again in {wait:.0f} s")
            return
        inquiry.transaction = self._manners.transaction()
        client = ethernet.mac_bytes(question.client) if question.client else b""
        if one.send(dhcp.discover(one.mac, inquiry.transaction, question.tag, client)):
            inquiry.asked.add(Kind.DHCP)
            self._manners.asked(place, clock)
        else:
            reason = f"VLAN {question.vid} of {question.cluster_network} was not asked"
            self._lacks(Kind.DHCP, question.link, f"{reason}: {question.link} takes no frame, is it down?")

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
                    inquiry.routers[said.router] = said
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
            question = inquiry.question
            self._manners.heard((question.cluster_network, question.vid), tuple(inquiry.offers.values()))

    def settled(self, now: float) -> bool:
        """Nothing more is to be sent, and what was sent last had its time for an answer."""
        return not self._turns and now - self._free_at >= AGAIN_S

    def evidence(self) -> tuple[tuple[VlanEvidence, ...], tuple[Absent, ...]]:
        return tuple(map(_evidence, self._inquiries)), tuple(self._absent)


def _evidence(inquiry: _Inquiry) -> VlanEvidence:
    question = inquiry.question
    answers: Mapping[str, Answer] = {
        address: Answer(
            address=address, macs=tuple(inquiry.macs.get(_plain(address), ())), asked=inquiry.times.get(address, 0)
        )
        for address in (*question.gateways, *question.own)
    }
    return VlanEvidence(
        cluster_network=question.cluster_network,
        vid=question.vid,
        asked=frozenset(inquiry.asked),
        offers=tuple(inquiry.offers.values()),
        gateways=tuple(answers[a] for a in question.gateways if answers[a].asked or answers[a].macs),
        duplicates=tuple(answers[a] for a in question.own if answers[a].macs),
        routers=tuple(inquiry.routers.values()),
    )


def _plain(address: str) -> str:
    """As `ip_text` writes it: of IPv6 there are several ways to write one."""
    return ip_text(socket.inet_pton(socket.AF_INET6, address)) if ":" in address else address
