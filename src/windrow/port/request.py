"""A CNI call as a value: the environment and the configuration on standard input (specification 1.1.0, §2).

Only what concerns every plugin is read here; what a configuration of one type means is in that type's module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ADD, DEL, CHECK, STATUS, GC, VERSION = "ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`stdin`: the configuration as it came, for whoever is delegated to; `config`: the same, decoded.

    Fields that a command does not have are empty: a GC has no container, a DEL may have no namespace.
    """

    command: str
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    """CNI_ARGS, decoded (`K8S_POD_NAME=x;K8S_POD_NAMESPACE=y`)."""
    path: tuple[str, ...] = ()
    """CNI_PATH: where delegates are looked for, in order."""
    config: Mapping[str, Any] = field(default_factory=dict)
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment, which a delegate inherits."""

    @property
    def version(self) -> str:
        """`cniVersion`; absent means 0.1.0 (specification, §Network configuration), which is not served."""
        return str(self.config.get("cniVersion") or "0.1.0")

    @property
    def network(self) -> str:
        return str(self.config.get("name") or "")

    @property
    def type(self) -> str:
        return str(self.config.get("type") or "")
