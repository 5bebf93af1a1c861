"""What one ADD is to attach: the default network first, then what every pod gets, then what this pod asks for.

Everything that can be refused is refused here, before anything is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from windrow.apps.cni import defaultnet
from windrow.apps.cni.definitions import Known
from windrow.apps.cni.host import Host
from windrow.apps.cni.podinfo import CAPABILITY, PodInfo
from windrow.model.attachments import Attachment
from windrow.model.lazy import dataclass
from windrow.port import defaultroute
from windrow.port.delegates import (
    DEVICE_INFO,
    Network,
    Wishes,
    args_text,
    cni_args,
    declares,
    plugin_configs,
    read_network,
    types_of,
    wishes_of,
    wishes_of_runtime,
)
from windrow.port.errors import FORBIDDEN, INVALID_CONFIG, CniError
from windrow.port.networks import (
    DEFAULT_NETWORK,
    NETWORKS,
    NONE,
    WINDROW_DEFAULT_NETWORK,
    Selection,
    interface_names,
    read_default,
    read_networks,
)
from windrow.port.request import Request
from windrow.port.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`attachments`, in the order in which they are added, and `claims` to the default route, one for each."""

    attachments: tuple[Attachment, ...]
    claims: tuple[defaultroute.Claim, ...]
    about: str
    """How a message about a claim begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _One:
    """A network, found and not yet named in the pod."""

    found: defaultnet.Found
    wishes: Wishes
    wanted_by: str = ""
    """The annotation that names it; empty: it is the operator's."""
    interface: str = ""
    default: bool = False
    default_route: tuple[str, ...] | None = None


def wanted(request: Request, host: Host, settings: Settings, pod: PodInfo, definitions: Known) -> Wanted:
    """Raises CniError: what cannot be attached, and why."""
    finder = _Finder(request, host, settings, pod, definitions)
    default = finder.default()
    ones = [*([default] if default else []), *finder.cluster_wide(), *finder.asked_for()]
    extra = [one.interface for one in ones[bool(default) :]]
    taken = request.ifname if default else ""
    names = ([taken] if default else []) + list(interface_names(extra, taken=taken, about=finder.about(NETWORKS)))
    claims, about = tuple(one.default_route for one in ones), finder.about(NETWORKS)
    defaultroute.check(claims, about=about)
    return Wanted(
        attachments=tuple(finder.attachment(one, name) for one, name in zip(ones, names, strict=True)),
        claims=claims,
        about=about,
    )


