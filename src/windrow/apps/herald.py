"""The herald: a thread that hears of new ways and new MAC addresses, and announces at once who is to be found there.

A thread of its own, for whoever else could do it is at work just then: with the round that the same cable set off, or
with a plan that waits. It shares nothing with anybody. The agent has one for good; whoever changes the network without
the agent has one for as long as that takes.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from windrow.model.announcing import Due, Scene, Uplink
from windrow.model.ports import PortRecord
from windrow.model.problems import WindrowError
from windrow.model.values import IfName, Mac
from windrow.netlink import announce
from windrow.netlink.announce import Announcement, Sender
from windrow.netlink.netns import Netns
from windrow.netlink.scenes import Watch
from windrow.status.announcements import Agenda, due

BURST, PAUSE_S = 50, 0.01
"""So many frames, and then a pause: 5,000 a second of 64 bytes, which no switch takes for a broadcast storm."""
MOST = 4096
"""At most so many machines of one uplink each time: as many as a small switch can keep."""
AGAIN_S, AGAIN_MAX_S = 1.0, 60.0
LAST_S = 2.0
HURRY = -10
"""Of setpriority(2), for this thread alone: it works for a millisecond, seldom, and frames are lost until it has. It is
refused without CAP_SYS_NICE, and in the agent's unit, which is as quick as a whole."""
Ports = Callable[[], Iterable[PortRecord]]


class Herald:
    """At work from when it is made. `netns`: as for `Kernel`. `troubled`: hears in words what could not be done.

    `ports`: the records of the ports that were made here, read whenever something is announced.

    `for_good`: begins with announcing everything once, because nobody knows what happened before, and after a fault it
    tries again. Without it a fault ends it: nobody who changes the network is kept from that.

    Raises KernelError, unless it is `for_good`.
    """

    def __init__(
        self, netns: Netns = None, *, ports: Ports, troubled: Callable[[str], None], for_good: bool = False
    ) -> None:
        self._netns, self._ports, self._troubled, self._for_good = netns, ports, troubled, for_good
        self._failures = 0
        self._ending = self._heard_all = False
        self._at_work = threading.Lock()
        self._voice = None if for_good else _Voice(netns, ports, troubled, anew=False)
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="herald", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """As `Face.still`: the process may be forked within the block."""
        with self._at_work:
            yield

    def finish(self, *, wait_s: float | None = None) -> None:
        """No more news are heard; what is due is still announced, up to a second after the last news. `wait_s`: wait
        for that, but no longer."""
        self._ending = True
        os.close(self._woken)  # its other end is told of that (POLLHUP)
        if wait_s is not None:
            self._thread.join(wait_s)
        else:
            atexit.register(self._thread.join, LAST_S)  # a process that ends takes its time for the last ones

    # -- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), HURRY)
        try:
            while not self._done():
                try:
                    self._step()
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the thread
                    self._failed(error)
        finally:
            self._close()
            os.close(self._wake)
            atexit.unregister(self._thread.join)

    def _done(self) -> bool:
        if self._for_good or not self._ending:
            return self._ending
        return self._voice is None or (self._heard_all and self._voice.done)

    def _step(self) -> None:
        if self._voice is None:
            with self._at_work:
                self._voice = _Voice(self._netns, self._ports, self._troubled, anew=True)
        voice = self._voice
        with selectors.PollSelector() as selector:
            selector.register(voice.watch, selectors.EVENT_READ)
            if self._for_good or not self._ending:  # one for good ends as soon as it is told to
                selector.register(self._wake, selectors.EVENT_READ)
            selector.select(voice.patience())
        self._heard_all = self._ending
        with self._at_work:
            voice.hear()
            voice.speak()
            self._failures = 0

    def _failed(self, error: Exception) -> None:
        self._close()
        why = str(error) if isinstance(error, WindrowError) else f"{type(error).__name__}: {error}"
        self._troubled(f"what has a new way could not be announced to switches and neighbours: {why}")
        if not self._for_good:
            self._ending = True
            return
        with selectors.PollSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.select(min(AGAIN_S * 2**self._failures, AGAIN_MAX_S))
        self._failures += 1

    def _close(self) -> None:
        if self._voice is not None:
            self._voice.close()
            self._voice = None


