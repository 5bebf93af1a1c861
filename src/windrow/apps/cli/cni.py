"""`windrow cni`: the plugins for container runtimes, and the server that makes them fast."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from windrow import __version__
from windrow.apps.cli.output import print_json, print_yaml, say
from windrow.apps.cli.session import Session, host_name
from windrow.model.problems import WindrowError
from windrow.render.text import plural
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.apps.cni.host import Host
    from windrow.apps.cni.install import Origin

EXAMPLES = """\b
Examples:
  windrow cni install --bin-dir /opt/cni/bin --conf-dir /etc/cni/net.d
  windrow cni serve                              answer the plugins' calls faster
  windrow cni status                             what is installed, and is the server alive?
  windrow cni list -o wide                       the ports of containers and VMs
  windrow cni check
  windrow cni gc --dry-run                       what is left of containers that are gone"""

DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group(epilog=EXAMPLES, short_help="Plugins for container runtimes, and their server")
def cni() -> None:
    """CNI plugins: `windrow-bridge` attaches a container to a bridge, `windrow` attaches it to all its networks.

    A container runtime calls them; they need neither a server nor an agent. Where `windrow cni serve` runs, it
    answers for them.
    """


# Installation -------------------------------------------------------------------------------------


@cni.command(
    short_help="Put the plugins where a container runtime looks for them",
    epilog="""\b
Examples:
  windrow cni install --bin-dir /opt/cni/bin
  windrow cni install --bin-dir /opt/cni/bin --conf-dir /etc/cni/net.d
  windrow cni install --bin-dir /usr/lib/cni --replace     existing `bridge` networks use it, too
  windrow cni install --bin-dir /opt/cni/bin --replace --with-multus
  windrow cni install --bin-dir /opt/cni/bin --with-server""",
)
@click.option("--bin-dir", type=DIRECTORY, required=True, metavar="DIR", help="Where the runtime looks for plugins.")
@click.option(
    "--conf-dir",
    type=DIRECTORY,
    metavar="DIR",
    help="Where it looks for networks: a configuration of the type `windrow` is written there, if there is none.",
)
@click.option("--replace", is_flag=True, help="Also as `bridge`. The one that is there is kept as `bridge.orig`.")
@click.option(
    "--with-multus",
    is_flag=True,
    help="Multus stays what the runtime calls: only the bridge plugin, which Multus calls.",
)
@click.option("--with-server", is_flag=True, help="Also write the systemd unit of `windrow cni serve`.")
@click.option("--no-compile", is_flag=True, help="Python scripts, even where there is a C compiler: 10 ms slower.")
@click.pass_obj
def install(
    session: Session,
    bin_dir: Path,
    conf_dir: Path | None,
    replace: bool,
    with_multus: bool,
    with_server: bool,
    no_compile: bool,
) -> None:
    """Put the plugins where a container runtime looks for them: `windrow-bridge` and `windrow`.

    They go on to work while Windrow and its Python stay where they are; after an update of Windrow, install them
    again. What is not Windrow's is never overwritten.
    """
    from windrow.apps.cni.install import install as put

    if with_multus and conf_dir:
        raise click.UsageError("--conf-dir has the runtime call Windrow, and --with-multus has it call Multus")
    for line in put(
        Paths(session.root),
        _origin(session),
        bin_dir,
        conf_dir=conf_dir,
        replace=replace,
        with_multus=with_multus,
        compiled=not no_compile,
    ):
        say(line)
    if with_server:
        from windrow.apps.cli import unitwords
        from windrow.apps.cni.unit import NAME, unit_text

        text = unit_text(unitwords.command(session, "cni", "serve"))
        say("\n".join(unitwords.put(unitwords.place(session, None) / NAME, text)))


def _origin(session: Session) -> Origin:
    """What differs from what a plugin would find by itself is written into it."""
    from windrow.apps.cni.install import Origin

    root = session.root.absolute()
    return Origin(root="" if root == Path("/") else str(root), node="" if session.node == host_name() else session.node)


@cni.command(short_help="Take the plugins away again")
@click.option("--bin-dir", "bin_dirs", type=DIRECTORY, multiple=True, metavar="DIR", help="Only from this directory.")
@click.option("--conf-dir", "conf_dirs", type=DIRECTORY, multiple=True, metavar="DIR", help="Only from this directory.")
@click.pass_obj
def uninstall(session: Session, bin_dirs: tuple[Path, ...], conf_dirs: tuple[Path, ...]) -> None:
    """Take the plugins away again, from everywhere or from one directory; a kept `bridge.orig` is `bridge` again.
    From everywhere takes away the unit that `install --with-server` wrote, too.

    Ports stay. Remove their containers first: a runtime cannot take away a port without its plugin.
    """
    from windrow.apps.cli import unitwords
    from windrow.apps.cni.install import places
    from windrow.apps.cni.install import uninstall as take
    from windrow.apps.cni.unit import MARK, NAME

    paths = Paths(session.root)
    known = places(paths)
    everywhere = not bin_dirs and not conf_dirs
    unit = unitwords.place(session, None) / NAME
    # First: where systemd starts it, this is refused, and nothing has been done. One of somebody else's stays.
    said = unitwords.take(session, unit) if everywhere and unitwords.is_ours(unit, MARK) else []
    said += take(paths, known.bin_dirs if everywhere else bin_dirs, known.conf_dirs if everywhere else conf_dirs)
    say("\n".join(said) or "nothing of Windrow is installed there")


# The server ---------------------------------------------------------------------------------------


@cni.command(
    short_help="Answer the plugins' calls, faster than they can",
    epilog="""\b
