"""What is looked after without a runtime: ports whose containers are gone, and ports that are not as they were made.

Both are calls of the plugins, made from the records. So what is undone, and how, is said in one place.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from windrow.apps.cni.bridge import BEGUN_S, left_behind
from windrow.apps.cni.dispatch import Answer, answer
from windrow.apps.cni.host import Host
from windrow.apps.cni.meta import namespace, same_namespace
from windrow.apps.cni.sandbox import is_namespace
from windrow.apps.filters import PortFilters
from windrow.model.attachments import Attached
from windrow.model.lazy import dataclass
from windrow.model.ports import PortRecord
from windrow.model.problems import WindrowError
from windrow.netlink import ports
from windrow.netlink.enter import opened_inside
from windrow.netlink.sock import Rtnl
from windrow.port.errors import CHANGED, CniError
from windrow.port.request import decode
from windrow.port.result import VERSIONS
from windrow.render.text import plural
from windrow.store.attachments import AttachmentRecords

CLEANUP_S = 2.0
"""The kernel takes a namespace apart some time after its last user has gone (`cleanup_net`), and the ports with it."""
META_TYPE = "windrow"
CHECK_VERSION = "1.0.0"
"""A configuration of an older one has no CHECK; Debian's IPAM plugins know no newer one."""
LISTED_S = 1.0
"""How long checks of many ports go by one listing of the packet filter."""
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
    """`force`: those that live, too. What is left from before a reboot is leases. Raises KernelError, OSError."""
    attached = [record for record in AttachmentRecords(host.paths).all()[0] if not _is_there(record)]
    astray = {record.container_id for record in attached}
    records = host.records.all()
    cut = _cut(records, host)
    nameless = [r for r in records if not is_namespace(r.netns) or r.container_id in astray or r.key in cut]
    alive: set[str] = set()
    if nameless and not force:
        alive = _containers_alive(host, nameless)
    attached = [record for record in attached if record.container_id not in alive]
    covered = {(record.container_id, one.ifname) for record in attached for one in record.attachments}
    gone = [_removal_of_all(record) for record in attached]
    gone += [_removal(r) for r in nameless if r.container_id not in alive and r.key not in covered]
    gone += [_release(r) for r in left_behind(host) if r.key not in covered]
    return LeftOvers(tuple(gone), tuple(_words(record) for record in nameless if record.container_id in alive))


def _is_there(record: Attached) -> bool:
    """A path may lead to another container's namespace by now, after a reboot or a removal above all."""
    if record.namespace:
        return same_namespace(record.namespace, namespace(record.netns))
    return is_namespace(record.netns)


def _cut(records: Sequence[PortRecord], host: Host) -> set[tuple[str, str]]:
    """A veth goes with the namespace of its other end: without the port, whatever has the path is somebody else's. An
    ADD may be about to make it."""
    links = host.rtnl().indexes() if records else {}
    absent = [record.key for record in records if record.host not in links]
    return {key for key in absent if (begun := host.records.written(key)) and time.time() - begun > BEGUN_S}


def _containers_alive(host: Host, records: Sequence[PortRecord]) -> set[str]:
    """Those whose port has outlived its namespace's name. A veth goes with the namespace of its other end."""
    end = time.monotonic() + CLEANUP_S
    while True:
        links = host.rtnl().indexes()
        found = {record.container_id for record in records if record.host in links}
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


def _release(record: PortRecord) -> Call:
    """Its path may lead to somebody else's namespace."""
    call = _removal(record)
    return replace(call, about=f"leases of {_words(record)}", env={**call.env, "CNI_NETNS": ""})


def _removal(record: PortRecord) -> Call:
    env = _environment("DEL", record, record.args)
    return Call(about=_words(record), env=env, config=record.config.encode("utf-8", "surrogateescape"))


def _removal_of_all(record: Attached) -> Call:
    """The meta plugin does it from its own record; its configuration need not be there any more."""
    count = plural(len(record.attachments), "network")
    about = f"{count} of {record.pod or record.container_id}, namespace {record.netns}"
    config = {"cniVersion": VERSIONS[-1], "name": record.network, "type": META_TYPE}
    env = _environment("DEL", record, "") | {"CNI_NETNS": ""}  # it leads nowhere, or to somebody else's
    return Call(about=about, env=env, config=json.dumps(config).encode())


def left_over_rules(host: Host, *, remove: bool) -> Iterator[tuple[str, str]]:
    """Rules of the packet filter for ports that are gone and have no record any more: which, and why they are still
    there. Raises KernelError, OSError."""
    filters = PortFilters()
    listed = filters.all_checked()
    # Read after the rules: ADD writes its record before them.
    known, links = {record.key for record in host.records.all()}, host.rtnl().indexes()
    for port, gone in listed.items():
        if port in links or gone.owner in known:
            continue
        about = f"rules of macspoofchk for port {port}: {gone.ifname} of container {gone.container_id}"
        yield about, filters.drop([gone]) if remove else ""


# What is not as it was made -----------------------------------------------------------------------


def checks(host: Host) -> Iterator[tuple[str, str]]:
    """Each port in words, and what is wrong with it; empty if nothing is. Raises KernelError."""
    host.filters = PortFilters(fresh_s=LISTED_S)
    for record in host.records.all():
        try:
            problem = _check(record, host).make(host)
        except (WindrowError, OSError) as error:
            problem = str(error)
        yield _words(record), problem


def _check(record: PortRecord, host: Host) -> Call:
    """The CHECK that a runtime would make, who has the result of the ADD; a record has not. The addresses are those
    that are there now: an IPAM plugin says whether they are the right ones.

    A machine's port has another name in its pod by now, and the addresses are the guest's.
    Raises CniError, KernelError.
    """
    port = ports.see(host.rtnl(), record.host)
    if port is None:
        raise CniError(CHANGED, f"port {record.host} is not there")
    ifname, mac, addresses = _other_end(record, port.peer)
    renamed = ifname != record.ifname
    config = decode(record.config.encode("utf-8", "surrogateescape"))
    config |= {"cniVersion": CHECK_VERSION} | ({"ipam": {}} if renamed else {})
    pod = {"name": ifname, "mac": mac if renamed else str(record.mac or mac), "sandbox": record.netns}
    config["prevResult"] = {
        "cniVersion": CHECK_VERSION,
        "interfaces": [{"name": record.bridge}, {"name": record.host}, pod],
        "ips": [{"interface": 2, "address": address} for address in addresses] if config.get("ipam") else [],
    }
    env = {**_environment("CHECK", record, record.args), "CNI_IFNAME": ifname}
    return Call(about=_words(record), env=env, config=json.dumps(config).encode())


def _other_end(record: PortRecord, index: int) -> tuple[str, str, list[str]]:
    """Name, MAC and addresses of the interface in the pod, by its index. Raises CniError, KernelError, OSError."""

    fd = os.open(record.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with opened_inside(fd, Rtnl) as rtnl:
            name = next((name for name, found in rtnl.indexes().items() if found == index), "")
            seen = ports.see(rtnl, name) if name else None
            if seen is None:
                raise CniError(CHANGED, f"port {record.host} does not lead to {record.netns}")
            found = [address.cidr for address in ports.addresses(rtnl, index)]
    finally:
        os.close(fd)
    return name, seen.mac, [cidr for cidr in found if not ipaddress.ip_interface(cidr).is_link_local]
