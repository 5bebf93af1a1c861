"""By which client identifier a DHCP server knows this host now (option 61, RFC 2132 §9.14).

A server tells its clients apart by it; where one sends none, by his MAC address. Who asks for the same address again
has to say the same. Told from the files that the clients keep, below a root that tests move; what they say counts only
where it is about the address that the NIC has.
"""

from __future__ import annotations

import configparser
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from windrow.frames.ethernet import mac_bytes
from windrow.model.lazy import dataclass
from windrow.model.leases import NO_CLIENT_ID, client_id_text
from windrow.model.values import IfName, Mac

_ETHERNET, _RFC4361 = b"\x01", b"\xff"
"""Types of an identifier: a MAC address; an IAID and a DUID (RFC 4361 §6.1)."""
_COOKIE, _OPTIONS, _YIADDR, _CLIENT_ID = 236, 240, 16, 61
"""Where they are in a DHCP message (RFC 2131 §2), and the option's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessee:
    """Whom the lease was given to. `ifindex` and `mac` are the NIC's, `address` has no prefix length."""

    root: Path
    nic: IfName
    ifindex: int
    mac: Mac
    address: str

    @property
    def by_mac(self) -> str:
        return client_id_text(_ETHERNET + self.raw_mac)

    @property
    def raw_mac(self) -> bytes:
        return mac_bytes(self.mac)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientId:
    """`text`: as in the annotation, `ff:…` or `none`. `source`: which client, and the file that says so."""

    text: str
    source: str


def client_id(of: Lessee) -> ClientId | None:
    """None: no client is known that asked for this address, or not what it sends. Of several the one that wrote last:
    the files of a client that was replaced stay, and the address may be the same."""
    found: list[tuple[float, ClientId]] = []
    for name, look in _CLIENTS.items():
        with suppress(OSError, ValueError, configparser.Error):
            for text, path in look(of):
                source = f"{name}, /{path.relative_to(of.root)}"
                found.append((path.stat().st_mtime, ClientId(text=text, source=source)))
                break
    if not found:
        return None
    _, last = max(found, key=lambda one: one[0])
    return last if last.text else None


Found = Iterator[tuple[str, Path]]
"""The identifier, and the file that says so; empty: the client asked for the address, and what it sends is unknown."""


def _settings(path: Path) -> Mapping[str, str]:
    """`KEY=value` lines."""
    lines = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals}


# systemd-networkd, NetworkManager ---------------------------------------------------------------------------------


def _networkd(of: Lessee) -> Found:
    """`sd_dhcp_lease_save`: what it sends, in hexadecimal."""
    path = of.root / "run/systemd/netif/leases" / str(of.ifindex)
    lease = _settings(path)
    if lease.get("ADDRESS") == of.address and lease.get("CLIENTID"):
        yield client_id_text(bytes.fromhex(lease["CLIENTID"])), path


def _network_manager(of: Lessee) -> Found:
    """Its own client; older ones wrote down what it sends, later ones have it from the connection alone
    (nm-settings(5), ipv4.dhcp-client-id; nothing: the MAC address)."""
    for path in sorted((of.root / "var/lib/NetworkManager").glob(f"internal-*-{of.nic}.lease")):
        lease = _settings(path)
        if lease.get("ADDRESS") != of.address:
            continue
        if lease.get("CLIENTID"):
            yield client_id_text(bytes.fromhex(lease["CLIENTID"])), path
            return
        uuid = path.name.removeprefix("internal-").removesuffix(f"-{of.nic}.lease")
        yield _of_connection(_connection_setting(of.root, uuid), of), path


def _connection_setting(root: Path, uuid: str) -> str:
    """Of the connection; else the default of them all, the last file counts (NetworkManager.conf(5))."""
    found = ""
    configuration = [
        *sorted((root / "usr/lib/NetworkManager/conf.d").glob("*.conf")),
        root / "etc/NetworkManager/NetworkManager.conf",
        *sorted((root / "etc/NetworkManager/conf.d").glob("*.conf")),
    ]
    for path in configuration:
        found = _ini(path).get("connection", {}).get("ipv4.dhcp-client-id", found)
    for directory in ("etc/NetworkManager/system-connections", "run/NetworkManager/system-connections"):
        for path in sorted((root / directory).glob("*")):
            sections = _ini(path)
            if sections.get("connection", {}).get("uuid") == uuid:
                return sections.get("ipv4", {}).get("dhcp-client-id", found)
    return found


def _ini(path: Path) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    with suppress(OSError, UnicodeDecodeError, configparser.Error):
        parser.read_string(path.read_text(encoding="utf-8"))
    return {name: {k: v or "" for k, v in parser[name].items()} for name in parser.sections()}


def _of_connection(said: str, of: Lessee) -> str:
    """Empty: what it makes of `duid` or `stable` hangs on more than is known here."""
    if said in ("", "mac", "perm-mac"):
        return of.by_mac
    if said == "none":
        return NO_CLIENT_ID
    if said in ("duid", "ipv6-duid", "stable"):
        return ""
    if re.fullmatch(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2})+", said):
        return client_id_text(_of_pairs(said))
    return client_id_text(b"\0" + said.encode())


# dhclient ---------------------------------------------------------------------------------------------------------

