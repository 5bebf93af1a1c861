"""What is looked after without a runtime: ports whose containers are gone, and ports that are not as they were made.

Both are calls of the plugins, made from the records. So what is undone, and how, is said in one place.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from windrow.apps.cni.dispatch import Answer, answer
from windrow.apps.cni.host import Host
from windrow.model.attachments import Attached
from windrow.model.ports import PortRecord
from windrow.port.result import VERSIONS
from windrow.store.attachments import AttachmentRecords

CLEANUP_S = 2.0
"""The kernel takes a namespace apart some time after its last user has gone (`cleanup_net`), and the ports with it."""
META_TYPE = "windrow"
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a plugin, and `about` what it is, in words."""

    about: str
    env: Mapping[str, str]
    config: bytes

    def make(self, host: Host) -> str:
        """Empty, or what the plugin says is wrong."""
        done = answer({"PATH": os.environ.get("PATH", PROGRAMS), **self.env}, self.config, host)
        return complaint(done)


def complaint(done: Answer) -> str:
    """An error document in one line; empty where there is no error."""
    if not done.exit:
        return ""
    try:
        document = json.loads(done.stdout)
        details = f": {document['details']}" if document.get("details") else ""
        return f"{document['msg']}{details} (code {document['code']})"
    except (ValueError, KeyError, TypeError):
        return f"exit code {done.exit}: {done.stdout}"


# What is left over --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeftOvers:
    """`gone`: calls that take away what has no namespace any more. `living`: the namespace has lost its name, but a
    port into it is still there, so somebody is in it; in words."""

    gone: tuple[Call, ...] = ()
    living: tuple[str, ...] = ()


def left_overs(host: Host, *, force: bool = False) -> LeftOvers:
    """`force`: those that live, too. Raises KernelError, OSError."""
    ports = [record for record in host.records.all() if not is_namespace(record.netns)]
    attached = [record for record in AttachmentRecords(host.paths).all()[0] if not is_namespace(record.netns)]
    alive: set[str] = set()
    if ports and not force:
        alive = _containers_alive(host, ports)
    gone = [_removal_of_all(record) for record in attached if record.container_id not in alive]
    gone += [_removal(record) for record in ports if record.container_id not in alive]
    return LeftOvers(tuple(gone), tuple(_words(record) for record in ports if record.container_id in alive))


def is_namespace(path: str) -> bool:
    """Whether a namespace is there: not only the empty file that a name of `/run/netns` is mounted on."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except OSError:
        return False


def _containers_alive(host: Host, ports: Sequence[PortRecord]) -> set[str]:
    """Those whose port has outlived its namespace's name. A veth goes with the namespace of its other end."""
    end = time.monotonic() + CLEANUP_S
    while True:
        links = host.rtnl().indexes()
        found = {record.container_id for record in ports if record.host in links}
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def _words(record: PortRecord) -> str:
    return f"port {record.host} on {record.bridge}: {record.ifname} of {record.user}, namespace {record.netns}"


def _environment(command: str, record: PortRecord | Attached, args: str) -> dict[str, str]:
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": record.container_id,
        "CNI_NETNS": record.netns,
        "CNI_IFNAME": record.ifname,
        "CNI_PATH": record.path,
        "CNI_ARGS": args,
    }


def _removal(record: PortRecord) -> Call:
    env = _environment("DEL", record, record.args)
    return Call(about=_words(record), env=env, config=record.config.encode("utf-8", "surrogateescape"))


def _removal_of_all(record: Attached) -> Call:
    """The meta plugin does it from its own record; its configuration need not be there any more."""
    count = len(record.attachments)
    about = f"{count} networks of {record.pod or record.container_id}, namespace {record.netns}"
    config = {"cniVersion": VERSIONS[-1], "name": record.network, "type": META_TYPE}
    return Call(about=about, env=_environment("DEL", record, ""), config=json.dumps(config).encode())