class _Finder:
    """What all steps look at. Not a value, though nothing in it changes."""

    def __init__(self, request: Request, host: Host, settings: Settings, pod: PodInfo, definitions: Known) -> None:
        self.request, self.host, self.settings, self.pod, self.definitions = request, host, settings, pod, definitions

    def about(self, annotation: str) -> str:
        """How a message about an annotation begins."""
        return f"annotation {annotation} of pod {self.pod}" if str(self.pod) else f"annotation {annotation}"

    def default(self) -> _One | None:
        annotations = self.pod.annotations
        said, chosen = annotations.get(WINDROW_DEFAULT_NETWORK), annotations.get(DEFAULT_NETWORK)
        if said is not None and said.strip() != NONE:
            hint = f'the only value is "{NONE}"; {DEFAULT_NETWORK} names another network'
            raise CniError(INVALID_CONFIG, f"{self.about(WINDROW_DEFAULT_NETWORK)} is not understood: {hint}")
        if said is not None and chosen:
            hint = f"{WINDROW_DEFAULT_NETWORK} says that there is none: remove one of them"
            raise CniError(INVALID_CONFIG, f"{self.about(DEFAULT_NETWORK)} names a default network, and {hint}")
        if said is not None:
            return None
        if chosen:
            return self._chosen(chosen)
        found = defaultnet.find(self.settings, self.host, self.definitions, self.request.version)
        return None if found is None else _One(found=found, wishes=wishes_of_runtime(self._runtime()), default=True)

    def _chosen(self, text: str) -> _One:
        """The pod has a default network of its own. Its interface is the one that the runtime names."""
        about = self.about(DEFAULT_NETWORK)
        selection = read_default(text, namespace=self.settings.system_namespace, about=about)
        if selection.interface not in ("", self.request.ifname):
            hint = f"leave it out: the runtime says {self.request.ifname}"
            raise CniError(INVALID_CONFIG, f"{about}: it asks for the interface {selection.interface}: {hint}")
        if selection.namespace != self.settings.system_namespace:
            self._check_namespace(selection, about)
        one = self._selected(selection, about)
        call = wishes_of_runtime(self._runtime())
        wishes = replace(
            one.wishes,
            runtime={**call.runtime, **one.wishes.runtime},
            cni={**call.cni, **one.wishes.cni},
            args={**call.args, **one.wishes.args},
        )
        return replace(one, wishes=wishes, interface="", default=True)

    def _runtime(self) -> Mapping[str, Any]:
        """What the runtime gave with the call is the default network's."""
        runtime = self.request.config.get("runtimeConfig")
        return {k: v for k, v in runtime.items() if k != CAPABILITY} if isinstance(runtime, Mapping) else {}

    def cluster_wide(self) -> list[_One]:
        """`delegates` after the first, and `defaultNetworks`; pods of the system do without the latter."""
        inline = [
            defaultnet.Found(reference=str(config.get("name") or f"delegates[{i}]"), config=config)
            for i, config in enumerate(self.settings.delegates[1:], 1)
        ]
        names = () if self.pod.namespace in self.settings.system_namespaces else self.settings.default_networks
        named = [defaultnet.named(name, self.settings, self.host, self.definitions) for name in names]
        return [_One(found=found, wishes=Wishes()) for found in (*inline, *named)]

    def asked_for(self) -> list[_One]:
        about = self.about(NETWORKS)
        text = self.pod.annotations.get(NETWORKS, "")
        selections = read_networks(text, namespace=self.pod.namespace, about=about)
        for selection in selections:
            self._check_namespace(selection, about)
        return [self._selected(selection, about) for selection in selections]

    def _check_namespace(self, selection: Selection, about: str) -> None:
        if not self.settings.may_use(self.pod.namespace, selection.namespace):
            allowed = ", ".join(dict.fromkeys((self.pod.namespace, *self.settings.global_namespaces)))
            message = f"{about}: pods of namespace {self.pod.namespace} may not use {selection.reference}"
            raise CniError(FORBIDDEN, message, f"namespaceIsolation is set; they may use networks of {allowed}")

    def _selected(self, selection: Selection, about: str) -> _One:
        found = defaultnet.defined(selection.reference, self.settings, self.host, self.definitions, wanted_by=about)
        return _One(
            found=found,
            wishes=wishes_of(selection),
            wanted_by=about,
            interface=selection.interface,
            default_route=selection.default_route,
        )

    def attachment(self, one: _One, ifname: str) -> Attachment:
        reference = one.found.reference
        about = f"[{str(self.pod) or self.request.container_id}:{reference}] network {reference}"
        name = reference.rpartition("/")[2]
        network = read_network(one.found.config, name=name, version=self.request.version, about=about)
        self._check_types(network, one)
        device_info, wishes = "", one.wishes
        if declares(network, DEVICE_INFO):
            directory = self.host.paths.device_info
            device_info = str(directory / f"{network.name}-{self.request.container_id}_{ifname}")
            wishes = replace(wishes, runtime={**wishes.runtime, DEVICE_INFO: device_info})
        return Attachment(
            network=network.name,
            reference=reference,
            ifname=ifname,
            plugins=plugin_configs(network, wishes, about=about),
            args=args_text(cni_args(self.request.args, wishes)),
            device_info=device_info,
            default=one.default,
            check=network.check,
            gc=network.gc,
        )

    def _check_types(self, network: Network, one: _One) -> None:
        """Plugins are programs that run as root: which ones, whoever may write a definition does not decide."""
        allowed = self.settings.plugin_types
        refused = [kind for kind in types_of(network) if allowed is not None and kind not in allowed]
        if one.wanted_by and one.found.of_object and refused:
            names, known = ", ".join(json.dumps(kind) for kind in refused), ", ".join(sorted(allowed or ()))
            message = (
                f"network {one.found.reference}, which {one.wanted_by} asks for, runs plugins that are not allowed"
            )
            details = f"{names}: the node's CNI configuration allows (pluginTypes) {known or 'none'}"
            raise CniError(FORBIDDEN, message, details)
