"""The same things as data: what `-o json` prints. Keys are stable; a new one may come, none goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, assert_never

from windrow.model.host import (
    Bond,
    Bridge,
    BridgePort,
    FdbEntry,
    Link,
    LinkFlags,
    LinkSpec,
    Other,
    Peer,
    PortVlans,
    Route,
    Snooping,
    VlanIf,
    Vxlan,
    Wireguard,
)
from windrow.model.problems import Problem
from windrow.model.steps import (
    Action,
    AddAddr,
    AddFdb,
    AddNeighbour,
    AddRoute,
    AddRule,
    Adopt,
    AskAddr,
    AwaitCarrier,
    CreateLink,
    DelAddr,
    DeleteLink,
    DelFdb,
    DelNeighbour,
    DelRoute,
    DelRule,
    Delta,
    Disown,
    DropFilter,
    DropPeer,
    Failure,
    Plan,
    PutPeer,
    RenameLink,
    SetBond,
    SetBridge,
    SetFilter,
    SetLink,
    SetMark,
    SetMaster,
    SetPolicies,
    SetPort,
    SetSlave,
    SetSnooping,
    SetSysctl,
    SetVlanFlags,
    SetVlans,
    SetVxlan,
    SetWireguard,
    Step,
    Unit,
)
from windrow.model.values import Ref, VidSet

API_VERSION = "windrow/v1"


def document(kind: str, **body: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, **body}


def plan_value(plan: Plan, *, node: str, problems: Iterable[Problem] = ()) -> dict[str, Any]:
    return document(
        "Plan",
        node=node,
        empty=plan.empty,
        impact=plan.impact.value,
        units=[unit_value(unit) for unit in plan.units],
        refusals=[problem_value(p) for p in plan.refusals],
        problems=[problem_value(p) for p in problems],
    )


def unit_value(unit: Unit) -> dict[str, Any]:
    return {
        "links": list(unit.links),
        "impact": unit.impact.value,
        "steps": [step_value(step) for step in unit.steps],
        "refusals": [problem_value(p) for p in unit.refusals],
        "differences": [delta_value(d) for d in unit.deltas],
    }


def step_value(step: Step) -> dict[str, Any]:
    return {
        "phase": step.phase.name.lower().replace("_", "-"),
        "link": step.link,
        "action": action_value(step.action),
        "why": ref_value(step.why),
        "impact": step.impact.value,
        "note": step.note,
        "joined": step.joined,
    }


def action_value(action: Action) -> dict[str, Any]:
    """`{"name": "set-master", "master": "oob-bo"}`; what is left as it is does not appear."""
    match action:
        case CreateLink(link=link):
            return {"name": "create-link", "link": link_value(link)}
        case DeleteLink():
            return {"name": "delete-link"}
        case RenameLink(to=to):
            return {"name": "rename-link", "to": to}
        case SetLink():
            return {"name": "set-link", **_given(action)}
        case SetMark() | Adopt() | Disown():
            return _mark_value(action)
        case SetBond() | SetBridge() | SetPort() | SetSlave() | SetVlanFlags() | SetVxlan() | SetWireguard():
            return _options_value(action)
        case SetMaster(master=master):
            return {"name": "set-master", "master": master}
        case SetVlans():
            add, remove = vlans_value(action.add), str(action.remove)
            return {"name": "set-vlans", "add": add, "remove": remove, "self": action.on_self}
        case SetSnooping(snooping=snooping, others=others):
            return {"name": "set-snooping", **plain(snooping), "others": str(others)}
        case AddNeighbour() | DelNeighbour() | AddFdb() | DelFdb() | PutPeer() | DropPeer():
            return _neighbour_value(action)
        case AskAddr() | AddAddr() | DelAddr() | AddRoute() | DelRoute() | AddRule() | DelRule():
            return _layer_3_value(action)
        case SetSysctl(key=key, value=value):
            return {"name": "set-sysctl", "key": key, "value": value}
        case SetFilter(filter=wanted, parts=parts):
            return {"name": "set-filter", "parts": {part: wanted.parts[part] for part in parts}}
        case DropFilter(filter=gone):
            return {"name": "drop-filter", "containerID": gone.container_id, "interface": gone.ifname}
        case SetPolicies(table=wanted):
            return {"name": "set-policies", "chains": len(wanted.chains), "sets": len(wanted.sets)}
        case AwaitCarrier(timeout_ms=timeout, settle_ms=settle):
            return {"name": "await-carrier", "timeoutMs": timeout, "settleMs": settle}
        case _:
            assert_never(action)


def _neighbour_value(action: AddNeighbour | DelNeighbour | AddFdb | DelFdb | PutPeer | DropPeer) -> dict[str, Any]:
    match action:
        case AddNeighbour(neighbour=one):
            return {"name": "add-neighbor", "address": one.address, "mac": one.mac}
        case DelNeighbour(neighbour=one):
            return {"name": "delete-neighbor", "address": one.address, "mac": one.mac}
        case AddFdb(entry=entry):
            return {"name": "add-fdb", **plain(entry)}
        case DelFdb(entry=entry):
            return {"name": "delete-fdb", **plain(entry)}
        case PutPeer(peer=peer):
            return {"name": "put-peer", **_given(peer)}
        case DropPeer(peer=peer):
            return {"name": "drop-peer", **_given(peer)}
        case _:
            assert_never(action)


def _layer_3_value(action: AskAddr | AddAddr | DelAddr | AddRoute | DelRoute | AddRule | DelRule) -> dict[str, Any]:
    match action:
        case AskAddr(addr=addr):
            return {"name": "ask-address", "address": addr}
        case AddAddr(addr=addr):
            return {"name": "add-address", "address": addr}
        case DelAddr(addr=addr):
            return {"name": "delete-address", "address": addr}
        case AddRoute(route=route):
            return {"name": "add-route", **route_value(route)}
        case DelRoute(route=route):
            return {"name": "delete-route", **route_value(route)}
        case AddRule(rule=rule):
            return {"name": "add-rule", "iif": rule.iif, "oif": rule.oif}
        case DelRule(rule=rule):
            return {"name": "delete-rule", "iif": rule.iif, "oif": rule.oif}
        case _:
            assert_never(action)


def _mark_value(action: SetMark | Adopt | Disown) -> dict[str, Any]:
    match action:
        case SetMark(group=group, name=name, stale=stale):
            return {"name": "set-mark", "group": group, "altname": name, "stale": list(stale)}
        case Adopt(name=name):
            return {"name": "adopt", "as": name}
        case Disown(own=own, group=group):
            return {"name": "disown", "link": own, "group": group}
        case _:
            assert_never(action)


def _options_value(
    action: SetBond | SetBridge | SetPort | SetSlave | SetVlanFlags | SetVxlan | SetWireguard,
) -> dict[str, Any]:
    match action:
        case SetBond(options=options):
            return {"name": "set-bond", "options": _given(options)}
        case SetBridge(options=options):
            return {"name": "set-bridge", "options": _given(options)}
        case SetPort(options=options):
            return {"name": "set-port", **_given(options)}
        case SetSlave(prio=prio):
            return {"name": "set-slave", "prio": prio}
        case SetVlanFlags(flags=flags):
            return {"name": "set-vlan-flags", "flags": sorted(flags)}
        case SetVxlan():
            return {"name": "set-vxlan", **_given(action)}
        case SetWireguard(port=port):
            return {"name": "set-wireguard", "port": port}
        case _:
            assert_never(action)


def route_value(route: Route) -> dict[str, Any]:
    return {"to": route.dst, "via": route.gateway, "dev": route.dev, "metric": route.metric}


def link_value(link: Link) -> dict[str, Any]:
    found = {
        "name": link.name,
        "kind": link.kind,
        **spec_value(link.spec),
        "up": link.up,
        "mtu": link.mtu,
        "mac": link.mac,
        "txqlen": link.txqlen,
        "promisc": link.promisc,
        "master": link.master,
        "vlans": vlans_value(link.vlans) if link.vlans else None,
        "port": _given(link.port) if link.port else None,
        "flags": _given(link.flags) if link.flags else None,
        "slavePrio": link.slave_prio,
        "selfVlans": vlans_value(link.self_vlans) if link.self_vlans else None,
        "snooping": plain(link.snooping) if link.snooping and link.snooping.all else None,
        "fdb": plain(link.fdb) if link.fdb is not None else None,
        "peers": plain(link.peers) if link.peers is not None else None,
        "addresses": sorted(link.addrs) if link.addrs is not None else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def spec_value(spec: LinkSpec) -> dict[str, Any]:
    match spec:
        case Bond():
            return {"bond": _given(spec)}
        case Bridge():
            return {"bridge": _given(spec)}
        case VlanIf(parent=parent, vid=vid, flags=flags):
            return {"parent": parent, "vid": vid, **({} if flags is None else {"vlanFlags": sorted(flags)})}
        case Vxlan():
            return {"vxlan": _given(spec)}
        case Wireguard():
            return {"wireguard": _given(spec)}
        case Other(parent=parent):
            return {"parent": parent}
        case _:
            assert_never(spec)


def vlans_value(vlans: PortVlans) -> dict[str, Any]:
    return {"pvid": vlans.pvid, "untagged": str(vlans.untagged), "tagged": str(vlans.tagged)}


def ref_value(ref: Ref) -> dict[str, str]:
    found = {"kind": ref.kind, "name": ref.name}
    return {**found, "namespace": ref.namespace} if ref.namespace else found


def problem_value(problem: Problem) -> dict[str, Any]:
    return {
        "severity": problem.severity.value,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "path": problem.path,
        "about": ref_value(problem.about) if problem.about else None,
        "file": problem.file,
        "line": problem.line,
    }


def failure_value(failure: Failure) -> dict[str, Any]:
    return {
        "step": step_value(failure.step),
        "errno": failure.errno,
        "reason": failure.reason,
        "extack": failure.extack,
    }


def delta_value(delta: Delta) -> dict[str, Any]:
    return {
        "link": delta.link,
        "field": delta.field,
        "have": plain(delta.have),
        "want": plain(delta.want),
        "change": delta.change.value,
        "why": ref_value(delta.why) if delta.why else None,
    }


def plain(value: object) -> Any:
    """Any value of the model as JSON has it."""
    match value:
        case Link():
            return link_value(value)
        case PortVlans():
            return vlans_value(value)
        case VidSet():
            return str(value)
        case Snooping(snooped=snooped, asked=asked):
            return {"snooped": str(snooped), "asked": str(asked)}
        case FdbEntry(mac=mac, dst=dst):
            return {"mac": mac, "dst": dst}
        case Bond() | Bridge() | VlanIf() | Vxlan() | Wireguard() | Other():
            return spec_value(value)
        case Peer():
            return _given(value)
        case LinkFlags() | BridgePort():
            return _given(value)
        case Route():
            return route_value(value)
        case Enum():
            return value.value
        case frozenset():
            return sorted((plain(v) for v in value), key=str)
        case tuple() | list():
            return [plain(v) for v in value]
        case Mapping():
            return {str(k): plain(v) for k, v in value.items()}
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)


def _given(
    value: Bond | Bridge | BridgePort | Vxlan | Wireguard | Peer | LinkFlags | SetLink | SetVxlan,
) -> dict[str, Any]:
    """The fields that are not None."""
    found = {f.name: getattr(value, f.name) for f in fields(value)}
    return {name: plain(v) for name, v in found.items() if v is not None}
