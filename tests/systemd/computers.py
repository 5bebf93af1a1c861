"""Two computers: a Debian with a real systemd, and the Linux switch that its NICs are cabled to.

    QEMU: Debian, virtio NICs ens4, ens5  ──  two cables (socket pairs)  ──  User-Mode Linux: a VLAN-aware bridge

Nothing of this host's network takes part, and both end with the test, however that ends (prctl(2), PR_SET_PDEATHSIG;
pid_namespaces(7)). What the Debian writes is gone with it: its disk is QEMU's snapshot of one that nobody changes.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.systemd.console import Console

from windrow.lab.kernel import uml, xstate

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "systemd"
BOOT_S = 400.0
PROMPT = r"root@\S+:\S+# $"
NICS = ("ens4", "ens5")
"""As systemd calls them, by the slots that they are in (systemd.net-naming-scheme(7))."""
RATE = 500
"""Frames a second of a train."""
_ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child=KILL")


class Computer:
    """A process with a console. `cables`: its ends of them, one for each NIC."""

    def __init__(self, name: str, argv: Sequence[str], line: socket.socket, theirs: Sequence[socket.socket]) -> None:
        record = BUILT / f"{name}.log"
        record.unlink(missing_ok=True)
        given = [end.fileno() for end in theirs]
        with (BUILT / f"{name}.err").open("wb") as errors:
            self._process = subprocess.Popen(
                [*_ALONE, *argv], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=given
            )
        for end in theirs:
            end.close()
        self.console = Console(line, record)
        self.run, self.ok = self.console.run, self.console.ok

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.console.close()


def cables() -> tuple[list[socket.socket], list[socket.socket]]:
    """The ends of one cable for each NIC: a datagram is a frame."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in NICS]
    return [one for one, _ in pairs], [other for _, other in pairs]


# The Debian ---------------------------------------------------------------------------------------


class Debian(Computer):
    """`disk`: a second one, mounted at /mnt. Boots in `__init__`, and root is logged in."""

    def __init__(self, ends: Sequence[socket.socket], disk: Path) -> None:
        ours, theirs = socket.socketpair()
        super().__init__("debian", _qemu(theirs, ends, disk), ours, [theirs, *ends])
        self.wait_for_start()

    def wait_for_start(self) -> None:
        """Until root is logged in and whatever starts with the system has started."""
        self.console.expect(PROMPT, BOOT_S)
        self.console.quieten()
        state = self.console.run("systemctl is-system-running --wait", BOOT_S)[0]
        failed = self.ok("systemctl --failed --no-legend --plain")
        assert not failed, f"{state}: {failed}"
        self.ok("mkdir -p /mnt && mount -o ro /dev/vdb /mnt")

    @property
    def boot_id(self) -> str:
        return self.ok("cat /proc/sys/kernel/random/boot_id")

    def reboot(self) -> None:
        """As an administrator does."""
        self._start_again("reboot")

    def cut_power(self) -> None:
        """Nothing is told, nothing flushed (Documentation/admin-guide/sysrq.rst)."""
        self._start_again("echo b >/proc/sysrq-trigger")

    def _start_again(self, command: str) -> None:
        """It is another start afterwards."""
        before = self.boot_id
        self.console.type(f"{command}\n")
        self.wait_for_start()
        assert self.boot_id != before


def _qemu(line: socket.socket, ends: Sequence[socket.socket], disk: Path) -> list[str]:
    kernel = "root=/dev/vda ro console=ttyS0 quiet loglevel=1 systemd.show_status=false"
    kernel += " random.trust_cpu=on tsc=reliable no_timer_check mitigations=off"
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc"]
    argv += ["-accel", "tcg", "-cpu", "qemu64", "-m", "768M", "-device", "virtio-rng-pci,addr=0x10"]
    argv += ["-kernel", str(BUILT / "kernel"), "-initrd", str(BUILT / "initrd"), "-append", kernel]
    argv += ["-chardev", f"socket,id=console,fd={line.fileno()}", "-serial", "chardev:console"]
    for number, image in enumerate((BUILT / "disk.img", disk)):
        argv += ["-drive", f"if=none,id=disk{number},format=raw,snapshot=on,file={image}"]
        argv += ["-device", f"virtio-blk-pci,drive=disk{number},addr={8 + number:#x}"]
    for number, end in enumerate(ends):
        argv += ["-netdev", f"dgram,id=cable{number},local.type=fd,local.str={end.fileno()}"]
        card = f"virtio-net-pci,netdev=cable{number},mac=52:54:00:15:00:0{number + 1},romfile="
        argv += ["-device", f"{card},speed=1000,duplex=full,addr={4 + number:#x}"]
    return argv


