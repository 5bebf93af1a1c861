"""A machine's pod: its network namespace, its manifest, and the CNI calls that a runtime would make for it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from windrow.apps.cni import chain, dispatch, meta
from windrow.apps.cni.host import NODE, ROOT, Host
from windrow.apps.cni.podinfo import CAPABILITY
from windrow.apps.vm.site import Site
from windrow.model.machines import AnyMachine, GuestNic, MachineSpec
from windrow.model.ports import LAUNCHER, MACHINE_ID
from windrow.model.problems import Problem, ProblemsError
from windrow.model.values import Mac, Ref
from windrow.netlink import links, netns
from windrow.netlink.errors import KernelError
from windrow.netlink.kernel import Kernel
from windrow.port import request
from windrow.port.errors import DELEGATE_FAILED, CniError
from windrow.port.networks import DEFAULT_NETWORK, NETWORKS, NONE, WINDROW_DEFAULT_NETWORK
from windrow.port.settings import TYPE
from windrow.port.vm.dhcp import PodIdentity
from windrow.port.vm.names import PRIMARY, host_name, is_primary, pod_ifname
from windrow.services import process
from windrow.store import attachments, podstatus, records
from windrow.store.errors import explained
from windrow.store.machines import MachineRecord, NicRecord

CNI_VERSION = "1.1.0"
NETWORK = "windrow-vms"
"""The name of the configuration of our calls to the meta plugin. No runtime has one of this name: its GC, which knows
of no machines, would take theirs for left over."""
CNI_PATH = "/opt/cni/bin:/usr/lib/cni"
"""Where plugins are looked for if CNI_PATH says nothing else."""
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second one has the true servers where the first names only a stub on this host's loopback."""
_NETNS_DIGITS, _ID_DIGITS = 12, 24


def netns_name(site: Site, namespace: str, name: str) -> str:
    """The same for each start of a machine: what a broken record no longer tells is found again."""
    text = f"{site.paths.root}\0{namespace}/{name}"
    return f"windrow-{hashlib.sha256(text.encode()).hexdigest()[:_NETNS_DIGITS]}"


def new_container_id() -> str:
    return f"{MACHINE_ID}{secrets.token_hex(_ID_DIGITS // 2)}"


def pod_name(machine: str) -> str:
    return f"{LAUNCHER}{machine}"


def stable_mac(namespace: str, machine: str, network: str) -> Mac:
    """For a NIC whose manifest has none: the same at each start, so that it is given the same address again.

    Locally administered (IEEE 802-2014 §8.2.2), from the names alone.
    """
    digits = hashlib.sha256(f"{namespace}/{machine}/{network}".encode()).hexdigest()
    return Mac(":".join(["02", *(digits[i : i + 2] for i in range(0, 10, 2))]))


# The namespace ------------------------------------------------------------------------------------


def open_namespace(name: str) -> None:
    """Make it, with its loopback up. Raises KernelError."""
    netns.create(name)
    with Kernel(name) as kernel:
        kernel.rtnl.run(links.set_link("lo", up=True))


@contextlib.contextmanager
def entered(name: str) -> Iterator[tuple[Kernel, int]]:
    """The kernel of a pod's namespace, and an fd of it. Raises KernelError."""
    with netns.opened(name) as fd, Kernel(fd) as kernel:
        yield kernel, fd


def inode(name: str) -> int | None:
    """By which its processes are found; None where the namespace is gone, or only its name is left."""
    path = netns.RUN_NETNS / name
    try:
        with netns.opened(name) as fd:
            return os.fstat(fd).st_ino if os.fstat(fd).st_dev != path.parent.stat().st_dev else None
    except KernelError:
        return None


def close_namespace(name: str) -> None:
    """End what lives in it, and take its name away; it is no error if there is none.

    Raises KernelError, ServiceError.
    """
    found = inode(name)
    if found is not None:
        process.end_in_netns(found, patience_s=1.0)
    with contextlib.suppress(KernelError):
        netns.delete(name)


def living(site: Site, namespace: str, name: str) -> tuple[process.Process, ...]:
    """What lives in the namespace of a machine's name, whatever its record says."""
    found = inode(netns_name(site, namespace, name))
    return () if found is None else process.in_netns(found)


def refuse_lost(site: Site, about: Ref) -> None:
    """Of a machine without a record. A second QEMU beside the first one would use its disks, too.

    Raises ProblemsError, KernelError.
    """
    if found := living(site, about.namespace, about.name):
        message = f"its record is lost, and it lives: process {', '.join(str(one.pid) for one in found)}"
        hint = f"`windrow vm stop --force {about.name}` ends what can be found of it"
        raise ProblemsError([Problem(code="record-lost", message=message, hint=hint, about=about)])


# The manifest -------------------------------------------------------------------------------------


