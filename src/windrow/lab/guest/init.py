"""The first process of a lab: mounts, kernel modules, then the server; and it reaps what nobody waits for.

A script of its own (`python -I -S init.py CONTROL`): only the standard library until the CONFIG frame has said where
Windrow's modules are. CONTROL is `tty:/dev/ttyS0` in User-Mode Linux, `port:/dev/vport0p1` in QEMU, `fd:N` in
namespaces of the host's kernel.

Everything is read-only but what is mounted here, in memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import struct
import sys
import time
import traceback
from typing import Any

HEADER = struct.Struct("!IBI")
CONFIG, HELLO, READY = 1, 15, 16
"""`channel.Kind`, which cannot be imported yet."""

MODULES = (
    "ipv6", "bridge", "br_netfilter", "8021q", "bonding", "veth", "dummy", "tun", "vxlan", "sch_netem",
    # Network policies. Of nftables' families User-Mode Linux has the family bridge alone.
    "nf_tables", "nft_ct", "nft_limit", "nft_log", "nf_log_syslog", "nf_conntrack_bridge", "nf_conntrack_netlink",
    "xt_set", "xt_physdev", "xt_connlabel", "xt_sctp", "xt_limit", "xt_LOG",  # without nftables
    "sctp", "hmac",  # without which nobody listens (`sctp_listen_start`)
    "ip_set_hash_ip", "ip_set_hash_net", "ip_set_hash_ipport", "iptable_security", "ip6table_security",
    "iptable_nat", "ip6table_nat", "xt_MASQUERADE", "xt_addrtype", "xt_comment", "xt_conntrack", "xt_mark",
    "xt_multiport", "xt_nat", "xt_tcpudp",  # masquerade, and what the portmap plugin's rules are made of
    "iptable_filter", "iptable_mangle", "ip6table_filter", "ip6table_mangle", "ipt_REJECT", "ip6t_REJECT",
    "xt_recent", "xt_statistic",  # kube-proxy's
    "act_mirred", "cls_u32", "ifb", "sch_ingress", "sch_tbf",  # the bandwidth plugin
    "act_gact", "act_vlan", "cls_flower", "cls_matchall",  # what goes wrong on a switch
    "cls_bpf",  # probes of VLANs end at the NIC
    "overlay",  # images of pods
)  # fmt: skip
PARAMETERS = {"bonding": "max_bonds=0", "dummy": "numdummies=0", "ifb": "numifbs=0"}
UML_MODULES = "/usr/lib/uml/modules"
MODPROBE = "/run/modprobe"
SCRATCH = ("/run", "/tmp", "/dev/shm")
PORT_S = 10.0

_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 1 << 20
_SYS_FINIT_MODULE = {"x86_64": 313, "i686": 350, "aarch64": 273}
_POWER_OFF = 0x4321FEDC

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    control = sys.argv[1]
    # proc comes first: what is kept of the host's /tmp and /run is found again by its descriptor.
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    fd = open_control(control)
    os.write(fd, HEADER.pack(0, HELLO, 0))
    config = read_config(fd)
    tree = config.get("modules", "")
    mount_scratch([*config["keep"], *([tree] if tree else [])])
    mount_devices()
    own_kernel = not control.startswith("fd:")
    server = os.fork()
    if server == 0:
        serve(fd, config, own_kernel=own_kernel)
    os.close(fd)
    while True:
        with contextlib.suppress(InterruptedError):
            pid, status = os.wait()
            if pid == server:
                break
    if own_kernel:
        libc.reboot(_POWER_OFF)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> bool:
    """Whether it could be done; what then does not work says so itself."""
    kinds = kind.encode() or None
    done: int = libc.mount(source.encode(), target.encode(), kinds, ctypes.c_ulong(flags), options.encode() or None)
    return done == 0


def mount_scratch(keep: list[str]) -> None:
    """Memory over /run, /tmp and /dev/shm. What of the host must be seen there (a checkout in /tmp) is put back."""
    inside = [p for p in keep if p.startswith(tuple(f"{place}/" for place in SCRATCH)) and os.path.exists(p)]
    held = {path: os.open(path, os.O_PATH) for path in sorted(inside)}
    for place in SCRATCH:
        with contextlib.suppress(OSError):
            os.makedirs(place, exist_ok=True)
        mount("tmpfs", place, "tmpfs", options="mode=1777" if place != "/run" else "mode=755")
    for path, fd in held.items():
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", path, flags=_MS_BIND | _MS_REC)
        os.close(fd)
    # What a program in a mount namespace of its own (`lab exec`) adds there, all of them must see.
    os.makedirs("/run/netns", exist_ok=True)
    mount("/run/netns", "/run/netns", flags=_MS_BIND)
    mount("", "/run/netns", flags=_MS_SHARED)
    if os.path.isdir("/lib/modules") and os.path.isdir(f"{UML_MODULES}/{os.uname().release}"):
        mount(UML_MODULES, "/lib/modules", flags=_MS_BIND)


def mount_devices() -> None:
    """Terminals of our own, and the names that udev would give to a process's own files (`nft -f -` opens one)."""
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        with contextlib.suppress(OSError):  # it is there; or this /dev is the host's
            os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")
    with contextlib.suppress(OSError):
        os.makedirs("/dev/pts", exist_ok=True)
    if mount("devpts", "/dev/pts", "devpts", options="newinstance,ptmxmode=0666,mode=620"):
        mount("/dev/pts/ptmx", "/dev/ptmx", flags=_MS_BIND)


