"""Agents on nodes of a world, forked from the warm process of the tests: starting Python anew takes a second there."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.standins import StandIn

from windrow.apps.agent import main
from windrow.apps.agent.log import Log
from windrow.apps.check.settings import Settings
from windrow.apps.engine import Sight, look, plan_node
from windrow.apps.known import agent_status, known
from windrow.lab.guest.run import enter
from windrow.lab.world import World
from windrow.model.agentstatus import AgentStatus
from windrow.model.cluster import Cluster
from windrow.model.events import Condition, Event
from windrow.model.facts import KernelFeatures
from windrow.model.steps import Action, Failure, Impact, Phase, Step
from windrow.model.values import IfName, Ref
from windrow.netlink.kernel import Kernel
from windrow.store.directory import Store
from windrow.store.events import Events
from windrow.store.paths import Paths

PATIENCE_S = 30.0
ENDS_S = 60.0
"""An agent that was told to end takes a hundredth of that; of one that does not, the tests show where it stands."""


@dataclass
class Host:
    """A node of a world: its kernel, its disk, its agent."""

    world: World
    node: str
    features: KernelFeatures
    check: Settings | None = None
    pid: int = 0
    kernel: Kernel = field(init=False)

    def __post_init__(self) -> None:
        self.paths = Paths(self.world.root(self.node))
        self.paths.manifests.mkdir(parents=True, exist_ok=True)
        self.kernel = Kernel(self.node)

    def close(self) -> None:
        self.kill()
        self.kernel.close()

    # The agent ------------------------------------------------------------------------------------

    def start(self, *, steady: bool = True) -> None:
        """It works when this returns, or not yet. `steady`: see `Steady`."""
        assert not self.pid
        self.stacks.touch()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._be_the_agent(steady=steady)
            except BaseException:  # noqa: BLE001 - nothing of the tests may run on in here
                with self.log.open("a") as log:
                    traceback.print_exc(file=log)
                os._exit(1)
            os._exit(0)

    def _be_the_agent(self, *, steady: bool) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        gc.disable()
        enter(self.world.place(self.node))
        with self.stacks.open("a") as stacks, self.log.open("a") as log, Kernel() as kernel:
            faulthandler.register(signal.SIGUSR1, file=stacks)
            held = Held(Steady(kernel, self.features) if steady else kernel)
            log_ = Log(log)
            options = main.Options(
                paths=self.paths, node=self.node, open_kernel=lambda: held, log=log_, check=self.check
            )
            main.run(options)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """What its exit code was, as `os.waitstatus_to_exitcode` has it."""
        if not self.pid:
            return 0
        os.kill(self.pid, number)
        pid, self.pid = self.pid, 0
        end = time.monotonic() + ENDS_S
        while time.monotonic() < end:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        raise AssertionError(f"the agent does not end; it stands at:\n{self._where(pid)}\nit said:\n{self.said()}")

    def _where(self, pid: int) -> str:
        """The stacks of an agent that does not end, and what it waits for in the kernel; then it ends."""
        before = self.stacks.stat().st_size
        waits = [f"{task.name}: {(task / 'wchan').read_text()}" for task in Path(f"/proc/{pid}/task").iterdir()]
        os.kill(pid, signal.SIGUSR1)
        time.sleep(1.0)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "\n".join([*waits, self.stacks.read_text()[before:]])

    def stop(self) -> int:
        return self.kill(signal.SIGTERM)

    @property
    def log(self) -> Path:
        return self.paths.root / "agent.log"

    @property
    def stacks(self) -> Path:
        return self.paths.root / "agent.stacks"

    def status(self) -> AgentStatus | None:
        return agent_status(self.paths)

    def events(self) -> tuple[Event, ...]:
        return Events(self.paths).all()

    def conditions(self) -> tuple[Condition, ...]:
        status = self.status()
        return status.conditions if status else ()

    def bad(self) -> set[str]:
        status = self.status()
        return {c.type for c in status.conditions if c.status is (c.type != "ready")} if status else {"no agent"}

    # The network ----------------------------------------------------------------------------------

    def write(self, text: str, name: str = "oob.yaml") -> None:
        """As an editor does: beside it, then over it. An old one, as `cp -p` makes it: so nobody waits for its end."""
        temp = self.paths.manifests / f".{name}.new"
        temp.write_text(text)
        os.utime(temp, (time.time() - 60, time.time() - 60))
        temp.replace(self.paths.manifests / name)

    def cluster(self) -> Cluster:
        return Cluster.of(Store(self.paths).load().objects)

    def sight(self) -> Sight:
        return look(Steady(self.kernel, self.features), self.node, known(self.paths))

    def differences(self, cluster: Cluster) -> list[str]:
        plan = plan_node(cluster, self.sight()).plan
        return [f"{d.link} {d.field}" for unit in plan.units for d in unit.deltas] + [str(p) for p in plan.refusals]

    def harm(self, link: str, action: Action) -> Failure | None:
        why, name = Ref("Test", "harm"), IfName(link)
        return self.kernel.run([Step(phase=Phase.PREPARE, link=name, action=action, why=why, impact=Impact.NONE)])

    def wait(self, what: Callable[[], object], patience_s: float = PATIENCE_S, pause_s: float = 0.01) -> float:
        """How long it took. The agent's log is shown where it never comes."""
        begun = time.monotonic()
        while not what():
            if time.monotonic() - begun > patience_s:
                raise AssertionError(f"it did not come within {patience_s} s; the agent said:\n{self.said()}")
            time.sleep(pause_s)
        return time.monotonic() - begun

    def right(self, cluster: Cluster, patience_s: float = PATIENCE_S) -> float:
        """Wait until the network is as this cluster wants it; how long it took."""
        return self.wait(lambda: not self.differences(cluster), patience_s)

    def said(self) -> str:
        text = self.log.read_text() if self.log.exists() else ""
        return "\n".join(text.splitlines()[-40:])

    def power_cut(self) -> None:
        if self.pid:
            self.kernel.close()
            self.world.power.cut(self.node)  # it is one of the processes that die
            os.waitpid(self.pid, 0)
            self.pid = 0
        else:
            self.kernel.close()
            self.world.power.cut(self.node)

    def boot(self) -> None:
        self.world.power.boot(self.node)
        self.kernel = Kernel(self.node)


class Steady(StandIn):
    """A kernel whose features are known: trying them takes two namespaces each time."""

    def __init__(self, kernel: Kernel, features: KernelFeatures) -> None:
        super().__init__(kernel)
        self._features = features

    def features(self) -> KernelFeatures:
        return self._features


class Held:
    """`Options.open_kernel` of a kernel that is open."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def __enter__(self) -> Kernel:
        return self._kernel

    def __exit__(self, *_: object) -> None:
        pass
