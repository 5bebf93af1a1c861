"""What the lab kernel runs: the lab's server, joined with the engine that makes nodes be as their manifests say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windrow.apps.round import Hooks, Policy, Report, Stored, carry_out
from windrow.apps.round.here import here
from windrow.lab.errors import LabError
from windrow.lab.guest.server import Server
from windrow.lab.scenario import Pod
from windrow.lab.session import Applied, Session, missing, prepare_kernel
from windrow.model.checkpoint import Probe, ProbeKind
from windrow.model.cluster import Cluster
from windrow.model.machines import AnyMachine
from windrow.model.objects import AnyObject
from windrow.model.problems import ProblemsError, errors
from windrow.model.steps import Failure, Step
from windrow.model.values import Ref
from windrow.netlink.kernel import Kernel
from windrow.rules import AS_STORED, Wish, changes_to, check
from windrow.store.directory import Store
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.apps.incluster import Listed
    from windrow.lab.kubernetes.launchers import Wired

ENTRY = "windrow.apps.labguest:main"
DEFAULT_NETWORK: dict[str, Any] = {"cniVersion": "1.0.0", "name": "windrow", "type": "windrow"}
POLICY = Policy(made_by="the lab", probes=(Probe(kind=ProbeKind.NONE),))
"""Nobody is locked out of a lab's node: carrier is enough."""


class LabEngine:
    """`windrow apply`, without starting a process for it."""

    def admit(self, objects: Sequence[AnyObject]) -> None:
        """Raises ProblemsError."""
        empty = Cluster.of(())
        problems = check(empty, changes_to(empty, objects))
        if errors(problems):
            raise ProblemsError(problems)

    def apply(self, root: Path, node: str) -> Applied:
        return self._round(root, node, AS_STORED)

    def change(self, root: Path, node: str, put: Sequence[AnyObject], remove: Sequence[Ref]) -> Applied:
        """Put and remove objects as the rules allow, and apply. Raises ProblemsError, LabError."""
        before = Cluster.of(Store(root).load().objects)
        if unknown := [str(ref) for ref in remove if ref not in before.objects]:
            raise LabError(f"{node} has no {', '.join(unknown)}")
        return self._round(root, node, Wish(put=tuple(put), remove=tuple(before.objects[ref] for ref in remove)))

    def steps_left(self, root: Path, node: str, listed: Listed | None = None) -> int:
        """Raises KernelError."""
        paths = Paths(root)
        with Kernel(node) as kernel:
            report = carry_out(here(paths, node, kernel), Stored(paths, listed), policy=replace(POLICY, dry=True))
        return len(report.plan.steps)

    def listed(self, kubeconfig: str) -> Listed:
        """Raises KubeError."""
        from windrow.apps.incluster import Listed  # with a client library: most labs have no API server
        from windrow.kube.access import Access

        return Listed(Access(kubeconfig=kubeconfig))

    def attach(self, root: Path, node: str, pod: Pod, netns: Path) -> Mapping[str, str]:
        """By the plugin, as a container runtime calls it. Raises LabError."""
        from windrow.apps.cni.dispatch import answer
        from windrow.apps.cni.host import Host
        from windrow.services.plugins import DIRECTORIES

        env = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": f"lab-{pod.namespace}-{pod.name}",
            "CNI_NETNS": str(netns),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": ":".join(DIRECTORIES),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name}",
            "PATH": os.environ["PATH"],
        }
        host = Host(root, node)
        try:
            found = answer(env, json.dumps(DEFAULT_NETWORK).encode(), host)
        finally:
            host.close()
        document = json.loads(found.stdout)
        if found.exit:
            said = f"{document.get('msg')}: {document.get('details', '')}".rstrip(": ")
            raise LabError(f"pod {pod.reference} is not attached on {node}: {said}")
        names = [one["name"] for one in document["interfaces"]]
        pairs = [(names[ip["interface"]], ip["address"].partition("/")[0]) for ip in document.get("ips", ())]
        return dict(reversed(pairs))

    def wire(self, namespace: int, machine: AnyMachine, directory: Path, *, seen: Path) -> Wired:
        """Raises KernelError, ServiceError."""
        from windrow.apps.vm import inpod  # with all of machines: most labs have none in pods

        return inpod.wire(namespace, machine, directory, seen=seen)

    def install_plugins(self, root: Path, node: str, bin_dir: Path) -> None:
        """Without a compiler: a shim for each node would take longer than it saves. Raises InstallError."""
        from windrow.apps.cni.install import Origin, install

        origin = Origin(root=str(root), node=node)
        install(Paths(root), origin, bin_dir, compiled=False)

    def _round(self, root: Path, node: str, wish: Wish) -> Applied:
        said: list[str] = []

        def on_step(step: Step, failure: Failure | None) -> None:
            if failure:
                said.append(f"{step.link}: {failure.reason} {failure.extack}".rstrip())

        paths = Paths(root)
        with Kernel(node) as kernel:
            site = here(paths, node, kernel, partial(Kernel, node))
            report = carry_out(site, Stored(paths), wish, POLICY, Hooks(on_step=on_step))
        problems = [*report.admitted.problems, *report.admitted.warnings, *report.problems]
        problems += [*report.planned.compiled.problems, *report.left.plan.refusals]
        if not report.kept:
            said.append(f"it was taken back: {report.said}")
        return Applied(
            ok=report.ok and report.kept and not errors(report.admitted.problems),
            steps=len(report.plan.steps),
            left=len(report.left.plan.steps),
            words=_words(report),
            complaints=(*map(str, problems), *said),
            impact=report.plan.impact,
        )


def _words(report: Report) -> str:
    if report.converged is None:
        return "nothing to do"
    text = f"{sum(report.converged.outcome.done.values())} steps done"
    left = report.left.plan
    return text if report.ok else f"{text}, {len(left.steps)} left, {len(left.refusals)} refused"


def main(fd: int, config: Mapping[str, Any]) -> None:
    """Serve the lab's requests on `fd` until the host closes it."""
    prepare_kernel()
    session = Session(LabEngine(), config["path"])
    lacks = [f"kernel module {name}" for name in config["missing_modules"]] + missing()
    Server(fd, session.handlers()).run(
        {"kernel": os.uname().release, "missing": lacks, "own_kernel": config["own_kernel"]}
    )
