"""Address conflict detection (RFC 5227 §2.4): who else says that an IPv4 address of ours is his.

A part of the agent's loop. The kernel's filter lets nothing through but such claims, so it wakes nobody otherwise; and
whoever claims again and again is not listened to for a while.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from windrow.model.agentstatus import Claim
from windrow.model.lazy import dataclass
from windrow.model.values import Cidr, IfName, Mac
from windrow.netlink.claims import Ear
from windrow.status.claims import Claims

DEAF_S = 2.0


@dataclass(slots=True)
class _Post:
    """Where one link is listened to. `index`: of the link that it was opened for (ifindex)."""

    ear: Ear
    addresses: frozenset[str]
    index: int
    mac: Mac | None
    carrier: bool
    deaf_until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A link, and the addresses of ours that it has."""

    addresses: frozenset[str]
    mac: Mac | None = None
    carrier: bool = True


def ipv4(addresses: Iterable[Cidr]) -> frozenset[str]:
    return frozenset(address.partition("/")[0] for address in addresses if ":" not in address)


class ClaimWatch:
    """All methods belong into one thread, in the namespace of the host's links."""

    def __init__(self, mono: Callable[[], float], clock: Callable[[], float]) -> None:
        self._mono, self._clock = mono, clock
        self._posts: dict[IfName, _Post] = {}
        self._claims = Claims()
        self._own: frozenset[Mac] = frozenset()

    @property
    def standing(self) -> tuple[Claim, ...]:
        return self._claims.standing

    def want(self, places: Mapping[IfName, Place], own: frozenset[Mac]) -> None:
        """Listen for these and no others. One that is new, or was without carrier, is asked for once: its rival may
        have come while nobody heard him. `own`: the MAC addresses of this host, which answers for each of its
        addresses on every link (`arp_process`, arp_ignore 0) and is no rival of itself."""
        self._own = own
        for name in [n for n in self._posts if n not in places or not places[n].addresses]:
            self._posts.pop(name).ear.close()
        for name, place in places.items():
            if place.addresses:
                self._post(name, place)
        wanted = {(name, address) for name, post in self._posts.items() for address in post.addresses}
        self._claims = self._claims.only(wanted)

    def _post(self, name: IfName, place: Place) -> None:
        index, post = _index(name), self._posts.get(name)
        known = (post.addresses, post.mac, post.index) if post is not None else None
        fresh = known != (place.addresses, place.mac, index)
        if fresh:
            if post is not None:
                post.ear.close()
                del self._posts[name]
            with suppress(OSError):  # the link is gone: the next round says so
                ear = Ear(name, place.addresses)
                self._posts[name] = _Post(ear, place.addresses, index, place.mac, place.carrier)
        found = self._posts.get(name)
        if found is None:
            return
        if place.carrier and (fresh or not found.carrier):
            for address in place.addresses:
                found.ear.ask(address)
        found.carrier = place.carrier

    # What the loop calls ----------------------------------------------------------------------------------------------

    def fds(self) -> Mapping[int, int]:
        now = self._mono()
        return {p.ear.fileno(): selectors.EVENT_READ for p in self._posts.values() if p.deaf_until <= now}

    def ready(self, _fd: int) -> bool:
        """Whether somebody claims what he did not claim before, or no longer does."""
        before, now = self._claims.standing, self._mono()
        for name, post in self._posts.items():
            if post.deaf_until > now:
                continue
            for address, mac in post.ear.heard():
                if mac not in self._own:
                    self._claims = self._claims.heard(name, address, mac, mono=now, now=self._clock())
                post.deaf_until = now + DEAF_S
        self._ask(now)
        return self._claims.standing != before

    def _ask(self, now: float) -> None:
        self._claims, due = self._claims.passed(now)
        for name, address in due:
            post = self._posts[name]
            post.ear.heard()  # what came while nobody listened is no answer
            post.deaf_until = 0.0
            post.ear.ask(address)

    def deadline(self) -> float | None:
        now = self._mono()
        due = [post.deaf_until for post in self._posts.values() if post.deaf_until > now]
        if self._claims.deadline is not None:
            due.append(self._claims.deadline)
        return min(due, default=None)

    def close(self) -> None:
        for post in self._posts.values():
            post.ear.close()
        self._posts.clear()


def _index(name: IfName) -> int:
    """0: there is no such link."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
