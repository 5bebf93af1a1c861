"""`windrow adopt`: what another hand made becomes Windrow's, and no frame is touched; `--undo` hands it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import click

from windrow.adopt import PROGRAMS, Adoption, Ask, Claim, Text, as_adopted, design, read_claims, standing, unmarked
from windrow.apps.cli.adoptwords import adoption_text, claims_text, standing_text
from windrow.apps.cli.change import Options, change
from windrow.apps.cli.options import dry_run, max_impact_of
from windrow.apps.cli.output import complain, end_with, gate, nothing_changed, print_yaml, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import said_of, source_of, stored
from windrow.apps.engine import look
from windrow.apps.known import known
from windrow.apps.marking import give_back, mark
from windrow.apps.round import Policy, Report, Source, Stored, carry_out
from windrow.apps.round.carry_out import not_permitted
from windrow.apps.site import Site
from windrow.model.adopted import Adopted
from windrow.model.cluster import Cluster
from windrow.model.host import Observed
from windrow.model.problems import Problem, ProblemsError, Severity, WindrowError, errors
from windrow.model.steps import Failure, Impact, Plan
from windrow.model.values import IfName
from windrow.model.wire import dump
from windrow.render.plan import plan_text, steps_text
from windrow.rules import AS_STORED, Sight, Wish
from windrow.rules.admit import named
from windrow.services.programfiles import read_files
from windrow.store.adopted import forget_adopted, read_adopted
from windrow.store.leases import Leases, this_moment

LIVE = "live"
SOURCES = (LIVE, "netplan", "networkd", "networkmanager", "ifupdown", "nmstate", "proxmox")

EXAMPLES = """\b
Examples:
  windrow adopt --dry-run                what can be adopted, its objects, and what would change
  windrow adopt                          every bridge with a bond: no frame is touched
  windrow adopt br0=oob                  that one, as cluster network oob
  windrow adopt br0 --from netplan       … and what to take out of netplan's files
  windrow adopt br0 --max-impact flap    … also where something has to change that costs a moment
  windrow adopt --stored                 the bonds and bridges that stored objects describe, as Harvester left them
  windrow adopt --undo                   hand all of it back"""


def _links(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[IfName, str]:
    """`br0`, `br0=oob`."""
    found: dict[IfName, str] = {}
    for value in values:
        link, equals, name = value.partition("=")
        if not link or (equals and not name):
            raise click.BadParameter(f"{value!r} is neither LINK nor LINK=NETWORK, such as br0 or br0=oob", ctx, param)
        if IfName(link) in found:
            raise click.BadParameter(f"{link} is named twice: it becomes one cluster network", ctx, param)
        found[IfName(link)] = name
    return found


@click.command(epilog=EXAMPLES, short_help="Make bonds and bridges of others Windrow's, without touching a frame")
@click.argument("links", nargs=-1, callback=_links, metavar="[LINK[=NETWORK]...]")
@click.option(
    "--from",
    "source",
    type=click.Choice(SOURCES),
    default=LIVE,
    show_default=True,
    help="Whose files are read beside the kernel; live: of whoever has files that speak of these links.",
)
@click.option(
    "--stored",
    "by_objects",
    is_flag=True,
    help="The links that stored objects, or a cluster's, describe, and that have the names which the objects give.",
)
@max_impact_of(Impact.HITLESS)
@click.option("--undo", "undoing", is_flag=True, help="Hand back what was adopted: no mark, no object of it is left.")
@dry_run
@click.pass_obj
def adopt(
    session: Session,
    links: dict[IfName, str],
    source: str,
    by_objects: bool,
    max_impact: str,
    undoing: bool,
    dry_run: bool,
) -> None:
    """Make bridges with a bond, which another program or hand made, cluster networks of Windrow's: their objects are
    written (ClusterNetwork, VlanConfig, HostNetworkConfig, NetworkAttachmentDefinition) and the links are marked. They
    keep their names until they are made anew, and also go by the ones that they have here (oob-br, oob-bo).

    What is there now counts, as the kernel has it. What no object can say is named, and so is what an object means
    beyond that and would change; if that costs more than --max-impact, nothing is done. The files of other programs
    are read for what has to be taken out of them, and none is written.

    With --stored the objects are there already, on this host or with --kubeconfig in a cluster, and Harvester's
    controller made what they say: the links are marked, and nothing is written.
    """
    given = links or source != LIVE
    if undoing:
        if given or by_objects:
            raise click.UsageError("--undo hands everything back: it takes no links, no --from and no --stored")
        _hand_back(session, dry_run=dry_run)
    elif by_objects:
        if given:
            raise click.UsageError("with --stored the objects say which links: it takes no links and no --from")
        _adopt_standing(session, Impact(max_impact), dry_run=dry_run)
    elif session.cluster is not None:
        raise click.UsageError("a cluster has its objects: windrow adopt --stored, or --undo")
    else:
        _adopt(session, links, source, Impact(max_impact), dry_run=dry_run)


def _adopt(session: Session, links: dict[IfName, str], source: str, worst: Impact, *, dry_run: bool) -> None:
    with nothing_changed(session.error_style), session.site() as site:
        if not session.permitted() and not dry_run:
            raise not_permitted()
        cluster, troubles = stored(session)
        gate(troubles, session.error_style)
        sight, adoption = designed(site, Ask(links=links), cluster)
        gate([*adoption.problems, *_nothing(adoption)], session.error_style)
        claims, unread = _claims(site, sight, adoption, source)
        complain([*unread, *_unsaid(claims)], session.error_style)
        report = _surveyed(session, site, adoption)
        say(adoption_text(adoption, session.style))
        _show_objects(adoption if dry_run else Adoption())
        _show(session, report, alone=dry_run)
        check_impact(report.plan, worst)
        if not dry_run:
            failure = _mark(site, adoption)
    try:
        if not dry_run:
            _told(session, failure)
            _do_the_rest(session, worst)
    finally:
        if claims:
            say(f"\n{claims_text(claims, session.style)}")


def _nothing(adoption: Adoption) -> list[Problem]:
    if adoption.networks or errors(adoption.problems):
        return []
    hint = "`windrow init` makes a management network of a plain NIC; windrow adopt --help says what can be adopted"
    return [Problem(code="nothing-to-adopt", message="no bridge with a bond is here that is not Windrow's", hint=hint)]


def designed(site: Site, ask: Ask, cluster: Cluster) -> tuple[Sight, Adoption]:
    """One look, and what it is in objects beside those of the cluster."""
    sight = named(look(site.kernel, site.node, known(site.paths)), cluster)
    return sight, design(cluster, sight.facts, sight.observed, ask, site.dynamic(site.kernel))


# -- what would change -----------------------------------------------------------------------------


def _surveyed(session: Session, site: Site, adoption: Adoption, source: Source | None = None) -> Report:
    """A round, without its hands, on the host as it will be once the links are marked. Raises ProblemsError."""
    policy = Policy(dry=True, explain=True, see=partial(seen_as_adopted, adoption))
    wish = Wish(put=adoption.objects) if adoption.objects else AS_STORED
    report = carry_out(site, Stored(site.paths, source), wish, policy)
    gate((*said_of(report.admitted, report.planned, ()), *report.plan.refusals), session.error_style)
    return report


def seen_as_adopted(adoption: Adoption, sight: Sight) -> Sight:
    """What will be seen once the links are marked."""
    observed, facts = as_adopted(sight.observed, sight.facts, adoption.marked, adoption.leases)
    return replace(sight, observed=observed, facts=facts)


def _standing(site: Site, source: Source | None) -> Adoption:
    """What stored objects speak of and is there without a mark. Raises ProblemsError."""
    seen: list[Observed] = []

    def as_marked(sight: Sight) -> Sight:
        seen.append(sight.observed)
        return seen_as_adopted(Adoption(marked=unmarked(sight.observed)), sight)

    report = carry_out(site, Stored(site.paths, source), AS_STORED, Policy(dry=True, explain=True, see=as_marked))
    return Adoption(marked=standing(report.whole.compiled.state, seen[0]))


def _adopt_standing(session: Session, worst: Impact, *, dry_run: bool) -> None:
    """Again and again, if need be: where nothing is left to mark, that is no mistake."""
    failure = None
    with nothing_changed(session.error_style), session.site() as site:
        if not session.permitted() and not dry_run:
            raise not_permitted()
        try:
            source = source_of(session, followed=True)
        except WindrowError:
            if Stored(site.paths).good() is None:
                raise
            # It was adopted before, or there was nothing to adopt: no start of its agent waits for an API server.
            say("the objects cannot be read: nothing is adopted, and the agent starts from this host's last good state")
            return
        adoption = _standing(site, source)
        if not adoption.marked:
            say("nothing to adopt: this host has no link that the objects describe and another program made")
            return
        report = _surveyed(session, site, adoption, source)
        say(standing_text(adoption))
        _show(session, report, alone=dry_run or session.cluster is not None)
        check_impact(report.plan, worst)
        if not dry_run:
            failure = _mark(site, adoption)
    if dry_run:
        return
    _told(session, failure, "windrow adopt --stored")
    if session.cluster is None:
        _do_the_rest(session, worst)


def _show_objects(adoption: Adoption) -> None:
    for obj in adoption.objects:
        say("---")
        print_yaml(dump(obj))
    if adoption.objects:
        say("---")


def _show(session: Session, report: Report, *, alone: bool) -> None:
    """`alone`: nobody carries it out now, who would say once more what it costs."""
    plan, style = report.plan, session.style
    if plan.empty:
        say("Nothing else changes: the links are marked, and that is all.")
    else:
        say("What its objects mean beyond what is there now, and so what changes:")
        say(plan_text(plan, node=session.node, style=style) if alone else f"{steps_text(plan, style)}\n")


def check_impact(plan: Plan, worst: Impact) -> None:
    """Raises ProblemsError."""
    if plan.impact.rank <= worst.rank:
        return
    dear = ", ".join(dict.fromkeys(step.link for step in plan.steps if step.impact.rank > worst.rank))
    text = f"what changes has impact {plan.impact.value} on {dear}, and --max-impact is {worst.value}"
    hint = f"--max-impact {plan.impact.value} has it done all the same; or make {dear} so first, when it costs nothing"
    raise ProblemsError([Problem(code="impact", message=text, hint=hint)])


# -- the files of others ---------------------------------------------------------------------------


def _claims(site: Site, sight: Sight, adoption: Adoption, source: str) -> tuple[list[Claim], list[Problem]]:
    """What is in the files of a program, or of all of them, about the links that are adopted."""
    links = [link for network in adoption.networks for link in network.links]
    macs = {name: nic.mac for name, nic in sight.facts.nics.items()}
    found: list[Claim] = []
    unread: list[Problem] = []
    for name in (source,) if source != LIVE else _each_once():
        texts, problems = read_files(site.paths.root, PROGRAMS[name].places)
        claims, wrong = read_claims(PROGRAMS[name], [Text(file=file, text=text) for file, text in texts], links, macs)
        found += claims
        unread += (*problems, *wrong)
    if source != LIVE and not found:
        places = ", ".join(f"/{place}" for place in PROGRAMS[source].places[:2])
        text = f"no file of {source} speaks of {', '.join(links)}"
        hint = f"looked for in {places}; without --from the files of all programs are looked through"
        unread.append(Problem(code="no-claim", message=text, hint=hint, severity=Severity.WARNING))
    return found, unread


def _each_once() -> list[str]:
    """Proxmox has ifupdown's files."""
    return [name for name in SOURCES if name not in (LIVE, "proxmox")]


