"""WireGuard devices: generic netlink's family `wireguard` (include/uapi/linux/wireguard.h).

The kernel keeps a device's private key and tells it to whoever may change the device; here it is written and never read
back. Its public key is what the kernel makes of it.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_network
from struct import Struct

from windrow.model.host import Peer, Wireguard
from windrow.model.values import Cidr
from windrow.netlink import links, netns
from windrow.netlink.codec import NLA_F_NESTED, pack_attr, payloads, read_ip, write_ip
from windrow.netlink.errors import KernelError, NoSuchLink, NotSupported
from windrow.netlink.routes import attributes
from windrow.netlink.sock import Message, Rtnl

NETLINK_GENERIC = 16

_GENERIC = Struct("=BBH")
"""struct genlmsghdr: command, version, reserved."""
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
"""GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_*."""
_NAME, _VERSION, _GET_DEVICE, _SET_DEVICE = b"wireguard\0", 1, 0, 1
_U16, _U32 = Struct("=H"), Struct("=I")
_IFINDEX, _PRIVATE_KEY, _PUBLIC_KEY, _LISTEN_PORT, _PEERS = 1, 3, 4, 6, 8
"""WGDEVICE_A_*."""
_PEER_KEY, _PEER_FLAGS, _ENDPOINT, _KEEPALIVE, _ALLOWED = 1, 3, 4, 5, 9
"""WGPEER_A_*."""
_FAMILY, _ADDRESS, _LENGTH = 1, 2, 3
"""WGALLOWEDIP_A_*."""
_REMOVE, _REPLACE_ALLOWED = 1, 2
"""WGPEER_F_*."""
_SOCKADDR, _SOCKADDR6 = Struct("!H4s8x"), Struct("!HI16s4x")
"""struct sockaddr_in and sockaddr_in6 behind their family."""


class Devices:
    """Those of the calling thread's network namespace. Raises KernelError; NotSupported: this kernel has none."""

    def __init__(self) -> None:
        self._socket = Rtnl(NETLINK_GENERIC)
        try:
            self._family = self._found_family()
        except KernelError as error:
            self._socket.close()
            if error.errno != errno.ENOENT:
                raise
            raise NotSupported(errno.EOPNOTSUPP, "find WireGuard", hint="modprobe wireguard") from error

    def __enter__(self) -> Devices:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self, index: int) -> tuple[Wireguard, frozenset[Peer]]:
        """One device and its peers."""
        body = _GENERIC.pack(_GET_DEVICE, _VERSION, 0) + pack_attr(_IFINDEX, _U32.pack(index))
        spans = self._socket.dump(Message(self._family, body, doing=f"read WireGuard device {index}"))
        return read_device(data[start + _GENERIC.size : end] for data, start, end in spans)

    def set(self, index: int, *, port: int | None = None, private_key: bytes | None = None) -> None:
        body = b""
        if private_key is not None:
            body += pack_attr(_PRIVATE_KEY, private_key)
        if port is not None:
            body += pack_attr(_LISTEN_PORT, _U16.pack(port))
        self._change(index, body, "set up a WireGuard device")

    def put_peer(self, index: int, peer: Peer) -> None:
        """In place of what the device knew of this key."""
        self._change(index, _nest(_PEERS, _nest(0, write_peer(peer))), f"add the peer at {peer.address}")

    def drop_peer(self, index: int, peer: Peer) -> None:
        flags = pack_attr(_PEER_FLAGS, _U32.pack(_REMOVE))
        gone = _nest(0, pack_attr(_PEER_KEY, b64decode(peer.key)) + flags)
        self._change(index, _nest(_PEERS, gone), f"take away the peer at {peer.address}")

    def _change(self, index: int, body: bytes, doing: str) -> None:
        head = _GENERIC.pack(_SET_DEVICE, _VERSION, 0) + pack_attr(_IFINDEX, _U32.pack(index))
        self._socket.run(Message(self._family, head + body, doing=doing))

    def _found_family(self) -> int:
        body = _GENERIC.pack(_GET_FAMILY, 1, 0) + pack_attr(_FAMILY_NAME, _NAME)
        data, start, end = self._socket.get(Message(_CONTROL, body, doing="find WireGuard"))
        number: int = _U16.unpack(attributes(data, start + _GENERIC.size, end)[_FAMILY_ID])[0]
        return number


def read_all(indexes: Sequence[int]) -> dict[int, tuple[Wireguard, frozenset[Peer]]]:
    """By ifindex; one that is gone by now is left out. Raises KernelError."""
    found: dict[int, tuple[Wireguard, frozenset[Peer]]] = {}
    with Devices() as devices:
        for index in indexes:
            with suppress(NoSuchLink):
                found[index] = devices.read(index)
    return found


