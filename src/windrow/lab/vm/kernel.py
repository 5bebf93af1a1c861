"""A guest's kernel, out of a kernel package: the uncompressed kernel, and the few modules that a guest needs.

QEMU starts an uncompressed kernel at its PVH entry (Documentation/x86/pvh.rst) without firmware's way through a
compressed one: in software that saves seconds. What pads the segments with zeros is left out of the file, for
every byte of it is copied. A kernel compressed in a way that the standard library cannot read stays as it is.

    python -m windrow.lab.vm.kernel PACKAGE-DIRECTORY TARGET      what scripts/bootstrap runs
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from windrow.lab.errors import LabError

KERNEL, MODULES, DEPENDENCIES, RELEASE = "kernel", "modules", "modules.dep", "release"
"""In the directory of a prepared kernel. `modules.dep`: a line `NAME: FIRST … NAME` for each of `WANTED`."""

WANTED = (
    *("virtio_pci", "virtio_net", "virtio_blk", "8021q", "vfat", "nls_cp437", "nls_ascii", "isofs"),
    *("button", "evdev", "virtio_console"),
)
"""What guests load, and what those need; the rest of the package's modules is left where it is."""

# Documentation/x86/boot.rst, "The Real-Mode Kernel Header".
_SETUP_SECTORS, _MAGIC, _PAYLOAD = 0x1F1, 0x202, 0x248
_LZ4_MAGIC = b"\x02\x21\x4c\x18"
"""The legacy frame format (lz4_Frame_format.md), which is what kernel builds write."""

# The ELF-64 header and its program headers (elf(5)).
_EHDR, _PHDR = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
_PT_LOAD, _PT_NOTE = 1, 4
_PAGE = 4096


def release_in(place: Path) -> str:
    """Of the kernel that was prepared into a directory; empty: there is none."""
    try:
        return (place / RELEASE).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def prepare(package: Path, target: Path) -> str:
    """What guests need of an unpacked kernel package, into `target`; the kernel's release. Raises LabError."""
    image, modules = find(package)
    release = modules.name
    place = target / MODULES
    place.mkdir(parents=True, exist_ok=True)
    lines = []
    for wanted in WANTED:
        found = list(needed(modules, [wanted]))
        for name, data in found:
            (place / f"{name}.ko").write_bytes(data)
        lines.append(f"{wanted}: {' '.join(name for name, _ in found)}\n")
    (target / DEPENDENCIES).write_text("".join(lines), encoding="ascii")
    (target / KERNEL).write_bytes(bootable(image))
    (target / RELEASE).write_text(f"{release}\n", encoding="ascii")
    return release


def find(package: Path) -> tuple[Path, Path]:
    """The kernel of an unpacked package, and the tree of its modules, whose name is its release. Raises LabError."""
    kernels = sorted(package.glob("boot/vmlinuz-*"))
    if not kernels:
        raise LabError(f"there is no kernel in {package}", hint="is it an unpacked linux-image package?")
    release = kernels[-1].name.removeprefix("vmlinuz-")
    trees = [package / "lib/modules" / release, package / "usr/lib/modules" / release]
    modules = next((tree for tree in trees if tree.is_dir()), None)
    if modules is None:
        raise LabError(f"there are no modules for {release} in {package}")
    return kernels[-1], modules


# The kernel ---------------------------------------------------------------------------------------


def bootable(image: Path) -> bytes:
    """As QEMU starts it fastest; unchanged where it cannot be unpacked here."""
    data = image.read_bytes()
    return trimmed(uncompressed(data) or b"") or data


def uncompressed(image: bytes) -> bytes | None:
    """The ELF file in a bzImage; None where it is packed in a way that cannot be read here."""
    if len(image) < _PAYLOAD + 8 or image[_MAGIC : _MAGIC + 4] != b"HdrS":
        return None
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    start = ((image[_SETUP_SECTORS] or 4) + 1) * 512 + offset
    packed = image[start : start + length]
    try:
        if packed.startswith(_LZ4_MAGIC):
            return unpack_lz4(packed)
        if packed.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
            return lzma.LZMADecompressor().decompress(packed)
        if packed.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(packed)
        if packed.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(packed)
    except (ValueError, EOFError, OSError, IndexError, lzma.LZMAError, zlib.error):
        return None
    return None


