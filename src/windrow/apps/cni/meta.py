"""The meta plugin, type `windrow`: all networks of a container in one call, the default network first.

A record is written before the first plugin runs, and is gone when everything that it names has been undone. So
whatever is killed in between, DEL and GC know what to undo: neither asks the manifests again, nor the pod. It is on the
disk where plugins of others take part, whose leases outlive a reboot; the bridge plugin knows its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from windrow.apps.cni import bridge, chain
from windrow.apps.cni.chain import Caller
from windrow.apps.cni.host import Host
from windrow.apps.cni.plugin import refused
from windrow.model.attachments import Attached, Attachment
from windrow.netlink.enter import cookie
from windrow.netlink.errors import KernelError
from windrow.port import netstatus
from windrow.port.delegates import Wishes, args_text, cni_args, plugin_configs, read_network
from windrow.port.errors import IN_THE_WAY, INVALID_CONFIG, IO_FAILURE, MISSING, NOT_AVAILABLE, TRY_AGAIN, CniError
from windrow.port.networks import NONE
from windrow.port.request import DEL, Request, check_version
from windrow.port.result import Interface, Ip, Result, Route, from_document
from windrow.port.settings import Settings, read_settings
from windrow.store import podstatus
from windrow.store.attachments import AttachmentRecords
from windrow.store.errors import StoreError

if TYPE_CHECKING:
    from windrow.apps.cni.cluster import ClusterApi
    from windrow.apps.cni.definitions import Known
    from windrow.apps.cni.podinfo import PodSource
    from windrow.apps.cni.wanted import Wanted

LOCK_S = 20.0
"""A DEL waits so long for the ADD of the same container, whose runtime has lost its patience."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


# ADD ----------------------------------------------------------------------------------------------


def add(request: Request, host: Host) -> Result:
    """Attach the container to all its networks, or to none. Raises CniError."""
    from windrow.apps.cni.podinfo import find_pod  # DEL goes by the record, and does without
    from windrow.apps.cni.wanted import wanted

    settings = read_settings(request.config)
    _check_ready(settings, TRY_AGAIN)
    sources, known = _objects(settings, host)
    pod = find_pod(request, sources)
    plan = wanted(request, host, settings, pod, known)
    record = Attached(
        container_id=request.container_id,
        ifname=request.ifname,
        netns=request.netns,
        namespace=namespace(request.netns),
        network=request.network,
        path=":".join(_path(request, settings)),
        pod=str(pod),
        uid=pod.uid,
        attachments=plan.attachments,
    )
    caller = _caller(record, request, host)
    for attachment in record.attachments:
        try:
            chain.find(attachment, caller)
        except CniError as error:
            raise chain.in_context(error, request.command, attachment, caller) from error
    records = AttachmentRecords(host.paths)
    if settings.kubernetes:
        undo_forsaken(records, record, request, host)
    with _locked(records, *record.key) as holding:
        _make_room(records, record, request, host)
        records.begin(record, lasting=not all(map(chain.is_a_port, record.attachments)))
        result = _attach(records, record, plan, replace(caller, holding=holding))
    if settings.kubernetes and host.cluster is not None and record.pod:  # a DEL need not wait for that
        from windrow.store.untold import Untold

        host.cluster.teller.attached(Untold(container_id=record.container_id, pod=record.pod, uid=record.uid))
    return result


def _objects(settings: Settings, host: Host) -> tuple[tuple[PodSource, ...], Known]:
    """Who is asked for a pod's annotations, in order, and who knows the networks. Raises CniError."""
    from windrow.apps.cni import definitions
    from windrow.apps.cni.podinfo import PodFiles, RuntimeArguments

    if settings.kubernetes:
        call = _cluster(host, TRY_AGAIN).call()
        return (call, RuntimeArguments()), call
    return (RuntimeArguments(), PodFiles(host.paths.pods)), definitions.load(host.paths)


def _networks_at_hand(settings: Settings, host: Host) -> Known:
    """As they are known without asking anybody outside this host. Raises CniError."""
    from windrow.apps.cni import definitions

    return _cluster(host, NOT_AVAILABLE).at_hand() if settings.kubernetes else definitions.load(host.paths)


