"""Where things are on a host. One root moves them all, so several nodes can live on one machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    root: Path = Path("/")

    @property
    def manifests(self) -> Path:
        """The administrator's: what this cluster shall be."""
        return self.root / "etc/windrow/manifests"

    @property
    def state(self) -> Path:
        """Windrow's own: it outlives a reboot."""
        return self.root / "var/lib/windrow"

    @property
    def runtime(self) -> Path:
        """Gone after a reboot."""
        return self.root / "run/windrow"

    @property
    def lock(self) -> Path:
        """The one lock of the host: whoever changes its network holds it."""
        return self.runtime / "lock"
