"""`windrow lab`: a whole cluster in one Linux kernel."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from windrow.apps.cli.labwords import (
    ForAnotherProgram,
    ThenACommand,
    complete_end,
    complete_fault,
    complete_lab_node,
    complete_place,
    complete_scenario,
    open_lab,
)
from windrow.apps.cli.options import output
from windrow.apps.cli.output import print_json, say
from windrow.apps.cli.session import Session
from windrow.apps.cli.signals import interruptible
from windrow.lab import supervisor
from windrow.lab.client import LiveLog, Open, Terminal, ask, run_program
from windrow.lab.doctor import HEADINGS, examine
from windrow.lab.errors import LabError
from windrow.lab.faults import fault_lines
from windrow.lab.kernel.boot import AUTO, KERNELS, NAMES, Needs, described, refuse
from windrow.lab.kernel.boot import boot as boot_kernel
from windrow.lab.kernel.machine import Guest, Machine
from windrow.lab.kernel.uml import memory_for, memory_for_cluster
from windrow.lab.scenario import Kubernetes
from windrow.lab.scenario_file import parse, read, shipped
from windrow.lab.vm.fleet import check as check_machines
from windrow.render.tables import table

ENTRY = "windrow.apps.labguest:main"
_TESTED = 6 * (128 << 20,)
"""The memory of as many machines as one test runs, and room for others."""

EXAMPLES = """\b
Examples:
  windrow lab setup                              fetch kernels: once, where Windrow is no checkout
  windrow lab doctor                             which kernels this machine can run
  windrow lab list                               the scenarios that ship
  windrow lab run seed                           up, checks, report, down
  windrow lab up seed                            up, and stay
  windrow lab exec node-0 -- windrow plan        run a command in a node
  windrow lab shell node-0
  windrow lab cable pull node-0:eth2
  windrow lab break sw-oob:p1 vlan-missing 100
  windrow lab down


A scenario with a Kubernetes:
  windrow lab up kubernetes
  windrow lab kubectl get pods -o wide
  windrow lab api-server stop"""

_kernel = click.option(
    "--kernel",
    "kind",
    type=click.Choice((AUTO, *KERNELS)),
    default=AUTO,
    show_default=True,
    help="uml: User-Mode Linux, an ordinary process. qemu: a whole kernel under QEMU. native: namespaces of this "
    "kernel. auto: the first of them that boots.",
)
_cpus = click.option(
    "--cpus", type=click.IntRange(1, 64), default=1, show_default=True, help="Processors of the kernel; with QEMU only."
)


def _lab_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """One word, whose name fits an abstract socket's, and that a shell takes as it is told: `lab down --name …`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", value):
        text = (
            f"{value!r} is no name of a lab: use 1 to 32 letters, digits, dots, dashes and underscores, and"
            " begin with a letter or a digit"
        )
        raise click.BadParameter(text, ctx, param)
    return value


_name = click.option(
    "--name",
    default=supervisor.DEFAULT_NAME,
    show_default=True,
    callback=_lab_name,
    help="Of several labs, which one.",
)
_verbose = click.option("-v", "--verbose", is_flag=True, help="Show what the kernel says, too.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and no live log.")


FORWARDED = (
    "WINDROW_CNI_PLUGIN",
    "WINDROW_FAULT_PAIRS",
    "WINDROW_HOSTS",
    "WINDROW_IDLE_S",
    "WINDROW_KILLS",
    "WINDROW_POLICIES",
    "WINDROW_PROBE_VLANS",
    "WINDROW_REST_S",
    "COLUMNS",
    "PYTHONPATH",
)
"""Variables of the environment that tests in the lab kernel see, too: all that they read (`tests/arch` compares)."""


@click.group(epilog=EXAMPLES, short_help="Run a whole cluster in one Linux kernel")
def lab() -> None:
    """A cluster in one real Linux kernel: nodes, switches and hosts are network namespaces in it.

    It needs no root, and touches neither this host's files nor its network. SCENARIO is the name of one that
    ships, or a directory with a scenario.yaml.
    """


# Short-lived labs ---------------------------------------------------------------------------------


