"""A plan as text: what is done, to which link, why, and what it costs. And a diff, and the progress of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import assert_never

from windrow.model.host import (
    MAIN_TABLE,
    Bond,
    Bridge,
    BridgePort,
    FdbEntry,
    Link,
    LinkFlags,
    Peer,
    PortVlans,
    Route,
    Rule,
    Snooping,
    StaticNeighbour,
    VlanIf,
    Vxlan,
    Wireguard,
)
from windrow.model.ports import SHORT_ID
from windrow.model.problems import Problem, Severity, errors
from windrow.model.ruletable import RuleTable
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
    Impact,
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
from windrow.model.values import Ref
from windrow.render.text import PLAIN, Style, pad, plural, width

TEXT_COLUMNS = 64
"""A longer text pushes what follows it in its line, and not in all others."""

COSTS = {
    Impact.NONE: "nothing is carried yet",
    Impact.HITLESS: "no frame is lost",
    Impact.FLAP: "up to a second without traffic",
    Impact.OUTAGE: "traffic stops until the plan is through",
}
LASTING = "traffic stops, and does not come back with this plan"


def plan_text(
    plan: Plan, *, node: str, problems: Iterable[Problem] = (), style: Style = PLAIN, wrong: bool = False
) -> str:
    """The whole plan; ends with a summary line. `wrong`: see `summary`."""
    problems = tuple(problems)
    end = summary(plan, node=node, style=style, wrong=wrong or bool(errors(problems)))
    parts = ("\n".join(problems_lines(problems, style)), steps_text(plan, style), end)
    return "\n\n".join(filter(None, parts)) + "\n"


def steps_text(plan: Plan, style: Style = PLAIN) -> str:
    """What is done, and what is refused, unit by unit."""
    shown = ("\n".join(unit_lines(unit, style)) for unit in plan.units if unit.steps or unit.refusals)
    return "\n\n".join(shown)


def summary(plan: Plan, *, node: str, style: Style = PLAIN, wrong: bool = False) -> str:
    """`wrong`: there are errors, and what they are about is in no plan."""
    if plan.empty and wrong:
        return style.red(f"{node}: nothing to do but to put right what is wrong; until then that stays as it is.")
    if plan.empty:
        return style.green(f"{node} is as its manifests want it: nothing to do.")
    words = [plural(len(plan.steps), "step"), f"worst impact {price_words(plan, style)}"] if plan.steps else []
    refused = sum(1 for unit in plan.units if unit.refusals)
    if refused:
        words.append(style.red(f"{plural(refused, 'unit')} refused"))
    return f"{style.bold('Plan')} for {node}: " + ", ".join(words) + "."


def price_words(plan: Plan, style: Style = PLAIN) -> str:
    return f"{impact_mark(plan.impact, style)} ({cost(plan)})"


def cost(plan: Plan) -> str:
    return LASTING if plan.lasting else COSTS[plan.impact]


def impact_words(impact: Impact, style: Style = PLAIN) -> str:
    return f"{impact_mark(impact, style)} ({COSTS[impact]})"


def impact_mark(impact: Impact, style: Style = PLAIN) -> str:
    match impact:
        case Impact.NONE | Impact.HITLESS:
            return style.green(impact.value)
        case Impact.FLAP:
            return style.yellow(impact.value)
        case Impact.OUTAGE:
            return style.red(impact.value)
        case _:
            assert_never(impact)


def unit_lines(unit: Unit, style: Style = PLAIN) -> Iterator[str]:
    yield style.bold(_links_words(unit.links) or "this kernel")
    yield from (f"  {line}" for line in step_lines(unit.steps, style))
    for refusal in unit.refusals:
        first, *rest = problem_lines(refusal, style, sign="✗")
        yield from (f"  {line}" for line in (first, *rest))


LINKS_NAMED = 12


def _links_words(links: tuple[str, ...]) -> str:
    """A bridge that is made anew has all its machines' ports in its unit."""
    rest = len(links) - LINKS_NAMED
    return ", ".join([*links[:LINKS_NAMED], *([f"{rest} more"] if rest > 0 else [])])