def open_control(control: str) -> int:
    where, _, name = control.partition(":")
    if where == "fd":
        os.set_inheritable(int(name), False)
        return int(name)
    if where == "port":  # the driver makes it when the host has told it of the port (virtio_console, add_port)
        end = time.monotonic() + PORT_S
        while not os.path.exists(name) and time.monotonic() < end:
            time.sleep(0.01)
    fd = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if where == "tty":
        import tty

        tty.setraw(fd)
    return fd


def read_config(fd: int) -> dict[str, Any]:
    _, kind, length = HEADER.unpack(read_exactly(fd, HEADER.size))
    if kind != CONFIG:
        raise SystemExit(f"the first frame is of kind {kind}, and should be CONFIG")
    found: dict[str, Any] = json.loads(read_exactly(fd, length))
    return found


def read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            raise SystemExit("the host has gone")
        data += more
    return data


def serve(fd: int, config: dict[str, Any], *, own_kernel: bool) -> None:
    """Become the server; never returns."""
    status = 1
    try:
        os.setsid()
        sys.path += config["path"]
        os.environ.clear()
        os.environ.update({"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"})
        os.environ.update({"LC_ALL": "C.UTF-8", "TERM": "linux", "TMPDIR": "/tmp", **config.get("env", {})})
        missing = load_modules(config.get("modules", "")) if own_kernel else []
        module, _, function = config["entry"].partition(":")
        getattr(importlib.import_module(module), function)(
            fd, {**config, "own_kernel": own_kernel, "missing_modules": missing}
        )
        status = 0
    except BaseException:  # noqa: BLE001 - the host must learn why, whatever it was
        text = traceback.format_exc()
        document = json.dumps({"error": text}).encode()
        with contextlib.suppress(OSError):
            os.write(fd, HEADER.pack(0, READY, len(document)) + document)
    finally:
        os._exit(status)


def load_modules(directory: str = "") -> list[str]:
    """Load what the lab needs, with what that needs, as modprobe would; the names of those that could not be.

    `directory`: has the kernel's modules in `lib/modules`, if they are not in a place that the kernel's package uses.
    Raises OSError where there are none at all, or they may not be read.
    """
    release = os.uname().release
    if directory:
        provide_modules(directory)
    elif not os.path.isdir(f"/lib/modules/{release}"):
        start_no_modprobe()
    places = [f"{directory}/lib/modules"] if directory else [UML_MODULES, "/lib/modules"]
    base = next((d for place in places if os.path.isdir(d := f"{place}/{release}")), "")
    if not base:
        raise FileNotFoundError(f"no kernel modules in {places[0]}/{release}")
    needs: dict[str, list[str]] = {}
    with open(f"{base}/modules.dep", encoding="utf-8") as lines:
        for line in lines:
            file, _, others = line.partition(":")
            needs[os.path.basename(file).split(".ko")[0]] = [file, *others.split()]
    loaded, there = set[str](), built_in(base)
    return [name for name in MODULES if name not in there and not _load(name, base, needs.get(name, []), loaded)]


def built_in(base: str) -> set[str]:
    """The names of modules that the kernel has without loading them. Not all of those are in /sys/module."""
    try:
        with open(f"{base}/modules.builtin", encoding="utf-8") as lines:
            return {os.path.basename(line.strip()).removesuffix(".ko") for line in lines}
    except FileNotFoundError:
        return set()


def provide_modules(directory: str) -> None:
    """For what loads its modules itself: modprobe, and the kernel, which starts it (`call_modprobe`)."""
    if os.path.isdir("/lib/modules"):
        mount(f"{directory}/lib/modules", "/lib/modules", flags=_MS_BIND)
        return
    # A host without modules, such as a container, has no such directory, and its root is read-only here.
    os.environ["MODPROBE_OPTIONS"] = f"-d {directory}"
    with open(MODPROBE, "w", encoding="utf-8") as script:
        script.write(f'#!/bin/sh\nexec /sbin/modprobe -d "{directory}" "$@"\n')
    os.chmod(MODPROBE, 0o755)
    with open("/proc/sys/kernel/modprobe", "w", encoding="utf-8") as setting:
        setting.write(MODPROBE)


def start_no_modprobe() -> None:
    """The kernel starts modprobe for whatever it lacks (`__request_module`). Where /lib/modules has none of its modules
    that finds nothing, and it is often: User-Mode Linux 6.1 asks for `bpfilter` each time when iptables reads or writes
    a table (`bpfilter_mbox_request`), 22 times for the start of one machine, 50 ms each."""
    with open("/proc/sys/kernel/modprobe", "w", encoding="utf-8") as setting:
        setting.write("\n")


def _load(name: str, base: str, files: list[str], loaded: set[str]) -> bool:
    for file in reversed(files):
        if file in loaded:
            continue
        fd = os.open(f"{base}/{file}", os.O_RDONLY)
        options = PARAMETERS.get(os.path.basename(file).split(".ko")[0], "").encode()
        done = libc.syscall(_SYS_FINIT_MODULE[os.uname().machine], fd, options, 0)
        os.close(fd)
        if done != 0 and ctypes.get_errno() != 17:  # EEXIST: built in, or loaded already
            return False
        loaded.add(file)
    return bool(files) or os.path.isdir(f"/sys/module/{name}")


if __name__ == "__main__":
    main()
