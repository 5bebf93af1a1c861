"""What the server tells a cluster of its pods: `network-status` of those that have their networks, and an Event where
one could not be had.

A pod is told to have its networks before its ADD ends, where the API answers in time. Where it does not, the pod starts
all the same, and the API is told as soon as it can be, be it by the next server: `store.untold` says who is left.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from windrow.apps.cni.podinfo import named_pod
from windrow.kube.api import CONFLICT, MERGE, NOT_FOUND
from windrow.kube.errors import KubeError
from windrow.model.events import Event, EventType
from windrow.model.values import Ref
from windrow.port import netstatus
from windrow.port.errors import TRY_AGAIN, CniError
from windrow.port.networks import NETWORK_STATUS
from windrow.port.request import ADD, read_args
from windrow.render.text import shown
from windrow.status.published import event_of
from windrow.store import untold
from windrow.store.attachments import status
from windrow.store.errors import StoreError
from windrow.store.paths import Paths
from windrow.store.untold import Untold

if TYPE_CHECKING:
    from windrow.kube.cache import Cache

TELL_S = 2.0
AGAIN_S, AGAIN_MAX_S = 1.0, 30.0
CLOSE_S = 5.0
GONE = (NOT_FOUND, CONFLICT)
"""The pod, or it is another one of its name."""
REFUSED = (400, 413, 422)
"""However often it is said: the pod's annotations are as large as they may be, or it is another one by its UID."""
POD = "Pod"
REASON = "NetworkNotAttached"
FAILURES_KEPT, SAME_AGAIN_S = 200, 10.0

Say = Callable[[str], None]


class Asked(Protocol):
    """What a `kube.mirror.Mirror` has."""

    cache: Cache

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, kind: str = ..., within_s: float
    ) -> dict[str, Any]: ...

    def happened(self, events: Iterable[Mapping[str, Any]]) -> None: ...


class Teller:
    """Writes `network-status`; a thread tries again what the API did not take."""

    def __init__(self, mirror: Asked, paths: Paths, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._mirror, self._paths, self._say, self._clock = mirror, paths, say, clock
        self._wake, self._hurry, self._closing = threading.Event(), threading.Event(), False
        self._trouble, self._failed = "", -math.inf
        """What is wrong, and when the API last took nothing; -inf: it took the last one."""
        self._thread = threading.Thread(target=self._run, name="cni-telling", daemon=True)

    def start(self) -> None:
        """With what an earlier server has left."""
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        self._hurry.set()
        self._thread.join(CLOSE_S)

    def attached(self, one: Untold) -> None:
        """A pod has its networks: told now, or later. Raises nothing: its networks are there."""
        try:
            untold.note(self._paths, one)
        except OSError as error:
            self._say(f"cannot note that pod {one.pod} is to be told: {error.strerror}")
        was_away = self._failed > -math.inf
        # Of many ADDs one a second tries an API that is away: the others would wait as long, and in vain.
        if self._clock() - self._failed < AGAIN_S or not self._told(one):
            self._wake.set()
        elif was_away:
            self._wake.set()
            self._hurry.set()

    def _run(self) -> None:
        pause = AGAIN_S
        while not self._closing:
            self._wake.clear()
            self._hurry.clear()
            # One that is not taken ends the turn: the next would wait as long, and in vain.
            if all(self._told(one) for one in untold.all_of(self._paths)):
                pause = AGAIN_S
                self._wake.wait()
            else:
                self._hurry.wait(pause)
                pause = min(2 * pause, AGAIN_MAX_S)

    def _told(self, one: Untold) -> bool:
        """Whether nothing is left to say of it."""
        try:
            found = status(self._paths, one.container_id)
            if found:
                self._patch(one, netstatus.text(found))
        except StoreError as error:
            self._note(f"{error.path}: {error.reason}")
        except KubeError as error:
            if error.code in REFUSED:
                self._say(f"pod {one.pod} is not told which networks it has: {error.message}")
            elif error.code not in GONE:
                self._note(error.message)
                self._failed = self._clock()
                return False
        except Exception as error:  # noqa: BLE001 - neither an ADD nor the thread ends by a mistake of ours
            self._note(f"Windrow itself failed: {type(error).__name__}: {error}")
            return False
        else:
            self._note("")
            self._failed = -math.inf
        untold.forget(self._paths, one.container_id)
        return True

    def _patch(self, one: Untold, text: str) -> None:
        """The annotation alone, by the subresource, for which an account needs the right to nothing else of a pod."""
        namespace, _, name = one.pod.partition("/")
        uid = {"uid": one.uid} if one.uid else {}
        body = {"metadata": {**uid, "annotations": {NETWORK_STATUS: text}}}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        self._mirror.ask("PATCH", path, body, kind=MERGE, within_s=TELL_S)

    def _note(self, trouble: str) -> None:
        """Said once, and once when it is over."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._say(f"pods are not told which networks they have: {trouble}" if trouble else "pods are told again")


class Failures:
    """Events of pods that did not get their networks. A kubelet tries again and again: the same one is counted."""

    def __init__(self, mirror: Asked, clock: Callable[[], float] = time.time) -> None:
        self._mirror, self._clock = mirror, clock
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Ref, str, str], Event] = OrderedDict()

    def failed(self, env: Mapping[str, str], answer: str) -> None:
        """A call with this environment ended with this error. Of what passes by itself nothing is told."""
        try:
            error = json.loads(answer)
            pod = named_pod(read_args(env.get("CNI_ARGS", "")))
        except (ValueError, CniError):
            return
        if env.get("CNI_COMMAND") != ADD or not pod.name or error.get("code") == TRY_AGAIN:
            return
        details = f": {error['details']}" if error.get("details") else ""
        self._tell(Ref(POD, pod.name, pod.namespace), pod.uid, shown(f"{error.get('msg')}{details}"))

    def _tell(self, pod: Ref, uid: str, message: str) -> None:
        now, key = self._clock(), (pod, uid, message)
        with self._lock:
            known = self._known.pop(key, None)
            again = known is None or now - known.last >= SAME_AGAIN_S
            event = known or _event(pod, message, now)
            if known is not None:
                event = replace(known, last=now if again else known.last, count=known.count + 1)
            self._known[key] = event
            while len(self._known) > FAILURES_KEPT:
                self._known.popitem(last=False)
        if again:
            self._mirror.happened([event_of(event, self._mirror.cache.node, uid)])


def _event(pod: Ref, message: str, now: float) -> Event:
    return Event(type=EventType.WARNING, reason=REASON, about=pod, message=message, first=now, last=now)