# The switch ---------------------------------------------------------------------------------------

TRUNK = (2, 200)
"""The VLANs that its ports carry tagged, beside VLAN 1 untagged."""


class Switch(Computer):
    """A Linux bridge with VLAN filtering; it has addresses of its own in some of its VLANs, and asks from there."""

    def __init__(self, ends: Sequence[socket.socket]) -> None:
        ours, theirs = socket.socketpair()
        super().__init__("switch", _uml(theirs, ends), ours, [theirs, *ends])
        self.console.expect(PROMPT, BOOT_S)
        self.console.quieten()
        for command in _SWITCH:
            self.ok(command)

    def in_vlan(self, vid: int, address: str) -> None:
        """It has an address there: untagged in VLAN 1."""
        self.ok(f"bridge vlan add dev sw vid {vid} self" if vid > 1 else ":")
        link = f"sw.{vid}" if vid > 1 else "sw"
        if vid > 1:
            self.ok(f"ip link add {link} link sw type vlan id {vid} && ip link set {link} up")
        self.ok(f"ip address add {address} dev {link}")

    def reaches(self, address: str, *, within_s: int = 60) -> bool:
        return self.run(f"for _ in $(seq {within_s}); do ping -c 1 -W 1 {address} && break; done")[1] == 0

    def begin_train(self, address: str, *, rate: int = RATE) -> None:
        """Of requests, each of which is to be answered. `-l`: what a busy machine was late with is caught up."""
        self.ok("pkill -x ping; true")  # that of a test which failed amid it
        self.ok(f"ping -n -l 20 -i {1 / rate:.3f} {address} >/tmp/train 2>&1 & train=$!; sleep 1")

    def end_train(self, *, rate: int = RATE) -> Train:
        """Those of its last second are left out: they may be on their way."""
        self.ok("sleep 1.5; kill -INT $train; wait $train; true")
        summary = self.ok("tail -n 3 /tmp/train")
        found = re.search(r"(\d+) packets transmitted, \d+ received.* time (\d+)ms", summary)
        assert found is not None, summary
        sent, seconds = int(found[1]) - rate, int(found[2]) / 1000
        assert 0 < sent < 1 << 16, "a number of ICMP comes twice"
        answered = self.ok(r"grep -o 'icmp_seq=[0-9]*' /tmp/train | sort -u | cut -d = -f 2")
        numbers = {int(word) for word in answered.split()}
        return Train(sent=sent, lost=tuple(n for n in range(1, sent + 1) if n not in numbers), seconds=seconds)


@dataclass(frozen=True)
class Train:
    """What became of it. `lost`: the numbers of those that were not answered."""

    sent: int
    lost: tuple[int, ...]
    seconds: float

    def __str__(self) -> str:
        return f"{self.sent} frames in {self.seconds:.0f} s, {len(self.lost)} lost"


_SWITCH = (
    "mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp; ip link set lo up",
    "mkdir /tmp/lib && ln -s /usr/lib/uml/modules /tmp/lib/ && modprobe -d /tmp -a bridge 8021q",
    "ip link add sw type bridge vlan_filtering 1 mcast_snooping 0 && ip link set sw up",
    *(f"ip link set vec{n} master sw up && bridge vlan add dev vec{n} vid {TRUNK[0]}-{TRUNK[1]}" for n in range(2)),
)


def _uml(line: socket.socket, ends: Sequence[socket.socket]) -> list[str]:
    help_registers = [f"{name}={value}" for name, value in xstate.preload().items()] if xstate.needed() else []
    argv = ["env", *help_registers, shutil.which("linux.uml") or "linux", "mem=192M", *uml.ANY]
    argv += ["init=/bin/bash", "con=null", f"con0=fd:{line.fileno()},fd:{line.fileno()}", "ssl=null", "quiet"]
    return argv + [f"vec{n}:transport=fd,fd={end.fileno()},depth=64" for n, end in enumerate(ends)]
