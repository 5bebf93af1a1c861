"""From the configuration of a network to what each of its plugins reads on standard input.

What a runtime derives (specification, §Deriving execution configuration from plugin configuration) and what a pod's
annotation adds: addresses, MAC, port mappings and bandwidth as `runtimeConfig` for plugins that declare the capability,
addresses and MAC as CNI_ARGS for all (which is how a bridge network without capabilities gets them), `cni-args`
as `args.cni`. Everything else in a configuration reaches its plugin as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from windrow.model import jsontext
from windrow.model.lazy import dataclass
from windrow.model.spelling import is_file_name, is_network_name, is_version
from windrow.port.errors import INVALID_CONFIG, CniError
from windrow.port.networks import Selection
from windrow.port.request import version_key
from windrow.port.result import VERSIONS
from windrow.port.settings import TYPE

OF_THE_META_PLUGIN = ("WINDROW_NETWORKS", "WINDROW_DEFAULT_NETWORK")
"""CNI_ARGS that are not passed on."""
DEVICE_INFO = "CNIDeviceInfoFile"
"""Capability of a plugin that hands a device to a pod: the file in which it says which one (device-info specification
of the network plumbing group)."""
WITH_PREVIOUS = "0.4.0"
"""Since this version a DEL gets the result of the ADD."""
UNSAID = "0.4.0"
"""Of a configuration without a version, where the call is not older: plugins of others that know what the call speaks,
1.1.0, are few, and whoever leaves it out means what any plugin takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network configuration, or a list of them, as a NetworkAttachmentDefinition or a file has it."""

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    check: bool = True
    gc: bool = True
    """False: `disableCheck`, `disableGC`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What one attachment adds to a configuration."""

    runtime: Mapping[str, Any] = field(default_factory=dict)
    """Capability -> its argument."""
    required: frozenset[str] = frozenset()
    """Capabilities that a plugin of the network must have, since the pod asks for what only they can give."""
    cni: Mapping[str, Any] = field(default_factory=dict)
    args: Mapping[str, str] = field(default_factory=dict)
    """CNI_ARGS besides those of the call."""
    device: str = ""


def read_network(config: Mapping[str, Any], *, name: str, version: str, about: str) -> Network:
    """A configuration or a list of them; `name` where it has none, `version` that of the call. Raises CniError."""
    config = _folded(config)
    plugins = config.get("plugins", [config])
    if not isinstance(plugins, list) or not plugins:
        raise CniError(INVALID_CONFIG, f"{about}: plugins must be a list with at least one configuration")
    plugins = [_folded(plugin) if isinstance(plugin, Mapping) else plugin for plugin in plugins]
    for i, plugin in enumerate(plugins):
        _check_plugin(plugin, f"{about}: plugins[{i}]" if "plugins" in config else about)
    found = config.get("name") or name
    if not isinstance(found, str) or not is_network_name(found):
        hint = "letters, digits, _ . and -, the first one a letter or digit"
        raise CniError(INVALID_CONFIG, f"{about}: {json.dumps(found)} is not a network name: {hint}")
    return Network(
        name=found,
        version=_version(config, version, about),
        plugins=tuple(plugins),
        check=not _is_true(config.get("disableCheck")),
        gc=not _is_true(config.get("disableGC")),
    )


def types_of(network: Network) -> tuple[str, ...]:
    """The plugins that run for it, in order: those of its list, and the IPAM plugin of each. Go's `encoding/json` takes
    keys in any case, and of two that differ in nothing else the last one: all are named."""
    found: dict[str, None] = {}
    for plugin in network.plugins:
        found[str(plugin["type"])] = None
        for key, ipam in plugin.items():
            if key.lower() == "ipam" and isinstance(ipam, Mapping):
                found |= {str(value): None for name, value in ipam.items() if name.lower() == "type" and value}
    return tuple(found)


def _folded(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that are read here in their right case; Go's `encoding/json` takes them in any."""
    return {_BY_FOLDED.get(key.lower(), key): value for key, value in config.items()}


_BY_FOLDED = {
    key.lower(): key
    for key in (
        "args",
        "capabilities",
        "cniVersion",
        "cniVersions",
        "disableCheck",
        "disableGC",
        "name",
        "plugins",
        "runtimeConfig",
        "type",
    )
}


def _check_plugin(plugin: object, about: str) -> None:
    if not isinstance(plugin, dict):
        raise CniError(INVALID_CONFIG, f"{about} is not a plugin's configuration")
    kind = plugin.get("type")
    if not isinstance(kind, str) or not is_file_name(kind):
        raise CniError(INVALID_CONFIG, f"{about} has no type: it must be the name of a plugin, such as bridge")
    if kind == TYPE:
        raise CniError(INVALID_CONFIG, f"{about} has the type {TYPE}: the meta plugin does not call itself")