def networks_of(machine: AnyMachine) -> dict[str, str]:
    """Which networks the meta plugin attaches the pod to: KubeVirt's annotations."""
    spec = machine.spec
    found: dict[str, str] = {}
    secondary = []
    primary = False
    for nic in spec.nics:
        network = spec.network(nic.name)
        if network is None:
            continue
        primary = primary or is_primary(network)
        entry = selection(network.nad, pod_ifname(network), mac_for(machine, nic))
        if network.default:
            found[DEFAULT_NETWORK] = json.dumps([entry])
        elif network.nad:
            secondary.append(entry)
    if not primary:
        found[WINDROW_DEFAULT_NETWORK] = NONE
    if secondary:
        found[NETWORKS] = json.dumps(secondary)
    return found


def selection(nad: str, ifname: str, mac: Mac) -> dict[str, str]:
    """One entry of the annotation; `nad`: `namespace/name`."""
    namespace, _, name = nad.rpartition("/")
    return {"name": name, "namespace": namespace, "mac": mac, "interface": ifname}


def mac_for(machine: AnyMachine, nic: GuestNic) -> Mac:
    return nic.mac or stable_mac(machine.meta.namespace, machine.name, nic.name)


def write_manifest(site: Site, machine: AnyMachine) -> Path:
    """For the meta plugin: a runtime would have put it into the Kubernetes API. Raises OSError."""
    path = manifest_path(site, machine.meta.namespace, machine.name)
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(machine.name),
            "namespace": machine.meta.namespace,
            "labels": {"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": machine.name},
            "annotations": networks_of(machine),
        },
    }
    text = json.dumps(document, indent=2).encode() + b"\n"
    records.write_with_directory(path, text, mode=records.SHARED)
    return path


def manifest_path(site: Site, namespace: str, name: str) -> Path:
    return site.paths.pods / namespace / f"{pod_name(name)}.json"


def remove_manifest(site: Site, namespace: str, name: str) -> None:
    records.remove_with_directory(manifest_path(site, namespace, name))


def identity(spec: MachineSpec, name: str) -> PodIdentity:
    """What the guest takes over: its name, and the resolver of this host."""
    servers, search = _resolver()
    return PodIdentity(hostname=host_name(spec, name), subdomain=spec.subdomain, name_servers=servers, search=search)


def _resolver() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(name servers, search domains). A server on this host's loopback is none for a guest."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    for path in RESOLVERS:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        words = [line.split() for line in lines if line.strip() and line[0] not in "#;"]
        servers = [w[1] for w in words if w[0] == "nameserver" and len(w) > 1 and not _loopback(w[1])]
        search = next((tuple(w[1:]) for w in reversed(words) if w[0] in ("search", "domain")), search)
        if servers:
            break
    return tuple(servers), tuple(domain for domain in search if domain.strip("."))


def _loopback(server: str) -> bool:
    return server.startswith("127.") or server == "::1" or "%" in server


# CNI ----------------------------------------------------------------------------------------------


def add(site: Site, record: MachineRecord) -> None:
    """ADD for the whole machine. On the pod network it asks for the addresses of its last start; where they are not to
    be had any more, it gets others. Raises CniError, StoreError."""
    nic = next((nic for nic in record.nics if nic.pod == PRIMARY and not nic.nad), None)
    if nic is None:
        _call(site, record, request.ADD, PRIMARY)
        return
    before = site.records.last_addresses(record.namespace, record.name)
    try:
        _call(site, record, request.ADD, PRIMARY, {"ips": list(before)} if before else None)
    except CniError as error:
        if not before:
            raise
        site.say(f"the pod's last address, {', '.join(before)}, is not to be had: {error}")
        _call(site, record, request.ADD, PRIMARY)
    site.records.remember_addresses(record.namespace, record.name, _given(site, record))
    site.forget_gone()


def _given(site: Site, record: MachineRecord) -> list[str]:
    """The pod's addresses on the pod network. Raises StoreError."""
    every = attachments.status(site.paths, record.container_id)
    return next(([str(ip) for ip in one.get("ips") or ()] for one in every if one.get("interface") == PRIMARY), [])


def delete(site: Site, record: MachineRecord) -> None:
    """DEL for the whole machine. Raises CniError."""
    _call(site, record, request.DEL, PRIMARY)


def forget(site: Site, namespace: str, name: str) -> None:
    """Undo what is attached to machines of this name without a record of ours: it is lost, or was lost with a reboot.

    Raises CniError, StoreError.
    """
    for container_id, ifname in attached(site, namespace, name):
        record = MachineRecord(
            namespace=namespace,
            name=name,
            node=site.node,
            container_id=container_id,
            netns=netns_name(site, namespace, name),
            since=0.0,
        )
        _call(site, record, request.DEL, ifname)


def attached(site: Site, namespace: str, name: str) -> tuple[tuple[str, str], ...]:
    """(container id, interface) of every call for machines of this name that is not undone. Raises StoreError."""
    pod = f"{namespace}/{pod_name(name)}"
    return tuple(
        (one.container_id, one.ifname)
        for one in attachments.AttachmentRecords(site.paths).all()[0]
        if one.pod == pod and one.container_id.startswith(MACHINE_ID)
    )


