"""The systemd unit of `windrow cni serve`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from windrow.services.systemd import command_line, unit_of

NAME = "windrow-cni.service"
MARK = "# Written by `windrow cni install`"

_TEXT = """\
{mark}; local changes belong into a drop-in: systemctl edit {name}
[Unit]
Description=Windrow: answers the calls of the CNI plugins
Documentation=man:windrow-cni(1)
After=local-fs.target network-pre.target

# No PrivateTmp=, ProtectSystem= or PrivateNetwork=: it would live in another place than the runtime, and refuse its
# calls.
[Service]
Type=notify
{settings}ExecStart={command}
# SIGTERM is for the server alone: programs that work for a call may finish it.
KillMode=mixed
Restart=on-failure
Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
UMask=0022

[Install]
WantedBy=multi-user.target
"""


def unit_text(command: Sequence[str], *, settings: Path | None = None) -> str:
    """`command`: how the server is started. `settings`: a file of the administrator's (systemd.exec(5),
    EnvironmentFile=), whose CNI_OPTIONS are added to it."""
    line = command_line(command, "CNI_OPTIONS" if settings else "")
    return unit_of(_TEXT, name=NAME, mark=MARK, settings=settings, command=line)
