"""From a call to its answer: which plugin, and the specification's JSON for whatever happens.

Nothing here or below looks at `os.environ`: a server answers for many processes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from windrow.apps.cni.host import Host
from windrow.apps.cni.plugin import BRIDGE_TYPES, Plugin, run
from windrow.model.lazy import dataclass
from windrow.port import request as commands
from windrow.port.errors import INVALID_CONFIG, IO_FAILURE, CniError
from windrow.port.request import Request, read_request
from windrow.port.result import VERSIONS, to_document

INTERNAL = 100
"""The code of a defect in Windrow."""
META_TYPE = "windrow"
DEBUG = "WINDROW_DEBUG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the plugin's process does: its exit code, and what it prints on standard output."""

    exit: int
    stdout: str


def answer(env: Mapping[str, str], stdin: bytes, host: Host) -> Answer:
    """Never raises. `stdin` may be empty for a VERSION; for an empty CNI_COMMAND see `main.about`."""
    version = ""
    try:
        request = read_request(env, stdin)
        if request.command == commands.VERSION:
            return Answer(exit=0, stdout=_text({"cniVersion": VERSIONS[-1], "supportedVersions": list(VERSIONS)}))
        version = request.version
        result = run(_plugin_of(request, host), request, host)
        return Answer(exit=0, stdout="" if result is None else _text(to_document(result, version)))
    except CniError as error:
        return Answer(exit=1, stdout=_text(error.to_json(version)))
    except Exception as error:  # noqa: BLE001 - whatever it was, the runtime reads JSON
        return Answer(exit=1, stdout=_text(_internal(error, env).to_json(version)))


def unreadable(error: OSError) -> Answer:
    """The answer where standard input could not be read."""
    return Answer(exit=1, stdout=_text(CniError(IO_FAILURE, f"error reading from stdin: {error.strerror}").to_json()))


def _plugin_of(request: Request, host: Host) -> Plugin:
    """By the type that the configuration says. Where a DEL's does not, by the record of what was made: that plugin
    needs no configuration. Raises CniError."""
    if request.command == commands.DEL and (request.fault or request.type not in (*BRIDGE_TYPES, META_TYPE)):
        key = request.container_id, request.ifname
        if _attached(*key, host):
            return _plugin(META_TYPE)
        if host.records.get(key) or host.addressed.get(key):
            return _plugin(BRIDGE_TYPES[0])
    if request.fault:
        raise request.fault
    return _plugin(request.type)


def _attached(container_id: str, ifname: str, host: Host) -> bool:
    from windrow.store.attachments import AttachmentRecords
    from windrow.store.errors import StoreError

    try:
        return AttachmentRecords(host.paths).get(container_id, ifname) is not None
    except StoreError:
        return True  # the plugin finds the same, and tells it


def _plugin(type_: str) -> Plugin:
    if type_ in BRIDGE_TYPES:
        from windrow.apps.cni import bridge

        return bridge
    if type_ == META_TYPE:
        from windrow.apps.cni import meta

        return meta
    known = ", ".join((*BRIDGE_TYPES, META_TYPE))
    raise CniError(INVALID_CONFIG, f"type {type_!r} is not a plugin of Windrow", f"there are {known}")


def _internal(error: Exception, env: Mapping[str, str]) -> CniError:
    if env.get(DEBUG):
        import traceback

        print("".join(traceback.format_exception(error)), file=sys.stderr)
    details = f"{type(error).__name__}: {error}; {DEBUG}=1 in the environment shows where"
    return CniError(INTERNAL, "Windrow failed: this is a defect, please report it", details)


def _text(document: Mapping[str, object]) -> str:
    return json.dumps(document, indent=4)