def add_nic(site: Site, record: MachineRecord, nic: NicRecord) -> None:
    """ADD for one more network of the container: the one that this call's pod has as its first. Raises CniError."""
    entry = selection(nic.nad, nic.pod, Mac(nic.mac))
    _call(site, record, request.ADD, nic.pod, {CAPABILITY: {DEFAULT_NETWORK: json.dumps([entry])}})
    _write_status(site, record)


def delete_nic(site: Site, record: MachineRecord, nic: NicRecord) -> None:
    """DEL for one network of the container. Raises CniError, StoreError."""
    if nic.later:
        _call(site, record, request.DEL, nic.pod)
    else:
        _delete_of_whole(site, record, nic)
    _write_status(site, record)


def _write_status(site: Site, record: MachineRecord) -> None:
    """Of all the meta plugin's calls for this machine together."""
    with explained(site.paths.pod_status, "write the pod's status"):
        podstatus.write(site.paths, f"{record.namespace}/{pod_name(record.name)}", record.container_id)


def _delete_of_whole(site: Site, record: MachineRecord, nic: NicRecord) -> None:
    """Of the call for the whole machine: its record forgets this one, so that nobody undoes it again."""
    calls = attachments.AttachmentRecords(site.paths)
    with _host(site) as host, calls.locked(record.container_id, PRIMARY, timeout_s=meta.LOCK_S):
        attached = calls.get(record.container_id, PRIMARY)
        ours = next((a for a in attached.attachments if a.ifname == nic.pod), None) if attached else None
        if attached is None or ours is None:
            return
        env = _environment(site, record, request.DEL, nic.pod)
        caller = chain.Caller(
            host=host,
            request=request.read_request(env, _config(site).encode()),
            container_id=record.container_id,
            netns=env["CNI_NETNS"],
            path=tuple(env["CNI_PATH"].split(":")),
            pod=attached.pod,
        )
        if failures := chain.delete(ours, caller):
            raise failures[0]
        left = tuple(a for a in attached.attachments if a is not ours)
        status = tuple(entry for entry in attached.status if entry.get("interface") != nic.pod)
        calls.put(dataclasses.replace(attached, attachments=left, status=status))


def _call(
    site: Site, record: MachineRecord, command: str, ifname: str, runtime: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`runtime`: what stands in for the pod's manifest."""
    with _host(site) as host:
        answer = dispatch.answer(_environment(site, record, command, ifname), _config(site, runtime).encode(), host)
    document = json.loads(answer.stdout) if answer.stdout.strip() else {}
    if answer.exit != 0:
        code = document.get("code", DELEGATE_FAILED)
        raise CniError(code, document.get("msg", f"CNI {command} failed"), document.get("details", ""))
    return dict(document)


@contextlib.contextmanager
def _host(site: Site) -> Iterator[Host]:
    host = Host(site.paths.root, site.node)
    try:
        yield host
    finally:
        host.close()


def _config(site: Site, runtime: Mapping[str, Any] | None = None) -> str:
    """With what the operator has said to the meta plugin: above all, which one is the default network."""
    config = {**_operators(site), "cniVersion": CNI_VERSION, "name": NETWORK, "type": TYPE}
    return json.dumps({**config, "runtimeConfig": runtime} if runtime else config)


def names_default_network(site: Site) -> bool:
    """Whether the operator has said which network is every pod's first; else it needs the node's podCIDR."""
    said = _operators(site)
    return bool(said.get("clusterNetwork") or said.get("delegates"))


def _operators(site: Site) -> dict[str, Any]:
    """The first configuration of the meta plugin in the CNI configuration directory; nothing where there is none."""
    files = sorted(site.paths.cni_networks.glob("*.conf*")) + sorted(site.paths.cni_networks.glob("*.json"))
    for file in sorted(files):
        try:
            document = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue  # what a runtime would skip, too
        listed = document.get("plugins", [document]) if isinstance(document, dict) else []
        for plugin in listed if isinstance(listed, list) else []:
            if isinstance(plugin, dict) and plugin.get("type") == TYPE:
                return {key: value for key, value in plugin.items() if key not in ("capabilities", "runtimeConfig")}
    return {}


def _environment(site: Site, record: MachineRecord, command: str, ifname: str) -> dict[str, str]:
    return {
        **os.environ,
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": record.container_id,
        "CNI_NETNS": str(netns.RUN_NETNS / record.netns),
        "CNI_IFNAME": ifname,
        "CNI_PATH": os.environ.get("CNI_PATH") or CNI_PATH,
        "CNI_ARGS": _args(record),
        ROOT: str(site.paths.root),
        NODE: site.node,
    }


def _args(record: MachineRecord) -> str:
    return (
        f"IgnoreUnknown=1;K8S_POD_NAMESPACE={record.namespace};K8S_POD_NAME={pod_name(record.name)}"
        f";K8S_POD_INFRA_CONTAINER_ID={record.container_id}"
    )
