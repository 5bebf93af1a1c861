"""One attachment, plugin by plugin: ADD along the chain, DEL against it (specification, §Lifecycle & Ordering).

A plugin of Windrow's own is called in this process, another one as a program; both get the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

from windrow.apps.cni import bridge, plugin, routers, sandbox
from windrow.apps.cni.host import Host
from windrow.model import jsontext
from windrow.model.attachments import Attachment
from windrow.model.lazy import dataclass
from windrow.port.delegates import WITH_PREVIOUS, with_previous
from windrow.port.errors import DELEGATE_FAILED, INCOMPATIBLE_VERSION, NOT_AVAILABLE, CniError
from windrow.port.request import ADD, CHECK, DEL, GC, SINCE, STATUS, Request, read_args, version_key
from windrow.port.result import VERSIONS, from_document, to_document
from windrow.services import plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose container it is, and where plugins are. `request` is the call that this one is made in; `holding` the lock
    of its record, which an ADD's programs hold, too: what a killed call had started goes on, and DEL waits for it."""

    host: Host
    request: Request
    container_id: str
    netns: str
    path: tuple[str, ...]
    pod: str = ""
    holding: int | None = None

    def about(self, attachment: Attachment) -> str:
        """How a message begins: `[default/web:default/vlan100]`."""
        return f"[{self.pod or self.container_id}:{attachment.reference}]"


def add(attachment: Attachment, caller: Caller) -> dict[str, Any]:
    """The result document, in the version of the configuration. Raises CniError."""
    previous: dict[str, Any] | None = None
    with _no_router(attachment, caller):
        for config in attachment.plugins:
            document = with_previous(config, previous)
            found = _call(ADD, attachment, document, caller)
            if found is None:
                error = CniError(DELEGATE_FAILED, f"plugin {document['type']} printed no result")
                raise in_context(error, ADD, attachment, caller)
            previous = found
    assert previous is not None  # `read_network` lets no list pass that is empty
    return previous


@contextmanager
def _no_router(attachment: Attachment, caller: Caller) -> Iterator[None]:
    """The bridge plugin sees to it itself that a further network is nobody's router; for those of others this does."""
    documents = [jsontext.loads(config) for config in attachment.plugins]
    wanted = any(document.get("routerAdvertisements") is True for document in documents)
    with ExitStack() as stack:
        if not has_a_port(attachment) and not wanted:
            with suppress(CniError):  # without a namespace there is nothing to protect, and the plugin says so
                pod = stack.enter_context(sandbox.opened(replace(caller.request, netns=caller.netns)))
                stack.enter_context(routers.none_of_new_links(attachment.ifname, pod))
        yield


def delete(attachment: Attachment, caller: Caller, *, beside: bool = True) -> list[CniError]:
    """All its plugins, the last one first, whatever becomes of one; what went wrong. `beside`: with those beside a
    port (`delete_beside_port`)."""
    first = slice(1) if has_a_port(attachment) and not beside else slice(None)
    return _delete(attachment, attachment.plugins[first], caller)


def delete_beside_port(attachment: Attachment, caller: Caller) -> list[CniError]:
    """Of a list that begins with a port, those plugins that come after it, and may look for it."""
    return _delete(attachment, attachment.plugins[1:], caller) if has_a_port(attachment) else []


def _delete(attachment: Attachment, plugins: Sequence[str], caller: Caller) -> list[CniError]:
    """A plugin that does not serve the version has made nothing of what never came about; to try that again would be
    for ever."""
    failures = _each(DEL, attachment, reversed(plugins), caller)
    never = attachment.result is None
    return [failure for failure in failures if not (never and failure.code == INCOMPATIBLE_VERSION)]


def check(attachment: Attachment, caller: Caller) -> list[CniError]:
    """What is wrong; nothing is asked of a configuration older than CHECK itself."""
    if not attachment.check or _older(attachment, SINCE[CHECK]):
        return []
    return _each(CHECK, attachment, attachment.plugins, caller)


def _each(command: str, attachment: Attachment, configs: Iterable[str], caller: Caller) -> list[CniError]:
    previous = None if _older(attachment, WITH_PREVIOUS) else attachment.result
    failures: list[CniError] = []
    for config in configs:
        try:
            _call(command, attachment, with_previous(config, previous), caller)
        except CniError as error:
            failures.append(error)
    return failures


