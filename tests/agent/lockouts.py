"""Wrong changes of a management network, in every surrounding it may have, by everybody who makes them, however they
end: the cases, and one host that goes through them. `test_lockout_everywhere` says what must come of each."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import signal
import socket
import struct
import subprocess
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from tests.agent.hands import Running, Site, until

from windrow.apps.agent import keeper
from windrow.apps.known import agent_status
from windrow.lab.scenario import End, mac_of
from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.services import process

TABLE = "100"
QUICK_S, SLOW_S = 1.0, 20.0
"""How long a change has to prove itself: where it decides by itself, and where somebody is killed before it does."""
WAIT_S = 30.0


class Around(StrEnum):
    """What the host is reached by."""

    GATEWAY = "gateway"
    NO_GATEWAY = "no-gateway"
    OTHER_TABLE = "other-table"
    ON_LINK_ADMIN = "on-link-admin"
    IPV6_ONLY = "ipv6-only"
    ROUTED_SSH = "routed-ssh"


class Wrong(StrEnum):
    VLAN = "vlan"
    NIC = "nic"
    MODE = "mode"
    ADDRESS = "address"
    MTU = "mtu"
    DELETE = "delete"


class By(StrEnum):
    COMMAND = "command"
    AGENT = "agent"


class Killed(StrEnum):
    """Who is killed while the change is made; with `POWER` everybody, and the host starts anew."""

    CHANGER = "changer"
    WATCHDOG = "watchdog"
    BOTH = "both"
    POWER = "power"


@dataclass(frozen=True, slots=True)
class Case:
    around: Around
    wrong: Wrong
    by: By
    killed: Killed

    def __str__(self) -> str:
        return f"{self.around}-{self.wrong}-{self.by}-kills-{self.killed}"


def cases() -> list[Case]:
    """All of (around, wrong, by), 72, each with one end, so that every two values of different axes meet: `killed` goes
    round from one case to the next, and is another for the agent than for the command."""
    ends = list(Killed)
    return [
        Case(around, wrong, by, ends[(a + w + 2 * b + w // 4) % len(ends)])
        for a, around in enumerate(Around)
        for w, wrong in enumerate(Wrong)
        for b, by in enumerate(By)
    ]


# The host -----------------------------------------------------------------------------------------

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {{name: {name}}}
spec:
  nodes:
    - name: {name}
      nics: [eth0, eth1, eth2, eth3]
      management: {{nics: [eth0], address: {address}{gateway}, plain: true}}
  switches:
    - name: {name}-sw
      ports:
        - {{names: [p0, p1, p9], native: 1, vlans: "5"}}
        - {{names: [p2, p3], native: 99}}
  hosts:
    - {{name: {name}-r, role: router, nics: [{{name: eth0, addresses: {{untagged: {router}}}}}]}}
  cables:
    - ["{name}:eth0", "{name}-sw:p0"]
    - ["{name}:eth1", "{name}-sw:p1"]
    - ["{name}:eth2", "{name}-sw:p2"]
    - ["{name}:eth3", "{name}-sw:p3"]
    - ["{name}-r:eth0", "{name}-sw:p9"]
"""
SHORT = {
    Around.GATEWAY: "lk-gw",
    Around.NO_GATEWAY: "lk-none",
    Around.OTHER_TABLE: "lk-table",
    Around.ON_LINK_ADMIN: "lk-admin",
    Around.IPV6_ONLY: "lk-six",
    Around.ROUTED_SSH: "lk-ssh",
}
ANOTHER = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
"""
"""So that a directory without the management network is not an empty one, which would be no order to delete."""


@dataclass(frozen=True, slots=True)
class Result:
    """`took`: seconds until the old address answered, from the beginning of whatever was to bring it back. `cut`:
    whether the host was unreachable when somebody was killed."""

    case: Case
    took: float | None = None
    cut: bool = False
    stage: Stage | None = None
    said: str = ""
    differs: str = ""
    trouble: str = ""
    log: str = ""
    spent: float = 0.0


@dataclass
class Place:
    """One host in its surroundings. Managed by Windrow, on eth0; eth1 is on the same switch and eth2 in a VLAN where
    nobody is."""

    around: Around
    world: World = field(init=False)
    site: Site = field(init=False)
    want: Any = None
    """Its state before the first case."""

    def __post_init__(self) -> None:
        name, gateway = SHORT[self.around], ", gateway: 10.0.0.1" if self.around is Around.GATEWAY else ""
        text = SCENARIO.format(name=name, address="10.0.0.10/24", gateway=gateway, router="10.0.0.1/24")
        self.world = World(parse(Texts("test.yaml", text, {}, {})))
        self.world.build(lambda _: None)
        self.site = Site(self.world, name, f"{name}-r")

    @property
    def six(self) -> bool:
        return self.around is Around.IPV6_ONLY

    @property
    def has_gateway(self) -> bool:
        return self.around in (Around.GATEWAY, Around.IPV6_ONLY)

    @property
    def old(self) -> str:
        return "fd00::10" if self.six else "10.0.0.10"

    @property
    def router(self) -> str:
        return "fd00::1" if self.six else "10.0.0.1"

    @property
    def admin(self) -> str:
        """Where people log in from."""
        return "10.8.0.1" if self.around is Around.ROUTED_SSH else self.router

    def close(self) -> None:
        self.site.close()
        self.world.close()

    # What the operating system makes --------------------------------------------------------------

    def ip(self, node: str, *words: str, may_fail: bool = False) -> None:
        done = subprocess.run(["ip", "-n", node, *words], capture_output=True, text=True, check=False)
        assert may_fail or done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"

    def routes(self) -> None:
        """Beside the default route of the scenario, on the link that has the address."""
        node = self.site.node
        if self.around is Around.OTHER_TABLE:
            self.ip(node, "route", "add", "default", "via", self.router, "dev", "eth0", "table", TABLE)
            self.ip(node, "rule", "del", "from", self.old, may_fail=True)
            self.ip(node, "rule", "add", "from", self.old, "table", TABLE)
        elif self.around is Around.ROUTED_SSH:
            self.ip(node, "route", "add", "10.8.0.0/24", "via", self.router, "dev", "eth0")

    def prepare(self) -> None:
        """The routes, and Windrow's own management network over them."""
        router = self.site.router
        # By which of two NICs a bond in balance-xor sends is a matter of the last bits of both addresses (and of the
        # EtherType, `bond_eth_hash` in drivers/net/bonding/bond_main.c): by the wrong one.
        ours = int(mac_of(End(self.site.node, "eth0"))[-2:], 16)
        last = (ours & 1) ^ (1 if self.six else 0) | 0x10
        self.ip(router, "link", "set", "eth0", "address", f"52:54:00:00:00:{last:02x}")
        if self.six:
            self._turn_to_six()
        if self.around is Around.ROUTED_SSH:
            self.ip(router, "link", "set", "lo", "up")
            self.ip(router, "address", "add", f"{self.admin}/32", "dev", "lo")
        self.routes()
        self.site.paths.manifests.mkdir(parents=True, exist_ok=True)
        (self.site.paths.manifests / "oob.yaml").write_text(ANOTHER)
        if self.around in (Around.ON_LINK_ADMIN, Around.ROUTED_SSH):
            os.environ["SSH_CONNECTION"] = f"{self.admin} 51234 {self.old} 22"
        self.manage()

    def _turn_to_six(self) -> None:
        """The lab has no IPv6 of its own accord."""
        for node, old, new in ((self.site.node, "10.0.0.10", self.old), (self.site.router, "10.0.0.1", self.router)):
            self.world.inside(node, _have_ipv6)
            self.ip(node, "address", "del", f"{old}/24", "dev", "eth0")
            self.ip(node, "address", "add", f"{new}/64", "dev", "eth0", "nodad")
        self.ip(self.site.node, "route", "add", "default", "via", self.router, "dev", "eth0")

    def manage(self) -> None:
        assert self.answers(WAIT_S) is not None, "the host answers before anything is done"
        done = self.site.run("init", "--nic", "eth0", "--timeout", "20s")
        assert done.code == 0, done.said
        assert self.answers(WAIT_S) is not None, done.said

    def power(self) -> None:
        """Off and on again: the NIC was handed over, so the operating system gives it neither address nor routes."""
        self.site.power_cut()
        for family, table in itertools.product(("-4", "-6"), ("main", TABLE)):
            self.ip(self.site.node, family, "route", "flush", "table", table, may_fail=True)

    # What is looked at ----------------------------------------------------------------------------

    def answers(self, within_s: float) -> float | None:
        """Seconds until the host answers who logs in; None: not within that time."""
        began = time.monotonic()
        ours = self.world.inside(self.site.router, lambda: _ping_socket(self.admin))
        with ours:
            while (left := within_s - (time.monotonic() - began)) > 0:
                if _echo(ours, self.old, min(left, 0.2)):
                    return time.monotonic() - began
        return None

    def state(self) -> Any:
        """What must be as it was: links, all routes and rules, manifests."""
        state = self.site.observe().state
        routes = frozenset(r for r in state.routes if r.dev != "lo")
        return *self.site.state(), routes, state.rules

    def checkpoint(self) -> Checkpoint | None:
        return self.site.checkpoint()

    # The change -----------------------------------------------------------------------------------

    def command(self, wrong: Wrong, allowed_s: float) -> Running:
        allowed = ("--timeout", f"{allowed_s:.0f}s")
        vc, hnc = f"vc/mgmt-vlanconfig-{self.site.node}", f"hnc/mgmt-{self.site.node}"
        gateway = ("--gateway", self.new_gateway) if self.has_gateway else ()
        words: Mapping[Wrong, tuple[str, ...]] = {
            Wrong.VLAN: ("init", "--vlan", "60", *allowed),
            Wrong.NIC: ("init", "--nic", "eth2", *allowed),
            Wrong.MODE: ("init", "--nic", "eth0", "--nic", "eth2", "--mode", "balance-xor", *allowed),
            Wrong.ADDRESS: ("init", "--address", self.new_address, *gateway, *allowed),
            Wrong.MTU: ("init", "--mtu", "9000", *allowed),
            Wrong.DELETE: ("delete", vc, hnc, "--probe", "gateway", "--confirm", f"{allowed_s:.0f}s"),
        }
        return self.site.begin(*words[wrong])

    @property
    def new_address(self) -> str:
        return "fd77::10/64" if self.six else "10.77.0.10/24"

    @property
    def new_gateway(self) -> str:
        return "fd77::1" if self.six else "10.77.0.1"

    def edit(self, wrong: Wrong) -> None:
        """The same, as somebody does it who edits the manifests."""
        directory = self.site.paths.manifests
        config = directory / f"vlanconfig-mgmt-vlanconfig-{self.site.node}.yaml"
        network = directory / f"hostnetworkconfig-mgmt-{self.site.node}.yaml"
        if wrong is Wrong.DELETE:
            config.unlink()
            network.unlink()
            return
        path = network if wrong in (Wrong.VLAN, Wrong.ADDRESS) else config
        document = yaml.safe_load(path.read_text())
        _spoil(document["spec"], wrong, self)
        temp = directory / ".new"
        temp.write_text(yaml.safe_dump(document))
        temp.replace(path)

    @contextlib.contextmanager
    def agent(self) -> Iterator[Running]:
        status = agent_status(self.site.paths)
        running = self.site.begin("agent")
        until(lambda: (now := agent_status(self.site.paths)) is not None and now != status)
        try:
            yield running
        finally:
            if running.code is None:
                running.kill(signal.SIGTERM)
                running.wait()

    # One case -------------------------------------------------------------------------------------

    def go_through(self, case: Case) -> Result:
        began = time.monotonic()
        try:
            found = self._go_through(case)
        except Exception as error:  # noqa: BLE001  told by the test of this case; the others go on
            found = Result(case, trouble=f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        return replace(found, spent=time.monotonic() - began)

    def _go_through(self, case: Case) -> Result:
        before = self.clean()
        keeper.POLICY = replace(keeper.POLICY, allowed_s=QUICK_S if case.killed is Killed.WATCHDOG else SLOW_S)
        old = self.checkpoint()
        last = old.id if old is not None else ""
        if case.by is By.COMMAND:
            running = self.command(case.wrong, QUICK_S if case.killed is Killed.WATCHDOG else SLOW_S)
            return self._end(case, running, last, before)
        with self.agent() as running:
            self.edit(case.wrong)
            return self._end(case, running, last, before)

    def _end(self, case: Case, running: Running, last: str, before: Any) -> Result:
        begun = time.monotonic()
        pending = self._pending(running, last)
        if pending is None:
            return Result(case, trouble="no change was begun", log=running.said)
        cut, before_that = False, None
        if case.killed is Killed.WATCHDOG:
            process.end(pending.watchdog, patience_s=0)
        else:
            cut = self._is_cut(case.wrong, pending)
            before_that = self._decided(pending.id)
            if case.killed is not Killed.CHANGER:
                process.end(pending.watchdog, patience_s=0)
            begun = time.monotonic()
            running.kill()
            running.wait()
        log = running.said
        if case.killed in (Killed.BOTH, Killed.POWER):
            begun, log = self._next(case, log)
        decided = before_that or until(lambda: self._decided(pending.id), WAIT_S)
        answered = self.answers(WAIT_S) is not None
        took = time.monotonic() - begun if answered else None
        if case.killed is Killed.WATCHDOG and case.by is By.COMMAND:
            running.wait()
            log = running.said
        with contextlib.suppress(AssertionError):
            until(lambda: self.state() == before, 5.0)
        differs = "" if self.state() == before else _difference(before, self.state())
        return Result(case, took, cut, decided.stage, decided.said, differs, log=log)

    def _pending(self, running: Running, last: str) -> Checkpoint | None:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            found = self.checkpoint()
            if found is not None and found.id != last and found.stage.pending and found.watchdog:
                return found
            if running.code is None and os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                running.wait()
                return None
            time.sleep(0.005)
        return None

    def _is_cut(self, wrong: Wrong, pending: Checkpoint) -> bool:
        """Waits until the host is out of reach, or it is plain that it stays where it is."""
        end = time.monotonic() + (1.0 if wrong is Wrong.MTU else 8.0)
        while time.monotonic() < end:
            if self.answers(0.6) is None:
                return True
            found = self.checkpoint()
            if found is None or found.id != pending.id or not found.stage.pending:
                return False
        return False

    def _decided(self, ident: str) -> Checkpoint | None:
        found = self.checkpoint()
        return found if found is not None and found.id == ident and not found.stage.pending else None

    def _next(self, case: Case, log: str) -> tuple[float, str]:
        """Nobody is left: whoever comes next. When that began, and what was said."""
        if case.killed is Killed.POWER:
            self.power()
        begun = time.monotonic()
        if case.by is By.COMMAND:
            return begun, log + self.site.run("apply").said
        with self.agent() as again:
            until(lambda: (found := self.checkpoint()) is not None and not found.stage.pending, WAIT_S)
            until(lambda: self.answers(1.0), WAIT_S)
        return begun, log + again.said

    def clean(self) -> Any:
        """As it was before the first case, whatever the last one left."""
        if self.want is None:
            self.want = self.state()
        if self.state() != self.want:
            self.site.run("undo")
            before = self.site.root / "before.yaml"
            before.write_text("---\n".join(self.want[2].values()))
            again = self.site.run("apply", "-f", str(before), "--probe", "gateway", "--confirm", "20s")
            now = self.state()
            assert now == self.want, f"the case before left: {_difference(self.want, now)}\n{again.said}"
        assert self.answers(WAIT_S) is not None, "the host answers before anything is done"
        return self.want


def _spoil(spec: dict[str, Any], wrong: Wrong, place: Place) -> None:
    node = place.site.node
    if wrong is Wrong.VLAN:
        spec["vlanID"] = 60
    elif wrong is Wrong.ADDRESS:
        spec["ips"] = {node: place.new_address}
        if place.has_gateway:
            spec["gateway"] = place.new_gateway
        spec.pop("routes", None)
    elif wrong is Wrong.NIC:
        spec["uplink"]["nics"] = [{"mac": str(mac_of(End(node, "eth2")))}]
    elif wrong is Wrong.MODE:
        spec["uplink"]["nics"].append({"mac": str(mac_of(End(node, "eth2")))})
        spec["uplink"]["bondOptions"] = {**spec["uplink"].get("bondOptions", {}), "mode": "balance-xor"}
    elif wrong is Wrong.MTU:
        spec["uplink"].setdefault("linkAttributes", {})["mtu"] = 9000


def _difference(before: Any, after: Any) -> str:
    """In a few words, for people."""
    found = []
    for one, other in zip(before, after, strict=True):
        if one == other:
            continue
        if isinstance(one, Mapping):
            found += [f"{k}: {one.get(k)} -> {other.get(k)}" for k in {*one, *other} if one.get(k) != other.get(k)]
        else:
            found.append(f"gone {set(one) - set(other)}, new {set(other) - set(one)}")
    return "\n".join(found)


# Echo ---------------------------------------------------------------------------------------------


def _have_ipv6() -> None:
    """Addresses count at once, and no router is asked."""
    for key, value in (("accept_dad", "0"), ("accept_ra", "0"), ("disable_ipv6", "0")):
        for name in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{name}/{key}").write_text(value)


def _ping_socket(source: str) -> socket.socket:
    six = ipaddress.ip_address(source).version == 6
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    made = socket.socket(family, socket.SOCK_RAW, protocol)
    made.bind((source, 0))
    return made


_COUNT = iter(range(1, 1 << 30))


def _echo(ours: socket.socket, address: str, within_s: float) -> bool:
    """Whether this one request is answered."""
    six, number = ours.family == socket.AF_INET6, next(_COUNT) & 0xFFFF
    ident = os.getpid() & 0xFFFF
    kind, reply, skip = (128, 129, 0) if six else (8, 0, 20)
    bare = struct.pack("!BBHHH", kind, 0, 0, ident, number)
    total = sum(struct.unpack("!4H", bare))
    total = ~(total + (total >> 16)) & 0xFFFF
    end = time.monotonic() + within_s
    try:
        ours.sendto(struct.pack("!BBHHH", kind, 0, total, ident, number), (address, 0))
    except OSError:
        time.sleep(within_s)
        return False
    while (left := end - time.monotonic()) > 0:
        ours.settimeout(left)
        try:
            data = ours.recv(2048)[skip:]
        except OSError:
            return False
        if data[0] == reply and data[4:8] == struct.pack("!HH", ident, number):
            return True
    return False