def step_lines(steps: Iterable[Step], style: Style = PLAIN) -> list[str]:
    """`+ oob-br  create bridge, MTU 1500  VlanConfig/oob`, in columns."""
    rows = [(sign(s.action, style), s.link, words(s), reason(s), s.impact) for s in steps]
    links = max((width(r[1]) for r in rows), default=0)
    texts = min(max((width(r[2]) for r in rows), default=0), TEXT_COLUMNS)
    return [
        f"{mark} {pad(link, links + 2) if links else ''}{pad(text, texts)}  {style.dim(why)}{_price(impact, style)}"
        for mark, link, text, why, impact in rows
    ]


def _price(impact: Impact, style: Style) -> str:
    return "" if impact is Impact.NONE else f"  {impact_mark(impact, style)}"


def step_line(step: Step, failure: Failure | None = None, style: Style = PLAIN, link_width: int = 0) -> str:
    """One line of a run: `✓ oob-br  create bridge  (VlanConfig/oob)`."""
    mark = style.red("✗") if failure else style.green("✓")
    why = style.dim(f"({reason(step)})")
    return f"{mark} {pad(step.link, link_width)}  {words(step)}  {why}{_price(step.impact, style)}"


def why_words(why: Ref) -> str:
    return str(why) if why.name else "wanted by no object"


def reason(step: Step) -> str:
    return "every cluster network" if isinstance(step.action, SetSysctl) and not step.link else why_words(step.why)


def words(step: Step) -> str:
    text = action_words(step.action)
    return f"{text}: {step.note}" if step.note else text


def sign(action: Action, style: Style = PLAIN) -> str:
    match action:
        case CreateLink() | AddAddr() | AddNeighbour() | AddFdb() | PutPeer() | AddRoute() | AddRule():
            return style.green("+")
        case DeleteLink() | DelAddr() | DelNeighbour() | DelFdb() | DropPeer() | DelRoute() | DelRule() | DropFilter():
            return style.red("-")
        case _:
            return style.yellow("~")


def action_words(action: Action) -> str:
    match action:
        case CreateLink(link=link):
            return f"create {link_words(link)}"
        case DeleteLink():
            return "delete"
        case RenameLink(to=to):
            return f"rename to {to}"
        case SetLink():
            return ", ".join(_set_link(action))
        case SetMark() | Adopt() | Disown():
            return _mark_words(action)
        case SetBond() | SetBridge() | SetPort() | SetSlave() | SetVlanFlags() | SetVxlan() | SetWireguard():
            return _set_options(action)
        case SetMaster(master=None):
            return "leave its bond or bridge"
        case SetMaster(master=master):
            return f"join {master}"
        case SetVlans():
            return _set_vlans(action)
        case SetSnooping(snooping=snooping):
            return f"multicast snooping: {value_words(snooping)}"
        case AskAddr() | AddAddr() | DelAddr():
            return _address_words(action)
        case AddNeighbour() | DelNeighbour() | AddFdb() | DelFdb() | PutPeer() | DropPeer():
            return _neighbour_words(action)
        case AddRoute() | DelRoute() | AddRule() | DelRule():
            return _way_words(action)
        case SetSysctl(key=key, value=value):
            return f"sysctl {key}={value}"
        case SetFilter() | DropFilter() | SetPolicies():
            return _filter_words(action)
        case AwaitCarrier(timeout_ms=timeout):
            return f"wait for carrier, at most {timeout / 1000:g} s"
        case _:
            assert_never(action)


def _address_words(action: AskAddr | AddAddr | DelAddr) -> str:
    match action:
        case AskAddr(addr=addr):
            return f"ask whether somebody has {addr.partition('/')[0]}"
        case AddAddr(addr=addr):
            return f"add address {addr}"
        case DelAddr(addr=addr):
            return f"delete address {addr}"


