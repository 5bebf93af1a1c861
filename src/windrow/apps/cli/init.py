"""`windrow init`: the management network becomes Windrow's, over the very session one is logged in through."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import click

from windrow.apps.cli.change import Options, change
from windrow.apps.cli.options import confirm, dry_run, seconds
from windrow.apps.cli.output import gate, nothing_changed, print_yaml, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored
from windrow.apps.engine import look
from windrow.apps.known import known
from windrow.apps.round import Stored
from windrow.apps.round.carry_out import not_permitted
from windrow.apps.safe import seed
from windrow.compile import Compiled
from windrow.compile.routers import NOT_TAKEN, TAKEN, takes_routers
from windrow.model import names
from windrow.model.bonding import BondMode
from windrow.model.checkpoint import PROBE_S, Probe, ProbeKind
from windrow.model.cluster import Cluster
from windrow.model.facts import Nic
from windrow.model.host import ACCEPT_RA, MAIN_TABLE, HostState, Route
from windrow.model.objects import AddressMode
from windrow.model.problems import Problem, ProblemsError, Severity
from windrow.model.steps import Impact
from windrow.model.values import MTU_MAX, MTU_MIN, VID_MAX, Cidr, IfName
from windrow.model.wire import dump
from windrow.model.wire.hostnetworkconfig import parse_cidr
from windrow.plan import aged, given_back, normalise
from windrow.rules import Admitted, Sight, Wish
from windrow.rules.admit import named
from windrow.services import netmanagers
from windrow.services.clientid import Lessee, client_id
from windrow.services.filterrules import Reading
from windrow.store import boot
from windrow.store.leases import Leases, this_moment
from windrow.store.origin import forget_origin, read_origin, write_origin
from windrow.store.paths import Paths

EXAMPLES = """\b
Examples:
  windrow init --nic eth0 --dry-run             what it would do
  windrow init --nic eth0                       keep address, gateway and routes; move them to mgmt-br
  windrow init --nic eth0 --nic eth1 --mode 802.3ad
  windrow init --vlan 5 --address 192.0.2.10/24 --gateway 192.0.2.1
  windrow init --nic eth0 --nic eth1            later: add a NIC
  windrow init --undo                           the host as it was before the first init"""


def _addresses(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[Cidr, ...] | None:
    """Empty: DHCP."""
    if value is None or value == "dhcp":
        return None if value is None else ()
    try:
        return tuple(parse_cidr(part.strip()) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{error}: use dhcp, 192.0.2.10/24, or one of each family", ctx, param) from error


def _gateways(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    import ipaddress

    try:
        return None if value is None else tuple(str(ipaddress.ip_address(p.strip())) for p in value.split(",") if p)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command(epilog=EXAMPLES, short_help="Make this host's network Windrow's, over the session you are in")
@click.option(
    "--nic", "nics", multiple=True, metavar="NIC", help="A name, MAC or PCI address. May be given several times."
)
@click.option("--mode", type=click.Choice([str(m) for m in BondMode]), help="Of the bond; active-backup if not said.")
@click.option("--vlan", type=click.IntRange(0, VID_MAX), help="The VLAN of the address; 0: untagged.")
@click.option("--address", "addresses", callback=_addresses, metavar="dhcp|CIDR", help="Else the one that the NIC has.")
@click.option("--gateway", "gateways", callback=_gateways, metavar="IP", help="Else the one that is used now.")
@click.option("--mtu", type=click.IntRange(MTU_MIN, MTU_MAX))
@click.option(
    "--timeout",
    "allowed_s",
    default=f"{PROBE_S:.0f}s",
    show_default=True,
    callback=seconds,
    metavar="TIME",
    help="How long the gateway and the others asked may take to answer, before all is undone.",
)
@confirm
@click.option("--take-over", is_flag=True, help="I have seen who else manages these NICs, and that is settled.")
@click.option("--undo", "undoing", is_flag=True, help="Give the host back as it was before the first `windrow init`.")
@dry_run
@click.pass_obj
def init(
    session: Session,
    nics: tuple[str, ...],
    mode: str | None,
    vlan: int | None,
    addresses: tuple[Cidr, ...] | None,
    gateways: tuple[str, ...] | None,
    mtu: int | None,
    allowed_s: float,
    confirm_s: float | None,
    probes: tuple[Probe, ...],
    take_over: bool,
    undoing: bool,
    dry_run: bool,
) -> None:
    """Turn a plain host into a node: bond mgmt-bo of the NICs, bridge mgmt-br on it, and the host's address, gateway
    and routes there or on a VLAN of it. Sessions over the NIC go on.

    It is kept only if the gateway, and one of each kind of the others who answered before, answer afterwards;
    otherwise all is undone, also when this terminal or this process is gone. Run it again with other options to
    change NICs, mode, VLAN, address or MTU.
    """
    options = Options(
        dry_run=dry_run,
        max_impact=Impact.OUTAGE,
        confirm_s=confirm_s,
        allowed_s=allowed_s,
        probes=probes,
        consent=True,
        command="windrow init --undo" if undoing else "windrow init",
    )
    ask = seed.Ask(
        nics=nics,
        mode=BondMode(mode) if mode else None,
        vlan=vlan,
        addresses=addresses,
        gateways=gateways,
        mtu=mtu,
    )
    if undoing:
        if ask != seed.Ask():
            raise click.UsageError("--undo gives everything back as it was: it takes no other wishes")
        _give_back(session, options)
    else:
        _take(session, ask, options, take_over=take_over)


def _take(session: Session, ask: seed.Ask, options: Options, *, take_over: bool) -> None:
    """The objects are designed from a look of its own; nothing is written before the round has let them pass."""
    with nothing_changed(session.error_style), session.site() as site:
        if not session.permitted() and not options.dry_run:
            raise not_permitted()
        cluster, troubles = stored(session)
        gate([*troubles, *_forgotten(site.paths, site.node)], session.error_style)
        sight = named(look(site.kernel, site.node, known(site.paths)), cluster)
        dynamic = site.dynamic(site.kernel)
        known_as = partial(_client_id, site.paths, sight)
        planned = seed.design(cluster, sight.facts, sight.observed, ask, dynamic, known_as)
        fresh = [nic for nic in planned.nics if nic.master is None]
        others = _others(site.paths, fresh, sight)
        filtered = _filtered(site.filters([nic.name for nic in fresh]), options)
        problems = [*planned.problems, *_wireless(site.paths, planned.nics), *_managed(others, take_over), *filtered]
        gate(problems, session.error_style)
        origin = _origin(site.paths, sight, fresh, site.kernel.link_defaults(), first=planned.first)
    if options.dry_run:
        for obj in planned.objects:
            say("---")
            print_yaml(dump(obj))
    paths = Paths(session.root)

    def writing(_: Admitted) -> None:
        write_origin(paths, origin)
        if planned.leased is not None:
            Leases(paths).adopt(planned.leased, this_moment())

    options = replace(options, see=partial(_with_origin, origin), writing=writing)
    before = [cluster.objects.get(obj.ref) for obj in planned.objects]
    try:
        change(session, Wish(put=planned.objects), options)
    finally:
        if planned.first and not options.dry_run and _not_taken(session):
            forget_origin(paths)
            Leases(paths).forget(planned.host_network.interface)
    if before == list(planned.objects):
        return
    if planned.host_network.mode is AddressMode.DHCP and not options.dry_run:
        say("Its address is asked for by the agent: windrow agent")


def _client_id(paths: Paths, sight: Sight, nic: Nic, address: str) -> str:
    link, run = sight.observed.state.links[nic.name], sight.observed.runtime[nic.name]
    mac = link.mac or nic.mac
    found = client_id(Lessee(root=paths.root, nic=nic.name, ifindex=run.ifindex, mac=mac, address=address))
    return found.text if found is not None else ""


def _with_origin(origin: HostState, sight: Sight) -> Sight:
    """What is only written once the way back is on disk, and carried along by the plan that comes before."""
    return replace(sight, facts=replace(sight.facts, origin=origin))


def _node(session: Session, cluster: Cluster) -> str:
    return names.node_name(session.node, cluster.node_names)


def _not_taken(session: Session) -> bool:
    cluster, _ = stored(session)
    return seed.present(cluster, _node(session, cluster))[0] is None


def _forgotten(paths: Paths, node: str) -> list[Problem]:
    """The manifests are gone of a management network that is Windrow's: this is no first time, and what is wanted of it
    is not known."""
    disk = Stored(paths)
    lost, good = disk.found(time.time()).lost, disk.good()
    return [lost] if lost is not None and good is not None and seed.present(good, node)[0] is not None else []


# -- what is there ---------------------------------------------------------------------------------


def _others(paths: Paths, nics: list[Nic], sight: Sight) -> list[netmanagers.Manager]:
    runtime, root = sight.observed.runtime, paths.root
    return [m for nic in nics for m in netmanagers.managers(root, nic.name, runtime[nic.name].ifindex)]


def _managed(others: list[netmanagers.Manager], take_over: bool) -> list[Problem]:
    if not others:
        return []
    commands = "".join(f"\n        {c}" for c in dict.fromkeys(c for m in others for c in m.commands))
    hint = f"hand it over, then say --take-over:{commands}"
    if take_over:
        hint = "it may put its own address back, or take ours away, until it is told not to"
    return [
        Problem(
            code="managed-elsewhere",
            message=netmanagers.words(others),
            hint=hint,
            severity=Severity.WARNING if take_over else Severity.ERROR,
        )
    ]


def _wireless(paths: Paths, nics: tuple[Nic, ...]) -> list[Problem]:
    text = "is wireless: its access point takes frames of its own MAC address alone, so it can be in no bridge"
    found = [nic.name for nic in nics if netmanagers.wireless(paths.root, nic.name)]
    return [Problem(code="nic-wireless", message=f"{name} {text}", hint="use a wired NIC") for name in found]


SHOWN = 5
"""So many rules of a packet filter are written out."""


def _filtered(reading: Reading, options: Options) -> list[Problem]:
    """The gateway is asked outwards, which tells nothing of who may come in: a new connection does, or a person."""
    by_hand = options.confirm_s is not None and not options.probes
    anew = any(probe.kind is ProbeKind.INCOMING for probe in options.probes)
    settled = options.dry_run or by_hand or anew
    found = []
    if reading.rules:
        nics = ", ".join(sorted({rule.nic for rule in reading.rules}))
        shown = "".join(f"\n        {rule.program}: {rule.text}" for rule in reading.rules[:SHOWN])
        more = f"\n        and {len(reading.rules) - SHOWN} more" if len(reading.rules) > SHOWN else ""
        message = f"rules of the packet filter name {nics}; what comes in then is no longer for them:{shown}{more}"
        hint = (
            "make rules for mgmt-br beside them, then say --probe incoming: it is undone unless somebody opens a new "
            "connection to this host; or --confirm 60s, and confirm it from a new session"
        )
        found.append(Problem(code="filter-names-nic", message=message, hint=hint, severity=_unless(settled)))
    elif reading.unread and not reading.read:
        why = "; ".join(reason for _, reason in reading.unread)
        message = f"whether rules of a packet filter name these NICs cannot be told: {why}"
        hint = "if there are any, say --probe incoming, or --confirm 60s and confirm it from a new session"
        found.append(Problem(code="filter-unread", message=message, hint=hint, severity=Severity.WARNING))
    return found


def _unless(settled: bool) -> Severity:
    return Severity.WARNING if settled else Severity.ERROR


def _origin(paths: Paths, sight: Sight, fresh: list[Nic], usual: Mapping[str, str], *, first: bool) -> HostState:
    """The NICs that are taken now, as they are; those that were taken before stay as they were found."""
    now = normalise(sight.observed, frozenset(nic.name for nic in fresh))
    links = {nic.name: now.links[nic.name] for nic in fresh if nic.name in now.links}
    links = {name: replace(link, settings=_own_settings(sight, name, usual)) for name, link in links.items()}
    routes = frozenset(r for r in now.routes if r.dev in links)
    rules = frozenset(r for r in sight.observed.state.rules if r.link in links)
    sysctls = dict(now.sysctls)
    if not first and (before := read_origin(paths)) is not None:
        links, routes, rules = {**links, **before.links}, routes | before.routes, rules | before.rules
        sysctls |= before.sysctls
    return HostState(links=links, routes=routes, rules=rules, sysctls=sysctls)


def _own_settings(sight: Sight, nic: IfName, usual: Mapping[str, str]) -> dict[str, str]:
    """What was set for the NIC itself: what every new link begins with need not be carried to another. Whether it took
    routers is always said: what it has itself depends on more than that one setting, and others on it."""
    found = sight.observed.state.links[nic].settings
    own = {key: value for key, value in found.items() if usual.get(key, value) != value}
    if ACCEPT_RA in found:
        own[ACCEPT_RA] = TAKEN if takes_routers(nic, sight.observed) else NOT_TAKEN
    return own


# -- back ------------------------------------------------------------------------------------------


def _stays_away(route: Route) -> Problem:
    table = "" if route.table == MAIN_TABLE else f" in table {route.table}"
    source = route.exact.source if route.exact else ""
    text = (
        f"the route to {route.dst}{table} does not come back: its source {source} is no address of this host any more"
    )
    hint = "add it again with another source, if it is still needed"
    return Problem(code="route-dropped", message=text, hint=hint, severity=Severity.WARNING)


def _give_back(session: Session, options: Options) -> None:
    paths = Paths(session.root)
    cluster, troubles = stored(session)
    with nothing_changed(session.error_style):
        gate([*troubles, *_forgotten(paths, session.node)], session.error_style)
    config, network = seed.present(cluster, _node(session, cluster))
    origin = read_origin(paths)
    if config is None or origin is None:
        text = (
            "this host's management network is not Windrow's" if config is None else "nothing is kept of what was here"
        )
        hint = "there is nothing to undo" if config is None else "set the network up by hand; then delete the objects"
        raise ProblemsError([Problem(code="no-origin", message=text, hint=hint)])
    gone = (config, network) if network is not None else (config,)

    def fit(compiled: Compiled, sight: Sight) -> Compiled:
        stay = (n for n in sight.facts.addrs if n not in origin.links and not sight.observed.owned(n))
        elsewhere = frozenset(a for n in stay for a in sight.facts.addrs[n])
        state, lost = given_back(compiled.state, aged(origin, boot.seconds()), elsewhere)
        return replace(compiled, state=state, problems=(*compiled.problems, *map(_stays_away, lost)))

    change(session, Wish(remove=gone), replace(options, fit=fit))
    if not options.dry_run and _not_taken(session):
        forget_origin(paths)
