"""An observed host as a stable text table, for expected texts in tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from windrow.model.bonding import OPTIONS
from windrow.model.host import (
    OWNER_GROUP,
    Bond,
    Bridge,
    Link,
    LinkSpec,
    Observed,
    Other,
    PortVlans,
    VlanIf,
    Vxlan,
    Wireguard,
)
from windrow.model.values import IfName


def table(observed: Observed, names: Iterable[str] | None = None) -> str:
    """One line per link, in the order of their names; then routes and sysctls. Without ifindexes."""
    chosen = sorted(observed.state.links if names is None else names)
    rows = [_row(observed, observed.state.links[IfName(n)]) for n in chosen]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    routes = sorted(observed.state.routes, key=lambda r: (r.dst, r.dev or "", r.metric))
    lines += (f"route {r.dst}{f' via {r.gateway}' if r.gateway else ''} dev {r.dev}" for r in routes)
    lines += (f"sysctl {key} = {value}" for key, value in sorted(observed.state.sysctls.items()))
    return "\n".join(lines) + "\n"


def _row(observed: Observed, link: Link) -> tuple[str, ...]:
    runtime = observed.runtime[link.name]
    state = ("up" if runtime.carrier else "no-carrier") if link.up else "down"
    details = [
        "ours" if runtime.group == OWNER_GROUP else "",
        "promisc" if link.promisc else "",
        _said(link.spec),
        f"vlans {_vlans(link.vlans)}" if link.vlans is not None else "",
        f"self {_vlans(link.self_vlans)}" if link.self_vlans is not None else "",
        " ".join(sorted(link.addrs or ())),
        " ".join(f"{', '.join(peer.allowed)} behind {peer.address}" for peer in sorted(link.peers or ())),
        " ".join(f"{entry.mac} behind {entry.dst}" for entry in sorted(link.fdb or ())),
    ]
    place = f"in {link.master}" if link.master else f"on {link.parent}" if link.parent else ""
    return (link.name, link.kind, state, str(link.mtu), link.mac or "", place, ", ".join(filter(None, details)))


def _said(spec: LinkSpec) -> str:
    """A bond's options that are not the kernel's defaults."""
    match spec:
        case Bond():
            shown = [str(spec.mode)]
            for name, option in OPTIONS.items():
                value = getattr(spec, name)
                default = "" if option.default is None else option.default
                if name != "mode" and value is not None and value != default:
                    shown.append(f"{name}={' '.join(value) if isinstance(value, tuple) else value}")
            return " ".join(shown)
        case Bridge():
            flags: Mapping[str, bool | None] = {"filtering": spec.vlan_filtering, "stp": spec.stp}
            return " ".join(name for name, on in flags.items() if on)
        case VlanIf(vid=vid):
            return f"vid {vid}"
        case Vxlan(vni=vni, local=local):
            return f"vni {vni} from {local}"
        case Wireguard(port=port):
            return f"port {port}"
        case Other():
            return ""


def _vlans(vlans: PortVlans) -> str:
    """`1* 100 200u`: the PVID has a star, an untagged VID a u (the PVID is untagged unless it has a t)."""
    if len(vlans.all) > 12:
        return f"pvid {vlans.pvid or '-'} untagged {vlans.untagged or '-'} tagged {vlans.tagged}"
    return " ".join(f"{vid}{_mark(vlans, vid)}" for vid in vlans.all) or "none"


def _mark(vlans: PortVlans, vid: int) -> str:
    if vid == vlans.pvid:
        return "*" if vid in vlans.untagged else "*t"
    return "u" if vid in vlans.untagged else ""