def _neighbour_words(action: AddNeighbour | DelNeighbour | AddFdb | DelFdb | PutPeer | DropPeer) -> str:
    verb = "add" if isinstance(action, AddNeighbour | AddFdb | PutPeer) else "delete"
    match action:
        case AddNeighbour(neighbour=one) | DelNeighbour(neighbour=one):
            return f"{verb} neighbor {neighbour_words(one)}"
        case AddFdb(entry=entry) | DelFdb(entry=entry):
            return f"{verb} FDB entry {fdb_words(entry)}"
        case PutPeer(peer=peer) | DropPeer(peer=peer):
            return f"{verb} peer {peer_words(peer)}"


def _way_words(action: AddRoute | DelRoute | AddRule | DelRule) -> str:
    verb = "add" if isinstance(action, AddRoute | AddRule) else "delete"
    match action:
        case AddRoute(route=route) | DelRoute(route=route):
            return f"{verb} route {route_words(route)}"
        case AddRule(rule=rule) | DelRule(rule=rule):
            return f"{verb} rule {rule_words(rule)}"


def _filter_words(action: SetFilter | DropFilter | SetPolicies) -> str:
    match action:
        case SetFilter(filter=wanted, parts=parts):
            said = [f"{part} {wanted.parts[part]}" for part in parts]
            return f"rules of the packet filter: {'; '.join(said)}"
        case DropFilter(filter=gone):
            return f"take away the rules of {gone.ifname} of container {gone.container_id[:SHORT_ID]}, which is gone"
        case SetPolicies(table=wanted):
            return _policy_words(wanted)


def _policy_words(wanted: RuleTable) -> str:
    if wanted.empty:
        return "take away the rules of network policies and of the overlay: none are wanted any more"
    if not wanted.judges:
        return "rules against forged packets of the overlay, in one transaction"
    isolated, own = len({port for port, _ in wanted.guarded}), len({port for port, _ in wanted.own})
    more = f"; with guards of their own: {plural(own, 'port')}" if own else ""
    return f"rules of network policies, in one transaction; isolated: {plural(isolated, 'port')}{more}"


def _mark_words(action: SetMark | Adopt | Disown) -> str:
    match action:
        case SetMark():
            return "mark it as Windrow's"
        case Adopt(name=name):
            return f"make it Windrow's, as {name}"
        case Disown(own=own):
            return f"give it back, as {own}"


def _set_options(action: SetBond | SetBridge | SetPort | SetSlave | SetVlanFlags | SetVxlan | SetWireguard) -> str:
    match action:
        case SetBond(options=options) | SetBridge(options=options):
            return f"set {options_words(options)}"
        case SetPort(options=port):
            return f"as a port: {options_words(port)}"
        case SetSlave(prio=prio):
            return f"priority {prio} in its bond"
        case SetVlanFlags(flags=flags):
            return f"VLAN flags {value_words(flags)}"
        case SetVxlan():
            return f"set {options_words(action)}"
        case SetWireguard(port=port):
            return f"set port {port}, and the key of this host"
        case _:
            assert_never(action)


def peer_words(peer: Peer) -> str:
    return f"{peer.key[:8]}… at {peer.address} port {peer.port} for {', '.join(peer.allowed)}"


def route_words(route: Route) -> str:
    """`default via 192.0.2.1 metric 1024`, as ip-route(8) says it."""
    via = f" via {route.gateway}" if route.gateway else ""
    table = f" table {route.table}" if route.table != MAIN_TABLE else ""
    more = " …" if route.exact is not None else ""
    return f"{route.dst}{via}" + (f" metric {route.metric}" if route.metric else "") + table + more


def rule_words(rule: Rule) -> str:
    """`iif mgmt-br …`: what else it says is carried unread."""
    return " ".join([*(f"{word} {name}" for word, name in (("iif", rule.iif), ("oif", rule.oif)) if name), "…"])