@lab.command()
@click.argument("scenario", shell_complete=complete_scenario)
@_kernel
@_cpus
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write the topology as SVG to FILE.")
@click.option("--picture/--no-picture", default=True, help="Draw the topology at the end.")
@_json
@_verbose
@click.pass_obj
def run(
    session: Session, scenario: str, kind: str, cpus: int, svg: Path | None, picture: bool, as_json: bool, verbose: bool
) -> None:
    """Bring a scenario up, run its checks, report, and take it down."""
    log = _live_log(session, quiet=as_json)
    request, needs = _scenario(scenario, kind, cpus, log)
    with _machine(kind, log, verbose or session.verbose, needs) as machine:
        report = ask(machine.open, request, log.event)
        report |= {"boot_s": round(machine.boot_s, 3), "kernel": machine.about["lab"]}
        log.say("checks:", "step")
        report |= _checked(ask(machine.open, {"do": "check"}, log.event), report["ok"])
        drawn = _draw(machine.open, session)
        if svg:
            _write(svg, drawn["svg"])
            report["svg"] = str(svg)
    if as_json:
        print_json(report)
    else:
        if picture:
            click.echo(drawn["text"], color=True)
        _summarise(session, report, log, svg)
    raise click.exceptions.Exit(0 if report["ok"] else 1)


@lab.command()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@_kernel
@_cpus
@_verbose
@click.pass_obj
def test(session: Session, arguments: tuple[str, ...], kind: str, cpus: int, verbose: bool) -> None:
    """Run pytest in a lab kernel: `windrow lab test -- tests/kernel -q`."""
    log = _live_log(session)
    env = {"HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis", "PYTHONDONTWRITEBYTECODE": "1"}
    # Which plugin tests/cni is about (they are pointed at others' too), and which checkout is tested.
    env |= {name: value for name, value in os.environ.items() if name in FORWARDED}
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    needs = Needs(memory=memory_for(_TESTED), cpus=cpus)
    with _machine(kind, log, verbose or session.verbose, needs) as machine:
        code = run_program(machine.open, argv, env=env | {"WINDROW_LAB": machine.about["lab"]})
    raise click.exceptions.Exit(code)


# Labs that stay -----------------------------------------------------------------------------------


@lab.command()
@click.argument("scenario", shell_complete=complete_scenario)
@_kernel
@_cpus
@_name
@click.option("--apply/--no-apply", default=True, help="Bring the nodes to their manifests, or leave them bare.")
@_json
@_verbose
@click.pass_obj
def up(
    session: Session, scenario: str, kind: str, cpus: int, name: str, apply: bool, as_json: bool, verbose: bool
) -> None:
    """Bring a scenario up, and keep it: `lab exec`, `lab shell` and `lab check` use it, `lab down` ends it."""
    log = _live_log(session, quiet=as_json)
    request, needs = _scenario(scenario, kind, cpus, log)
    log.say("starting the lab kernel")
    started = supervisor.start(name, ENTRY, kind, needs, log=_kernel_log(log, verbose or session.verbose))
    _say_which(log, started, started["boot_s"])
    try:
        report = ask(open_lab(name), {**request, "apply": apply}, log.event)
    except BaseException:
        with contextlib.suppress(LabError):
            supervisor.stop(name)
        raise
    report |= {"boot_s": started["boot_s"], "kernel": started["lab"], "name": name}
    if as_json:
        print_json(report)
    else:
        other = "" if name == supervisor.DEFAULT_NAME else f" --name {name}"
        log.say(f"the lab is up; `windrow lab down{other}` ends it", "good" if report["ok"] else "bad")
    raise click.exceptions.Exit(0 if report["ok"] else 1)


@lab.command()
@_name
def down(name: str) -> None:
    """End a lab. Nothing of it is left."""
    supervisor.stop(name)


@lab.command("exec", cls=ThenACommand)
@click.argument("node", shell_complete=complete_place)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_name
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
def exec_(node: str, command: tuple[str, ...], name: str, stdin: bool, tty: bool) -> None:
    """Run a command in a node, switch, host, endpoint or guest: `windrow lab exec node-0 bridge vlan`.

    NODE `lab` is the lab kernel itself.

    Its exit code is this one's; 127: there is no such command.
    """
    raise click.exceptions.Exit(_run(name, node, command, Terminal(stdin=0 if stdin else None, tty=tty)))


