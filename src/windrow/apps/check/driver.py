"""A prober with real NICs: taps that carry its frames, and filters behind them, so that guests see none.

It belongs to one thread, in the network namespace that it probes.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from windrow.apps.check.intent import Intent, ProbedNetwork
from windrow.apps.check.prober import Habits, Prober
from windrow.apps.check.sensing import STEP_S, Sensing
from windrow.frames.probe import ETHERTYPE, Run, Secret, mac_of
from windrow.model.evidence import Absent, Kind, Leg
from windrow.model.values import IfName, Mac
from windrow.netlink.errors import KernelError, NoSuchLink
from windrow.netlink.ingress import end_frames, let_frames
from windrow.netlink.sock import Rtnl
from windrow.sense.probes import Tap

CARRIER_S = 0.5
"""From one look at the carriers to the next; before each frame there is one more."""
NO_CARRIER = "no carrier"
BEHIND, ROUNDS_MAX = 2, 8
"""Where so many frames wait at once, this process was not there in time; all NICs are read then until nothing more
comes, and so often at most: a flood keeps nobody here."""


class Driver:
    """`step` waits and does what is due; `want` says that something else is to be probed."""

    def __init__(
        self,
        intent: Intent,
        secret: Secret,
        run: Run,
        habits: Habits,
        *,
        sensing: Sensing | None = None,
        mono: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises KernelError where there are no rtnetlink sockets at all; a NIC that cannot be listened on is told in
        the evidence. `sensing` belongs to this driver from now on."""
        self._sensing = sensing
        self._secret, self._me, self._mono, self._clock = secret, intent.node, mono, clock
        self._rtnl = Rtnl()
        self._taps: dict[IfName, Tap] = {}
        self._hidden: set[IfName] = set()
        self._looked = float("-inf")
        self.prober = Prober(self._opened(intent), secret, run, habits, now=mono())

    def close(self) -> None:
        for tap in self._taps.values():
            tap.close()
        for name in self._hidden:
            with suppress(KernelError):  # what cannot be taken off goes with the link
                let_frames(self._rtnl, name)
        if self._sensing is not None:
            self._sensing.close()
        self._rtnl.close()

    def want(self, intent: Intent) -> None:
        self.prober.want(self._opened(intent), self._mono())

    # NICs -----------------------------------------------------------------------------------------

    def _opened(self, intent: Intent) -> Intent:
        """What of it can be probed. Nothing is sent from a NIC behind which guests would see the answers."""
        if self._sensing is not None:
            self._sensing.want(intent.questions)
        wanted = [leg.nic for network in intent.networks for leg in network.legs if network.vids]
        for nic in [nic for nic in self._taps if nic not in wanted]:
            self._taps.pop(nic).close()
        for name in self._hidden - {*wanted, *intent.guests}:
            with suppress(KernelError):
                let_frames(self._rtnl, name)
        self._hidden &= {*wanted, *intent.guests}
        problems = self._hide(intent.guests)
        lacking = self._hide(wanted)
        macs = {nic: found for network in intent.networks for nic, found in self._macs(network).items()}
        lacking |= self._listen({nic: macs[nic] for nic in wanted if nic not in lacking})
        absent = tuple(Absent(kind=Kind.PROBE, nic=nic, reason=why) for nic, why in lacking.items())
        absent += tuple(
            Absent(kind=Kind.PROBE, nic=port, reason=f"what is behind it could send probes: {why}")
            for port, why in problems.items()
        )
        networks = tuple(_without(network, lacking) for network in intent.networks)
        return replace(intent, networks=networks, absent=(*intent.absent, *absent))

    def _hide(self, names: list[IfName] | frozenset[IfName]) -> dict[IfName, str]:
        """Once more for those that have it: a link that was made anew has none."""
        failed: dict[IfName, str] = {}
        for name in names:
            try:
                end_frames(self._rtnl, name, ETHERTYPE)
                self._hidden.add(name)
            except NoSuchLink:
                continue  # it is gone again, with what was behind it
            except KernelError as error:
                failed[name] = f"probes cannot be kept from what is behind it: {error}"
        return failed

    def _macs(self, network: ProbedNetwork) -> dict[IfName, frozenset[Mac]]:
        """Where probes go that may come in on each of its legs: where one is active they come by that one, else the
        switch chooses."""
        macs = {leg.nic: mac_of(self._secret, Leg(self._me, leg.nic)) for leg in network.legs}
        together = frozenset(macs[leg.nic] for leg in network.legs if leg.active is None)
        return {leg.nic: together if leg.active is None else frozenset({macs[leg.nic]}) for leg in network.legs}

    def _listen(self, nics: Mapping[IfName, frozenset[Mac]]) -> dict[IfName, str]:
        failed: dict[IfName, str] = {}
        opened: dict[IfName, Tap] = {}
        for nic, macs in nics.items():
            if nic in self._taps and self._taps[nic].is_there and self._taps[nic].macs == macs:
                continue
            if nic in self._taps:
                self._taps.pop(nic).close()
            try:
                self._taps[nic] = opened[nic] = Tap(nic, macs)
            except KernelError as error:
                failed[nic] = str(error)
        for tap in opened.values():  # what came in before the last of them was there is not all that came
            for _ in range(ROUNDS_MAX):
                if not list(tap.receive()):
                    break
        return failed

    # Time -----------------------------------------------------------------------------------------

    def fds(self) -> Mapping[int, IfName]:
        return {tap.fileno(): nic for nic, tap in self._taps.items()}

    def step(self, patience: float) -> None:
        """A wait of at most so many seconds, then what has come in and what is due."""
        self.work(self.wait(patience))

    def wait(self, patience: float, wake: int | None = None) -> list[int]:
        """The descriptors that have news, within so many seconds. `wake`: one more, which ends the wait."""
        with selectors.PollSelector() as selector:
            for fd in self.fds():
                selector.register(fd, selectors.EVENT_READ)
            if wake is not None:
                selector.register(wake, selectors.EVENT_READ)
            due = self.prober.due()
            waits = patience if due is None else min(patience, due - self._mono())
            return [key.fd for key, _ in selector.select(max(0.0, min(waits, STEP_S)))]

    def work(self, ready: Iterable[int]) -> None:
        """What has come in on these, and what is due."""
        nics = self.fds()
        self._hear_from([nics[fd] for fd in ready if fd in nics])
        self._look_at_carriers()
        if self._sensing is not None:
            self.prober.sensed = self._sensing.turn(self._clock())
        self.prober.send(self._mono(), self._clock(), self._emit)

    def _hear_from(self, nics: Iterable[IfName]) -> None:
        """From these, and, where several frames waited, from all until nothing more comes: a report that came in on one
        tells of frames that wait on another, and what is told and judged then is to have both."""
        if sum(self._hear(nic) for nic in nics) < BEHIND:
            return
        for _ in range(ROUNDS_MAX):
            if not sum(self._hear(nic) for nic in self._taps):
                return

    def _hear(self, nic: IfName) -> int:
        """How many frames came in."""
        now, clock, count = self._mono(), self._clock(), 0
        for arrived, payload in self._taps[nic].receive():
            self.prober.received(nic, arrived, payload, now=now, clock=clock)
            count += 1
        return count

    def _look_at_carriers(self) -> None:
        now = self._mono()
        if now < self._looked + CARRIER_S:
            return
        self._looked = now
        for nic, tap in self._taps.items():
            self.prober.carrier(nic, tap.running, now, self._clock())
        self.prober.look(now, self._clock())

    def _emit(self, nic: IfName, frame: bytes) -> str:
        tap = self._taps.get(nic)
        if tap is None or not tap.running:
            self.prober.carrier(nic, False, self._mono(), self._clock())
            return NO_CARRIER
        return tap.send(frame)


def _without(network: ProbedNetwork, lacking: Mapping[IfName, str]) -> ProbedNetwork:
    return replace(network, legs=tuple(leg for leg in network.legs if leg.nic not in lacking))