def find(attachment: Attachment, caller: Caller) -> None:
    """Raises CniError: one of its plugins is not there. Told before anything is made: what is not there cannot undo."""
    for config in attachment.plugins:
        document = jsontext.loads(config)
        kind, ipam = document["type"], document.get("ipam")
        if kind not in plugin.BRIDGE_TYPES:
            plugins.find(kind, caller.path)
        elif isinstance(ipam, Mapping) and isinstance(ipam.get("type"), str) and ipam["type"]:
            plugins.find(ipam["type"], caller.path)


def is_a_port(attachment: Attachment) -> bool:
    """Whether the bridge plugin makes it, alone."""
    return len(attachment.plugins) == 1 and has_a_port(attachment)


def has_a_port(attachment: Attachment) -> bool:
    """Whether the bridge plugin makes its interface."""
    return jsontext.loads(attachment.plugins[0])["type"] in plugin.BRIDGE_TYPES


def status(attachment: Attachment, caller: Caller) -> None:
    """Raises CniError: a plugin says that it cannot attach a container now, or is not even there."""
    try:
        find(attachment, caller)
    except CniError as error:
        raise CniError(NOT_AVAILABLE, f"network {attachment.reference}: {error.message}", error.details) from error
    if not _older(attachment, SINCE[STATUS]):
        for config in attachment.plugins:
            _call(STATUS, attachment, with_previous(config, None), caller)


def collect(attachment: Attachment, valid: list[dict[str, str]], caller: Caller) -> list[CniError]:
    """GC of its network; `valid`: all its attachments that are to stay."""
    if not attachment.gc or _older(attachment, SINCE[GC]):
        return []
    failures: list[CniError] = []
    for config in attachment.plugins:
        document = with_previous(config, None)
        document |= {"cni.dev/valid-attachments": valid, "cni.dev/attachments": valid}
        try:
            _call(GC, attachment, document, caller)
        except CniError as error:
            failures.append(error)
    return failures


def _older(attachment: Attachment, version: str) -> bool:
    return version_key(jsontext.loads(attachment.plugins[0])["cniVersion"]) < version_key(version)


def _call(command: str, attachment: Attachment, document: dict[str, Any], caller: Caller) -> dict[str, Any] | None:
    request = _request(command, attachment, document, caller)
    try:
        if request.type in plugin.BRIDGE_TYPES:
            if request.version not in VERSIONS:
                message = f"cniVersion {request.version} is not served"
                raise CniError(INCOMPATIBLE_VERSION, message, f"there are {', '.join(VERSIONS)}")
            result = plugin.run(bridge, request, caller.host)
            return None if result is None else to_document(result, request.version)
        holding = caller.holding if command == ADD else None
        found = plugins.run(request.type, env=request.env, config=request.stdin, path=request.path, holding=holding)
        return None if found is None or command != ADD else _as(found, request.version)
    except CniError as error:
        raise in_context(error, command, attachment, caller) from error


def _request(command: str, attachment: Attachment, document: dict[str, Any], caller: Caller) -> Request:
    """What the plugin is called with; of a call for a whole network the container is empty."""
    whole = command in (STATUS, GC)
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "" if whole else caller.container_id,
        "CNI_NETNS": "" if whole else caller.netns,
        "CNI_IFNAME": "" if whole else attachment.ifname,
        "CNI_ARGS": "" if whole else attachment.args,
        "CNI_PATH": ":".join(caller.path),
    }
    return replace(
        caller.request,
        command=command,
        container_id=variables["CNI_CONTAINERID"],
        netns=variables["CNI_NETNS"],
        ifname=variables["CNI_IFNAME"],
        args=read_args(variables["CNI_ARGS"]),
        path=caller.path,
        config=document,
        stdin=json.dumps(document).encode(),
        env={**caller.request.env, **variables},
    )


def _as(document: dict[str, Any], version: str) -> dict[str, Any]:
    """A result as it came, where it is one and of the version that was asked for; else written anew in that one."""
    result = from_document(document)
    if document.get("cniVersion") == version or version not in VERSIONS:
        return document
    return to_document(result, version)


def in_context(error: CniError, command: str, attachment: Attachment, caller: Caller) -> CniError:
    """With whose container, which network and which interface it is about."""
    message = f"{caller.about(attachment)} {command} of {attachment.ifname or attachment.network}: {error.message}"
    return CniError(error.code, message, error.details)
