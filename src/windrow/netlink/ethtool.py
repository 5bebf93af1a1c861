"""What a NIC is: driver and PCI address (ETHTOOL_GDRVINFO), permanent MAC (IFLA_PERM_ADDRESS)."""

from __future__ import annotations

import array
import errno
import fcntl
import re
import sys
from struct import Struct

from windrow.model.facts import Nic
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac, name_bytes
from windrow.netlink import codec, errors, observe
from windrow.netlink.links import DEVICE
from windrow.netlink.observe import Raw
from windrow.netlink.sock import Rtnl

NIC_KINDS = frozenset({"device", "veth", "dummy"})
"""`device` is what has no IFLA_INFO_KIND: hardware and virtio. The other two are the NICs of labs and tests."""

_SIOCETHTOOL, _GDRVINFO = 0x8946, 0x3
_DRVINFO_SIZE = 196
_REQUEST = Struct("@16sP")
_PCI = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass(frozen=True, slots=True)
class Driver:
    """`bus` is a PCI address for a PCI card, else whatever the driver calls its place."""

    name: str
    bus: str
    firmware: str = ""

    @property
    def pci(self) -> str | None:
        return self.bus if _PCI.fullmatch(self.bus) else None


def driver(rtnl: Rtnl, name: str) -> Driver | None:
    """The driver of a link in the socket's namespace; None if it has no answer. Raises KernelError.

    A netlink socket serves ioctls on devices like any other (`sock_do_ioctl`), in its own namespace;
    sysfs would show the namespace of whoever mounted it.
    """
    info = array.array("B", _GDRVINFO.to_bytes(4, sys.byteorder) + bytes(_DRVINFO_SIZE - 4))
    try:
        fcntl.ioctl(rtnl.fileno(), _SIOCETHTOOL, _REQUEST.pack(name_bytes(name), info.buffer_info()[0]))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENODEV):
            return None
        raise errors.of(error.errno or errno.EIO, f"ask for the driver of {name}") from error
    data = info.tobytes()
    return Driver(_text(data[4:36]), _text(data[100:132]), _text(data[68:100]))


def nics(rtnl: Rtnl, memory: observe.LinkMemory | None = None) -> dict[IfName, Nic]:
    """All Ethernet NICs of the socket's namespace. Raises KernelError.

    A driver is asked only for what can be hardware. That of a cable is its kind, and a host has a thousand of them, as
    ports of machines and pods; each question takes a system call and the rtnl lock.
    """
    raws = observe.dump_links(rtnl, memory)
    names = {raw.ifindex: raw.attrs["name"] for raw in raws}
    found: dict[IfName, Nic] = {}
    for raw in raws:
        if is_nic(raw):
            name = IfName(raw.attrs["name"])
            known = driver(rtnl, name) if raw.kind == DEVICE else Driver(raw.kind, "")
            master = names.get(raw.attrs.get("master", 0))
            found[name] = Nic(
                name=name,
                mac=observe.permanent_mac(raw) or Mac(raw.attrs["mac"]),
                pci=known.pci if known else None,
                driver=(known.name or None) if known else None,
                master=IfName(master) if master else None,
                altnames=codec.altnames(raw.attrs),
            )
    return found


def is_nic(raw: Raw) -> bool:
    return raw.arphrd == observe.ARPHRD_ETHER and raw.kind in NIC_KINDS and len(raw.attrs.get("mac", "")) == 17


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")
