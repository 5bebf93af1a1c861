"""Where machines run: this host, its store, and who is told what is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from windrow.model.cluster import Cluster
from windrow.model.machines import AnyMachine, VirtualMachine, VirtualMachineInstance
from windrow.model.names import node_name
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.model.values import Ref
from windrow.model.wire import Loaded
from windrow.store.directory import Store
from windrow.store.machines import MachineRecord, Machines
from windrow.store.paths import Paths

KINDS: tuple[type[AnyMachine], ...] = (VirtualMachine, VirtualMachineInstance)
LOCK_S = 5.0
"""How long another command on the same machine is waited for."""


def silent(_: str) -> None:
    """For whoever wants to hear nothing."""


def unmeasured(_: str, __: float) -> None:
    """For whoever does not care what takes how long."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """`say` gets a line of progress; `warn` what somebody should know and nothing stops for; `spent` how many seconds a
    part of the work took, some parts several times."""

    paths: Paths
    node: str
    say: Callable[[str], None] = silent
    warn: Callable[[str], None] = silent
    spent: Callable[[str, float], None] = unmeasured

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent(part, time.monotonic() - began)

    @cached_property
    def records(self) -> Machines:
        return Machines(self.paths)

    def locked(self, namespace: str, name: str) -> contextlib.AbstractContextManager[None]:
        """Nobody else changes this machine during the block. Raises StoreError where another is at work for long."""
        return self.records.locked(namespace, name, timeout_s=LOCK_S)

    @cached_property
    def store(self) -> Store:
        return Store(self.paths)

    @cached_property
    def loaded(self) -> Loaded:
        """The store, as it was when it was first asked for. What cannot be read is warned of. Raises StoreError."""
        loaded = self.store.readable()
        for problem in errors(loaded.problems):
            self.warn(str(problem))
        return loaded

    @cached_property
    def cluster(self) -> Cluster:
        return Cluster.of(self.loaded.objects)

    @cached_property
    def here(self) -> str:
        """Which Node this host is, by its host name. Raises StoreError."""
        return node_name(self.node, self.cluster.node_names)

    def machines(self) -> tuple[AnyMachine, ...]:
        """Those of the store; of a VirtualMachine and an instance with the same name, the first."""
        found: dict[tuple[str, str], AnyMachine] = {}
        for kind in reversed(KINDS):
            found |= {(m.meta.namespace, m.name): m for m in self.cluster.all(kind)}
        return tuple(found[key] for key in sorted(found))

    def machine(self, namespace: str, name: str) -> AnyMachine:
        """Raises ProblemsError, with the names that there are."""
        for kind in KINDS:
            found = self.cluster.objects.get(Ref(kind.KIND, name, namespace))
            if isinstance(found, VirtualMachine | VirtualMachineInstance):
                return found
        raise ProblemsError([self._unknown(namespace, name)])

    def forget_gone(self) -> None:
        """What is kept of machines beyond their end goes with their manifest. Where nothing is stored at all, or what
        is there cannot be read, no machine is known to be gone. Raises StoreError."""
        if not self.loaded.objects or any(problem.about is None for problem in errors(self.loaded.problems)):
            return
        refs = self.cluster.objects.keys() | self.loaded.unread
        kept = {(ref.namespace, ref.name) for ref in refs if ref.kind in {kind.KIND for kind in KINDS}}
        kept |= {(record.namespace, record.name) for record in self.records.all()[0]}
        self.records.forget_addresses(lambda namespace, name: (namespace, name) not in kept)

    def _unknown(self, namespace: str, name: str) -> Problem:
        here = [m.name for m in self.machines() if m.meta.namespace == namespace]
        there = [m.meta.namespace for m in self.machines() if m.name == name]
        hint = f"there is: {', '.join(here)}" if here else "`windrow apply -f FILE` stores one"
        if any(Ref(kind.KIND, name, namespace) in self.loaded.unread for kind in KINDS):
            hint = "its manifest is in the store, and cannot be read: put that right first"
        elif there:
            hint = f"there is one in the namespace {', '.join(there)}: -n {there[0]}"
        return Problem(code="not-found", message=f'virtual machine "{namespace}/{name}" not found', hint=hint)

    def record(self, namespace: str, name: str) -> MachineRecord:
        """Of a machine that runs, or of which something is left. Raises ProblemsError."""
        found = self.records.get(namespace, name)
        if found is None:
            self.machine(namespace, name)
            problem = Problem(
                code="not-running",
                message="it does not run on this host",
                hint=f"`windrow vm start {name}` starts it",
                about=Ref(VirtualMachine.KIND, name, namespace),
            )
            raise ProblemsError([problem])
        return found
