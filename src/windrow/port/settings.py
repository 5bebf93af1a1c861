"""The meta plugin's own configuration: Multus' keys, so that a configuration for Multus is understood.

    clusterNetwork       the default network: `namespace/name` or the name of a NetworkAttachmentDefinition, the name of
                         a configuration in confDir, a directory, a file; `none`; absent: the one that Windrow brings
    delegates            or instead: configurations inline, the first is the default network
    defaultNetworks      networks that every pod gets besides, named like clusterNetwork
    confDir, binDir      where configurations and plugins are looked for besides the usual places
    namespaceIsolation   a pod may only use networks of its own namespace and of globalNamespaces
    multusNamespace      where networks are looked for that are named without a namespace (kube-system)
    systemNamespaces     pods there get no defaultNetworks
    readinessindicatorfile   no pod is attached before this file exists

Windrow's own:

    kubernetes           pods and networks are those of a cluster's API, which the server has (`windrow cni serve`)
    pluginTypes          the types of plugins that a network which a pod names may have, IPAM's included; absent: all

    pointToPoint         in the network that Windrow brings each pod has a link to its host alone, and /32 and /128
    ipspoofchk           false: there pods may send from any address; else where there are policies from their own only

What else stands there is another's (`kubeconfig`, `logFile`, …) and left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.portguards import IP_SPOOF
from windrow.port.networks import refuse

TYPE = "windrow"
SYSTEM_NAMESPACE = "kube-system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    cluster_network: str = ""
    delegates: tuple[Mapping[str, Any], ...] = ()
    default_networks: tuple[str, ...] = ()
    conf_dir: str = ""
    bin_dir: str = ""
    isolation: bool = False
    global_namespaces: tuple[str, ...] = ("default",)
    system_namespace: str = SYSTEM_NAMESPACE
    system_namespaces: tuple[str, ...] = (SYSTEM_NAMESPACE,)
    readiness_file: str = ""
    kubernetes: bool = False
    point_to_point: bool = False
    any_source: bool = False
    plugin_types: frozenset[str] | None = None
    """None: all."""

    def may_use(self, pod_namespace: str, namespace: str) -> bool:
        """Whether a pod may name a network of that namespace."""
        return not self.isolation or namespace == pod_namespace or namespace in self.global_namespaces


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Raises CniError, with everything that is wrong."""
    reader = _Reader(config)
    settings = Settings(
        cluster_network=reader.text("clusterNetwork"),
        delegates=reader.objects("delegates"),
        default_networks=reader.texts("defaultNetworks", ()),
        conf_dir=reader.text("confDir"),
        bin_dir=reader.text("binDir"),
        isolation=reader.flag("namespaceIsolation"),
        global_namespaces=reader.texts("globalNamespaces", ("default",)),
        system_namespace=reader.text("multusNamespace") or SYSTEM_NAMESPACE,
        system_namespaces=reader.texts("systemNamespaces", (SYSTEM_NAMESPACE,)),
        readiness_file=reader.text("readinessindicatorfile"),
        kubernetes=reader.flag("kubernetes"),
        point_to_point=reader.flag("pointToPoint"),
        any_source=not reader.flag(IP_SPOOF, default=True),
        plugin_types=frozenset(reader.texts("pluginTypes", ())) if config.get("pluginTypes") is not None else None,
    )
    if settings.cluster_network and settings.delegates:
        reader.problems.append("clusterNetwork and delegates both name the default network: remove one of them")
    if settings.point_to_point and (settings.cluster_network or settings.delegates):
        text = "pointToPoint is about the network that Windrow brings, and clusterNetwork or delegates name another one"
        reader.problems.append(text)
    refuse(f"configuration of the network {config.get('name') or ''}", reader.problems)
    return settings


class _Reader:
    """Values by key, with their types; what is wrong is noted and reading goes on. Not a value."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.problems: list[str] = []

    def text(self, key: str) -> str:
        value = self.config.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        self.problems.append(f'{key} must be a text: "{key}": "…"')
        return ""

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.config.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problems.append(f"{key} must be true or false, without quotes")
        return False

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of texts; also one text with commas, as Multus writes globalNamespaces."""
        match self.config.get(key):
            case None:
                return default
            case str() as text:
                return tuple(word for part in text.split(",") if (word := part.strip()))
            case list() as items if all(isinstance(item, str) and item for item in items):
                return tuple(items)
            case _:
                self.problems.append(f'{key} must be a list of texts: "{key}": ["…"]')
                return default

    def objects(self, key: str) -> tuple[Mapping[str, Any], ...]:
        match self.config.get(key):
            case None:
                return ()
            case list() as items if items and all(isinstance(item, dict) for item in items):
                return tuple(items)
            case _:
                self.problems.append(f'{key} must be a list of configurations: "{key}": [{{"type": "…"}}]')
                return ()