def unpack_lz4(packed: bytes) -> bytes:
    """A legacy LZ4 frame: blocks with their lengths. The build appends the length of it all, which ends it."""
    found = bytearray()
    at = len(_LZ4_MAGIC)
    while at + 4 <= len(packed):
        size = int.from_bytes(packed[at : at + 4], "little")
        at += 4
        if at + size > len(packed):
            break
        # A block refers to nothing before it, and slices of a short buffer are cheap.
        found += _unpack_block(packed[at : at + size])
        at += size
    return bytes(found)


def _unpack_block(packed: bytes) -> bytearray:
    """Literals, then a copy of what came before, again and again (lz4_Block_format.md)."""
    found = bytearray()
    at, end = 0, len(packed)
    while at < end:
        token = packed[at]
        at += 1
        length = token >> 4
        if length == 15:
            more, at = _length(packed, at)
            length += more
        found += packed[at : at + length]
        at += length
        if at >= end:
            break
        offset = packed[at] | packed[at + 1] << 8
        at += 2
        length = (token & 15) + 4
        if length == 19:
            more, at = _length(packed, at)
            length += more
        start = len(found) - offset
        if not offset or start < 0:
            raise ValueError("a copy from before the start")
        if offset >= length:
            found += found[start : start + length]
        else:  # it overlaps its source, and repeats it
            found += (found[start:] * (length // offset + 1))[:length]
    return found


def _length(packed: bytes, at: int) -> tuple[int, int]:
    """The rest of a length, and where it ends."""
    total = 0
    while packed[at] == 255:
        total += 255
        at += 1
    return total + packed[at], at + 1


def trimmed(image: bytes) -> bytes | None:
    """An ELF file with its loadable segments and notes only, without the zeros at their ends; None: it is no such."""
    if len(image) < _EHDR.size or image[:5] != b"\x7fELF\x02":
        return None
    head = list(_EHDR.unpack_from(image))
    headers = [list(_PHDR.unpack_from(image, head[5] + i * _PHDR.size)) for i in range(head[10])]
    loads = [(p[2], p[5]) for p in headers if p[0] == _PT_LOAD]
    found = bytearray(_EHDR.size + len(headers) * _PHDR.size)
    places: list[tuple[int, int, int]] = []
    for offset, size in loads:
        found += b"\0" * (-len(found) % _PAGE)
        places.append((offset, size, len(found)))
        found += image[offset : offset + size].rstrip(b"\0")
    for header in headers:
        _move(header, places, len(found))
    head[5], head[6], head[11], head[12], head[13] = _EHDR.size, 0, 0, 0, 0  # no section headers
    _EHDR.pack_into(found, 0, *head)
    for i, header in enumerate(headers):
        _PHDR.pack_into(found, _EHDR.size + i * _PHDR.size, *header)
    return bytes(found)


def _move(header: list[int], places: list[tuple[int, int, int]], end: int) -> None:
    """Where a segment is now. p_offset is field 2, p_filesz field 5; the rest in memory is zeroed (p_memsz, 6)."""
    kind, offset = header[0], header[2]
    for number, (was, size, now) in enumerate(places):
        if was <= offset < was + size:
            following = places[number + 1][2] if number + 1 < len(places) else end
            header[2] = now + offset - was
            if kind == _PT_LOAD:
                header[5] = min(header[5], following - now)
            return


# Modules ------------------------------------------------------------------------------------------


def needed(tree: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content, each once, after all that it needs. One that is not there is built in."""
    files = {module_name(path): path for path in tree.rglob("*.ko*")}
    done: set[str] = set()

    def visit(name: str) -> Iterator[tuple[str, bytes]]:
        if name in done or name not in files:
            return
        done.add(name)
        data = read_module(files[name])
        for other in needs_of(data):
            yield from visit(other)
        yield name, data

    for name in wanted:
        yield from visit(name)


def module_name(path: Path) -> str:
    """The file may have dashes where the module's name has underscores (kmod, modname_normalize)."""
    return path.name.partition(".ko")[0].replace("-", "_")


def needs_of(module: bytes) -> tuple[str, ...]:
    """`depends=` of the section .modinfo; a package has no modules.dep, which is made when it is installed."""
    found = re.search(rb"\0depends=([\w,-]*)\0", module)
    words = found[1].decode().replace("-", "_").split(",") if found else []
    return tuple(word for word in words if word)


def read_module(path: Path) -> bytes:
    """As the kernel takes it, uncompressed. Raises LabError."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix != ".ko":
        raise LabError(f"{path.name} is compressed in a way that cannot be read here")
    return data


def main() -> int:
    package, target = map(Path, sys.argv[1:])
    print(prepare(package, target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
