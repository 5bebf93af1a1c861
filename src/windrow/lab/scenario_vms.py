"""What a scenario's manifests say of its machines: which NICs, in which order, in which networks."""

from __future__ import annotations

from collections.abc import Mapping

from windrow.lab.scenario import VmNic
from windrow.model.machines import AnyMachine, VirtualMachine, VirtualMachineInstance
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.values import IfName
from windrow.model.wire import load_documents
from windrow.model.wire.reader import suggestion

_NAMESPACE = "default"


class Machines:
    """The machines of the manifests, and the networks they name. What cannot be read is not this module's to tell."""

    def __init__(self, manifests: Mapping[str, str]) -> None:
        objects = [obj for file, text in manifests.items() for obj in load_documents(text, file).objects]
        self._machines: dict[str, AnyMachine] = {
            _key(obj): obj for obj in objects if isinstance(obj, VirtualMachine | VirtualMachineInstance)
        }
        self._networks = {_key(obj): obj for obj in objects if isinstance(obj, NetworkAttachmentDefinition)}

    def find(self, word: str) -> AnyMachine | None:
        """By `name`, in the namespace `default`, or `namespace/name`."""
        return self._machines.get(word if "/" in word else f"{_NAMESPACE}/{word}")

    def hint(self, word: str) -> str:
        return suggestion(word, self._machines) or f"there is {', '.join(sorted(self._machines)) or 'none'}"

    def nics(self, machine: AnyMachine) -> tuple[VmNic, ...]:
        """A guest's kernel numbers its cards as it finds them on its bus, which is the order of the manifest."""
        found = []
        for number, nic in enumerate(machine.spec.nics):
            network = machine.spec.network(nic.name)
            nad = network.nad if network else ""
            known = self._networks.get(nad)
            found.append(
                VmNic(
                    network=nic.name,
                    interface=IfName(f"eth{number}"),
                    nad=nad,
                    checked=bool(known and known.config.get("macspoofchk")),
                )
            )
        return tuple(found)


def _key(obj: AnyMachine | NetworkAttachmentDefinition) -> str:
    return f"{obj.meta.namespace}/{obj.name}"