def _cluster(host: Host, code: int) -> ClusterApi:
    """Raises CniError: a call that works alone knows no pod and no network, and attaches none rather than too few."""
    if host.cluster is None:
        message = "the pod's networks are a cluster's, and no server that follows it answers on this node"
        raise CniError(code, message, "windrow --kubeconfig FILE cni serve is it; see why it does not run")
    return host.cluster


def _make_room(records: AttachmentRecords, record: Attached, request: Request, host: Host) -> None:
    """What is left of a killed ADD is undone, and what was attached to a namespace that the container had before:
    podman starts one again under its old id after a reboot, and no DEL came. An ADD that stands is not undone."""
    old = records.get(*record.key)
    if old is None:
        return
    same = same_namespace(old.namespace, record.namespace)
    if same and old.attachments and all(attachment.added for attachment in old.attachments):
        message = f"container {record.container_id} is attached already, with {record.ifname} as its first interface"
        raise CniError(IN_THE_WAY, message, "a DEL comes before another ADD")
    caller = _caller(old, request, host)
    if failures := _undo(records, old, caller if same else replace(caller, netns="")):
        raise failures[0]


def undo_forsaken(records: AttachmentRecords, record: Attached, request: Request, host: Host) -> None:
    """What an earlier sandbox of the same pod has. A kubelet asks for another one when that is dead, or unknown to its
    runtime: containerd 1.6 forgets a sandbox amid whose ADD it is killed, and never calls DEL for it.

    What cannot be undone stays in the record for GC. Raises StoreError.
    """
    if not record.uid or not podstatus.is_there(host.paths, record.pod):  # whoever was attached has one
        return
    for old in records.all()[0]:
        if old.uid == record.uid and old.container_id != record.container_id:
            there = same_namespace(old.namespace, namespace(old.netns))
            caller = replace(_caller(old, request, host), netns=old.netns if there else "")
            with _locked(records, *old.key):
                _undo(records, old, caller)


def _attach(records: AttachmentRecords, record: Attached, plan: Wanted, caller: Caller) -> Result:
    done: list[Attachment] = []
    try:
        for attachment in record.attachments:
            result = chain.add(attachment, caller)
            done.append(replace(attachment, added=True, result=result))
        done = _turn(done, plan, caller)
        results = [from_document(attachment.result or {}) for attachment in done]
        status = tuple(
            entry
            for attachment, result in zip(done, results, strict=True)
            for entry in netstatus.entries(
                attachment.reference,
                result,
                ifname=attachment.ifname,
                default=attachment.default,
                device=_device(attachment),
            )
        )
        final = replace(record, attachments=tuple(done), status=status)
        records.put(final)
    except BaseException:
        _roll_back(records, record, done, caller)
        raise
    tell_status(final, caller.host)
    return next((r for a, r in zip(done, results, strict=True) if a.default), None) or merged(results)


def _turn(done: Sequence[Attachment], plan: Wanted, caller: Caller) -> list[Attachment]:
    """Lead the default routes to where the annotation wants them, in the pod and in the results."""
    if all(claim is None for claim in plan.claims):
        return list(done)
    from windrow.netlink import podroutes  # loads what observes a whole namespace, which few calls need
    from windrow.port import defaultroute

    try:
        found = podroutes.default_families(caller.netns) if () in plan.claims else {}
        given = [found.get(attachment.ifname, frozenset()) for attachment in done]
        all_turns = defaultroute.turns(plan.claims, given, about=plan.about)
        podroutes.turn(
            caller.netns, {a.ifname: (t.lose, t.gateways) for a, t in zip(done, all_turns, strict=True) if t}
        )
    except KernelError as error:
        failed = refused(error)
        message = f"[{caller.pod or caller.container_id}] default-route: {failed.message}"
        raise CniError(failed.code, message, failed.details) from error
    return [
        replace(a, result=defaultroute.turned(a.result or {}, turn)) for a, turn in zip(done, all_turns, strict=True)
    ]


def _device(attachment: Attachment) -> Mapping[str, Any]:
    """That a plugin of the network has handed to the pod; empty: none."""
    if not attachment.device_info:
        return {}
    from windrow.store import deviceinfo

    return deviceinfo.read(attachment.device_info)


