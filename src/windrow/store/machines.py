"""The virtual machines that run on this host: what was made for each, written before it is made.

`<runtime>/vms/<namespace>/<name>/` is a machine's directory: `record.json`, QEMU's sockets, console and log, and the
files made for it. On tmpfs: after a reboot neither they nor what they tell of is there. Whoever changes a machine
holds its lock; whoever only looks reads a record that is the old one or the new one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import ipaddress
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.values import Ref
from windrow.store import records
from windrow.store.errors import StoreError, explained
from windrow.store.paths import Paths

QMP, CONSOLE, LOG = "qmp.sock", "console.sock", "qemu.log"
"""In a machine's directory: QEMU's monitor, the guest's serial line, what QEMU said."""
SHOWN, SEED = "shown", "seed"
"""There: what QEMU itself may read, and nothing else may (its working directory); in it, cloud-init's files."""
AGENT = "agent.sock"
"""There, too: the guest's second serial line, for a program in it that answers questions."""
GUEST_AGENT = "guest-agent.sock"
"""There, too: the port of the guest's own agent (qemu-ga), where it has one."""
RECORD = "record.json"
_PAUSE_S, _TRIES = 0.02, 20


class Phase(StrEnum):
    """How far a start has come, or that a stop has begun. Each one is written before its work."""

    STARTING = "starting"
    """The network namespace, and what the CNI plugins make."""
    CONNECTING = "connecting"
    """The devices between pod and guest."""
    ATTACHED = "attached"
    """They are there, for a hypervisor of somebody else."""
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class NicRecord:
    """One NIC of a machine. `network`: its name in the machine's manifest, and so the NIC's."""

    network: str
    nad: str = ""
    """`namespace/name`; empty: the pod network."""
    binding: str
    pod: str
    """The interface that the CNI call made, or whatever stands in its place now."""
    tap: str = ""
    bridge: str = ""
    renamed: str = ""
    """What the CNI call's interface is called now; empty: as before."""
    mac: str = ""
    """The guest's."""
    mtu: int = 0
    model: str = ""
    up: bool = True
    """The link state, as the guest sees it."""
    addresses: tuple[str, ...] = ()
    """What the guest is given, or will be by the server in its pod."""
    index: int = 0
    """Its place: the number of the PCI root port, and of the address of the server in its pod."""
    later: bool = False
    """It came after the start, by a CNI call of its own."""
    bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRecord:
    namespace: str
    name: str
    node: str
    container_id: str
    netns: str
    """Its name under /run/netns."""
    since: float
    """Seconds since the epoch."""
    phase: Phase = Phase.STARTING
    pid: int = 0
    """QEMU's; 0: there is none yet."""
    started: int = 0
    """QEMU's start, in ticks since boot: with the pid it names the process."""
    accelerator: str = ""
    kind: str = ""
    """Of the object it was started from."""
    places: int = 0
    """How many NICs there is room for; 0: no limit."""
    nics: tuple[NicRecord, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def ref(self) -> Ref:
        """Of the object it was started from."""
        return Ref(self.kind, self.name, self.namespace)

    def nic(self, network: str) -> NicRecord | None:
        return next((n for n in self.nics if n.network == network), None)

    def with_nic(self, nic: NicRecord) -> MachineRecord:
        """In place of the one of the same network, or as the last."""
        known = self.nic(nic.network) is not None
        nics = tuple(nic if n.network == nic.network else n for n in self.nics)
        return dataclasses.replace(self, nics=nics if known else (*self.nics, nic))

    def without_nic(self, network: str) -> MachineRecord:
        return dataclasses.replace(self, nics=tuple(n for n in self.nics if n.network != network))


class Machines:
    """The records below one root."""

    def __init__(self, paths: Paths | Path) -> None:
        self.paths = paths if isinstance(paths, Paths) else Paths(paths)

    def directory(self, namespace: str, name: str) -> Path:
        return self.paths.machines / namespace / name

    def console_log(self, namespace: str, name: str) -> Path:
        """The last of what came over the guest's serial line since the last start (`services.ring`); it outlives the
        machine."""
        return self.paths.machine_logs / namespace / f"{name}.log"

    def new_console_log(self, namespace: str, name: str) -> Path:
        """The same, empty, for nobody's eyes but root's. Raises StoreError."""
        path = self.console_log(namespace, name)
        with explained(path, "begin the log"):
            records.make_directory(self.paths.machine_logs, records.PRIVATE_DIRECTORY, flush=False)
            records.make_directory(path.parent, records.PRIVATE_DIRECTORY, flush=False)
            records.write(path, b"", mode=records.PRIVATE, flush="nothing")
        return path

    def last_addresses(self, namespace: str, name: str) -> tuple[str, ...]:
        """Of the pod on the pod network, when the machine last started; none where that is not known."""
        try:
            found = json.loads(self._addresses_path(namespace, name).read_bytes())
            records.understand(found)
            return tuple(str(ipaddress.ip_address(address)) for address in found["addresses"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return ()

    def remember_addresses(self, namespace: str, name: str, addresses: Sequence[str]) -> None:
        """Raises StoreError."""
        if tuple(addresses) == self.last_addresses(namespace, name):
            return
        path = self._addresses_path(namespace, name)
        with explained(path, "remember the machine's addresses"):
            records.make_directory(path.parent)
            document = records.stamped({"addresses": list(addresses)})
            records.write(path, json.dumps(document).encode(), mode=records.PRIVATE)

    def forget_addresses(self, gone: Callable[[str, str], bool]) -> None:
        """Of the machines (namespace, name) that are gone. One that cannot be taken away does no harm."""
        for path in self.paths.machine_addresses.glob("*/*.json"):
            if gone(path.parent.name, path.stem):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)  # its directory stays: another machine's may be about to be written

    def _addresses_path(self, namespace: str, name: str) -> Path:
        return self.paths.machine_addresses / namespace / f"{name}.json"

    def get(self, namespace: str, name: str) -> MachineRecord | None:
        """Raises StoreError for a record that cannot be read."""
        path = self.directory(namespace, name) / RECORD
        try:
            return _read(path)
        except FileNotFoundError:
            return None

    def all(self) -> tuple[tuple[MachineRecord, ...], tuple[StoreError, ...]]:
        """Those that can be read, by namespace and name; and why others cannot."""
        found: list[MachineRecord] = []
        failures: list[StoreError] = []
        for directory in sorted(self.paths.machines.glob("*/*/")):  # where we may not look in, it is there all the same
            try:
                found.append(_read(directory / RECORD))
            except FileNotFoundError:
                continue  # it stopped meanwhile
            except StoreError as error:
                failures.append(error)
        return tuple(found), tuple(failures)

    def put(self, record: MachineRecord) -> None:
        """Raises StoreError."""
        directory = self.directory(record.namespace, record.name)
        path = directory / RECORD
        with explained(path, "write the record"):
            _make(directory)
            data = json.dumps(records.stamped(dataclasses.asdict(record)), indent=2) + "\n"
            records.write(path, data.encode(), mode=records.PRIVATE, flush="nothing")

    def remove(self, namespace: str, name: str) -> None:
        """The machine's directory, the record last: until then a stop can be tried again. Raises StoreError."""
        directory = self.directory(namespace, name)
        record = directory / RECORD
        with explained(directory, "remove the machine's directory"):
            with contextlib.suppress(FileNotFoundError):
                for entry in list(directory.iterdir()):
                    if entry != record:
                        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
                record.unlink(missing_ok=True)
                directory.rmdir()
            with contextlib.suppress(OSError):  # there are others
                directory.parent.rmdir()

    @contextlib.contextmanager
    def locked(self, namespace: str, name: str, *, timeout_s: float | None = None) -> Iterator[None]:
        """Nobody else changes this machine during the block. Raises StoreError when another holds it for longer.

        The lock is a file beside the machine's directory, and goes with the last one who held it; so once it is held
        it must still be the one of that name.
        """
        path = self.paths.machines / f".{namespace}@{name}.lock"
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while (fd := _try_lock(path)) is None:
            if end is not None and time.monotonic() >= end:
                hint = "wait for it to end, then try again"
                raise StoreError(path, f"another command is at work on the machine {namespace}/{name}", hint)
            time.sleep(_PAUSE_S)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(fd)


def machine_of(path: Path) -> tuple[str, str]:
    """Whose record a file is: (namespace, name)."""
    return path.parent.parent.name, path.parent.name


def _make(directory: Path) -> None:
    """Whoever removes the last machine of a namespace removes the directory above it, too: then once more."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            records.make_directory(directory, records.PRIVATE_DIRECTORY, flush=False)
            return
    records.make_directory(directory, records.PRIVATE_DIRECTORY, flush=False)


def _try_lock(path: Path) -> int | None:
    with explained(path, "lock the machine"):
        records.make_directory(path.parent, flush=False)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, records.PRIVATE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None


def _read(path: Path) -> MachineRecord:
    try:
        with explained(path, "read the record"):
            text = path.read_text(encoding="utf-8")
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise FileNotFoundError(path) from error
        raise
    try:
        found = _record(json.loads(text))
        if (found.namespace, found.name) != machine_of(path):
            raise ValueError(f"it is the one of {found.key}")
        return found
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        hint = "`windrow vm stop --force` ends what can be found of this machine, and removes the record"
        raise StoreError(path, f"this is not the record of a machine: {error}", hint) from error


def _record(document: Mapping[str, Any]) -> MachineRecord:
    """Fields that it does not know are of a newer Windrow, and left alone."""
    records.understand(document)
    nics = tuple(NicRecord(**_known(NicRecord, nic) | _addresses(nic)) for nic in _list(document, "nics"))
    return MachineRecord(**_known(MachineRecord, document) | {"phase": Phase(document["phase"]), "nics": nics})


_TYPES: dict[object, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}
_FILES = frozenset({"container_id", "netns", "pod", "bridge"})
"""Of which names of files and devices are made, and what has those names is removed in the end."""
_TIME_MAX = 1 << 40


def _known(cls: type, document: Mapping[str, Any]) -> dict[str, Any]:
    """Its fields. Raises TypeError, ValueError for one that no Windrow has written."""
    types = {field.name: field.type for field in dataclasses.fields(cls)}
    known = {key: value for key, value in document.items() if key in types}
    for key, value in known.items():
        wanted = _TYPES.get(types[key])
        if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)):
            raise TypeError(f"{key} is {str(value)[:40]!r}, a {type(value).__name__}")
        if isinstance(value, int | float) and not 0 <= value < _TIME_MAX:
            raise ValueError(f"{key} is {value}")
        if key in _FILES and (value in (".", "..") or "/" in value or "\0" in value or not (value or key == "bridge")):
            raise ValueError(f"{key} is {value[:40]!r}")
    return known


def _addresses(document: Mapping[str, Any]) -> dict[str, Any]:
    found = _list(document, "addresses")
    if not all(isinstance(address, str) for address in found):
        raise TypeError("addresses has what is no text")
    return {"addresses": tuple(found)}


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    found = document.get(key, [])
    if not isinstance(found, list):
        raise TypeError(f"{key} is no list")
    return found
