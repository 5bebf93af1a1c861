"""`windrow overlay`: the addresses of pods, where nobody else gives them to nodes; flannel's devices, taken over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import click

from windrow.adopt import Adoption
from windrow.adopt.tunnels import taken_over, windrows
from windrow.apps.cli.adopt import check_impact, seen_as_adopted
from windrow.apps.cli.change import Options, change
from windrow.apps.cli.options import dry_run, max_impact_of
from windrow.apps.cli.output import aside, complain, end_with, gate, nothing_changed, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import said_of, source_of, stored
from windrow.apps.lock import HostLock
from windrow.apps.marking import LOCK_S, give_back, mark
from windrow.apps.round import Policy, Stored, carry_out
from windrow.apps.round.carry_out import not_permitted
from windrow.apps.site import Site
from windrow.compile.podcidrs import allotted
from windrow.model import names
from windrow.model.adopted import Adopted, AdoptedLink
from windrow.model.amend import merged
from windrow.model.cluster import Cluster
from windrow.model.overlay import BACKEND, PLACE, NetConf, encrypted_data, net_conf
from windrow.model.problems import Problem, ProblemsError
from windrow.model.steps import Failure, Impact, Plan
from windrow.model.wire import dump, yaml_text
from windrow.model.wire.node import write
from windrow.plan.policies import policy_unit
from windrow.policy.nft import without_tunnels
from windrow.render.plan import plan_text
from windrow.render.text import timestamp
from windrow.rules import AS_STORED
from windrow.store.adopted import read_adopted, write_adopted
from windrow.store.memory import read_memory
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow overlay podcidrs                         the Nodes without one, each with a part that is free
  windrow overlay podcidrs | windrow apply -f -    write it down
  windrow overlay key | windrow apply -f -         say this node's public key (encrypted, and without a cluster's API)
  windrow overlay adopt --dry-run                  what would change if flannel's device here were Windrow's
  windrow overlay adopt                            it is; then flanneld can go
  windrow overlay adopt --undo                     it is flanneld's again, which can be started first"""


@click.group(epilog=EXAMPLES, short_help="Give nodes their part of the overlay's network; take it over from flannel")
def overlay() -> None:
    """The overlay carries pods' packets from node to node, in VXLAN or WireGuard (docs/user/overlay.md).

    Each node needs a part of its network, `spec.podCIDRs`. Kubernetes gives it where it runs.
    """


@overlay.command(
    short_help="Print the Nodes without a podCIDR, each with one",
    epilog="\b\nExit codes: 0 fine, 1 refused.",
)
@click.pass_obj
def podcidrs(session: Session) -> None:
    """Print, as manifests, the Nodes that have no podCIDR, each with the first part that is free, in the order of their
    names. Nothing is written down before it is applied; then it stays.
    """
    cluster, conf = _configured(session)
    fresh = allotted(conf, cluster.nodes())
    if fresh:
        say("---\n".join(yaml_text(merged(dump(node), {"spec": write(node)})) for node in fresh))
    else:
        aside("every Node has its podCIDR")


@overlay.command(
    short_help="Print this Node with the public key of its encrypted tunnels",
    epilog="\b\nExit codes: 0 fine, 1 refused.",
)
@click.pass_obj
def key(session: Session) -> None:
    """Print this node's manifest with the annotation by which other nodes know its public key (an overlay of the type
    wireguard). The key is made where there is none yet, and kept. Where there is a cluster's API, the agent says it.
    """
    from windrow.apps.encryption import own_keys

    cluster, conf = _configured(session)
    if not conf.encrypted:
        text = f"the overlay is of the type {conf.backend}: it has no keys"
        raise ProblemsError([Problem(code="no-overlay", message=text, hint='"Backend": {"Type": "wireguard"}')])
    paths = Paths(session.root)
    with HostLock(paths):
        public = own_keys(paths).public
    data = {one.data: encrypted_data(public, conf.port_of(one)) for one in conf.families}
    said = {BACKEND: conf.backend, **{key: json.dumps(one, separators=(",", ":")) for key, one in data.items()}}
    say(yaml_text(merged(dump(cluster.node(session.node)), {"metadata": {"annotations": said}})))


def _configured(session: Session) -> tuple[Cluster, NetConf]:
    """Raises ProblemsError: there is no overlay."""
    cluster, problems = stored(session)
    complain(problems, session.error_style)
    conf = net_conf(cluster.cluster_network(names.MGMT))
    if conf is None:
        hint = f"say its network first: ClusterNetwork {names.MGMT}, {PLACE}"
        raise ProblemsError([Problem(code="no-overlay", message="there is no overlay", hint=hint)])
    return cluster, conf


# -- flannel's devices -----------------------------------------------------------------------------


