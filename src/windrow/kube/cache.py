"""The objects of a cluster as they are now: filled by one thread, read by another.

An event changes one entry. What is changed in no field that Windrow reads is no news: statuses, heartbeats, our own
writing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from windrow.kube import trim
from windrow.kube.resources import FOLLOWED, POLICIES, SELECTED
from windrow.kube.restless import Restless
from windrow.kube.trim import Document, Said
from windrow.model.manifests import NETWORKS, Found
from windrow.model.names import node_name
from windrow.model.objects import Node, VlanStatus
from windrow.model.policies import Pod
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.model.wire import Loaded, load_value

NOT_LISTED = "kube-unknown"
SAID = frozenset({"VlanStatus", "LinkMonitor", "HostNetworkConfig", "Node"})
"""The kinds of which an agent says something."""
MANY_NODES = 100
"""With more of them LinkMonitors, which have an entry for every node, are followed by their metadata alone: else each
of N nodes would tell N others of N entries."""
_NETWORKS = frozenset(cls.KIND for cls in NETWORKS)
_WHOLE = frozenset({"NetworkAttachmentDefinition", *POLICIES})
"""Of which every change counts: whoever has a namespace writes it."""
_PACED = frozenset({"ClusterNetwork", "VlanConfig", "HostNetworkConfig", *_WHOLE, *SELECTED})
"""What a node's network and its rules follow."""


@dataclass(slots=True)
class _Entry:
    uid: str
    document: Document
    loaded: Loaded


