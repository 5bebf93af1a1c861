"""Whether a pod takes routers on a new interface, by their advertisements (RFC 4861).

Its first interface is as every new link is. A further one leads into a network of others, where a guest could make
himself the router of the whole pod; so it takes none, unless the configuration says `routerAdvertisements`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from windrow.apps.cni.bridges import quietly
from windrow.netlink import ports, sysctl
from windrow.netlink.enter import opened_inside
from windrow.netlink.sock import Rtnl
from windrow.port.bridge import BridgeConfig

_DEAF = {"accept_ra": "0"}
_ADDRESSES_ONLY = {"accept_ra_defrtr": "0", "accept_ra_rt_info_max_plen": "0"}
"""Neither a default route nor others (RFC 4191); addresses of its own (SLAAC), and what is on the link."""


def choose(config: BridgeConfig, ifname: str, pod: int) -> None:
    """Before the pod's interface comes up. `pod`: its namespace, an fd. Raises KernelError."""
    if config.routers is None and _is_first(ifname, pod):
        return
    settings = {"accept_ra": "2"} if config.routers else _DEAF
    if config.routers is None and not config.ipam:  # nobody else could give it an address
        settings = _ADDRESSES_ONLY

    opened_inside(pod, lambda: _put(ifname, settings))


@contextmanager
def none_of_new_links(ifname: str, pod: int) -> Iterator[None]:
    """While a plugin of others makes the pod's interface `ifname`, where that is a further one: every link begins with
    what `default` says. Addresses it may have, for nothing else may give it one. Raises KernelError."""
    before: dict[str, str] = {}
    if not _is_first(ifname, pod):
        before = opened_inside(pod, lambda: _values(_ADDRESSES_ONLY))
        opened_inside(pod, lambda: _put("default", _ADDRESSES_ONLY))
    try:
        yield
    finally:
        opened_inside(pod, lambda: _put("default", before))


def _values(names: Iterable[str]) -> dict[str, str]:
    """Those of `default` that this kernel has."""
    read = ((name, sysctl.read(f"net/ipv6/conf/default/{name}")) for name in names)
    return {name: value for name, value in read if value is not None}


def _put(link: str, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        quietly(f"net/ipv6/conf/{link}/{name}", value)


def _is_first(ifname: str, pod: int) -> bool:
    with opened_inside(pod, Rtnl) as in_pod:
        return not any(link.up and link.name not in ("lo", ifname) for link in ports.every(in_pod))