def neighbour_words(one: StaticNeighbour) -> str:
    """As ip-neighbour(8) says it."""
    return f"proxy {one.address}" if one.mac is None else f"{one.address} lladdr {one.mac} permanent"


def fdb_words(entry: FdbEntry) -> str:
    """As bridge-fdb(8) says it."""
    return f"{entry.mac} dst {entry.dst}"


def _set_link(action: SetLink) -> Iterator[str]:
    if action.up is not None:
        yield "up" if action.up else "down"
    if action.mtu is not None:
        yield f"MTU {action.mtu}"
    if action.mac is not None:
        yield f"MAC {action.mac}"
    if action.txqlen is not None:
        yield f"txqlen {action.txqlen}"
    if action.promisc is not None:
        yield f"promiscuous {'on' if action.promisc else 'off'}"
    if action.flags is not None:
        yield options_words(action.flags)


def _set_vlans(action: SetVlans) -> str:
    add = []
    if action.add.untagged:
        add.append(f"untagged {action.add.untagged}")
    if action.add.tagged:
        add.append(f"tagged {action.add.tagged}")
    if action.add.pvid is not None:
        add.append(f"PVID {action.add.pvid}")
    parts = [f"add {', '.join(add)}"] if add else []
    if action.remove:
        parts.append(f"remove {action.remove}")
    return f"VLANs{' of the bridge itself' if action.on_self else ''}: {'; '.join(parts) or 'as they are'}"


def link_words(link: Link) -> str:
    """`bond 802.3ad, miimon 100, MTU 1500`: what was said, and not what the kernel fills in."""
    parts = []
    match link.spec:
        case Bond() | Bridge():
            parts += [options_words(link.spec, brief=True)]
        case VlanIf(parent=parent, vid=vid):
            parts += [f"{vid} on {parent}"]
        case Vxlan(vni=vni, port=port, local=local):
            parts += [f"{vni} port {port} from {local}"]
        case Wireguard(port=port):
            parts += [f"port {port}"]
        case _:
            pass
    if link.mtu is not None:
        parts.append(f"MTU {link.mtu}")
    if link.mac is not None:
        parts.append(f"MAC {link.mac}")
    text = ", ".join(filter(None, parts))
    return f"{link.kind} {text}" if text else link.kind


_BRIEF = ("mode", "miimon", "xmit_hash_policy", "lacp_rate", "primary", "vlan_filtering")


def options_words(options: Bond | Bridge | BridgePort | LinkFlags | SetVxlan, *, brief: bool = False) -> str:
    """`mode 802.3ad, miimon 100`, of a change also what is emptied: `primary none`; `brief`: only the options that
    people look for, where they are given."""
    found = [(f.name, getattr(options, f.name)) for f in fields(options)]
    given = [(n, v) for n, v in found if v is not None and (not brief or (v != "" and n in _BRIEF))]
    return ", ".join(f"{n if n != 'mode' or not brief else ''} {value_words(v)}".strip() for n, v in given)


def value_words(value: object) -> str:
    match value:
        case None | "":
            return "none"
        case bool():
            return "on" if value else "off"
        case tuple() | frozenset():
            return ",".join(sorted(map(_one_word, value))) or "none"
        case PortVlans():
            words = [f"untagged {value.untagged}"] if value.untagged else []
            words += [f"tagged {value.tagged}"] if value.tagged else []
            words += [f"PVID {value.pvid}"] if value.pvid is not None else []
            return ", ".join(words) or "none"
        case Snooping(snooped=snooped, asked=asked):
            querier = "" if snooped == asked else f", querier in {asked or 'none'}"
            return f"VLAN {snooped}{querier}" if value.all else "no VLAN by itself"
        case Link():
            return link_words(value)
        case Bond() | Bridge():
            return options_words(value, brief=True)
        case Route():
            return route_words(value)
        case _:
            return str(value)