def _roll_back(records: AttachmentRecords, record: Attached, done: Sequence[Attachment], caller: Caller) -> None:
    """Everything that was begun, the last one first. What cannot be undone stays in the record for DEL and GC."""
    begun = record.attachments[: len(done) + 1]
    known = [*done, *begun[len(done) :]]
    left = [attachment for attachment in reversed(known) if chain.delete(attachment, caller)]
    _forget_devices(begun)
    with suppress(StoreError):  # the reason why it failed is the one to tell
        _keep(records, record, list(reversed(left)))


def merged(results: Sequence[Result]) -> Result:
    """Several results as one: for a container that has no default network."""
    interfaces: list[Interface] = []
    ips: list[Ip] = []
    routes: list[Route] = []
    dns: Mapping[str, Any] = {}
    for result in results:
        shift = len(interfaces)
        ips += [ip if ip.interface is None else replace(ip, interface=ip.interface + shift) for ip in result.ips]
        interfaces += result.interfaces
        routes += result.routes
        dns = dns or result.dns
    return Result(interfaces=tuple(interfaces), ips=tuple(ips), routes=tuple(routes), dns=dns)


# DEL ----------------------------------------------------------------------------------------------


def delete(request: Request, host: Host) -> None:
    """Undo what the record says, all of it, whatever of it fails. Raises CniError; what failed is tried again by
    the next DEL. Without a record nothing is attached, as far as anybody knows, and that is no error: there may be
    leases from before a reboot."""
    records = AttachmentRecords(host.paths)
    with _locked(records, request.container_id, request.ifname):
        record = records.get(request.container_id, request.ifname)
        if record is None:
            check_version(DEL, request.config)
            _delete_unrecorded(request, host)
            failures = _free_left_behind(request, host, request.container_id)
        else:
            failures = _undo(records, record, _caller(record, request, host))
    if failures:
        raise _joined(failures)


def _undo(records: AttachmentRecords, record: Attached, caller: Caller) -> list[CniError]:
    failures: list[CniError] = []
    left: list[Attachment] = []
    beside = {one.ifname: chain.delete_beside_port(one, caller) for one in reversed(record.attachments)}
    _take_cables_away(record, caller)
    for attachment in reversed(record.attachments):
        if found := [*beside[attachment.ifname], *chain.delete(attachment, caller, beside=False)]:
            failures += found
            left.insert(0, replace(attachment, added=False))
    _forget_devices(record.attachments)
    _keep(records, record, left)
    tell_status(record, caller.host)
    return failures


def _forget_devices(attachments: Iterable[Attachment]) -> None:
    for path in filter(None, (attachment.device_info for attachment in attachments)):
        from windrow.store import deviceinfo

        deviceinfo.remove(path)


def _take_cables_away(record: Attached, caller: Caller) -> None:
    """All that the bridge plugin made, together; its DEL then does the rest for each. What goes wrong here the DEL
    meets again, and tells."""
    names = [attachment.ifname for attachment in record.attachments if chain.has_a_port(attachment)]
    if caller.netns and len(names) > 1:
        from windrow.apps.cni import cables

        with suppress(CniError, KernelError):
            cables.take_away([(record.container_id, name) for name in names], caller.netns, caller.request, caller.host)


def _keep(records: AttachmentRecords, record: Attached, left: Sequence[Attachment]) -> None:
    if left:
        records.put(replace(record, attachments=tuple(left), status=()))
    else:
        records.remove(record)


def _delete_unrecorded(request: Request, host: Host) -> None:
    """The record may be lost with its disk: the default network is still known, and a DEL that has nothing to do is
    none that can fail."""
    with suppress(CniError, KernelError):
        settings = read_settings(request.config)
        attachment = _default(settings, request, host)
        if attachment is not None:
            record = replace(_blank(request, settings), attachments=(attachment,))
            chain.delete(attachment, _caller(record, request, host))