@lab.command("kubectl", cls=ForAnotherProgram)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@_name
def kubectl(words: tuple[str, ...], name: str) -> None:
    """Kubernetes' own kubectl, as the administrator of the lab's cluster: `windrow lab kubectl get nodes`.

    It runs on the host of the control plane, and may read the files of this host, all but those of /tmp, /run and
    /dev/shm, which the lab has its own of: hand such a one in by `apply -f - <FILE`. It writes none. Its exit code is
    this one's.
    """
    host = ask(open_lab(name), {"do": "about"})["controlPlane"]
    if not host:
        raise LabError(
            "this lab has no Kubernetes",
            hint="bring one up: windrow lab up kubernetes; or write `kubernetes: true` in the scenario's spec",
        )
    on_terminal = os.isatty(0) and os.isatty(1)
    terminal = Terminal(stdin=0 if on_terminal or reads_input(words) else None, tty=on_terminal)
    env = {key: os.environ[key] for key in _KUBECTLS if key in os.environ}
    raise click.exceptions.Exit(_run(name, host, ["kubectl", *words], terminal, env))


_KUBECTLS = ("KUBE_EDITOR", "EDITOR", "KUBECTL_EXTERNAL_DIFF", "TERM")
"""What kubectl reads of its environment that is the caller's own."""
_TRUE = "(?:=(?:1|t|T|true|TRUE|True))?"
_INPUT = re.compile(
    r"(?:.*[=,]|-\w*f)?(?:-|/dev/stdin|/dev/fd/0|/proc/self/fd/0)(?:,.*)?"
    rf"|-[qt]*i[iqt]*(?:[cn].*|{_TRUE})|--(?:stdin|interactive){_TRUE}"
)
"""Words by which kubectl reads its standard input: `-f -` in all its spellings, also of several files; `exec -i`, with
other letters before and behind; `delete --interactive`."""


def reads_input(words: Sequence[str]) -> bool:
    """Whether this kubectl does. What one that does not would be given is somebody else's, like a loop's of `read`."""
    own = words[: words.index("--")] if "--" in words else words
    return any(_INPUT.fullmatch(word) for word in own)


@lab.command("api-server")
@click.argument("action", type=click.Choice(["stop", "start"]))
@_name
def api_server(action: str, name: str) -> None:
    """Stop the API server of the lab's cluster, as by a crash, or start it again with the objects that it had."""
    ask(open_lab(name), {"do": "api-server", "up": action == "start"})


@lab.command()
@click.argument("node", shell_complete=complete_place)
@_name
def shell(node: str, name: str) -> None:
    """A shell in a node, switch, host or endpoint; of a virtual machine, its console (Ctrl-] leaves it)."""
    on_terminal = os.isatty(0) and os.isatty(1)
    command = ["bash", "--norc"] if shutil.which("bash") else ["sh"]
    env = {"PS1": r"\h:\w# "} | ({"TERM": os.environ["TERM"]} if "TERM" in os.environ else {})
    terminal = Terminal(stdin=0, tty=on_terminal, shell=True)
    raise click.exceptions.Exit(_run(name, node, command, terminal, env))


@lab.command()
@_name
@_json
@click.pass_obj
def check(session: Session, name: str, as_json: bool) -> None:
    """Run the checks of the scenario in a lab that is up."""
    log = _live_log(session, quiet=as_json)
    report = ask(open_lab(name), {"do": "check"}, log.event)
    if as_json:
        print_json(report)
    raise click.exceptions.Exit(0 if report["ok"] else 1)


@lab.command()
@_name
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write it as SVG to FILE.")
@click.pass_obj
def topology(session: Session, name: str, svg: Path | None) -> None:
    """Draw a lab that is up."""
    drawn = _draw(open_lab(name), session)
    if svg:
        _write(svg, drawn["svg"])
    else:
        click.echo(drawn["text"], color=True)


@lab.command()
@click.argument("action", type=click.Choice(["pull", "plug"]))
@click.argument("end", metavar="DEVICE:PORT", shell_complete=complete_end)
@_name
def cable(action: str, end: str, name: str) -> None:
    """Pull a cable out of its switch, or plug it in again."""
    ask(open_lab(name), {"do": "cable", "end": end, "up": action == "plug"})


@lab.command("break", epilog="\b\nFaults:\n" + "\n".join(fault_lines()))
@click.argument("end", metavar="SWITCH:PORT", shell_complete=complete_end)
@click.argument("words", nargs=-1, required=True, metavar="FAULT [ARGUMENT]...", shell_complete=complete_fault)
@_name
def break_port(end: str, words: tuple[str, ...], name: str) -> None:
    """Misconfigure a port of a switch, or a group of ports, as somebody might. `mend` takes it back."""
    ask(open_lab(name), {"do": "fault", "end": end, "words": list(words)})


