"""libvirt's `<interface>` of a NIC whose tap is there, for people who run their own hypervisor."""

from __future__ import annotations

from windrow.port.vm.binding import NicPlan


def interface_xml(plan: NicPlan) -> str:
    """What KubeVirt's launcher would put into the domain."""
    raise NotImplementedError