def _unsaid(claims: Sequence[Claim]) -> list[Problem]:
    found = {
        (claim.file, setting.line): Problem(
            code="not-expressible",
            message=f"{setting.key}: {setting.value}: no object says this",
            hint="have it said elsewhere before this line is taken out, if it is needed",
            file=claim.file,
            line=setting.line,
            severity=Severity.WARNING,
        )
        for claim in claims
        for setting in claim.unsaid
    }
    return list(found.values())


# -- there and back --------------------------------------------------------------------------------


def _mark(site: Site, adoption: Adoption) -> Failure | None:
    for lease in adoption.leases:
        Leases(site.paths).adopt(lease, this_moment())
    return mark(site, adoption.objects, adoption.marked)


def _told(session: Session, failure: Failure | None, command: str = "windrow adopt") -> None:
    if failure is not None:
        back = "" if command.endswith("--undo") else ", or `windrow adopt --undo` to take all back"
        end_with(failure, session.error_style, f"what is left is recorded: run `{command}` again to go on{back}")


def _do_the_rest(session: Session, worst: Impact) -> None:
    """What the objects mean beyond what is there. Where that is refused or undone, the links are marked all the
    same."""
    try:
        change(session, AS_STORED, Options(max_impact=worst, command="windrow adopt", begun=True))
    except click.exceptions.Exit:
        text = "the links are marked, and what else was to change is not done: `windrow apply` does it, and takes "
        click.echo(f"{text}--probe and --confirm; `windrow adopt --undo` takes the marks back", err=True)
        raise


