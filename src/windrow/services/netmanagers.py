"""Who else manages a NIC: NetworkManager, systemd-networkd (and netplan before them), ifupdown, wicked, a DHCP client.

Told from the files that they keep while they run, below a root that tests move. None of them is told anything: the
administrator hands a NIC over, with the commands that are named here.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from windrow.model.lazy import dataclass
from windrow.model.values import IfName

_OURS = "mgmt-*"
_CLIENTS = ("dhclient", "dhcpcd", "udhcpc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """`evidence`: the file that says so. `commands`: what hands the NIC over, to be typed as it stands, without
    taking the network down."""

    name: str
    nic: IfName
    evidence: str
    commands: tuple[str, ...]


def managers(root: Path, nic: IfName, ifindex: int) -> tuple[Manager, ...]:
    """All that have to do with a NIC. What cannot be read says nothing."""
    found: list[Manager] = []
    for look in (_network_manager, _networkd, _ifupdown, _wicked, _dhcp_clients):
        with suppress(OSError, UnicodeDecodeError, configparser.Error):
            found += look(root, nic, ifindex)
    return tuple(found)


def wireless(root: Path, nic: IfName) -> bool:
    """A station of a wireless network sends with its own MAC address alone: it can be in no bond of a bridge."""
    place = root / "sys/class/net" / nic
    return (place / "phy80211").exists() or (place / "wireless").exists()


def _shown(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}" if path.is_relative_to(root) else str(path)


def _section(path: Path, section: str) -> dict[str, str]:
    """One section of a file of `KEY=value` lines; the lines before the first section are section `top`."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(f"[top]\n{path.read_text(encoding='utf-8')}", source=str(path))
    return dict(parser[section]) if section in parser else {}


# NetworkManager -----------------------------------------------------------------------------------


def _network_manager(root: Path, nic: IfName, ifindex: int) -> Iterator[Manager]:
    """`/run/NetworkManager/devices/<ifindex>` is there for each device that it knows."""
    state = root / "run/NetworkManager/devices" / str(ifindex)
    if not state.exists():
        return
    device = _section(state, "device")
    if device.get("managed", "true") == "false" or not device.get("connection-uuid"):
        return
    uuid = device["connection-uuid"]
    keyfile = next(_keyfiles(root, uuid), None)
    if keyfile is not None and keyfile.name.startswith("netplan-"):
        yield _netplan(nic, _shown(root, keyfile), "NetworkManager")
        return
    yield Manager(
        name="NetworkManager",
        nic=nic,
        evidence=_shown(root, keyfile or state),
        commands=(
            f"printf '[keyfile]\\nunmanaged-devices=interface-name:{nic};interface-name:{_OURS}\\n' "
            "> /etc/NetworkManager/conf.d/90-windrow.conf",
            "nmcli general reload conf",
        ),
    )


def _keyfiles(root: Path, uuid: str) -> Iterator[Path]:
    for directory in ("etc/NetworkManager/system-connections", "run/NetworkManager/system-connections"):
        for path in sorted((root / directory).glob("*")):
            with suppress(OSError, UnicodeDecodeError, configparser.Error):
                if _section(path, "connection").get("uuid") == uuid:
                    yield path


# systemd-networkd ---------------------------------------------------------------------------------


def _networkd(root: Path, nic: IfName, ifindex: int) -> Iterator[Manager]:
    """`/run/systemd/netif/links/<ifindex>`: sd_network_link_get_setup_state(3)."""
    state = root / "run/systemd/netif/links" / str(ifindex)
    if not state.exists():
        return
    link = _section(state, "top")
    file = link.get("NETWORK_FILE", "")
    if link.get("ADMIN_STATE", "unmanaged") in ("unmanaged", "linger") or not file:
        return
    if os.path.basename(file).startswith("10-netplan-"):
        yield _netplan(nic, file, "systemd-networkd")
        return
    yield Manager(
        name="systemd-networkd",
        nic=nic,
        evidence=file,
        commands=(
            f"printf '[Match]\\nName={nic} {_OURS}\\n[Link]\\nUnmanaged=yes\\n' "
            "> /etc/systemd/network/00-windrow.network",
            "networkctl reload",
        ),
    )


def _netplan(nic: IfName, file: str, below: str) -> Manager:
    """netplan writes the files of the other two anew at each start: its own has to change."""
    return Manager(
        name=f"netplan (by {below})",
        nic=nic,
        evidence=file,
        commands=(
            f"grep -l {nic} /etc/netplan/*.yaml   # take {nic} out of this file",
            "netplan generate",
            *(
                ("networkctl reload",)
                if below == "systemd-networkd"
                else (f"nmcli device set {nic} managed no", "nmcli connection reload")
            ),
        ),
    )


# ifupdown -----------------------------------------------------------------------------------------


def _ifupdown(root: Path, nic: IfName, _: int) -> Iterator[Manager]:
    files = [root / "etc/network/interfaces", *sorted((root / "etc/network/interfaces.d").glob("*"))]
    named = [path for path in files if _has_stanza(path, nic)]
    state = root / "run/network/ifstate"
    is_up = state.exists() and any(line.partition("=")[0] == nic for line in state.read_text().splitlines())
    if not named and not is_up:
        return
    where = [_shown(root, path) for path in named]
    yield Manager(
        name="ifupdown",
        nic=nic,
        evidence=", ".join(where) or _shown(root, state),
        commands=(
            *(f"editor {path}   # comment out the lines of {nic}" for path in where),
            f"sed -i '/^{nic}=/d' /run/network/ifstate   # not ifdown: that would take {nic} down",
        ),
    )


def _has_stanza(path: Path, nic: IfName) -> bool:
    """`iface eth0 …`, or `auto eth0`, `allow-hotplug eth0` (interfaces(5))."""
    with suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split("#")[0].split()
            if len(words) > 1 and re.fullmatch(r"iface|auto|allow-[a-z]+", words[0]) and nic in words[1:]:
                return True
    return False


# wicked, and DHCP clients -------------------------------------------------------------------------


def _wicked(root: Path, nic: IfName, _: int) -> Iterator[Manager]:
    file = root / "etc/sysconfig/network" / f"ifcfg-{nic}"
    if file.exists() and (root / "run/wicked").is_dir():
        yield Manager(
            name="wicked",
            nic=nic,
            evidence=_shown(root, file),
            commands=(f"mv {_shown(root, file)} /root/", f"wicked nanny disable {nic}"),
        )


def _dhcp_clients(root: Path, nic: IfName, _: int) -> Iterator[Manager]:
    """By their pid files; NetworkManager's and networkd's own clients are within them."""
    for path in sorted([*(root / "run").glob("*"), *(root / "run/dhcpcd").glob("*")]):
        client = next((c for c in _CLIENTS if path.name.startswith(c) or path.parent.name == c), None)
        if client is None or path.suffix != ".pid" or nic not in re.split(r"[.-]", path.stem):
            continue
        pid = path.read_text().strip()
        if not pid.isdigit() or not (Path("/proc") / pid).exists():
            continue
        yield Manager(
            name=f"{client} (process {pid})",
            nic=nic,
            evidence=_shown(root, path),
            commands=(f"kill {pid}   # without releasing the lease: Windrow asks for it again",),
        )


def words(found: Sequence[Manager]) -> str:
    """`eth0 is managed by NetworkManager (…) and dhclient (…)`."""
    nics = dict.fromkeys(m.nic for m in found)
    each = [f"{n} is managed by {' and '.join(f'{m.name} ({m.evidence})' for m in found if m.nic == n)}" for n in nics]
    return "; ".join(each)
