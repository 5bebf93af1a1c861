"""`windrow dhcp`: address pools, who has which address, and the configuration of servers that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from windrow.apps.cli.options import files
from windrow.apps.cli.output import complain, print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored, wish_for
from windrow.apps.dhcp.programs import DRIVERS
from windrow.apps.known import agent_status
from windrow.compile.pools import scopes, serving_nodes, waiting_problems
from windrow.dhcp import dnsmasq, isc, kea
from windrow.model.cluster import Cluster
from windrow.model.located import located
from windrow.model.pools import Scope, record_of
from windrow.model.problems import ProblemsError, WindrowError, errors
from windrow.render.tables import table
from windrow.rules import changes_to, check
from windrow.store.paths import Paths
from windrow.store.poolrecord import read_active, read_record, write_record

EXAMPLES = """\b
Examples:
  windrow dhcp status                              the pools, and who serves them
  windrow dhcp leases                              who has which address
  windrow dhcp config --format kea > kea-dhcp4.conf   the same for a server that is not Windrow's"""

FORMATS: dict[str, Callable[[Sequence[Scope]], str]] = {"dnsmasq": dnsmasq.whole, "kea": kea.text, "isc": isc.text}


@click.group(epilog=EXAMPLES, short_help="Show address pools, and write them for other DHCP servers")
def dhcp() -> None:
    """Address pools (IPPool): which MAC address has which address, and who serves it.

    The agent serves the pools of this node. Whoever has a DHCP server already gets its configuration here.
    """


@dhcp.command(
    short_help="Write the pools for a server that is not Windrow's",
    epilog="\b\nExit codes: 0 fine, 1 refused.",
)
@files(required=False)
@click.option("--format", "name", type=click.Choice(list(FORMATS)), required=True)
@click.option("--pool", "only", metavar="[NAMESPACE/]NAME", help="This pool alone.")
@click.option("--dry-run", is_flag=True, help="Do not record the addresses that are new in it.")
@click.pass_obj
def config(session: Session, places: tuple[str, ...], name: str, only: str | None, dry_run: bool) -> None:
    """Print the configuration of a DHCP server: each pool with its options and a reservation for each MAC address, and
    for nobody else.

    What it gives is recorded first, so that nobody's address changes when another machine comes.
    """
    paths, wish = Paths(session.root), wish_for(places)
    cluster, problems = stored(session)
    found = (*wish.problems, *check(cluster, changes_to(cluster, wish.put), unread=wish.unread))
    if errors(found):
        raise ProblemsError(found)
    cluster = cluster.replace(wish.put)
    every = scopes(cluster, read_record(paths))
    complain((*problems, *found, *located(tuple(waiting_problems(every)), cluster.objects)), session.error_style)
    chosen = _picked(every, only)
    if not dry_run and not places:
        write_record(paths, record_of(every))
    click.echo(FORMATS[name](chosen), nl=False)


def _picked(every: tuple[Scope, ...], only: str | None) -> tuple[Scope, ...]:
    """Raises WindrowError where there is none."""
    word = f"default/{only}" if only and "/" not in only else only
    chosen = tuple(scope for scope in every if word in (None, scope.pool.key))
    if chosen:
        return chosen
    there = ", ".join(scope.pool.key for scope in every)
    what = f"there is no pool {only}" if only else "there is no pool whose network is there"
    hint = f"there are {there}" if there else "store an IPPool: windrow apply -f FILE"
    raise WindrowError(f"{what}\n    hint: {hint}")


def _scopes(session: Session) -> tuple[Cluster, tuple[Scope, ...]]:
    cluster, problems = stored(session)
    complain(problems, session.error_style)
    found = scopes(cluster, read_record(Paths(session.root)))
    complain(located(tuple(waiting_problems(found)), cluster.objects), session.error_style)
    return cluster, found


_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")


@dhcp.command(short_help="Show the pools, and who serves them")
@_output
@click.pass_obj
def status(session: Session, output: str) -> None:
    """Show each pool: where it is, how many addresses are given and left, which nodes may serve it, and what happens
    here: this node serves it, stands by for another one, or is to serve it and has no server (the agent's log says
    why).
    """
    cluster, found = _scopes(session)
    nodes = [serving_nodes(s.pool, s.cluster_network, cluster, session.node) for s in found]
    rows = [(s, those, _here(s, those, session)) for s, those in zip(found, nodes, strict=True)]
    if output == "json":
        print_json({"pools": [_pool_value(*row) for row in rows]})
    elif rows:
        say(
            table(
                ("POOL", "NETWORK", "SUBNET", "INTERFACE", "SERVER", "USED", "AVAILABLE", "WAITING", "NODES", "HERE"),
                [
                    (
                        s.pool.key,
                        s.pool.network,
                        s.pool.cidr,
                        s.interface,
                        s.server,
                        str(len(s.reservations)),
                        str(s.available),
                        str(len(s.waiting)),
                        "paused" if s.pool.paused else ",".join(those),
                        here or "-",
                    )
                    for s, those, here in rows
                ],
            )
        )
    else:
        say("there is no pool")


def _here(scope: Scope, nodes: tuple[str, ...], session: Session) -> str:
    """What this node does about a pool; empty: it is not among those that may serve it."""
    paths = Paths(session.root)
    if session.node not in nodes:
        return ""
    if DRIVERS[scope.pool.program].running(paths.dhcp_servers / scope.interface) is not None:
        return "serves"
    waits = len(nodes) > 1 and scope.pool.key not in read_active(paths) and agent_status(paths) is not None
    return "stands by" if waits else "no server"


def _pool_value(scope: Scope, nodes: tuple[str, ...], here: str) -> dict[str, object]:
    return {
        "pool": scope.pool.key,
        "network": scope.pool.network,
        "subnet": scope.pool.cidr,
        "interface": scope.interface,
        "server": scope.server,
        "used": len(scope.reservations),
        "available": scope.available,
        "waiting": [
            {"mac": w.applicant.mac, "owner": str(w.applicant.owner), "reason": w.reason} for w in scope.waiting
        ],
        "paused": scope.pool.paused,
        "nodes": list(nodes),
        "here": here,
    }


@dhcp.command(short_help="Show who has which address")
@click.option("--pool", "only", metavar="[NAMESPACE/]NAME", help="Of this pool alone.")
@_output
@click.pass_obj
def leases(session: Session, only: str | None, output: str) -> None:
    """Show every address that is given: to which MAC address, for which machine."""
    _, found = _scopes(session)
    rows = [(s, r) for s in (_picked(found, only) if only else found) for r in s.reservations]
    if output == "json":
        print_json(
            {
                "leases": [
                    {
                        "pool": s.pool.key,
                        "address": r.address,
                        "mac": r.mac,
                        "hostname": r.hostname,
                        "owner": str(r.owner),
                    }
                    for s, r in rows
                ]
            }
        )
    elif rows:
        say(
            table(
                ("POOL", "ADDRESS", "MAC", "HOSTNAME", "FOR"),
                [(s.pool.key, r.address, str(r.mac), r.hostname, str(r.owner)) for s, r in rows],
            )
        )
    else:
        say("nobody has an address")