def _free_left_behind(request: Request, host: Host, container_id: str = "") -> list[CniError]:
    """Leases of ports that a reboot has taken, of one container or of all: the bridge plugin has a record of each."""
    failures: list[CniError] = []
    try:
        found = bridge.left_behind(host)
    except CniError as error:
        return [error]
    for record in found:
        if container_id in ("", record.container_id):
            try:
                bridge.remove_recorded(record, request, host)
            except CniError as error:
                failures.append(error)
            except KernelError as error:
                failures.append(refused(error))
    return failures


def _joined(failures: Sequence[CniError]) -> CniError:
    first = failures[0]
    if len(failures) == 1:
        return first
    details = " / ".join(failure.details for failure in failures if failure.details)
    return CniError(first.code, " / ".join(failure.message for failure in failures), details)


# CHECK, STATUS, GC --------------------------------------------------------------------------------


def check(request: Request, host: Host) -> None:
    """Raises CniError: a network that is not as its ADD left it."""
    read_settings(request.config)
    records = AttachmentRecords(host.paths)
    with _mapped():
        record = records.get(request.container_id, request.ifname)
    if record is None:
        raise CniError(MISSING, f"container {request.container_id} is not attached", "no ADD has left a record of it")
    if not all(attachment.added for attachment in record.attachments):
        raise CniError(MISSING, f"container {request.container_id} is not wholly attached", "its ADD did not end well")
    caller = _caller(record, request, host)
    if failures := [error for attachment in record.attachments for error in chain.check(attachment, caller)]:
        raise _joined(failures)


def status(request: Request, host: Host) -> None:
    """Raises CniError: no container can be attached now, and why."""
    settings = read_settings(request.config)
    _check_ready(settings, NOT_AVAILABLE)
    try:
        attachment = _default(settings, request, host)
    except CniError as error:
        raise CniError(NOT_AVAILABLE, error.message, error.details) from error
    if attachment is not None:
        chain.status(attachment, _caller(_blank(request, settings), request, host))


def gc(request: Request, host: Host) -> None:
    """Undo what is attached to containers that are not there any more, then let the plugins do the same with what is
    theirs. Raises CniError; the rest is done all the same."""
    failures: list[CniError] = []
    try:
        settings = read_settings(request.config)
    except CniError as error:
        settings, failures = Settings(cluster_network=NONE), [error]
    records = AttachmentRecords(host.paths)
    valid = _valid(request)
    records.sweep()
    found, broken = records.all()
    for record in found:
        if record.network == request.network and record.key not in valid:
            failures += _collect(records, record, request, host)
    failures += _free_left_behind(request, host)
    failures += _pass_on(records, found, settings, request, host)
    failures += [CniError(IO_FAILURE, f"{failure.path}: {failure.reason}", failure.hint) for failure in broken]
    if failures:
        raise _joined(failures)


def _collect(records: AttachmentRecords, record: Attached, request: Request, host: Host) -> list[CniError]:
    with _mapped(), records.locked(*record.key, timeout_s=0) as holding:
        again = records.get(*record.key) if holding is not None else None  # else it is just being made or undone
        return _undo(records, again, _caller(again, request, host)) if again else []


def _valid(request: Request) -> set[tuple[str, str]]:
    """What the runtime says is there: (container, interface). The key had another name before 1.1.0 was final."""
    listed = request.config.get("cni.dev/valid-attachments", request.config.get("cni.dev/attachments"))
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        example = '[{"containerID": "…", "ifname": "eth0"}]'
        raise CniError(INVALID_CONFIG, "cni.dev/valid-attachments must be a list of attachments", example)
    return {(str(one.get("containerID")), str(one.get("ifname"))) for one in listed}


def _pass_on(
    records: AttachmentRecords, before: Iterable[Attached], settings: Settings, request: Request, host: Host
) -> list[CniError]:
    """GC of every network that there was a record of, and of the default network. Their valid attachments are those
    that there is a record of now: of all networks of this name, whoever asked for them."""
    networks: dict[str, Attachment] = {}
    with suppress(CniError, KernelError):
        if (default := _default(settings, request, host)) is not None:
            networks[default.network] = default
    for record in before:
        for attachment in record.attachments:
            networks.setdefault(attachment.network, attachment)
    now, _ = records.all()
    failures: list[CniError] = []
    caller = _caller(_blank(request, settings), request, host)
    for name, attachment in networks.items():
        valid = [
            {"containerID": record.container_id, "ifname": one.ifname}
            for record in now
            for one in record.attachments
            if one.network == name
        ]
        failures += chain.collect(attachment, valid, caller)
    return failures