@overlay.command(
    short_help="Take this node's overlay over from flanneld, under traffic; --undo gives it back",
    epilog="\b\nExit codes: 0 fine, 1 refused, or not all of it is done.",
)
@max_impact_of(Impact.HITLESS)
@click.option("--undo", "undoing", is_flag=True, help="Leave the devices to flanneld, with all that leads over them.")
@dry_run
@click.pass_obj
def adopt(session: Session, max_impact: str, undoing: bool, dry_run: bool) -> None:
    """Make the tunnel devices of the overlay that flanneld made on this node Windrow's, as they are, with their MAC
    addresses, and all that leads over them. No packet is lost; flanneld can be stopped before or after it.

    It is about this node alone: nodes of flanneld and of Windrow are one overlay. What is not as Windrow would have
    made it is changed; if that costs more than --max-impact, nothing is done.
    """
    _, conf = _configured(session)
    if not session.permitted() and not dry_run:
        raise not_permitted()
    if undoing:
        _give_back(session, conf, dry_run=dry_run)
    else:
        _take_over(session, conf, Impact(max_impact), dry_run=dry_run)


def _take_over(session: Session, conf: NetConf, worst: Impact, *, dry_run: bool) -> None:
    with nothing_changed(session.error_style), session.site() as site:
        seen = site.kernel.observe()
        marked, problems = taken_over(conf, seen)
        gate(problems, session.error_style)
        if not marked:
            adopted = read_adopted(site.paths)
            _already(windrows(conf, seen, adopted), adopted)
            return
        plan = _surveyed(session, site, marked)
        if not plan.empty:
            say("What is not as Windrow would have made it, and so what changes:")
            say(plan_text(plan, node=session.node, style=session.style))
        check_impact(plan, worst)
        failure = mark(site, (), marked) if not dry_run else None
    _told(session, marked, failure, "would be Windrow's" if dry_run else "is Windrow's")
    if dry_run:
        return
    if session.cluster is None:
        change(session, AS_STORED, Options(max_impact=worst, command="windrow overlay adopt"))
    else:
        aside("the agent does what is left")


def _already(ones: Sequence[AdoptedLink], adopted: Adopted) -> None:
    """What is so already is no error."""
    for one in ones:
        since = f" at {timestamp(one.at)}" if one.at else ""
        taken = f"taken over from flanneld{since}" if one in adopted.marked else "which made it"
        say(f"{one.name} is Windrow's already, {taken}: nothing to do")
    aside("flanneld is no longer needed on this node; `windrow overlay adopt --undo` leaves the devices to it")


def _surveyed(session: Session, site: Site, marked: Sequence[AdoptedLink]) -> Plan:
    """What a round would do about the devices on the host as it will be once they are marked. Raises ProblemsError."""
    policy = Policy(dry=True, explain=True, see=partial(seen_as_adopted, Adoption(marked=tuple(marked))))
    report = carry_out(site, Stored(site.paths, source_of(session)), AS_STORED, policy)
    devices = {one.name for one in marked}
    plan = replace(report.plan, units=tuple(unit for unit in report.plan.units if devices & set(unit.links)))
    gate((*said_of(report.admitted, report.planned, ()), *plan.refusals), session.error_style)
    return plan


def _give_back(session: Session, conf: NetConf, *, dry_run: bool) -> None:
    with nothing_changed(session.error_style), session.site() as site:
        adopted = read_adopted(site.paths)
        ones = windrows(conf, site.kernel.observe(), adopted)
        if not ones:
            hint = "windrow status says whose it is"
            text = "no device of the overlay is Windrow's on this node"
            raise ProblemsError([Problem(code="not-adopted", message=text, hint=hint)])
        failure = None
        if not dry_run:
            failure = _let_strangers_in(site) or give_back(site, Adopted(marked=ones))[1]
            if failure is None:  # else the next try has to know the group that each had
                _forget(site.paths, adopted, ones)
    _told(session, ones, failure, "would be left to flanneld" if dry_run else "is left to flanneld")


def _let_strangers_in(site: Site) -> Failure | None:
    """Take the rules against forged packets away: they know the nodes of now, and flanneld tells them of no others. An
    agent that runs would do so, too, once the devices are not Windrow's; there may be none."""
    with HostLock(site.paths, timeout_s=LOCK_S):
        table = site.kernel.policies(policed=read_memory(site.paths).policed).table
        wanted = without_tunnels(table) if table is not None else None
        return site.kernel.run(policy_unit(wanted, table).steps)


def _forget(paths: Paths, adopted: Adopted, gone: Sequence[AdoptedLink]) -> None:
    """Raises StoreError."""
    devices = {one.name for one in gone}
    left = tuple(one for one in adopted.marked if one.name not in devices)
    write_adopted(paths, replace(adopted, marked=left))


def _told(session: Session, ones: Sequence[AdoptedLink], failure: Failure | None, words: str) -> None:
    if failure is not None:
        end_with(failure, session.error_style)
    say("\n".join(f"{one.name} {words}" for one in ones))