@lab.command()
@click.argument("end", metavar="SWITCH:PORT", shell_complete=complete_end)
@_name
def mend(end: str, name: str) -> None:
    """Take back what `break` did to a port."""
    ask(open_lab(name), {"do": "fault", "end": end})


@lab.command("power-cut")
@click.argument("node", shell_complete=complete_lab_node)
@_name
def power_cut(node: str, name: str) -> None:
    """Cut the power of a node: its processes die, its links are gone, its disk stays."""
    ask(open_lab(name), {"do": "power", "node": node, "up": False})


@lab.command()
@click.argument("node", shell_complete=complete_lab_node)
@_name
def boot(node: str, name: str) -> None:
    """Boot a node whose power was cut, as its operating system does; the rest is up to Windrow.

    `windrow lab exec NODE -- windrow agent --once` is what its agent would do then.
    """
    ask(open_lab(name), {"do": "power", "node": node, "up": True})


@lab.command("rename-nic")
@click.argument("node", shell_complete=complete_lab_node)
@click.argument("old")
@click.argument("new")
@_name
def rename_nic(node: str, old: str, new: str, name: str) -> None:
    """Let the kernel of a node call a NIC otherwise: now, or from its next boot where it has no power."""
    ask(open_lab(name), {"do": "rename-nic", "node": node, "old": old, "new": new})


@lab.command()
@_json
def status(as_json: bool) -> None:
    """The labs that are up."""
    found = {name: ask(open_lab(name), {"do": "about"}) for name in supervisor.running()}
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("no lab is up")
    for name, about in found.items():
        click.echo(f"{name}: {about['scenario'] or '(coming up)'}: {', '.join(about['places'])}")


@lab.command("list")
def list_() -> None:
    """The scenarios that ship."""
    found = shipped()
    widest = max(map(len, found), default=0)
    for name, description in found.items():
        click.echo(f"{name:<{widest}}  {description.strip().splitlines()[0]}")


@lab.command()
@click.option("--only", type=click.Choice(["machines", "qemu"]), help="Only this one.")
def setup(only: str | None) -> None:
    """Fetch what the lab starts from and no package installs: Debian's kernels, into the cache of this user.

    One is for the lab's virtual machines (30 MB to fetch, 35 MB kept), one for a lab in QEMU (70 MB, 205 MB kept).
    They come by apt-get, with its checks, and nothing is installed. In a checkout `make setup` does it.
    """
    from windrow.lab.kernel import fetched, prepared
    from windrow.lab.vm import image
    from windrow.lab.vm.kernel import prepare

    debians = {"x86_64": "linux-image-amd64", "aarch64": "linux-image-arm64"}
    clouds = {"x86_64": "linux-image-cloud-amd64"}
    kernels = {
        "machines": fetched.Wanted(
            what=image.CACHE, title="the kernel of virtual machines", packages=clouds, prepare=prepare
        ),
        "qemu": fetched.Wanted(
            what=prepared.CACHE, title="the kernel of a lab in QEMU", packages=debians, prepare=prepared.prepare
        ),
    }
    with interruptible():
        for name, wanted in kernels.items():
            if only in (None, name):
                fetched.fetch(wanted, say)
    say("`windrow lab doctor` says which kernels of a lab this machine can run")


@lab.command()
@click.option("--kernel", "kinds", type=click.Choice(KERNELS), multiple=True, help="Only this one; may be repeated.")
@click.option("--first", is_flag=True, help="Stop at the first one that works.")
@output
@click.pass_obj
def doctor(session: Session, kinds: tuple[str, ...], first: bool, output: str) -> None:
    """Try the lab kernels of this machine, each for real: what works, how long it takes, and what to do if not.

    Exit code 0 if one of them works.
    """
    tries = [(kind, partial(boot_kernel, kind, Guest(entry=ENTRY))) for kind in kinds or KERNELS]
    with interruptible():
        found = examine(tries, first=first)
    if output == "json":
        print_json([verdict.to_json() for verdict in found])
    else:
        say(table(HEADINGS, [verdict.row() for verdict in found], session.style).rstrip("\n"))
        for line in (line for verdict in found for line in verdict.words()):
            say(line)
    raise click.exceptions.Exit(0 if any(verdict.works for verdict in found) else 1)