class _Voice:
    """What is known and still to be said. `anew`: all that is there now may be news."""

    def __init__(self, netns: Netns, ports: Ports, troubled: Callable[[str], None], *, anew: bool) -> None:
        self._ports, self._troubled = ports, troubled
        self.watch = Watch(netns)
        try:
            self._sender = Sender(netns)
        except BaseException:
            self.watch.close()
            raise
        self._scene = self.watch.scene
        self._agenda = Agenda().once(due(Scene(), self._scene), time.monotonic()) if anew else Agenda()
        self._queue: Iterator[Sequence[Announcement]] | None = None
        self._not_before = 0.0
        self._too_many: set[int] = set()
        """Uplinks of which it was said that not all behind them are announced."""
        self._unread = False
        """Whether it was said that the records of ports cannot be read."""

    def close(self) -> None:
        self.watch.close()
        self._sender.close()

    @property
    def done(self) -> bool:
        return self._queue is None and self._agenda.next is None

    def patience(self) -> float | None:
        at = self._not_before if self._queue is not None else self._agenda.next
        return None if at is None else max(0.0, at - time.monotonic())

    def hear(self) -> None:
        scene = self.watch.read()
        if scene is self._scene:
            return
        news, self._scene = due(self._scene, scene), scene
        if news:
            self._agenda = self._agenda.heard(news, time.monotonic())
            self._queue = None  # it may be of a way that is gone

    def speak(self) -> None:
        now = time.monotonic()
        if self._queue is None and self._agenda.next is not None and self._agenda.next <= now:
            told, self._agenda = self._agenda.told(now)
            self._queue = self._found(told)
        if self._queue is not None and now >= self._not_before:
            some = next(self._queue, ())
            self._sender.send(some)
            self._not_before = time.monotonic() + PAUSE_S * len(some) / BURST
            if not some:
                self._queue = None

    def _found(self, told: Due) -> Iterator[Sequence[Announcement]]:
        """In bursts, those first who are known soonest: a frame must not wait for what others are looked up in.

        Looked up each time: a machine may have moved to another host meanwhile, and was heard from there."""
        scene = self._scene
        own = {index: scene.interfaces[index] for index in told.own & scene.interfaces.keys()}
        yield from _bursts([a for i, one in own.items() for a in announce.of_interface(self.watch, i, one)])
        ways = {index: scene.uplinks[index] for index in told.machines.keys() & scene.uplinks.keys()}
        heard = {index: announce.heard(self.watch, uplink) for index, uplink in ways.items()}
        counts = dict.fromkeys(ways, 0)
        for index, uplink in ways.items():
            found = announce.talkative(self.watch, told.machines[index], heard[index])
            yield from self._of_machines(index, uplink, found, counts)
        macs = self._recorded() if ways else {}
        for index, uplink in ways.items():
            found = announce.silent(self.watch, uplink, told.machines[index], heard[index], macs)
            yield from self._of_machines(index, uplink, found, counts)

    def _of_machines(
        self, index: int, uplink: Uplink, found: Sequence[tuple[bytes, int]], counts: dict[int, int]
    ) -> Iterator[Sequence[Announcement]]:
        """`counts`: how many of each uplink were found before."""
        room = max(0, MOST - counts[index])
        counts[index] += len(found)
        if counts[index] > MOST and index not in self._too_many:
            self._too_many.add(index)
            self._troubled(f"more than {MOST} MAC addresses are behind {uplink.name}, and {MOST} of them are announced")
        return _bursts([announce.of_machine(uplink, mac, vid) for mac, vid in found[:room]])

    def _recorded(self) -> dict[IfName, Mac]:
        """By the name of the port, who is there. A disk that refuses keeps nobody unannounced who was heard."""
        try:
            records = self._ports()
        except OSError as error:
            if not self._unread:
                self._unread = True
                self._troubled(f"who has said nothing for long is not announced: port records: {error.strerror}")
            return {}
        return {record.host: record.mac for record in records if record.mac is not None}


def _bursts(found: Sequence[Announcement]) -> Iterator[Sequence[Announcement]]:
    return (found[at : at + BURST] for at in range(0, len(found), BURST))
