"""A guest's kernel and its first file system, as files; nothing is booted here."""

from __future__ import annotations

import gzip
import lzma
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from windrow.lab.errors import LabError
from windrow.lab.vm import archive, image, kernel

# The archive --------------------------------------------------------------------------------------


def test_an_archive_says_what_was_put_into_it() -> None:
    entries = [
        archive.directory("bin"),
        archive.file("bin/one", b"#!", program=True),
        archive.file("empty", b""),
        archive.file("odd", b"x" * 4097),
        archive.link("bin/two", "one"),
        archive.file("größe", "ü".encode()),
    ]
    packed = archive.pack(entries)
    assert list(archive.unpack(packed)) == entries
    assert len(packed) % 4 == 0
    assert packed == archive.pack(entries), "the same bytes each time"


@pytest.mark.parametrize("broken", [b"", b"070701", b"x" * 200, archive.pack([archive.file("a", b"b" * 64)])[:150]])
def test_what_is_no_archive(broken: bytes) -> None:
    with pytest.raises(ValueError):
        list(archive.unpack(broken))


def test_another_program_unpacks_it_too(tmp_path: Path) -> None:
    packed = archive.pack(
        [archive.directory("d"), archive.file("d/f", b"text", program=True), archive.link("d/l", "f")]
    )
    subprocess.run([image.busybox(), "cpio", "-idm"], input=packed, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "d/l").read_bytes() == b"text"
    assert stat.S_IMODE((tmp_path / "d/f").stat().st_mode) == 0o755


# The kernel ---------------------------------------------------------------------------------------


def elf(segments: list[tuple[int, bytes, int]]) -> bytes:
    """An ELF file with (type, data, size in memory), each at a page of its own, and a section that is of no use."""
    head = bytearray(
        struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0x1000, 64, 9, 0, 64, 56, 0, 64, 1, 0)
    )
    struct.pack_into("<H", head, 56, len(segments))
    body, table = b"", b""
    for kind, data, memory in segments:
        at = 4096 + len(body)
        table += struct.pack("<IIQQQQQQ", kind, 5, at, 0xFFFF0000 + at, at, len(data), memory, 4096)
        body += data.ljust((len(data) + 4095) & ~4095, b"\0")
    return bytes(head + table).ljust(4096, b"\0") + body + b"section headers"


def segments_of(data: bytes) -> list[tuple[int, bytes, int]]:
    count = struct.unpack_from("<H", data, 56)[0]
    headers = [struct.unpack_from("<IIQQQQQQ", data, 64 + i * 56) for i in range(count)]
    return [(h[0], data[h[2] : h[2] + h[5]], h[6]) for h in headers]


def bzimage(payload: bytes) -> bytes:
    head = bytearray(2 * 512)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 100, len(payload))
    return bytes(head) + bytes(100) + payload + b"after it"


def lz4(blocks: list[bytes]) -> bytes:
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(b)) + b for b in blocks)


def test_lz4() -> None:
    # 3 literals and a copy of 4 + 5 from 3 back (it overlaps itself), then 16 + 2 literals at the end.
    first = b"\x35abc\x03\x00" + b"\xf0\x03" + b"0123456789abcdefgh"
    # 1 literal and a copy of 4 + 15 + 255 + 6: a length that goes on in further bytes.
    second = b"\x1fz\x01\x00\xff\x06" + b"\x10!"
    size = struct.pack("<I", 12 + 18 + 281 + 1)
    assert kernel.unpack_lz4(lz4([first, second]) + size) == b"abc" * 4 + b"0123456789abcdefgh" + b"z" * 281 + b"!"


def test_a_copy_from_before_the_start_is_no_lz4() -> None:
    assert kernel.uncompressed(bzimage(lz4([b"\x10a\x05\x00"]))) is None


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(lambda data: lzma.compress(data, format=lzma.FORMAT_XZ), id="xz"),
        pytest.param(lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE), id="lzma"),
        pytest.param(gzip.compress, id="gzip"),
        pytest.param(lambda data: lz4([b"\xf0" + bytes([len(data) - 15]) + data]), id="lz4"),
    ],
)
def test_the_kernel_in_a_boot_image(pack: Callable[[bytes], bytes]) -> None:
    data = b"\x7fELF" + b"kernel" * 20
    size = struct.pack("<I", len(data))  # the build's own addition
    assert kernel.uncompressed(bzimage(pack(data) + size)) == data


@pytest.mark.parametrize(
    "data", [b"", b"MZ" + bytes(2000), bzimage(b"\x28\xb5\x2f\xfd zstd"), bzimage(b"\xfd7zXZ\0 broken")]
)
def test_what_cannot_be_unpacked_is_left_as_it_is(data: bytes) -> None:
    assert kernel.uncompressed(data) is None