def public_key(private: bytes) -> str:
    """As the kernel makes it of a private key, in base64: it is asked by a device in a namespace that is thrown away.
    Raises KernelError."""

    def ask() -> str:
        with Rtnl() as rtnl, Devices() as devices:
            rtnl.run(links.create("w", "wireguard"))
            index = rtnl.index("w")
            devices.set(index, private_key=private)
            return devices.read(index)[0].key or ""

    return netns.in_new(ask)


# Bytes ----------------------------------------------------------------------------------------------


def read_device(messages: Iterator[bytes]) -> tuple[Wireguard, frozenset[Peer]]:
    """From the attributes of a dump's messages. A device with many peers is told in several, and a peer with many
    addresses, too: it goes on under the same key (`wg_get_device_dump`)."""
    port, key = 0, ""
    found: dict[str, Peer] = {}
    for message in messages:
        attrs = attributes(message, 0, len(message))
        port = _U16.unpack(attrs[_LISTEN_PORT])[0] if _LISTEN_PORT in attrs else port
        key = _key(attrs[_PUBLIC_KEY]) if _PUBLIC_KEY in attrs else key
        for one in _items(attrs.get(_PEERS, b"")):
            peer = _peer(one)
            before = found.get(peer.key)
            found[peer.key] = peer if before is None else _joined(before, peer)
    return Wireguard(port=port, key=key), frozenset(found.values())


def write_peer(peer: Peer) -> bytes:
    """Raises ValueError, OSError."""
    allowed = b"".join(_nest(0, _allowed(cidr)) for cidr in peer.allowed)
    return b"".join(
        (
            pack_attr(_PEER_KEY, b64decode(peer.key)),
            pack_attr(_PEER_FLAGS, _U32.pack(_REPLACE_ALLOWED)),
            pack_attr(_ENDPOINT, _write_endpoint(peer)),
            pack_attr(_KEEPALIVE, _U16.pack(peer.keepalive)),
            _nest(_ALLOWED, allowed),
        )
    )


def _allowed(cidr: Cidr) -> bytes:
    network = ip_network(cidr)
    family = socket.AF_INET6 if network.version == 6 else socket.AF_INET
    parts = ((_FAMILY, _U16.pack(family)), (_ADDRESS, network.network_address.packed))
    return b"".join(pack_attr(*part) for part in parts) + pack_attr(_LENGTH, bytes([network.prefixlen]))


def _peer(data: bytes) -> Peer:
    attrs = attributes(data, 0, len(data))
    address, port = _endpoint(attrs.get(_ENDPOINT, b""))
    return Peer(
        key=_key(attrs[_PEER_KEY]),
        address=address,
        port=port,
        keepalive=_U16.unpack(attrs[_KEEPALIVE])[0] if _KEEPALIVE in attrs else 0,
        allowed=tuple(sorted(map(_network, _items(attrs.get(_ALLOWED, b""))))),
    )


def _joined(before: Peer, more: Peer) -> Peer:
    return Peer(
        key=before.key,
        address=before.address,
        port=before.port,
        keepalive=before.keepalive,
        allowed=tuple(sorted((*before.allowed, *more.allowed))),
    )


def _network(data: bytes) -> Cidr:
    attrs = attributes(data, 0, len(data))
    return Cidr(f"{read_ip(attrs[_ADDRESS])}/{attrs[_LENGTH][0]}")


def _endpoint(data: bytes) -> tuple[str, int]:
    """Empty and 0: it has none."""
    if len(data) < _U16.size + _SOCKADDR.size:
        return "", 0
    (family,) = _U16.unpack_from(data)
    if family == socket.AF_INET6:
        port, _, packed = _SOCKADDR6.unpack_from(data, _U16.size)
    else:
        port, packed = _SOCKADDR.unpack_from(data, _U16.size)
    return read_ip(packed), port


def _write_endpoint(peer: Peer) -> bytes:
    packed = write_ip(peer.address)
    if len(packed) == 16:
        return _U16.pack(socket.AF_INET6) + _SOCKADDR6.pack(peer.port, 0, packed)
    return _U16.pack(socket.AF_INET) + _SOCKADDR.pack(peer.port, packed)


def _items(data: bytes) -> Iterator[bytes]:
    """The entries of a list: attributes whose number says nothing."""
    return (data[start:stop] for start, stop in payloads(data))


def _nest(number: int, data: bytes) -> bytes:
    return pack_attr(number | NLA_F_NESTED, data)


def _key(data: bytes) -> str:
    return b64encode(data).decode()