def _version(config: Mapping[str, Any], call: str, about: str) -> str:
    """`cniVersions` (of a list) names several: the newest that we have, too."""
    several = config.get("cniVersions")
    known = [v for v in VERSIONS if isinstance(several, list) and v in several]
    version = known[-1] if known else config.get("cniVersion") or min(call, UNSAID, key=version_key)
    if not isinstance(version, str) or not is_version(version):
        raise CniError(INVALID_CONFIG, f"{about}: cniVersion {json.dumps(version)} is not a version such as 1.0.0")
    return version


def _is_true(value: object) -> bool:
    """libcni reads these two as booleans and as texts."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


# What a pod asks for ------------------------------------------------------------------------------


def wishes_of(selection: Selection) -> Wishes:
    """Of an entry of the annotation."""
    required: dict[str, Any] = {}
    if selection.port_mappings:
        required["portMappings"] = [mapping.to_json() for mapping in selection.port_mappings]
    if selection.bandwidth and selection.bandwidth.to_json():
        required["bandwidth"] = selection.bandwidth.to_json()
    runtime: dict[str, Any] = dict(required)
    if selection.ips:
        runtime["ips"] = list(selection.ips)
    if selection.mac:
        runtime["mac"] = selection.mac
    if selection.device:
        runtime["deviceID"] = selection.device
    wishes = wishes_of_runtime(runtime)
    return replace(
        wishes, required=frozenset(required), cni={**wishes.cni, **selection.cni_args}, device=selection.device
    )


def wishes_of_runtime(runtime: Mapping[str, Any]) -> Wishes:
    """Of `runtimeConfig`: of a call, whose container gets its addresses and its MAC on the default network."""
    args: dict[str, str] = {}
    cni: dict[str, Any] = {}
    match runtime.get("ips"):
        case [str() as only]:
            args["IP"] = only
        case [_, *_] as several:  # host-local refuses IP=a,b, and takes these
            cni["ips"] = several
        case _:
            pass
    if isinstance(mac := runtime.get("mac"), str) and mac:
        args["MAC"] = mac
    return Wishes(runtime=runtime, cni=cni, args=args)


def plugin_configs(network: Network, wishes: Wishes, *, about: str) -> tuple[str, ...]:
    """What each plugin of the network reads, without `prevResult`, as JSON. Raises CniError."""
    lacking = wishes.required - {c for plugin in network.plugins for c in _capabilities(plugin)}
    if lacking:
        words = ", ".join(sorted(lacking))
        hint = "add the plugin that has it (portmap, bandwidth) to its configuration, or do not ask for it"
        raise CniError(INVALID_CONFIG, f"{about}: no plugin of the network has the capability {words}: {hint}")
    configs = [_plugin_config(plugin, network, wishes) for plugin in network.plugins]
    if wishes.device:
        configs[0] |= {"deviceID": wishes.device, "pciBusID": wishes.device}
    return tuple(json.dumps(config) for config in configs)


def _plugin_config(plugin: Mapping[str, Any], network: Network, wishes: Wishes) -> dict[str, Any]:
    config = {**plugin, "name": network.name, "cniVersion": network.version}
    declared = _capabilities(plugin)
    if runtime := {key: value for key, value in wishes.runtime.items() if key in declared}:
        config["runtimeConfig"] = {**_table(plugin.get("runtimeConfig")), **runtime}
    if wishes.cni:
        args = _table(plugin.get("args"))
        config["args"] = {**args, "cni": {**_table(args.get("cni")), **wishes.cni}}
    return config


def declares(network: Network, capability: str) -> bool:
    return any(capability in _capabilities(plugin) for plugin in network.plugins)


def _capabilities(plugin: Mapping[str, Any]) -> set[str]:
    return {key for key, value in _table(plugin.get("capabilities")).items() if value is True}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def cni_args(call: Mapping[str, str], wishes: Wishes) -> dict[str, str]:
    """CNI_ARGS of a delegate: those of the call, and the wishes.

    IgnoreUnknown, since most plugins refuse a variable that they do not know, and K8S_POD_NAME is one.
    """
    passed = {key: value for key, value in call.items() if key not in OF_THE_META_PLUGIN}
    return {"IgnoreUnknown": "1", **passed, **wishes.args}


def args_text(args: Mapping[str, str]) -> str:
    return ";".join(f"{key}={value}" for key, value in args.items())


# What a plugin reads ------------------------------------------------------------------------------


def with_previous(config: str, previous: Mapping[str, Any] | None, version: str | None = None) -> dict[str, Any]:
    """A plugin's configuration with the result before it; its version where it is said."""
    document: dict[str, Any] = jsontext.loads(config)
    if version:
        document["cniVersion"] = version
    if previous is not None:
        document["prevResult"] = {**previous, "cniVersion": document["cniVersion"]}
    return document
