"""The annotation `network.harvesterhci.io/route` of a VLAN network: its subnet and gateway, in Harvester's words."""

from __future__ import annotations

import ipaddress
import json
from enum import StrEnum

from windrow.model import names
from windrow.model.lazy import dataclass

PATH = f"metadata.annotations[{names.ANNOTATION_ROUTE}]"
TEXT_MAX = 4096
"""Characters."""


REACHED, NOT_REACHED, DHCP_FAILED = "true", "false", "DHCP failed"
"""What `connectivity` says, in Harvester's words."""


class RouteMode(StrEnum):
    AUTO = "auto"
    """A DHCP server of the VLAN is asked."""
    MANUAL = "manual"
    UNSET = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer3:
    mode: RouteMode = RouteMode.UNSET
    cidr: str = ""
    gateway: str = ""
    server: str = ""
    connectivity: str = ""
    outdated: bool = False
    """It was found out in another VLAN, or another way."""

    @classmethod
    def parse(cls, text: str) -> Layer3:
        """Raises ValueError for what Harvester's webhook refuses."""
        if len(text) > TEXT_MAX:
            raise ValueError(f"has more than {TEXT_MAX} characters")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("is not JSON") from None
        if not isinstance(found, dict):
            raise ValueError("must be a JSON object")
        texts = {key: found.get(key) or "" for key in ("mode", "cidr", "gateway", "serverIPAddr", "connectivity")}
        for key, value in texts.items():
            if not isinstance(value, str):
                raise ValueError(f"{key} must be a text")
        if texts["mode"] not in set(RouteMode):
            raise ValueError(f"{texts['mode'][:20]!r} is no mode: auto or manual")
        if not isinstance(found.get("outdated") or False, bool):
            raise ValueError("outdated must be true or false")
        route = cls(
            mode=RouteMode(texts["mode"]),
            cidr=texts["cidr"],
            gateway=texts["gateway"],
            server=texts["serverIPAddr"],
            connectivity=texts["connectivity"],
            outdated=bool(found.get("outdated")),
        )
        if route.mode is RouteMode.MANUAL:
            _check_subnet(route)
        return route

    def text(self) -> str:
        """As Go's encoding/json writes it: no blanks, and nothing that is empty."""
        found = {
            "mode": str(self.mode),
            "cidr": self.cidr,
            "gateway": self.gateway,
            "serverIPAddr": self.server,
            "connectivity": self.connectivity,
            "outdated": self.outdated,
        }
        return json.dumps({key: value for key, value in found.items() if value}, separators=(",", ":"))


def _check_subnet(route: Layer3) -> None:
    """A prefix of length 0 once took a host's default route away (Harvester's issue 3615)."""
    try:
        network = ipaddress.ip_network(route.cidr, strict=False) if "/" in route.cidr else None
    except ValueError:
        network = None
    if network is None:
        raise ValueError(f"mode manual needs a cidr, and {route.cidr[:50]!r} is none")
    if not network.prefixlen:
        raise ValueError(f"{route.cidr} is no subnet: its prefix has length 0")
    try:
        ipaddress.ip_address(route.gateway)
    except ValueError:
        raise ValueError(f"mode manual needs a gateway, and {route.gateway[:50]!r} is no IP address") from None
