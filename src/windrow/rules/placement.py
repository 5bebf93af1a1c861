"""Which machines are a node's own."""

from __future__ import annotations

from windrow.model import names
from windrow.model.cluster import Cluster, may_run
from windrow.model.machines import AnyMachine, RunStrategy, VirtualMachine


def homes(machine: AnyMachine, cluster: Cluster, here: str) -> tuple[str, ...]:
    """The nodes that a machine may run on, by name: of this one (`here`) and those that have an object. Where it is for
    none of them, the host that its node selector names, if it names one."""
    known = {node.name: node for node in (*cluster.nodes(), cluster.node(here))}
    found = tuple(name for name in sorted(known) if may_run(machine.spec, known[name], cluster))
    named = dict(machine.spec.node_selector).get(names.LABEL_HOSTNAME)
    return found or ((named,) if named else ())


def starts_with_host(machine: AnyMachine) -> bool:
    """A VirtualMachineInstance runs for as long as there is one."""
    return not isinstance(machine, VirtualMachine) or machine.run_strategy in (
        RunStrategy.ALWAYS,
        RunStrategy.RERUN_ON_FAILURE,
    )
