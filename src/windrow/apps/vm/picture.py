"""The machines of this host as the picture has them: from records alone, so that nobody is asked and nothing waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from windrow.apps.vm.stop import runs
from windrow.model.machines import Binding
from windrow.model.ports import PortRecord
from windrow.render.topology import Health, MachineNic, MachineView
from windrow.store import attachments
from windrow.store.errors import StoreError
from windrow.store.machines import MachineRecord, Machines, NicRecord, Phase
from windrow.store.paths import Paths

ENDED = "ended"


def machine_views(paths: Paths, ports: Iterable[PortRecord]) -> tuple[MachineView, ...]:
    """By namespace and name. Records that cannot be read are left out."""
    by_key = {port.key: port for port in ports}
    return tuple(_view(paths, record, by_key) for record in Machines(paths).all()[0])


def _view(paths: Paths, record: MachineRecord, ports: Mapping[tuple[str, str], PortRecord]) -> MachineView:
    status = _network_status(paths, record)
    ended = record.phase is Phase.RUNNING and not runs(record)
    nics = (_nic(nic, ports.get((record.container_id, nic.pod)), status.get(nic.pod, {})) for nic in record.nics)
    return MachineView(
        name=record.key,
        state=ENDED if ended else record.phase.value,
        health=Health.DOWN if ended else Health.UP,
        nics=tuple(nics),
    )


def _nic(nic: NicRecord, port: PortRecord | None, status: Mapping[str, Any]) -> MachineNic:
    translated = nic.binding == Binding.MASQUERADE.value
    outside = [str(ip) for ip in status.get("ips") or ()]
    return MachineNic(
        name=nic.network,
        addrs=nic.addresses,
        tap=nic.tap,
        bridge=nic.bridge,
        port=port.host if port else "",
        translated=translated,
        outside=outside[0] if translated and outside else "",
        up=nic.up,
    )


def _network_status(paths: Paths, record: MachineRecord) -> dict[str, Mapping[str, Any]]:
    """Interface in the pod -> what the meta plugin reports of it."""
    try:
        entries = attachments.status(paths, record.container_id)
    except StoreError:
        return {}
    return {str(entry.get("interface", "")): entry for entry in entries}