def _one_word(value: object) -> str:
    match value:
        case Route():
            return route_words(value)
        case Rule():
            return rule_words(value)
        case StaticNeighbour():
            return neighbour_words(value)
        case FdbEntry():
            return fdb_words(value)
        case _:
            return str(value)


# -- problems --------------------------------------------------------------------------------------


def problems_lines(problems: Iterable[Problem], style: Style = PLAIN) -> Iterator[str]:
    for problem in problems:
        yield from problem_lines(problem, style)


def problem_lines(problem: Problem, style: Style = PLAIN, sign: str = "") -> Iterator[str]:
    """`error: oob.yaml:12: VlanConfig/oob: spec.uplink.nics[1]: …`, and its hint below."""
    error = problem.severity is Severity.ERROR
    colour = style.red if error else style.yellow
    head = colour(sign or f"{problem.severity.value}:")
    place = f"{problem.file}:{problem.line}" if problem.file and problem.line else problem.file
    parts = [p for p in (place, str(problem.about or ""), problem.path) if p]
    yield f"{head} " + ": ".join([*parts, problem.message])
    if problem.hint:
        yield f"    {style.cyan('hint:')} {problem.hint}"


# -- differences -----------------------------------------------------------------------------------


def diff_text(plan: Plan, style: Style = PLAIN) -> str:
    """Per link and attribute: what there is, and what there should be. Empty where nothing differs."""
    lines: list[str] = []
    last = ""
    for delta in (d for unit in plan.units for d in unit.deltas):
        if delta.link != last:
            last = delta.link
            lines.append(style.bold(delta.link) + style.dim(f"  ({why_words(delta.why)})" if delta.why else ""))
        lines += delta_lines(delta, style)
    for step in plan.steps:
        if isinstance(step.action, SetSysctl) and not step.link:
            lines += [style.bold(step.action.key), style.green(f"  + {step.action.value}")]
    return "\n".join(lines) + "\n" if lines else ""


def delta_lines(delta: Delta, style: Style = PLAIN) -> Iterator[str]:
    if delta.field == "link":
        if delta.want is None:
            yield style.red(f"  - {value_words(delta.have)}")
        else:
            yield style.green(f"  + {value_words(delta.want)}")
        return
    have, want = value_words(delta.have), value_words(delta.want)
    yield f"  {style.yellow('~')} {delta.field}: {style.red(have)} → {style.green(want)}"


# -- what became of it -----------------------------------------------------------------------------


def failure_lines(failure: Failure, style: Style = PLAIN) -> Iterator[str]:
    """Which step, why it was there, and what the kernel said."""
    step = failure.step
    yield style.red(f"error: {step.link}: {words(step)}: {failure.extack or failure.reason} [errno {failure.errno}]")
    if failure.extack and failure.reason:
        yield f"    the kernel's errno says: {failure.reason}"
    yield f"    wanted by {why_words(step.why)}"


ADVICE = {
    1: "this needs the capability CAP_NET_ADMIN: run it as root",
    16: "the link is in use: see who holds it with `ip -d link show`, then run `windrow apply` again",
    17: "something of that name is there already: see `ip -d link show`",
    19: "the link went away meanwhile: run `windrow apply` again",
    28: "the NIC has no room for more VLANs in its filter: `ethtool -k` shows rx-vlan-filter",
    34: "a value is outside what the driver allows: see its limits with `ip -d link show`",
    95: "this kernel or driver cannot do it: load the kernel module of that link kind",
    98: "find who has that MAC, and give one of the two another address; it is asked for again after a while",
    100: "the link below is down: bring it up, then run `windrow apply` again",
}
"""By errno: what to do. EPERM EBUSY EEXIST ENODEV ENOSPC ERANGE EOPNOTSUPP EADDRINUSE ENETDOWN."""


def advice(failure: Failure) -> str:
    return ADVICE.get(failure.errno, "put it right and run `windrow apply` again: it goes on from where it stopped")