_LEASE = re.compile(r"^lease\s*\{(.*?)^\}", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_OF_AN_INTERFACE = re.compile(r'interface\s+"([^"]*)"\s*\{([^}]*)\}')
_SENT = re.compile(r"(?:^|;|\{)\s*send\s+dhcp-client-identifier\s*=?\s*([^;]+);", re.MULTILINE)
_ECHOED = re.compile(r"^\s*option\s+dhcp-client-identifier\s+([^;]+);", re.MULTILINE)
_DUID = re.compile(r'^\s*default-duid\s+("(?:[^"\\]|\\.)*")\s*;', re.MULTILINE)


def _dhclient(of: Lessee) -> Found:
    """What the server gave back (RFC 6842), else what the configuration says, else what `dhclient -i` makes of the
    DUID that it keeps; by itself it sends none (dhclient(8))."""
    places = ("var/lib/dhcp", "var/lib/dhclient", "var/lib/NetworkManager")
    for path in (p for place in places for p in sorted((of.root / place).glob("dhclient*lease*"))):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        leases = [block for block in _LEASE.findall(text) if _is_about(block, of)]
        if leases:
            echoed = _ECHOED.findall(leases[-1])
            yield _of_dhclient(echoed[-1] if echoed else _configured(of.root, of.nic), text, of), path


def _is_about(block: str, of: Lessee) -> bool:
    nic = re.search(r'interface\s+"([^"]*)"', block)
    address = re.search(r"fixed-address\s+([0-9.]+)\s*;", block)
    return bool(nic and address) and (nic[1], address[1]) == (of.nic, of.address)  # type: ignore[index]


def _configured(root: Path, nic: IfName) -> str:
    files = ("etc/dhcp/dhclient.conf", "etc/dhclient.conf", f"etc/dhcp/dhclient-{nic}.conf", f"etc/dhclient-{nic}.conf")
    found = ""
    for name in (*files, f"var/lib/NetworkManager/dhclient-{nic}.conf"):
        with suppress(OSError):
            text = _COMMENT.sub("", (root / name).read_text(encoding="utf-8", errors="surrogateescape"))
            own = [block for named, block in _OF_AN_INTERFACE.findall(text) if named == nic]
            for part in (_OF_AN_INTERFACE.sub("", text), *own):  # what is said of the interface goes before
                said = _SENT.findall(part)
                found = said[-1].strip() if said else found
    return found


def _of_dhclient(said: str, leases: str, of: Lessee) -> str:
    said = said.strip()
    if said == "hardware":
        return of.by_mac
    if said:
        return client_id_text(_quoted(said) if said.startswith('"') else _of_pairs(said))
    if duid := _DUID.findall(leases):
        return client_id_text(_RFC4361 + of.raw_mac[-4:] + _quoted(duid[-1]))
    return NO_CLIENT_ID


def _quoted(text: str) -> bytes:
    """`"\\001RT\\000x"`: octal where it cannot be printed."""
    found = re.sub(r"\\([0-7]{3}|.)", lambda m: chr(int(m[1], 8)) if len(m[1]) == 3 else m[1], text[1:-1])
    return found.encode("latin-1")


def _of_pairs(text: str) -> bytes:
    return bytes(int(pair, 16) for pair in text.split(":"))


# dhcpcd, udhcpc ---------------------------------------------------------------------------------------------------


def _dhcpcd(of: Lessee) -> Found:
    """The lease is the server's message; the rest is in its configuration (dhcpcd.conf(5): clientid, duid)."""
    for path in sorted((of.root / "var/lib").glob(f"dhcpcd*/*{of.nic}.lease")):
        message = path.read_bytes()
        if message[_YIADDR : _YIADDR + 4] != socket.inet_aton(of.address):
            continue
        if echoed := _option(message, _CLIENT_ID):
            yield client_id_text(echoed), path
            continue
        said = {words[0]: words[1:] for words in _dhcpcd_words(of)}
        if "clientid" in said:
            yield of.by_mac if not said["clientid"] else _of_connection(said["clientid"][0], of), path
        elif "duid" in said:
            duid = next(p for p in (path.with_name("duid"), of.root / "etc/dhcpcd.duid") if p.exists())
            yield client_id_text(_RFC4361 + _iaid(of) + _of_pairs(duid.read_text().strip())), path


def _dhcpcd_words(of: Lessee) -> Iterator[list[str]]:
    """What is said of all interfaces and of this one: `interface NAME` begins what is said of that one alone."""
    ours = True
    for line in (of.root / "etc/dhcpcd.conf").read_text(encoding="utf-8").splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["interface"]:
            ours = of.nic in words[1:]
        elif words and ours:
            yield words


def _iaid(of: Lessee) -> bytes:
    """A name that fits into it, else the end of the MAC address (dhcpcd, `if_init`)."""
    name = of.nic.encode()
    return name.ljust(4, b"\0") if len(name) <= 4 else of.raw_mac[-4:]


def _option(message: bytes, wanted: int) -> bytes:
    at = _OPTIONS
    while at + 1 < len(message) and message[at] != 255:
        if message[at] == 0:
            at += 1
            continue
        if message[at] == wanted:
            return message[at + 2 : at + 2 + message[at + 1]]
        at += 2 + message[at + 1]
    return b""


def _udhcpc(of: Lessee) -> Found:
    """busybox's: its MAC address, unless it was told otherwise on its command line."""
    for path in sorted((of.root / "run").glob("udhcpc*.pid")):
        if of.nic in re.split(r"[.-]", path.stem):
            yield of.by_mac, path


_CLIENTS: Mapping[str, Callable[[Lessee], Found]] = {
    "systemd-networkd": _networkd,
    "NetworkManager": _network_manager,
    "dhclient": _dhclient,
    "dhcpcd": _dhcpcd,
    "udhcpc": _udhcpc,
}
