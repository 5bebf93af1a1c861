"""What follows from who an attachment is: the name of its record, and of its end on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windrow.model.values import IfName, Mac

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha256 import sha256  # `hashlib` loads OpenSSL, which takes longer than a port does
    except ImportError:  # Python 3.12 has it under another name, and other builds nowhere
        from hashlib import sha256

_HOST_END, _OWN_BRIDGE = "veth", "wn-"


def digest(container_id: str, ifname: str) -> str:
    """32 hexadecimal digits that stand for an attachment."""
    return sha256(f"{container_id}\0{ifname}".encode(errors="surrogateescape")).hexdigest()[:32]


def host_end(container_id: str, ifname: str) -> IfName:
    """The name of the port on the host. The same for the same attachment, so that whoever has to undo it finds it,
    and of the form that the reference plugin gives."""
    return host_end_of(digest(container_id, ifname))


def own_bridge(container_id: str, ifname: str) -> IfName:
    """The bridge of a point-to-point port, which has no other."""
    return IfName(_OWN_BRIDGE + digest(container_id, ifname)[:8])


def host_mac(container_id: str, ifname: str) -> Mac:
    """Of the port on the host, never the pod's. A bridge without an address of its own takes the lowest one of its
    ports (`br_stp_recalculate_bridge_id`), and the management bridge often has none: a port's must be higher than any
    NIC's, or a host would change its address as containers come and go. libvirt gives its taps such ones."""
    digits = digest(container_id, ifname)
    return Mac(":".join(["fe", *(digits[i : i + 2] for i in range(8, 18, 2))]))


def bridge_mac(node: str, bridge: str) -> Mac:
    """Of a bridge, or of a gateway's link, that a plugin makes on a node: one of its own, no port's, and the same
    whenever it is made again, so that what a container has learnt of its gateway stays true."""
    digits = digest(node, bridge)
    return Mac(":".join(["02", *(digits[i : i + 2] for i in range(8, 18, 2))]))


def host_end_of(digest: str) -> IfName:
    """The same, from the digest."""
    return IfName(_HOST_END + digest[:8])