# What they share ----------------------------------------------------------------------------------


def _default(settings: Settings, request: Request, host: Host) -> Attachment | None:
    """The default network as any container would get it."""
    from windrow.apps.cni import defaultnet

    found = defaultnet.find(settings, host, _networks_at_hand(settings, host), request.version)
    if found is None:
        return None
    about = f"network {found.reference}"
    network = read_network(found.config, name=found.reference.rpartition("/")[2], version=request.version, about=about)
    return Attachment(
        network=network.name,
        reference=found.reference,
        ifname=request.ifname,
        plugins=plugin_configs(network, Wishes(), about=about),
        args=args_text(cni_args(request.args, Wishes())),
        default=True,
        check=network.check,
        gc=network.gc,
    )


def _blank(request: Request, settings: Settings) -> Attached:
    from windrow.apps.cni.podinfo import named_pod

    return Attached(
        container_id=request.container_id,
        ifname=request.ifname,
        netns=request.netns,
        network=request.network,
        path=":".join(_path(request, settings)),
        pod=str(named_pod(request.args)),
    )


def _path(request: Request, settings: Settings) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*request.path, *([settings.bin_dir] if settings.bin_dir else []))))


def _caller(record: Attached, request: Request, host: Host) -> Caller:
    """On DEL the runtime knows best where the namespace is. For GC only the record does, and the path in it may be
    another container's by now (`/proc/<pid>/ns/net`)."""
    netns = request.netns
    if not request.container_id:
        netns = record.netns if same_namespace(record.namespace, namespace(record.netns)) else ""
    path = dict.fromkeys((*request.path, *record.path.split(":")))
    return Caller(
        host=host,
        request=request,
        container_id=record.container_id,
        netns=netns,
        path=tuple(part for part in path if part),
        pod=record.pod,
    )


def namespace(netns: str) -> str:
    """What a path leads to: `<boot> <device>:<inode> <cookie>`, the last one where the kernel tells it. Inodes are
    given anew, at once, and all numbers after a reboot. Empty where there is none: whoever attaches to it will say so.
    """
    try:
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        found, number = os.fstat(fd), cookie(fd)
    finally:
        os.close(fd)
    with open(_BOOT_ID, encoding="utf-8") as file:
        return " ".join([file.read().strip(), f"{found.st_dev}:{found.st_ino}", *([str(number)] if number else [])])


def same_namespace(one: str, other: str) -> bool:
    """Of two that `namespace` told; a record that was written before it told cookies has none."""
    mine, theirs = one.split(), other.split()
    return bool(mine) and all(a == b for a, b in zip(mine, theirs, strict=False)) and bool(theirs)


def _check_ready(settings: Settings, code: int) -> None:
    if settings.readiness_file and not os.path.exists(settings.readiness_file):
        message = f"the default network is not ready: {settings.readiness_file} is not there"
        raise CniError(code, message, "what readinessindicatorfile names is made by the default network's own daemon")


@contextmanager
def _locked(records: AttachmentRecords, container_id: str, ifname: str) -> Iterator[int]:
    with _mapped(), records.locked(container_id, ifname, timeout_s=LOCK_S) as holding:
        if holding is None:
            message = f"another call for {ifname} of container {container_id} is at work"
            raise CniError(TRY_AGAIN, message, f"it did not end within {LOCK_S:g} s: ask again later")
        yield holding


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise CniError(IO_FAILURE, f"{error.path}: {error.reason}", error.hint) from error


# The pod's status ---------------------------------------------------------------------------------


def tell_status(record: Attached, host: Host) -> None:
    """For whoever wants to know what the pod has. The records have it, too: that this copy cannot be written is no
    reason to take a container's network away."""
    with suppress(OSError, StoreError):
        podstatus.write(host.paths, record.pod, record.container_id)