Examples:
  windrow cni serve
  windrow -v cni serve                           a line for each call
  windrow --kubeconfig in-cluster cni serve --conf-dir /etc/cni/net.d""",
)
@click.option(
    "--conf-dir",
    type=DIRECTORY,
    metavar="DIR",
    help="Where the runtime looks for networks: one of the type `windrow` is written there once calls are answered.",
)
@click.pass_obj
def serve(session: Session, conf_dir: Path | None) -> None:
    """Answer the plugins' calls, until SIGTERM; then finish what was begun.

    As root, in the host's own namespaces. A call that comes from elsewhere, or while no server runs, is done by
    the plugin itself. With --kubeconfig, pods and networks are those of a cluster's API.
    """
    from windrow.apps.cni.server import serve as run

    def log(text: str) -> None:
        click.echo(text, err=True)

    run(
        Paths(session.root.absolute()),
        session.node,
        say=log,
        log_calls=session.verbose,
        access=session.cluster,
        conf_dir=conf_dir,
    )


@cni.command(short_help="Is the server alive, and what is installed where?")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def status(session: Session, output: str) -> None:
    """Whether the server answers, what is installed where, and how many ports there are.

    Exit code 0 whatever it finds.
    """
    from windrow.apps.cni.install import found_plugin, places
    from windrow.apps.cni.server import about

    paths = Paths(session.root)
    known = places(paths)
    plugins = [p for d in known.bin_dirs if d.is_dir() for p in map(found_plugin, sorted(d.iterdir())) if p]
    confs = [str(path) for d in known.conf_dirs for path in sorted(d.glob("*windrow*.conflist"))]
    records = _host(session).records
    found: dict[str, Any] = {
        "version": __version__,
        "socket": str(paths.cni_socket),
        "server": about(paths),
        "plugins": [{"path": str(p.path), "version": p.version, "kind": p.kind} for p in plugins],
        "configurations": confs,
        "ports": len(records.all()),
        "brokenRecords": [{"path": path, "reason": reason} for path, reason in records.broken()],
    }
    if output == "json":
        print_json(found)
    else:
        say("\n".join(_status_lines(session, found)))


def _status_lines(session: Session, found: dict[str, Any]) -> list[str]:
    style = session.style
    server = found["server"]
    if server is None:
        lines = [f"{style.bold('Server')}   none answers on {found['socket']}: the plugins do the work themselves"]
    else:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(server["started"]))
        counts = f"{plural(server['answered'], 'call')} answered"
        counts += f", {server['failed']} of them with an error, {server['busy']} now"
        words = f"process {server['pid']}, version {server['version']}, since {since}: {counts}"
        lines = [f"{style.bold('Server')}   {style.green('answers')}: {words}"]
        if server["version"] != __version__:
            lines.append(f"         {style.yellow('restart it')}: Windrow is {__version__} by now")
        if server.get("cluster"):
            lines.append(f"{style.bold('Cluster')}  {server['cluster']}")
    for plugin in found["plugins"]:
        old = "" if plugin["version"] == __version__ else f", {style.yellow('old')}: run `windrow cni install` again"
        lines.append(f"{style.bold('Plugin')}   {plugin['path']} ({plugin['kind']}, version {plugin['version']}{old})")
    if not found["plugins"]:
        lines.append(f"{style.bold('Plugin')}   none was installed: see `windrow cni install --help`")
    lines += [f"{style.bold('Network')}  {path}" for path in found["configurations"]]
    lines.append(f"{style.bold('Ports')}    {found['ports']}")
    for broken in found["brokenRecords"]:
        lines.append(f"         {style.red('broken record')} {broken['path']}: {broken['reason']}")
    return lines


# Ports --------------------------------------------------------------------------------------------


@cni.command("list", short_help="List the ports of containers and machines")
@click.option("-o", "--output", type=click.Choice(["wide", "yaml", "json"]), help="Format; else a table.")
@click.pass_obj
def list_(session: Session, output: str | None) -> None:
    """The ports that the plugins made on this host. Needs no privileges but to read their records."""
    from windrow.render.ports import ports_table, ports_value

    records = _host(session).records
    found = records.all()
    for path, reason in records.broken():
        click.echo(f"{session.error_style.yellow('warning:')} {path} is no record: {reason}", err=True, color=True)
    match output:
        case "json":
            print_json(ports_value(found))
        case "yaml":
            print_yaml(ports_value(found))
        case _ if not found:
            click.echo("No ports found", err=True)
        case _:
            say(ports_table(found, wide=output == "wide", style=session.style))


@cni.command(short_help="Is each port as it was made?")
@click.pass_obj
def check(session: Session) -> None:
    """Ask the plugins whether each port is as it was made (CHECK). Exit code 1 where one is not."""
    from windrow.apps.cni.upkeep import checks

    host = _host(session)
    count = failed = 0
    try:
        for about, problem in checks(host):
            count += 1
            failed += bool(problem)
            if problem or session.verbose:
                word = session.style.red("FAIL") if problem else session.style.green("ok")
                say(f"{word}  {about}" + (f"\n      {problem}" if problem else ""))
    finally:
        host.close()
    say(f"{plural(count, 'port')}: " + (f"{failed} not as made" if failed else "all as they were made"))
    raise click.exceptions.Exit(1 if failed else 0)


@cni.command(
    short_help="Remove what is left of containers that are gone",
    epilog="""\b