def test_zeros_at_the_end_of_segments_are_left_out() -> None:
    text, data = b"code" * 2000, b"data" * 10 + bytes(9000)
    note = (4, b"", 0)
    whole = elf([(1, text, len(text)), (1, data, len(data) + 5000), note])
    # The note lies in the first segment, as a kernel's do.
    whole = bytearray(whole)
    struct.pack_into("<QQQQ", whole, 64 + 2 * 56 + 8, 4096 + 400, 0, 0, 12)
    small = kernel.trimmed(bytes(whole))
    assert small is not None
    found = segments_of(small)
    assert [kind for kind, _, _ in found] == [1, 1, 4]
    assert found[0][1:] == (text, len(text))
    assert found[1][1].rstrip(b"\0") == b"data" * 10
    assert found[1][2] == len(data) + 5000, "in memory it is as large as before"
    assert found[2][1] == text[400:412]
    assert len(small) < len(text) + 3 * 4096
    assert struct.unpack_from("<Q", small, 40) == (0,), "no section headers"
    assert kernel.trimmed(b"no kernel") is None


# Modules ------------------------------------------------------------------------------------------


def module(*needs: str) -> bytes:
    return b"\x7fELF" + b"\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


def package(place: Path, *, suffix: str = "") -> Path:
    tree = place / "lib/modules/6.1.0-9-cloud-amd64/kernel"
    files = {
        "drivers/virtio/virtio.ko": module("virtio_ring"),
        "drivers/virtio/virtio_ring.ko": module(),
        "drivers/virtio/virtio_pci.ko": module("virtio", "virtio-ring"),
        "net/core/failover.ko": module(),
        "drivers/net/virtio_net.ko": module("virtio", "failover"),
        "drivers/net/e1000.ko": module(),
    }
    for name, data in files.items():
        path = tree / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(data) if suffix == ".xz" else data)
    (place / "boot").mkdir()
    (place / "boot/vmlinuz-6.1.0-9-cloud-amd64").write_bytes(bzimage(gzip.compress(elf([(1, b"kernel", 6)]))))
    return place


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_a_package_is_prepared(tmp_path: Path, suffix: str) -> None:
    release = kernel.prepare(package(tmp_path / "package", suffix=suffix), tmp_path / "guest")
    assert release == "6.1.0-9-cloud-amd64"
    guest = tmp_path / "guest"
    lines = dict(line.split(": ") for line in (guest / kernel.DEPENDENCIES).read_text().splitlines() if ": " in line)
    assert lines["virtio_pci"].split() == ["virtio_ring", "virtio", "virtio_pci"]
    assert lines["virtio_net"].split() == ["virtio_ring", "virtio", "failover", "virtio_net"]
    assert lines["vfat"] == "", "built in, or not there"
    assert {p.name for p in (guest / kernel.MODULES).iterdir()} == {
        "virtio_ring.ko", "virtio.ko", "virtio_pci.ko", "failover.ko", "virtio_net.ko",
    }  # fmt: skip
    assert segments_of((guest / kernel.KERNEL).read_bytes())[0][1] == b"kernel"


def test_a_package_without_a_kernel(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="there is no kernel"):
        kernel.prepare(tmp_path, tmp_path / "guest")


def test_a_kernel_packed_in_an_unknown_way_is_taken_as_it_is(tmp_path: Path) -> None:
    whole = package(tmp_path / "package")
    boot = whole / "boot/vmlinuz-6.1.0-9-cloud-amd64"
    boot.write_bytes(bzimage(b"\x28\xb5\x2f\xfd zstd"))
    kernel.prepare(whole, tmp_path / "guest")
    assert (tmp_path / "guest" / kernel.KERNEL).read_bytes() == boot.read_bytes()


# The image ----------------------------------------------------------------------------------------


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> image.Guest:
    kernel.prepare(package(tmp_path / "package"), tmp_path / "guest")
    monkeypatch.setenv(image.ENVIRONMENT, str(tmp_path / "guest"))
    return image.find()


def test_the_image(guest: image.Guest) -> None:
    found = {entry.name: entry for entry in archive.unpack(image.build(guest))}
    assert found["init"].data.startswith(b"#!/bin/busybox sh\n")
    assert found["bin/busybox"].data == image.busybox().read_bytes()
    assert {found[f"bin/{name}"].data for name in ("sh", "ping", "arping", "udhcpc", "ip")} == {b"busybox"}
    assert found["modules/virtio_net.ko"].data == module("virtio", "failover")
    assert b"virtio_net: virtio_ring virtio failover virtio_net\n" in found["modules.dep"].data
    seen: set[str] = set()
    for name, entry in found.items():
        assert name.rpartition("/")[0] in seen | {""}, f"{name} comes before its directory"
        if stat.S_ISDIR(entry.mode):
            seen.add(name)


def test_busybox_has_all_programs_that_are_linked_to_it() -> None:
    listed = subprocess.run([image.busybox(), "--list"], capture_output=True, text=True, check=True).stdout.split()
    assert set(image.PROGRAMS.split()) <= set(listed)


def test_no_kernel_for_guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(image.ENVIRONMENT, str(tmp_path / "nowhere"))
    with pytest.raises(LabError, match="there is no kernel for virtual machines") as caught:
        image.find()
    assert "make setup" in caught.value.hint


