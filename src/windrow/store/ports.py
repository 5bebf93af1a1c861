"""Port records: one small file for each port that a CNI call made, on tmpfs, where a reboot takes both away.

A record is written before the port is made and removed after all of it is gone. So whenever a call was killed, a
record is left that says what to undo.

Beside the records are the claims: a link for each MAC address on a bridge, whose target says which port has it.
`ports/.lock` makes looking and claiming one act; it is held for microseconds, and for a question to the
kernel where an address is contested.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from windrow.model import jsontext
from windrow.model.portguards import PortGuards, Rate
from windrow.model.ports import PortRecord
from windrow.model.values import IfName, Mac, PortVlans, VidSet
from windrow.port.identity import digest, host_end_of
from windrow.store import records

if TYPE_CHECKING:
    from windrow.store.paths import Paths

_SUFFIX = ".json"
_CLAIMS = "macs"
_LOCK = ".lock"
_STANDARD = 3
"""The first fd that is no standard stream: where one of those is closed, a program would take the lock for it."""
_PAUSE_S = 0.01
_STALE_S = 60.0
"""A temporary file this old belongs to a process that was killed."""


class PortRecords:
    """The records below one root. All methods raise OSError where the disk refuses."""

    def __init__(self, paths: Paths) -> None:
        self._directory = os.fspath(paths.ports)

    @classmethod
    def of(cls, root: str) -> PortRecords:
        """The same without `pathlib`, whose loading takes longer than a port does."""
        one = cls.__new__(cls)
        one._directory = os.path.join(root, "run/windrow/ports")
        return one

    # Reading --------------------------------------------------------------------------------------

    def all(self) -> list[PortRecord]:
        """Those that can be read, by container and interface; the others are in `broken`."""
        found = [record for _, record in self._read_all() if isinstance(record, PortRecord)]
        return sorted(found, key=lambda record: record.key)

    def broken(self) -> list[tuple[str, str]]:
        """(path, what is wrong) of each file that is no record."""
        return [(path, record) for path, record in self._read_all() if isinstance(record, str)]

    def get(self, key: tuple[str, str]) -> PortRecord | None:
        """The record of (container id, interface). None too where its file is broken: the next `put` mends it."""
        record = _read(self._path(key))
        return record if isinstance(record, PortRecord) else None

    def written(self, key: tuple[str, str]) -> float | None:
        """When, in seconds since the epoch; None where there is no record."""
        try:
            return os.stat(self._path(key)).st_mtime
        except FileNotFoundError:
            return None

    @staticmethod
    def port_of(path: str) -> IfName:
        """The name of the port that a record's file is of, be it readable or not."""
        return host_end_of(os.path.basename(path).removesuffix(_SUFFIX))

    def _read_all(self) -> Iterator[tuple[str, PortRecord | str]]:
        for name in self._names():
            if name.endswith(_SUFFIX) and not name.startswith("."):
                path = os.path.join(self._directory, name)
                record = _read(path)
                if record is not None:
                    yield path, record

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []

    # Writing --------------------------------------------------------------------------------------

    def put(self, record: PortRecord) -> None:
        """Write it, or write it anew. Readers see the old one or the new one."""
        data = json.dumps(records.stamped(_document(record)), separators=(",", ":")).encode()
        self._make_directory()
        records.write(self._path(record.key), data, mode=records.PRIVATE, flush="nothing", rivals=True)

    def remove(self, key: tuple[str, str]) -> None:
        """Forget it and what it claims. That it is not there is no error."""
        record = self.get(key)
        if record is not None and record.mac is not None:
            self._release(record)
        with suppress(FileNotFoundError):
            os.unlink(self._path(key))

    def discard(self, path: str) -> None:
        """Remove a file that is no record."""
        with suppress(FileNotFoundError):
            os.unlink(path)

    def sweep(self) -> None:
        """Remove what killed processes left: half-written files, and claims of ports without a record."""
        before = time.time() - _STALE_S
        for name in self._names():
            path = os.path.join(self._directory, name)
            with suppress(FileNotFoundError):
                if name.startswith(".") and name != _LOCK and os.lstat(path).st_mtime < before:
                    os.unlink(path)
        claims = os.path.join(self._directory, _CLAIMS)
        with suppress(FileNotFoundError), self._exclusive():
            for name in os.listdir(claims):
                path = os.path.join(claims, name)
                if not os.path.exists(os.path.join(self._directory, os.readlink(path) + _SUFFIX)):
                    os.unlink(path)

    # Who is at work on one ------------------------------------------------------------------------

    def hold(self, key: tuple[str, str]) -> int:
        """An fd with a lock on this record, which is written already. Programs that work for it get the fd, too: the
        lock is held until the last of them has ended, also where whoever started them was killed."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path(key), flags)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STANDARD)
        finally:
            os.close(fd)

    def wait_for_others(self, key: tuple[str, str], timeout_s: float) -> None:
        """Until nobody holds this record, or for so many seconds at most."""
        end = time.monotonic() + timeout_s
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            while not _free(fd) and time.monotonic() < end:
                time.sleep(_PAUSE_S)
        finally:
            os.close(fd)

    # MAC addresses --------------------------------------------------------------------------------

    def claim(self, record: PortRecord, gone: Callable[[PortRecord], bool] = lambda _: False) -> PortRecord | None:
        """Take `record.mac` on `record.bridge` for this port, whose record is written already; or, untouched, the
        record of the port that has it.

        A port whose record is gone has nothing any more, nor has one of which `gone` says so. To look, to judge and to
        take is one act: of two calls that find the same dead holder, the second one finds the first.
        """
        me, path = digest(*record.key), self._claim(record)
        with self._exclusive():
            holder = _target(path)
            if holder not in ("", me):
                other = _read(os.path.join(self._directory, holder + _SUFFIX))
                holds = isinstance(other, PortRecord) and (other.bridge, other.mac) == (record.bridge, record.mac)
                if isinstance(other, PortRecord) and holds and not gone(other):
                    return other
            if holder != me:
                self._link(me, path)
        return None

    def _release(self, record: PortRecord) -> None:
        me, path = digest(*record.key), self._claim(record)
        if _target(path) == me:
            with suppress(FileNotFoundError), self._exclusive():
                if _target(path) == me:
                    os.unlink(path)

    def _link(self, target: str, path: str) -> None:
        records.make_directory(os.path.dirname(path), flush=False)
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.symlink(target, path)

    def _claim(self, record: PortRecord) -> str:
        return os.path.join(self._directory, _CLAIMS, f"{record.bridge} {record.mac}")

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._make_directory()
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(os.path.join(self._directory, _LOCK), flags, records.PRIVATE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    # Files ----------------------------------------------------------------------------------------

    def _path(self, key: tuple[str, str]) -> str:
        return os.path.join(self._directory, digest(*key) + _SUFFIX)

    def _make_directory(self) -> None:
        records.make_directory(self._directory, flush=False)


class AddressedPorts(PortRecords):
    """Records of the ports that an IPAM plugin has given addresses, on the disk: leases outlive a reboot, and what is
    on tmpfs does not. Each is written after the port's own record and removed before it, so one without the other is
    left from before a reboot: where its port is not there either, nothing is but its leases.
    """

    @classmethod
    def of(cls, root: str) -> AddressedPorts:
        records = cls.__new__(cls)
        records._directory = os.path.join(root, "var/lib/windrow/ports")
        return records

    def put(self, record: PortRecord) -> None:
        """It is on the disk when this returns."""
        super().put(record)
        for path in (self._path(record.key), self._directory):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def sweep(self) -> None:
        if self._names():  # most hosts have none of these, and need no directory for them
            super().sweep()

    def left_behind(self, ports: PortRecords) -> list[PortRecord]:
        """Those without a record among `ports`."""
        mine = self._names()  # first: the others' are there before them, and gone after them
        if not mine:
            return []
        theirs = frozenset(ports._names())
        paths = [os.path.join(self._directory, n) for n in mine if n.endswith(_SUFFIX) and n not in theirs]
        return [record for path in paths if isinstance(record := _read(path), PortRecord)]


def _free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


# Documents ----------------------------------------------------------------------------------------

_NEEDED = ("container_id", "ifname", "bridge", "host")
_FLAGS = ("isolated", "hairpin")
_SAID = ("spoof_check", "any_source")
"""Flags that are written down where they are on."""
_ADDRESSES = ("masquerade", "addresses", "routed")
_GUARDS, _LIMITS = ("addresses", "dhcp", "routers"), ("ingress", "egress")
_TEXTS = (*_NEEDED, "netns", "network", "pod", "config", "path", "args", "masquerade_by")


def _document(record: PortRecord) -> dict[str, Any]:
    document: dict[str, Any] = {name: getattr(record, name) for name in _TEXTS}
    document |= {name: getattr(record, name) for name in ("mac", *_FLAGS)}
    document |= {name: True for name in _SAID if getattr(record, name)}
    if record.guards:
        document["guards"] = _guards_document(record.guards)
    document |= {name: list(found) for name in _ADDRESSES if (found := getattr(record, name))}
    vlans = record.vlans
    if vlans is not None:
        document["vlans"] = {"pvid": vlans.pvid, "untagged": str(vlans.untagged), "tagged": str(vlans.tagged)}
    return document


def _read(path: str) -> PortRecord | str | None:
    """The record, what is wrong with it, or None: it is not there (any more)."""
    try:
        with open(path, "rb") as file:
            document = jsontext.loads(file.read())
        return _record(document)
    except FileNotFoundError:
        return None
    except OSError as error:
        return os.strerror(error.errno or errno.EIO)  # whoever tells it names the path
    except KeyError as error:
        return f"{error.args[0]} is missing"
    except (ValueError, TypeError, RecursionError) as error:
        return str(error) or type(error).__name__


def _record(document: dict[str, Any]) -> PortRecord:
    """Raises KeyError, TypeError, ValueError."""
    records.understand(document)
    texts = {name: document[name] for name in _TEXTS if name in document or name in _NEEDED}
    if wrong := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise TypeError(f"{', '.join(wrong)}: not a text")
    texts["bridge"], texts["host"] = IfName(texts["bridge"]), IfName(texts["host"])
    mac, vlans = document.get("mac"), document.get("vlans")
    texts = {"netns": "", "network": ""} | texts
    isolated, hairpin = (document.get(name) for name in _FLAGS)
    if wrong := [name for name in _FLAGS if not isinstance(document.get(name), bool | None)]:
        raise TypeError(f"{', '.join(wrong)}: neither true nor false")
    return PortRecord(
        **texts,
        mac=Mac(mac) if mac else None,
        vlans=_vlans(vlans) if vlans else None,
        isolated=isolated,
        hairpin=hairpin,
        spoof_check=document.get("spoof_check") is True,
        any_source=document.get("any_source") is True,
        guards=_guards(document.get("guards", {})),
        masquerade=_texts(document, "masquerade"),
        addresses=_texts(document, "addresses"),
        routed=_texts(document, "routed"),
    )


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...]:
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TypeError(f"{name}: not a list of texts")
    return tuple(found)


def _guards_document(guards: PortGuards) -> dict[str, Any]:
    document: dict[str, Any] = {name: True for name in _GUARDS if getattr(guards, name)}
    rates = {name: rate for name in _LIMITS if (rate := getattr(guards, name)) is not None}
    return document | {name: [rate.bits, rate.burst] for name, rate in rates.items()}


def _guards(document: dict[str, Any]) -> PortGuards:
    addresses, dhcp, routers = (document.get(name) is True for name in _GUARDS)
    ingress, egress = (_rate(document.get(name)) for name in _LIMITS)
    return PortGuards(addresses=addresses, dhcp=dhcp, routers=routers, ingress=ingress, egress=egress)


def _rate(document: Any) -> Rate | None:
    if document is None:
        return None
    if not isinstance(document, list) or not all(isinstance(one, int) for one in document):
        raise TypeError("guards: a rate is not two numbers")
    bits, burst = document
    return Rate(bits=bits, burst=burst)


def _vlans(document: dict[str, Any]) -> PortVlans:
    untagged, tagged = (VidSet.parse(document[name]) for name in ("untagged", "tagged"))
    return PortVlans(pvid=document["pvid"], untagged=untagged, tagged=tagged)
