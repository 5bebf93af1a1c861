"""What the verbs that write systemd units share: how a unit starts this Windrow, and how it comes and goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from windrow.apps.cli.session import Session, host_name
from windrow.model.problems import WindrowError
from windrow.store import records
from windrow.store.errors import explained


def command(session: Session, *verb: str) -> list[str]:
    """The `windrow` beside this Python, and what a command line would say to find the same place."""
    beside = Path(sys.executable).with_name("windrow")
    found = [str(beside)] if beside.exists() else [sys.executable, "-m", "windrow.apps.cli.main"]
    if session.root != Path("/"):
        found += ["--root", str(session.root.absolute())]
    if session.node != host_name():
        found += ["--node", session.node]
    if session.cluster is not None:
        found += ["--kubeconfig", _absolute(session.cluster.kubeconfig)] if session.cluster.kubeconfig else []
        found += ["--context", session.cluster.context] if session.cluster.context else []
    return [*found, *verb]


def parts() -> list[Path]:
    """What that command is made of: an editable installation has Python, Windrow and what it imports in different
    places."""
    specs = map(find_spec, ("windrow", "click", "jinja2", "yaml"))
    modules = [Path(spec.origin) for spec in specs if spec is not None and spec.origin is not None]
    return [Path(sys.executable), Path(sys.base_prefix), *modules]


def place(session: Session, directory: Path | None) -> Path:
    """Where units go; `directory`: where somebody wants them."""
    return directory or session.root / "etc/systemd/system"


def put(path: Path, text: str) -> list[str]:
    """What was done, and what is next, in lines. Raises StoreError."""
    with explained(path, "write the unit"):
        records.make_place(path.parent)
        records.write(path, text.encode(), mode=records.SHARED)
    return [
        f"{path} written; start it, now and at each boot:",
        f"  systemctl daemon-reload\n  systemctl enable --now {path.name}",
    ]


def is_ours(path: Path, mark: str) -> bool:
    """`mark`: how one begins that Windrow wrote. Raises StoreError."""
    with explained(path, "read the unit"):
        return path.exists() and path.read_text(errors="replace").startswith(mark)


def take(session: Session, path: Path) -> list[str]:
    """What was done, in lines. Raises StoreError, and WindrowError where systemd would start it at the next boot."""
    with explained(path, "take the unit away"):
        if enabled := _enabled(path, {path.parent, place(session, None)}):
            hint = f"run `systemctl disable --now {path.name}`, then this command again"
            raise WindrowError(f"{path.name} is started at boot: {enabled[0]}\n    hint: {hint}")
        path.unlink()
    return [f"{path} removed; let systemd forget it:", "  systemctl daemon-reload"]


def _enabled(path: Path, places: Iterable[Path]) -> list[Path]:
    """The links by which systemd starts it. `systemctl enable` makes them in the administrator's place, wherever the
    unit is; below another root they lead nowhere, and count all the same."""
    found = (wants / path.name for directory in places for wants in directory.glob("*.wants"))
    return sorted(link for link in found if os.path.lexists(link))


def taken(session: Session, path: Path, mark: str) -> list[str]:
    """As `take`, of one that Windrow wrote and nobody else. Raises WindrowError."""
    if not path.exists():
        raise WindrowError(f"{path} is not there\n    hint: --unit-dir names another directory")
    if not is_ours(path, mark):
        hint = "remove it with what wrote it, for example with a package"
        raise WindrowError(f"{path} was not written by {mark.removeprefix('# Written by ')}\n    hint: {hint}")
    return take(session, path)


def _absolute(kubeconfig: str) -> str:
    """A unit has another working directory."""
    from windrow.kube.access import IN_CLUSTER

    return kubeconfig if kubeconfig == IN_CLUSTER else os.path.abspath(kubeconfig)
