"""A port that a CNI call made: the record that makes it part of what a host should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from windrow.model.filters import PortFilter
from windrow.model.lazy import dataclass
from windrow.model.portguards import PortGuards
from windrow.model.values import PORT_GROUP as PORT_GROUP
from windrow.model.values import RTPROT_STATIC, IfName, Mac, PortVlans, Ref, printable

if TYPE_CHECKING:
    from windrow.model.host import Observed, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRecord:
    """One port of a bridge, from before it is made until after it is gone. It lives on tmpfs, as the port does.

    `key`: container id and interface name, which together name an attachment (CNI specification, §Parameters).
    """

    container_id: str
    ifname: str
    """The name in the pod."""
    netns: str
    network: str
    """The `name` of the network configuration."""
    bridge: IfName
    host: IfName
    """The port itself: the host's end of the veth pair."""
    mac: Mac | None = None
    """The pod end's."""
    vlans: PortVlans | None = None
    """None: the bridge's default, nothing is managed."""
    isolated: bool | None = None
    """`portIsolation`; None: not managed, and `hairpin` likewise."""
    hairpin: bool | None = None
    pod: str = ""
    """`namespace/name` of the pod (or VM), where CNI_ARGS said it."""
    config: str = ""
    """The configuration as it came on standard input: GC undoes with it what DEL would have."""
    path: str = ""
    """CNI_PATH of the ADD."""
    args: str = ""
    """CNI_ARGS of the ADD."""
    spoof_check: bool = False
    """Only frames from `mac` come in by the port."""
    guards: PortGuards = PortGuards()
    any_source: bool = False
    """`ipspoofchk: false`: packets leave it from whatever address, also where policies keep others to their own."""
    addresses: tuple[str, ...] = ()
    """Those that the IPAM plugin gave, without prefixes; written down where a guard asks for them."""
    routed: tuple[str, ...] = ()
    """Of a point-to-point port: its addresses, to each of which a route of the host's leads over `bridge`, which is its
    own; written down once they do."""
    masquerade: tuple[str, ...] = ()
    """The addresses with prefixes that are masqueraded; written down once they are."""
    masquerade_by: str = ""
    """By what (`model.filters`)."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.container_id, self.ifname)

    @property
    def ref(self) -> Ref:
        """The `why` of what is done to the port: `Port/default/web/net1`."""
        namespace, _, pod = printable(self.pod).rpartition("/")
        return Ref("Port", f"{pod or self.container_id[:SHORT_ID]}/{self.ifname}", namespace)

    @property
    def given(self) -> tuple[str, ...]:
        """The addresses, without prefixes, that the IPAM plugin gave, as far as any of it was written down."""
        return self.addresses or self.routed or tuple(cidr.partition("/")[0] for cidr in self.masquerade)

    @property
    def ways(self) -> tuple[Route, ...]:
        """The host's routes to a point-to-point port. They are nobody's by their protocol: they go with the bridge, and
        not because a plan, such as an undo's, knows nothing of the port."""
        if not self.routed:
            return ()
        from windrow.model.host import IP6_RT_PRIO_USER, Route  # most calls of a plugin have none

        return tuple(
            Route(
                dst=f"{address}/{128 if ':' in address else 32}",
                dev=self.bridge,
                metric=IP6_RT_PRIO_USER if ":" in address else 0,
                protocol=RTPROT_STATIC,
            )
            for address in self.routed
        )

    @property
    def filter(self) -> PortFilter | None:
        """What the packet filter is to do about the port; None: nothing."""
        if not self.spoof_check and not self.masquerade:
            return None
        return PortFilter(
            container_id=self.container_id,
            ifname=self.ifname,
            network=self.network,
            mac=self.mac if self.spoof_check else None,
            masquerade=self.masquerade,
            backend=self.masquerade_by,
            origin=self.ref,
        )

    @property
    def user(self) -> str:
        """Whose port it is, as people say it: `VM default/web`, `pod default/web`, `container 4f5ac1d2e3b0`."""
        namespace, slash, pod = printable(self.pod).rpartition("/")
        if pod.startswith(LAUNCHER) and self.container_id.startswith(MACHINE_ID):
            return f"VM {namespace}{slash}{pod.removeprefix(LAUNCHER)}"
        return f"pod {namespace}{slash}{pod}" if pod else f"container {self.container_id[:SHORT_ID]}"

    @property
    def endpoint(self) -> str:
        """What is at the other end of the cable: `VM default/web (net1)`."""
        return f"{self.user} ({self.ifname})"


def is_recorded(name: IfName, by_host: Mapping[IfName, PortRecord], observed: Observed) -> bool:
    """Whether a link that does not bear PORT_GROUP is a port all the same: a cable of the name that its record gives,
    in the bridge where that belongs, which nobody else marked."""
    record, link = by_host.get(name), observed.state.links.get(name)
    if record is None or link is None or link.kind != "veth" or link.master != record.bridge:
        return False
    return observed.runtime[name].group == 0


SHORT_ID = 12
"""As much of a container id as docker and podman print."""
LAUNCHER, MACHINE_ID = "virt-launcher-", "vm-"
"""How the pod of a machine that runs on this host is called, and how its container id begins."""
USERS_NAMED = 8


def endpoints(records: Iterable[PortRecord]) -> dict[str, str]:
    """By the name of the port, who is behind it."""
    return {record.host: record.endpoint for record in records}


def users(records: Iterable[PortRecord]) -> str:
    """`VM default/a (net1, net2), pod default/b (eth1)`, by name; at most `USERS_NAMED` of them."""
    found: dict[str, list[str]] = {}
    for record in sorted(records, key=lambda r: (r.user, r.ifname)):
        found.setdefault(record.user, []).append(record.ifname)
    words = [f"{user} ({', '.join(names)})" for user, names in found.items()]
    more = [f"{len(words) - USERS_NAMED} more"] if len(words) > USERS_NAMED else []
    return ", ".join([*words[:USERS_NAMED], *more])
