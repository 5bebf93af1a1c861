"""The addresses of servers that move from node to node: a part of the agent's loop that listens on their links.

What is decided here is one word on disk for each pool, whether it is this node's turn. All else follows from it as from
any other fact: the plan sets the address or takes it away, the server is started or ended.
"""

from __future__ import annotations

import ipaddress
import selectors
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from windrow.model.lazy import dataclass
from windrow.model.pools import Candidate
from windrow.model.values import Cidr, IfName, Mac
from windrow.netlink.claims import Ear
from windrow.status.floating import TICK_S, Turn
from windrow.store.paths import Paths
from windrow.store.poolrecord import read_active, write_active


@dataclass(slots=True)
class _Post:
    """Where one candidate listens. `ear`: None while its link is not there; `index`: of the link that it is for."""

    candidate: Candidate
    turn: Turn
    ear: Ear | None = None
    index: int = 0
    there: bool = False
    """Whether the link has the address."""
    other: Mac | None = None
    """Who was heard last."""
    deaf: bool = False
    """Until the next tick: once in each is enough to know, however often somebody says it."""

    @property
    def address(self) -> str:
        return str(ipaddress.ip_interface(self.candidate.address).ip)

    def close(self) -> None:
        if self.ear is not None:
            self.ear.close()
        self.ear, self.index = None, 0


class Floating:
    """All methods belong into one thread, in the namespace of the host's links."""

    def __init__(
        self,
        paths: Paths,
        *,
        told: Callable[[str], None],
        failing: Callable[[], Collection[IfName]] = tuple,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told`: hears in words whose turn it is. `failing`: the links whose server does not start, try as it may."""
        self._paths, self._told, self._failing, self._mono = paths, told, failing, mono
        self._posts: dict[str, _Post] = {}
        self._alone: frozenset[str] = frozenset()
        self._own: Collection[Mac] = ()
        self._due: float | None = None

    def want(self, candidates: Sequence[Candidate], serving: Collection[str]) -> None:
        """Listen for these and no others; `serving`: all pools that this node is to serve now, those included that
        nobody else may serve: should another node come to one of them, it goes on here. Raises StoreError."""
        before, wanted = read_active(self._paths), {one.pool: one for one in candidates}
        for pool in [p for p, post in self._posts.items() if wanted.get(p) != post.candidate]:
            self._posts.pop(pool).close()
        for pool, one in wanted.items():
            if pool not in self._posts:
                self._posts[pool] = _Post(one, Turn(rank=one.rank, active=pool in before))
        self._alone = frozenset(serving) - wanted.keys()
        if not self._posts:
            self._due = None
        elif self._due is None:
            self._due = self._mono() + TICK_S
        self._write()

    def see(self, addresses: Mapping[IfName, Collection[Cidr]], own: Collection[Mac]) -> None:
        """What is there after a round: the addresses of links; `own`: the MAC addresses of this host, which is no other
        node."""
        self._own = own
        for post in self._posts.values():
            post.there = post.candidate.address in addresses.get(post.candidate.interface, ())
            self._listen(post)

    def _listen(self, post: _Post) -> None:
        index = _index(post.candidate.interface)
        if post.ear is None or index != post.index:
            post.close()
            with suppress(OSError):  # the link is gone: the next round says so
                post.ear, post.index = Ear(post.candidate.interface, [post.address]), index

    # What the loop calls ----------------------------------------------------------------------------------------------

    def fds(self) -> Mapping[int, int]:
        return {p.ear.fileno(): selectors.EVENT_READ for p in self._posts.values() if p.ear is not None and not p.deaf}

    def ready(self, _fd: int) -> bool:
        """Whether it is another one's turn now. Raises StoreError."""
        before = self._active
        for post in self._posts.values():
            self._hear(post)
        if self._due is not None and self._mono() >= self._due:
            self._due = self._mono() + TICK_S
            for post in self._posts.values():
                self._tick(post)
        self._write()
        return self._active != before

    def deadline(self) -> float | None:
        return self._due

    def close(self) -> None:
        for post in self._posts.values():
            post.close()
        self._posts.clear()

    # One of them ------------------------------------------------------------------------------------------------------

    def _hear(self, post: _Post) -> None:
        others = [mac for _, mac in post.ear.heard() if mac not in self._own] if post.ear is not None else []
        if not others:
            return
        was, post.turn = post.turn, post.turn.heard(there=post.there)
        if was.active and not post.turn.active:
            self._told(f"{_what(post)} is at {others[0]}, too: this node lets it go")
        elif not post.turn.active and post.other != others[0]:
            self._told(f"{_what(post)} is at {others[0]}: this node stands by")
        post.other, post.deaf = others[0], True

    def _tick(self, post: _Post) -> None:
        """Who cannot listen does not know, and so does not take anything."""
        post.deaf = False
        if post.ear is None:
            return
        if post.turn.active and post.candidate.interface in self._failing():
            post.turn = post.turn.given_up()
            self._told(f"{_what(post)} is let go: the server does not start on this node")
            return
        was, post.turn = post.turn, post.turn.tick()
        if post.turn.active and not was.active:
            post.other = None
            self._told(f"{_what(post)} answers nowhere: this node takes it")
        if was.active and post.turn.active and post.there:
            post.ear.announce(post.address)
        if was.active is post.turn.active and post.turn.asks:
            post.ear.ask(post.address)

    @property
    def _active(self) -> frozenset[str]:
        return frozenset(pool for pool, post in self._posts.items() if post.turn.active)

    def _write(self) -> None:
        write_active(self._paths, self._active | self._alone)


def _what(post: _Post) -> str:
    return f"{post.address}, the server of IPPool {post.candidate.pool},"


def _index(name: IfName) -> int:
    """0: there is no such link."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