def _hand_back(session: Session, *, dry_run: bool) -> None:
    with nothing_changed(session.error_style), session.site() as site:
        adopted = read_adopted(site.paths)
        if not adopted.marked:
            hint = "`windrow init --undo` gives back what `windrow init` took"
            raise ProblemsError([Problem(code="not-adopted", message="nothing was adopted on this host", hint=hint)])
        wish = _without(session, site, adopted)
        if dry_run:
            for one in adopted.marked:
                say(f"{one.name} would go back as {one.link}")
            return
        ones, failure = give_back(site, adopted)
        for one in ones:
            say(f"{one.name} is no longer Windrow's: it is {one.link}")
    _told(session, failure, "windrow adopt --undo")
    if wish.touched:
        change(session, wish, Options(command="windrow adopt --undo"))
    for one in ones:
        Leases(site.paths).forget(one.name)
    forget_adopted(site.paths)


def _without(session: Session, site: Site, adopted: Adopted) -> Wish:
    """To remove the objects that were made for it; none, where those were there before. Raises ProblemsError where
    something still uses one of them."""
    if not adopted.objects:
        return AS_STORED
    cluster, troubles = stored(session)
    gate(troubles, session.error_style)
    wish = Wish(remove=tuple(cluster.objects[ref] for ref in adopted.objects if ref in cluster.objects))
    carry_out(site, Stored(site.paths), wish, Policy(dry=True, explain=True))
    return wish
