"""The network that a pod has before it asks for any: the one that the operator names, or the one that Windrow brings.

Named (`clusterNetwork` in the meta plugin's configuration): a NetworkAttachmentDefinition, or a configuration in the
configuration directory, such as the one that Canal puts there. Brought, where nothing is named: a bridge of this host
alone with addresses from the Node's `podCIDR`, masqueraded on the way out. With an overlay (`compile.overlay`) the host
knows the ways to the pods of all other nodes, and a pod is known to those by its own address; without one it reaches
none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from windrow.apps.cni.definitions import Known
from windrow.apps.cni.host import Host
from windrow.model import jsontext
from windrow.model.lazy import dataclass
from windrow.model.names import MGMT, POD_BRIDGE, bridge_of, node_name
from windrow.model.portguards import IP_SPOOF
from windrow.netlink.errors import KernelError
from windrow.port.errors import INVALID_CONFIG, MISSING, CniError
from windrow.port.networks import NONE, WINDROW_DEFAULT_NETWORK
from windrow.port.settings import TYPE, Settings

NAME = "windrow-pods"
_IPAM = "host-local"
_NEWEST = "1.0.0"
"""Of the configuration that Windrow brings: Debian's host-local does not know 1.1.0."""
_SUFFIXES = (".conf", ".conflist", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`reference`: what people call the network. `of_object`: its configuration is from an object, not from a file of
    this host."""

    reference: str
    config: Mapping[str, Any]
    of_object: bool = False


def find(settings: Settings, host: Host, definitions: Known, version: str) -> Found | None:
    """The default network; None where the operator wants none. Raises CniError: why there is none."""
    if settings.cluster_network == NONE:
        return None
    if settings.cluster_network:
        return named(settings.cluster_network, settings, host, definitions)
    if settings.delegates:
        config = settings.delegates[0]
        return Found(reference=str(config.get("name") or NAME), config=config)
    return Found(reference=NAME, config=brought(settings, host, definitions, version))


# What the operator names --------------------------------------------------------------------------


def named(name: str, settings: Settings, host: Host, definitions: Known) -> Found:
    """A network by `namespace/name`, a path, or a name alone: a NetworkAttachmentDefinition of the system's namespace,
    then a configuration in the configuration directory. Raises CniError."""
    if name.startswith("/"):
        return _at(Path(name))
    if "/" in name:
        return defined(name, settings, host, definitions)
    reference = f"{settings.system_namespace}/{name}"
    if definitions.has(reference):
        return defined(reference, settings, host, definitions)
    return _configured(name, settings, host, f"there is no network {name}: it has no NetworkAttachmentDefinition")


def defined(reference: str, settings: Settings, host: Host, definitions: Known, wanted_by: str = "") -> Found:
    """A network by its NetworkAttachmentDefinition; an empty one stands for the configuration of its name."""
    config = definitions.network(reference, wanted_by)
    if config:
        return Found(reference=reference, config=config, of_object=True)
    by = f", which {wanted_by} asks for," if wanted_by else ""
    empty = f"NetworkAttachmentDefinition {reference}{by} has no configuration of its own"
    found = _configured(reference.partition("/")[2], settings, host, empty)
    return Found(reference=reference, config=found.config)


def _at(path: Path) -> Found:
    """A configuration file, or the first one of a directory."""
    files = list(_files(path)) if path.is_dir() else [path]
    skipped: list[str] = []
    for file in files:
        config = _read(file, skipped)
        if config is not None and not _is_ours(config):
            return Found(reference=str(config.get("name") or file.stem), config=config)
    why = f": {'; '.join(skipped)}" if skipped else ""
    raise CniError(MISSING, f"clusterNetwork {path} is no CNI configuration and has none in it{why}")


def _configured(name: str, settings: Settings, host: Host, wanting: str) -> Found:
    """By the `name` inside the file, as libcni finds it. `wanting`: how the message begins where there is none."""
    directory = Path(settings.conf_dir) if settings.conf_dir else host.paths.cni_networks
    skipped: list[str] = []
    for file in _files(directory):
        config = _read(file, skipped)
        if config is None or config.get("name") != name:
            continue
        if _is_ours(config):
            raise CniError(INVALID_CONFIG, f"network {name} ({file}) is the meta plugin's own: it does not call itself")
        return Found(reference=name, config=config)
    why = f"; not read: {'; '.join(skipped)}" if skipped else ""
    message = f"{wanting}, and there is none called {name} in {directory}"
    raise CniError(MISSING, message, f"put it there, or name another one{why}")


def _files(directory: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES)
    except OSError:
        return  # not there: then nothing is in it


def _read(path: Path, skipped: list[str]) -> dict[str, Any] | None:
    try:
        document = jsontext.loads(path.read_bytes())
    except OSError as error:
        skipped.append(f"{path.name} ({error.strerror})")
    except (ValueError, RecursionError):
        skipped.append(f"{path.name} (no JSON)")
    else:
        if isinstance(document, dict):
            return document
        skipped.append(f"{path.name} (no JSON object)")
    return None


def _is_ours(config: Mapping[str, Any]) -> bool:
    plugins = config.get("plugins")
    listed = plugins if isinstance(plugins, list) else [config]
    return any(isinstance(plugin, dict) and plugin.get("type") == TYPE for plugin in listed)


# What Windrow brings ------------------------------------------------------------------------------


def brought(settings: Settings, host: Host, definitions: Known, version: str) -> dict[str, Any]:
    """The configuration of the bridge for this node's pods, or of a bridge for each (`pointToPoint`). Raises CniError:
    the node has no pod addresses."""
    node = node_name(host.node, definitions.nodes)
    if reason := definitions.unread_nodes.get(node):
        raise CniError(INVALID_CONFIG, f"Node {node}, whose podCIDR the pods' addresses are of, is wrong: {reason}")
    cidrs = definitions.pod_cidrs.get(node)
    if not cidrs:
        known = node in definitions.nodes
        message = f"node {node} has no podCIDR, so its pods have no default network"
        if not known:
            message = f"there is no Node {node} in {definitions.place}, so its pods have no default network"
        add = "add spec.podCIDR to it" if known else "add one with spec.podCIDR"
        hint = f"{add}, or name a network (clusterNetwork), or annotate the pod with {WINDROW_DEFAULT_NETWORK}: {NONE}"
        raise CniError(MISSING, message, hint)
    config: dict[str, Any] = {
        "cniVersion": min(version, _NEWEST),
        "name": NAME,
        "type": "windrow-bridge",
        "ipMasq": True,
        "ipam": {
            "type": _IPAM,
            "dataDir": str(host.paths.root / "var/lib/cni/networks"),
            "ranges": [[{"subnet": cidr}] for cidr in cidrs],
        },
    }
    config |= {"pointToPoint": True} if settings.point_to_point else _SHARED
    beyond: dict[str, Any] = {"nonMasqueradeCIDRs": list(definitions.tunnels.values())} if definitions.tunnels else {}
    if definitions.services:
        beyond["bridgeNetfilter"] = True
    if settings.any_source:
        beyond[IP_SPOOF] = False
    mtu = _tunnel_mtu(host, definitions.tunnels) or _management_mtu(host)
    return config | beyond | ({"mtu": mtu} if mtu else {})


_SHARED = {"bridge": POD_BRIDGE, "isGateway": True, "isDefaultGateway": True, "hairpinMode": True}


def _tunnel_mtu(host: Host, tunnels: Iterable[str]) -> int | None:
    """The least of the overlay's devices; None: there is none yet, or no overlay."""
    from windrow.netlink.podroutes import mtu_of

    found: list[int] = []
    for name in tunnels:
        with suppress(KernelError):
            found.append(mtu_of(host.rtnl(), name))
    return min(found, default=None)


def _management_mtu(host: Host) -> int | None:
    """Pods may send no larger frames than what carries them on. None: nothing does; the kernel's default will do."""
    from windrow.netlink.podroutes import mtu_of, mtu_of_default_route

    rtnl = host.rtnl()
    with suppress(KernelError):
        return mtu_of(rtnl, bridge_of(MGMT))
    with suppress(KernelError):
        return mtu_of_default_route(rtnl)
    return None