Examples:
  windrow cni gc --dry-run
  windrow cni gc                                 ports, rules, records and leases of containers that are gone""",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--force", is_flag=True, help="Also where a namespace has lost its name and still lives.")
@click.pass_obj
def gc(session: Session, dry_run: bool, force: bool) -> None:
    """Remove what is left of containers whose network namespace is gone: as if their runtime had called DEL.

    That frees the leases of their IPAM plugins, too. Run it in the host's own mount namespace: elsewhere the
    namespaces of living containers may not be seen.
    """
    from windrow.apps.cni.upkeep import left_over_rules, left_overs

    host = _host(session)
    failed = 0
    try:
        found = left_overs(host, force=force)
        for words in found.living:
            say(f"{session.style.yellow('left')}  {words} has no name any more, but lives (--force removes it)")
        calls = ((call.about, "" if dry_run else call.make(host)) for call in found.gone)
        removed = [*found.living]
        for about, problem in itertools.chain(calls, left_over_rules(host, remove=not dry_run)):
            removed.append(about)
            failed += bool(problem)
            word = "would remove" if dry_run else session.style.red("FAIL") if problem else "removed"
            say(f"{word}  {about}" + (f"\n      {problem}" if problem else ""))
        if not dry_run:
            host.records.sweep()
            host.addressed.sweep()
        if not removed:
            say("nothing is left over")
    except OSError as error:
        raise WindrowError(f"{error.filename}: {error.strerror}") from error
    finally:
        host.close()
    raise click.exceptions.Exit(1 if failed else 0)


def _host(session: Session) -> Host:
    from windrow.apps.cni.host import Host

    return Host(session.root, session.node)