class Cache:
    """`kinds`: those that are followed; before all of them are listed nothing is known. With a policy among them, whom
    policies select has to be listed, too: until that is so, all is as it was before that policy. `restless`: which
    changes have to wait; None: all are taken in as they come."""

    def __init__(
        self,
        kinds: Iterable[str] = FOLLOWED,
        restless: Restless | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._restless, self._clock = restless, clock
        self._held: dict[Ref, Document | None] = {}
        """The newest version of what has to wait; None: it was deleted."""
        self._lock = threading.Lock()
        self._entries: dict[Ref, _Entry] = {}
        self._said: dict[Ref, Said] = {}
        self._kinds = frozenset(kinds)
        self._listed: set[str] = set()
        self._policies: set[Ref] = set()
        self._nodes: set[str] = set()
        self._found: Found | None = None
        self._whole: Found | None = None
        """The last one that all was known of."""
        self._deleted = False
        """The last network that went was said to be deleted, and is not only missing in a list."""
        self.node = ""
        """The Node that our agent runs on."""
        self.trouble = ""
        """Why the objects may be out of date; empty: they are not."""

    # The thread that fills it ---------------------------------------------------------------------

    def put(self, document: Document) -> bool:
        """Whether that is news."""
        ref = trim.ref_of(document)
        said = trim.said(document, self.node) if ref.kind in SAID else None
        wanted: Document = trim.bounded(trim.wanted(document))
        with self._lock:
            if said is not None:
                self._said[ref] = said
            if ref.kind == VlanStatus.KIND:
                return False
            known, uid = self._entries.get(ref), str(document["metadata"].get("uid", ""))
            if known is not None and known.document == wanted:
                known.uid = uid  # of one that was made anew while its end had to wait
                self._held.pop(ref, None)
                return False
            alike = known is not None and _weighed(known.document) == _weighed(wanted)
            if alike or not self._has_to_wait(ref, document):
                self._held.pop(ref, None)  # an older one
            elif known is None or (wanted := _at_once(known.document, wanted)) == known.document:
                return False
            self._entries[ref] = _Entry(uid, wanted, load_value(wanted))
            if ref.kind in POLICIES:
                self._policies.add(ref)
            elif ref.kind == Node.KIND:
                self._nodes.add(ref.name)
            self._found = None
            return known is None or not self._is_anothers_word(ref, known.document, wanted)

    def _is_anothers_word(self, ref: Ref, before: Document, now: Document) -> bool:
        """Only what the agent of another node says of itself has changed. A round for it would be one of every agent
        for every node, and they look at it in their next one."""
        if ref.kind != Node.KIND or ref.name == self.node:
            return False
        return trim.without_agents_words(before) == trim.without_agents_words(now)

    def drop(self, ref: Ref) -> bool:
        """It was deleted. Whether that is news. A pod's end never waits: its address may be another one's next."""
        with self._lock:
            if ref in self._entries and ref.kind != Pod.KIND and self._has_to_wait(ref, None):
                self._said.pop(ref, None)
                return False
        return self._forget(ref, deleted=True)

    def _has_to_wait(self, ref: Ref, newest: Document | None) -> bool:
        if self._restless is None or ref.kind not in _PACED or not self.complete:
            return False
        now = self._clock()
        if self._restless.wait_s(ref, now) > 0:
            self._held[ref] = newest
            return True
        self._restless.taken(ref, now)
        return False

    @property
    def held(self) -> Mapping[Ref, float]:
        """What waits, and for how many seconds yet."""
        if self._restless is None:
            return {}
        return {ref: self._restless.wait_s(ref, self._clock()) for ref in self._held}

    def is_calm(self, ref: Ref) -> bool:
        """Whether so few of its changes came lately that all of the next ones are taken in at once."""
        return self._restless is None or self._restless.is_calm(ref, self._clock())

    def take_in_held(self) -> bool:
        """That which has waited long enough. Whether that is news."""
        due = [(ref, self._held.pop(ref)) for ref, left in self.held.items() if left <= 0]
        news = [self.put(document) if document is not None else self.drop(ref) for ref, document in due]
        return any(news)

    def _forget(self, ref: Ref, *, deleted: bool) -> bool:
        with self._lock:
            self._said.pop(ref, None)
            self._held.pop(ref, None)
            if self._entries.pop(ref, None) is None:
                return False
            if ref.kind in _NETWORKS:
                self._deleted = deleted
            self._policies.discard(ref)
            if ref.kind == Node.KIND:
                self._nodes.discard(ref.name)
            self._found = None
            return True

    def listed(self, kind: str, there: Collection[Ref]) -> bool:
        """The whole list was put: what was not in it is gone. Whether that is news."""
        with self._lock:
            every = (*self._entries, *self._said, *self._held)
            known = [ref for ref in every if ref.kind == kind and ref not in there]
            first = kind not in self._listed
            self._listed.add(kind)
            if first:
                self._found = None
        gone = [self._forget(ref, deleted=False) for ref in known]
        return first or any(gone)

    def unfollowed(self, kinds: Collection[str]) -> None:
        """Nothing is heard of these kinds any more, so nothing is known of them. First they count as not listed:
        whoever looks meanwhile would take what is left for all that there is."""
        with self._lock:
            self._listed.difference_update(kinds)
            known = [ref for ref in (*self._entries, *self._held) if ref.kind in kinds]
        for ref in known:
            self._forget(ref, deleted=False)

    # Everybody ------------------------------------------------------------------------------------

    @property
    def policed(self) -> bool:
        """Whether there is a policy."""
        return bool(self._policies)

    @property
    def complete(self) -> bool:
        """Whether every kind was listed once."""
        return self._kinds <= self._listed and (not self._policies or self._listed.issuperset(SELECTED))

    def found(self) -> Found:
        """As of now; the same value until there is news."""
        with self._lock:
            if not self.complete:
                return self._whole or self._unlisted_yet()
            if self._found is None:
                self._found = self._whole = self._gathered()
            return self._found

    def _unlisted_yet(self) -> Found:
        """For a moment after the start that is as it should be."""
        return Found(lost=_lost(self.trouble)) if self.trouble else Found(young=True)

    def _gathered(self) -> Found:
        loaded = [entry.loaded for entry in self._entries.values()]
        return Found(
            loaded=Loaded(
                objects=tuple(obj for one in loaded for obj in one.objects),
                problems=tuple(problem for one in loaded for problem in one.problems),
                unread=frozenset(ref for one in loaded for ref in one.unread),
            ),
            deleted=self._deleted,
        )

    def said(self, kind: str) -> Mapping[Ref, Said]:
        with self._lock:
            return {ref: said for ref, said in self._said.items() if ref.kind == kind}

    def said_of(self, ref: Ref) -> Said | None:
        return self._said.get(ref)

    def wrote(self, ref: Ref, said: Said) -> None:
        """What there is by our own hand, of an object of which only others' changes are told."""
        with self._lock:
            if ref in self._said:
                self._said[ref] = said

    def uid(self, ref: Ref) -> str:
        """Empty: there is no such object."""
        entry = self._entries.get(ref)
        return entry.uid if entry is not None else ""

    def one(self, ref: Ref) -> Loaded | None:
        """What is read of an object; None: there is no such one."""
        entry = self._entries.get(ref)
        return entry.loaded if entry is not None else None

    def name_node(self) -> None:
        """Which Node ours is, where there was none by that name yet: it may have its full name."""
        if Ref(Node.KIND, self.node) not in self._entries:
            self.node = node_name(self.node, self.nodes())

    @property
    def crowded(self) -> bool:
        """Asked for each object that is written, so counted as they come and go."""
        return len(self._nodes) > MANY_NODES

    def nodes(self) -> list[str]:
        with self._lock:
            return list(self._nodes)


def _weighed(document: Document) -> object:
    """Of an object's fields those that count where it changes again and again. Of an uplink its spec, for a manager
    writes the rest whenever a node or a network comes; of a pod and a namespace the labels, for where a pod is and
    which address it has is the cluster's to say, and has to be known at once."""
    kind = document["kind"]
    if kind in _WHOLE:
        return document
    return document["metadata"].get("labels") if kind in SELECTED else document.get("spec")


def _at_once(known: Document, newest: Document) -> Document:
    """Of a version that has to wait what does not: of a pod all but its labels."""
    if newest["kind"] != Pod.KIND:
        return known
    meta = {key: value for key, value in newest["metadata"].items() if key != "labels"}
    labels = {key: value for key, value in known["metadata"].items() if key == "labels"}
    return {**newest, "metadata": {**meta, **labels}}


def _lost(trouble: str) -> Problem:
    return Problem(
        code=NOT_LISTED,
        message=f"the objects of the cluster are not known: {trouble}; the network stays as it was",
        hint="see to the API server, and to what this node's account may read",
    )