def test_a_busybox_with_libraries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert image.is_static(elf([(1, b"x", 1)]))
    assert not image.is_static(elf([(1, b"x", 1), (3, b"/lib64/ld-linux-x86-64.so.2\0", 28)]))
    assert not image.is_static(b"#!/bin/sh\n")
    program = tmp_path / "busybox"
    program.write_bytes(elf([(3, b"/lib64/ld.so\0", 13)]))
    program.chmod(0o755)
    monkeypatch.setattr(image, "_PLACES", str(tmp_path))
    with pytest.raises(LabError, match="needs libraries that a guest has not"):
        image.busybox()
    monkeypatch.setattr(image, "_PLACES", str(tmp_path / "nowhere"))
    with pytest.raises(LabError, match="busybox is not installed"):
        image.busybox()


# What the scripts make of their input -------------------------------------------------------------

SCRIPTS = Path(image.__file__).parent


@pytest.mark.parametrize("name", ["init.sh", "dhcp.sh"])
def test_the_scripts_parse(name: str) -> None:
    subprocess.run([image.busybox(), "sh", "-n", SCRIPTS / name], check=True)


def understood(tmp_path: Path, *, cmdline: str = "", files: dict[str, str] | None = None) -> dict[str, str]:
    """`hostname`, and `NIC KEY` -> value, as init.sh understands its arguments and a NoCloud disk."""
    functions = (SCRIPTS / "init.sh").read_text().partition("\nmount -t devtmpfs")[0]
    (tmp_path / "cmdline").write_text(cmdline)
    seed = tmp_path / "seed"
    seed.mkdir(exist_ok=True)
    for name, text in (files or {}).items():
        (seed / name).write_text(text)
    functions = functions.replace("/proc/cmdline", str(tmp_path / "cmdline")).replace("/seed/", f"{seed}/")
    functions = functions.replace("export PATH=/bin", "")
    ask = "hostname=guest nics=\nread_arguments\n" + ("read_seed\n" if files else "") + 'echo "hostname $hostname"\n'
    ask += "for nic in $nics; do for key in dhcp address gateway mtu mac; do\n"
    ask += 'value=$(noted "$nic" $key); [ -z "$value" ] || echo "$nic.$key $value"\ndone; done\n'
    done = subprocess.run(
        [image.busybox(), "sh", "-c", functions + "\n" + ask], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in done.stdout.splitlines()}


def test_kernel_arguments(tmp_path: Path) -> None:
    line = "quiet guest.hostname=web guest.eth0=dhcp guest.eth1=10.0.0.2/24 guest.eth2.100=10.1.0.2/24,10.1.0.1 x=y"
    assert understood(tmp_path, cmdline=line) == {
        "hostname": "web",
        "eth0.dhcp": "true",
        "eth1.address": "10.0.0.2/24",
        "eth2.100.address": "10.1.0.2/24",
        "eth2.100.gateway": "10.1.0.1",
    }
    assert understood(tmp_path) == {"hostname": "guest"}


BLOCK = """\
# what netplan writes
version: 2
ethernets:
  eth0:
    dhcp4: true
    dhcp6: false
  eth1:
    addresses:
      - 10.0.0.2/24
      - 10.0.0.3/24
    gateway4: 10.0.0.1
    mtu: 1400
    nameservers:
      addresses: [1.1.1.1, 8.8.8.8]
      search: [example.org]
  eth2:
    macaddress: "02:00:00:00:00:07"
    addresses: ['10.2.0.2/16']
    routes:
      - to: default
        via: 10.2.0.1
"""
FLOW = """\
version: 2
ethernets: {eth0: {dhcp4: true}, eth1: {addresses: [10.0.0.2/24, "10.0.0.3/24"], gateway4: 10.0.0.1, mtu: 1400},
  eth2: {macaddress: "02:00:00:00:00:07", addresses: [10.2.0.2/16], routes: [{to: default, via: 10.2.0.1}]}}
"""


@pytest.mark.parametrize("text", [BLOCK, FLOW], ids=["block", "flow"])
def test_cloud_init_s_network_configuration(tmp_path: Path, text: str) -> None:
    files = {"meta-data": "instance-id: a\nlocal-hostname: db\n", "network-config": text}
    assert understood(tmp_path, cmdline="guest.hostname=web guest.eth9=dhcp", files=files) == {
        "hostname": "db",
        "eth0.dhcp": "true",
        "eth1.address": "10.0.0.2/24 10.0.0.3/24",
        "eth1.gateway": "10.0.0.1",
        "eth1.mtu": "1400",
        "eth2.address": "10.2.0.2/16",
        "eth2.gateway": "10.2.0.1",
        "eth2.mac": "02:00:00:00:00:07",
    }


def test_without_a_network_configuration_the_arguments_hold(tmp_path: Path) -> None:
    files = {"meta-data": 'local-hostname: "db"\n'}
    found = understood(tmp_path, cmdline="guest.eth1=dhcp", files=files)
    assert found == {"hostname": "db", "eth1.dhcp": "true"}
