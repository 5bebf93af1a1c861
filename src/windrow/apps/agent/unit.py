"""The agent's systemd unit: what it may do, and nothing else. (systemd.exec(5), capabilities(7))"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from windrow.services.systemd import command_line, quoted, unit_of
from windrow.store.paths import Paths

NAME = "windrow-agent.service"
MARK = "# Written by `windrow agent install`"
HIDDEN = {
    "ProtectHome=yes": (Path("/home"), Path("/root"), Path("/run/user")),
    "PrivateTmp=yes": (Path("/tmp"), Path("/var/tmp")),
}
"""What of the host's files the unit does not see, by the line that hides it (systemd.exec(5))."""

_TEXT = """\
{mark}; local changes belong into a drop-in: systemctl edit {name}
[Unit]
Description=Windrow: keeps this host's networks as their manifests want them
Documentation=man:systemd.exec(5)
After=local-fs.target systemd-udevd.service systemd-sysctl.service network-pre.target
Wants=network-pre.target
Before=network.target network-online.target
ConditionCapability=CAP_NET_ADMIN
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
{settings}ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
WatchdogSec=180
TimeoutStopSec=60
# What it started outlives it: DHCP clients that hold a lease, the watchdog of a change that is not confirmed.
KillMode=process
Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
UMask=0022
OOMScoreAdjust=-500
# On a busy host, too, a fail-over is announced at once, and the round that follows it is done.
Nice=-10

# Links, addresses, routes, sysctls of the network; raw frames and port 68 for DHCP and probes. Manifests may belong to
# somebody else, and still do after they were written: a change that is undone takes them back.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER
AmbientCapabilities=
NoNewPrivileges=yes
RestrictAddressFamilies=AF_NETLINK AF_UNIX AF_PACKET AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@resources @privileged
# @privileged has it, too.
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM

# It reads all it needs to, and writes what is its own. Ports and machines are recorded in /run, and outlive it.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
# ProtectKernelModules would hide /usr/lib/modules, by which it is known after a start that the kernel can have bonds.
# No module is loaded by hand for all that: CAP_SYS_MODULE is not in the set above.
ProtectKernelModules=no
# ProtectKernelTunables would make /proc/sys read-only, and bridged frames would go through iptables for good.
ProtectKernelTunables=no
RemoveIPC=yes
RuntimeDirectory=windrow
RuntimeDirectoryPreserve=yes
StateDirectory=windrow
ReadWritePaths={writes}

[Install]
WantedBy=multi-user.target
"""


def unit_text(command: Sequence[str], paths: Paths, *, settings: Path | None = None) -> str:
    """`command`: how the agent is started. `settings`: a file of the administrator's (systemd.exec(5),
    EnvironmentFile=), whose AGENT_OPTIONS are added to it. A path that may be missing has a dash before it: the
    bridge's sysctls are there only while br_netfilter is loaded."""
    writes = ["-/proc/sys/net", f"-{paths.manifests.parent}"]
    if paths.root != Path("/"):
        writes += [f"-{paths.state}", f"-{paths.runtime}"]
    line = command_line(command, "AGENT_OPTIONS" if settings else "")
    return unit_of(_TEXT, name=NAME, mark=MARK, settings=settings, command=line, writes=" ".join(map(quoted, writes)))


def hidden(places: Iterable[Path]) -> dict[Path, str]:
    """Those that the unit does not see, each with the line that hides it; also where only a link leads there."""
    found = {}
    for place in places:
        ways = (Path(os.path.abspath(place)), Path(os.path.realpath(place)))
        for line, trees in HIDDEN.items():
            if any(way.is_relative_to(tree) for way in ways for tree in trees):
                found[place] = line
    return found
