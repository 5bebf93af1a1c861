"""The systemd unit of the machines that start with the host. They need nobody to go on: it starts them, and stops them.
(systemd.service(5))"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from windrow.services.systemd import command_line, unit_of

NAME = "windrow-machines.service"
MARK = "# Written by `windrow vm install`"
START, STOP = ("vm", "start", "--autostart"), ("vm", "stop", "--all", "-A")
"""What it has Windrow do when the host comes up, and before it goes down."""

_TEXT = """\
{mark}; local changes belong into a drop-in: systemctl edit {name}
[Unit]
Description=Windrow: virtual machines that start with this host
Documentation=man:windrow-vm(1)
# Bridges are there once the agent is. At shutdown the order is the reverse: guests end while they still have a network.
After=windrow-agent.service network-online.target local-fs.target
Wants=windrow-agent.service network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
{settings}{unset}# One that cannot start is told in the journal, and must not keep the others from being asked to shut
# down.
ExecStart=-{start}
ExecStop=-{stop}
# What a start leaves running (QEMU, its log, DHCP servers in pods) is ended by `stop`, which asks the guests first.
KillMode=process
TimeoutStartSec=infinity
TimeoutStopSec=10min
TasksMax=infinity
Environment=PYTHONDONTWRITEBYTECODE=1

[Install]
WantedBy=multi-user.target
"""


def unit_text(*, start: Sequence[str], stop: Sequence[str], settings: Path | None = None) -> str:
    """Two command lines, in words. `settings`: a file of the administrator's with environment variables
    (systemd.exec(5), EnvironmentFile=), which is for the agent, too: a cluster that it names is not where machines are.
    """
    unset = "UnsetEnvironment=WINDROW_KUBECONFIG\n" if settings else ""
    lines = {"start": command_line(start), "stop": command_line(stop)}
    return unit_of(_TEXT, name=NAME, mark=MARK, settings=settings, unset=unset, **lines)