# Pieces -------------------------------------------------------------------------------------------


def _scenario(name: str, kind: str, cpus: int, log: LiveLog) -> tuple[dict[str, Any], Needs]:
    """The request that brings it up, and what its lab needs of a kernel.

    It is read here, and understood here first, and what it is made of is built here: a mistake in it, and whatever is
    missing, is told before anything is started."""
    texts = read(name)
    found = parse(texts)
    if found.vms:
        check_machines()
    request: dict[str, Any] = {"do": "up", "scenario": texts.to_json()}
    machines = [vm.memory for vm in found.vms]
    if found.kubernetes is None:
        memory = memory_for(machines)
        return request, Needs(memory=memory, cpus=cpus, machines=bool(found.vms))
    wanted = found.kubernetes
    memory = memory_for_cluster(
        len(found.nodes), controllers=wanted.controllers, conformance=wanted.conformance, machines=machines
    )
    needs = Needs(memory=memory, cpus=cpus, cluster=True, machines=bool(machines))
    refuse(kind, needs)
    if found.kubernetes.flannel:
        from windrow.lab.kubernetes.flannel import net_conf

        net_conf(found.manifests)
    request["programs"] = _programs(found.kubernetes, log)
    return request, needs


def _programs(wanted: Kubernetes, log: LiveLog) -> dict[str, str]:
    """Of Kubernetes: those that Debian has, and those that are built, which takes minutes the first time."""
    from windrow.lab.kubernetes import programs
    from windrow.services.kubernetes import parts

    programs.check(wanted)
    installed = parts.installed(programs.installed(wanted))
    built = parts.build(programs.built(wanted), lambda line: log.say(line, "step"))
    return {name: str(path) for name, path in {**installed, **built}.items()}


def _live_log(session: Session, *, quiet: bool = False) -> LiveLog:
    return LiveLog(colour=session.error_style.colour, quiet=quiet)


def _kernel_log(log: LiveLog, verbose: bool) -> Callable[[str], None] | None:
    return (lambda line: log.say(line, "kernel")) if verbose else None


@contextlib.contextmanager
def _machine(kind: str, log: LiveLog, verbose: bool, needs: Needs) -> Iterator[Machine]:
    """A lab kernel for as long as the block lasts, however it ends."""
    # The guest cannot write the bytecode of what it imports; here that happens while its kernel boots.
    threading.Thread(target=importlib.import_module, args=[ENTRY.partition(":")[0]], daemon=True).start()
    log.say("starting the lab kernel")
    with interruptible(), boot_kernel(kind, Guest(entry=ENTRY), needs, log=_kernel_log(log, verbose)) as machine:
        _say_which(log, machine.about, machine.boot_s)
        yield machine


def _say_which(log: LiveLog, about: Mapping[str, Any], boot_s: float) -> None:
    """Of the kernels, this one; and why not one that is tried before it."""
    for kind, why in about.get("instead", {}).items():
        log.say(f"not in {NAMES[kind]}: {why}", "note")
    log.say(f"Linux {about['kernel']} is up after {boot_s:.2f} s ({described(about)})", "good")


def _run(
    name: str, node: str, command: tuple[str, ...] | list[str], terminal: Terminal, env: Mapping[str, str] | None = None
) -> int:
    place = "" if node in ("lab", "-") else node
    return run_program(open_lab(name), command, node=place, env=env, terminal=terminal)


def _checked(checks: dict[str, Any], applied: bool) -> dict[str, Any]:
    return {**checks, "ok": checks["ok"] and applied}


def _draw(open_stream: Open, session: Session) -> dict[str, Any]:
    columns = shutil.get_terminal_size((120, 24)).columns
    return ask(open_stream, {"do": "picture", "columns": columns, "colour": session.style.colour})


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}") from error


def _summarise(session: Session, report: dict[str, Any], log: LiveLog, svg: Path | None) -> None:
    failed = [c["name"] for c in report["checks"] if not c["ok"]]
    count = len(report["checks"])
    if svg:
        log.say(f"the picture is in {svg}")
    if report["ok"]:
        log.say(f"{report['scenario']}: {'its check' if count == 1 else f'all {count} checks'} passed", "good")
    else:
        log.say(f"{report['scenario']}: {len(failed)} of {count} checks failed: {'; '.join(failed)}", "bad")
