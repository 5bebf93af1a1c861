"""Phase 1 in a pod of a cluster, whose hypervisor runs in the pod itself: what KubeVirt's virt-handler does on a node.

The runtime has made the namespace and called the plugins. The devices are those of a machine that `vm start` starts,
and made by the same functions. The DHCP servers are for the pod to start: they end with it.
"""

from __future__ import annotations

from pathlib import Path

from windrow.apps.vm import bind, start
from windrow.model.machines import AnyMachine
from windrow.netlink.kernel import Kernel
from windrow.port.vm.binding import NicPlan
from windrow.port.vm.names import names_of
from windrow.store.machines import NicRecord


def wire(
    namespace: int, machine: AnyMachine, directory: Path, *, seen: Path
) -> tuple[tuple[NicPlan, ...], tuple[NicRecord, ...]]:
    """Make what is between the pod's interfaces and the guest's, after taking away what an earlier guest left there.

    `namespace`: an fd. `directory`: where the configurations of the DHCP servers go; the pod finds it at `seen`.
    Raises KernelError (NoSuchLink: the pod lacks an interface), ServiceError.
    """
    plans, records = [], []
    with Kernel(namespace) as kernel:
        for index, nic in enumerate(machine.spec.nics):
            record = start.nic_record(machine, nic, index)
            bind.unbind(kernel, names_of(record.pod), directory)
            plan = start.planned(machine, record, bind.look(kernel, record.pod))
            bind.connect(kernel, namespace, plan)
            bind.translate(namespace, plan)
            if plan.dhcp is not None:
                bind.write_server(plan.dhcp, directory, seen=seen)
            plans.append(plan)
            records.append(start.bound(record, plan))
    return tuple(plans), tuple(records)
