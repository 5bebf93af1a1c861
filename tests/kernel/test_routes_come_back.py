"""Random plain hosts, and what `windrow init` does with them, on a real kernel: whatever is undone is as it was.

Before and after are compared as `ip` tells them: routes of all tables, rules, addresses with their flags and times, and
the sysctls of the NICs. WINDROW_HOSTS says how many hosts are tried; each has a number, which makes it again.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.kernel.conftest import Ns

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.site import Site
from windrow.model.checkpoint import Checkpoint
from windrow.model.host import RTPROT_RA
from windrow.model.processes import Process
from windrow.netlink import links
from windrow.netlink.kernel import Kernel
from windrow.netlink.reach import Answers, Target, Way
from windrow.services.filterrules import Reading
from windrow.store.paths import Paths

HOSTS = int(os.environ.get("WINDROW_HOSTS", "8"))
BOTH = frozenset({Way.ARP, Way.PING})
SETTINGS = (
    "ipv6/accept_ra",
    "ipv6/autoconf",
    "ipv4/rp_filter",
    "ipv4/arp_ignore",
    "ipv4/arp_announce",
    "ipv6/hop_limit",
)


# -- a random host ---------------------------------------------------------------------------------


@dataclass
class Plain:
    """The words of `ip` that make it. `expects_refusal`: what a route hangs on cannot be carried."""

    dice: Random
    words: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    six: bool = False
    immovable: bool = False

    def maybe(self, chance: float) -> bool:
        return self.dice.random() < chance

    def say(self, *words: str) -> None:
        self.words += words


def plain_host(number: int) -> Plain:
    host = Plain(Random(number))
    _addresses(host)
    _default_routes(host)
    _routes(host)
    _rules(host)
    _neighbours(host)
    if host.maybe(0.25):
        host.settings["ipv6/accept_dad"] = "1"
    for key in SETTINGS:
        if host.maybe(0.3):
            host.settings[key] = {"ipv6/hop_limit": "65", "ipv6/autoconf": "0"}.get(key, host.dice.choice("012"))
    return host


def _addresses(host: Plain) -> None:
    dice = host.dice
    words = "address add 10.0.0.10/24 dev eth0"
    words += dice.choice(("", " broadcast +", " broadcast 10.0.0.250"))
    words += dice.choice(("", "", " noprefixroute", " metric 77"))
    words += dice.choice(("", "", " label eth0:one"))
    words += dice.choice(("", "", " valid_lft 900 preferred_lft 600", " valid_lft 900 preferred_lft 0"))
    host.say(words)
    host.six = host.maybe(0.6)
    if host.six:
        flags = dice.choice(("", " noprefixroute", " home", " mngtmpaddr", " metric 300"))
        lives = dice.choice(("", "", " valid_lft 800 preferred_lft 500", " preferred_lft 0"))
        host.say(f"address add 2001:db8::10/64 dev eth0 nodad{flags}{lives}")
    if host.maybe(0.3):
        host.say("address add fe80::77/64 dev eth0 nodad")
    if "noprefixroute" in words:
        host.say("route add 10.0.0.0/24 dev eth0 src 10.0.0.10")
    if host.six and "noprefixroute" in host.words[1]:
        host.say("route add 2001:db8::/64 dev eth0")


def _default_routes(host: Plain) -> None:
    host.say(
        host.dice.choice(
            (
                "route add default via 10.0.0.1",
                "route add default via 10.0.0.1 proto static metric 100 mtu 1400",
                "route add default via 192.0.2.1 dev eth0 onlink",
                "route add default via 10.0.0.1 dev eth0 src 10.0.0.10 metric 5 initcwnd 20",
                "route add default nexthop via 10.0.0.1 weight 3 nexthop via 10.0.0.2",
                "route add default via inet6 fe80::99 dev eth0",
                "route add default dev eth0",
            )
        )
    )
    if host.maybe(0.3):
        host.say("route add default via 10.0.0.3 metric 900")
    if host.six:
        host.say(
            host.dice.choice(
                (
                    "route add default via 2001:db8::1",
                    "route add default via fe80::1 dev eth0",
                    "route add default via fe80::1 dev eth0 proto ra expires 500",
                    "route add default via fe80::1 dev eth0 metric 5 pref high",
                    "route add default via fe80::1 dev eth0 expires 700",
                    "route add 2001:db8:9::/48 nexthop via 2001:db8::1 nexthop via 2001:db8::2",
                    "route add 2001:db8:9::/48 nexthop via 2001:db8::1 dev eth0 weight 5 nexthop via fe80::2 dev eth0",
                )
            )
        )


ROUTES = (
    "10.1.0.0/16 via 10.0.0.2 mtu lock 1300 advmss 1200",
    "10.2.0.0/16 dev eth0 scope link src 10.0.0.10",
    "10.3.0.0/16 via 10.0.0.4 tos 0x10",
    "10.4.0.0/16 via 10.0.0.5 table 100",
    "default via 10.0.0.6 table 100 proto static",
    "10.5.0.0/16 via 10.0.0.7 rto_min 50ms hoplimit 9 congctl reno",
    "10.6.0.0/16 via 198.51.100.1 dev eth0 onlink table 1000",
    "10.7.0.0/16 nexthop via 10.0.0.8 dev eth0 weight 2 nexthop via 10.0.0.9 dev eth0 weight 7",
    "10.8.0.0/16 via inet6 fe80::5 dev eth0 proto bird",
    "10.9.0.0/16 via 10.0.0.9 metric 7",
    "local 10.10.0.0/16 dev eth0 table 100",
    "blackhole 10.11.0.0/16",
    "unreachable 10.12.0.0/16 metric 9",
    "prohibit 10.13.0.0/16 table 100",
    "10.14.0.0/16 via 10.0.0.2 realm 7",
    "throw 10.15.0.0/16 table 100",
)
ROUTES6 = (
    "2001:db8:1::/48 via 2001:db8::2 mtu 1350",
    "2001:db8:2::/48 via fe80::3 dev eth0 table 100",
    "2001:db8:3::/48 dev eth0 metric 9",
    "2001:db8:4::/48 via 2001:db8::3 src 2001:db8::10",
    "2001:db8:5::/48 via fe80::4 dev eth0 expires 900",
    "2001:db8:6::/48 via fe80::4 dev eth0 pref low proto static",
    "blackhole 2001:db8:7::/48",
    "2001:db8:8::/48 from 2001:db8:80::/48 via fe80::4 dev eth0",
    "2001:db8:a::/48 via 2001:db8::7 onlink dev eth0 hoplimit 33",
)
RULES = (
    "rule add from 10.0.0.10 lookup 100 priority 500",
    "rule add iif eth0 lookup 100 priority 501",
    "rule add oif eth0 fwmark 0x7/0xff lookup 1000 priority 502",
    "rule add iif eth0 to 10.77.0.0/16 blackhole priority 503",
    "rule add from all lookup 100 suppress_prefixlength 0 priority 504",
    "rule add iif eth0 ipproto tcp dport 22 lookup 100 priority 505 protocol static",
)


def _routes(host: Plain) -> None:
    host.say(*(f"route add {words}" for words in ROUTES if host.maybe(0.3)))
    if host.six:
        host.say(*(f"-6 route add {words}" for words in ROUTES6 if host.maybe(0.3)))
    if host.maybe(0.06):
        host.immovable = True
        host.say("nexthop add id 7 via 10.0.0.77 dev eth0 onlink", "route add 10.70.0.0/16 nhid 7")


NEIGHBOURS = (
    "neigh add 10.0.0.1 lladdr 02:00:00:00:aa:01 dev eth0 nud permanent",
    "neigh add 10.0.0.200 lladdr 02:00:00:00:aa:02 dev eth0 nud permanent protocol static",
    "neigh add proxy 10.0.0.201 dev eth0",
)
NEIGHBOURS6 = (
    "neigh add 2001:db8::1 lladdr 02:00:00:00:aa:03 dev eth0 nud permanent router",
    "neigh add fe80::1 lladdr 02:00:00:00:aa:04 dev eth0 nud permanent",
    "neigh add proxy 2001:db8::201 dev eth0",
)


def _neighbours(host: Plain) -> None:
    host.say(*(words for words in (*NEIGHBOURS, *(NEIGHBOURS6 if host.six else ())) if host.maybe(0.4)))


def _rules(host: Plain) -> None:
    host.say(*(words for words in RULES if host.maybe(0.25)))


# -- this host, made and looked at -----------------------------------------------------------------


class Host:
    def __init__(self, ns: Ns, root: Path, plain: Plain, *, made: bool = False) -> None:
        self.ns, self.root, self.plain, self.silent = ns, root, plain, False
        if not made:
            self._make_links()
        for key, value in plain.settings.items():
            family, _, name = key.partition("/")
            self.set(f"eth0/{name}", value, family)
        routes = [w.removeprefix("-6 ") for w in plain.words if "route add" in w]
        self.batch([w for w in plain.words if "route add" not in w])
        # `via inet6` leaves the rest of a batch with IPv6 (iproute2 6.1)
        self.batch(sorted((w for w in routes if not _is_six(w)), key=lambda w: "inet6" in w), "-4")
        self.batch([w for w in routes if _is_six(w)], "-6")

    def _make_links(self) -> None:
        self.set("default/accept_dad", "0")  # the veths' own addresses need not be waited for
        links = "link add eth0 type veth peer name eth0x|link add eth1 type veth peer name eth1x"
        ups = "|".join(f"link set {name} up" for name in ("lo", "eth0", "eth0x", "eth1", "eth1x"))
        self.batch(f"{links}|{ups}".split("|"))
        self.set("default/accept_dad", "1")

    def inside(self, fn: Any) -> Any:
        return self.ns.inside(fn)

    def set(self, key: str, value: str, family: str = "ipv6") -> None:
        self.inside(lambda: Path(f"/proc/sys/net/{family}/conf/{key}").write_text(value))

    def batch(self, words: Sequence[str], *options: str) -> str:
        def run() -> str:
            text = "\n".join(words) + "\n"
            done = subprocess.run(["ip", *options, "-b", "-"], input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (done.stderr, words)
            return done.stdout

        return str(self.inside(run)) if words else ""

    def settle(self) -> None:
        """Until the link-local addresses are through with DAD."""
        end = time.monotonic() + 6
        while "tentative" in self.batch(["address show"]) and time.monotonic() < end:
            time.sleep(0.2)

    def look(self) -> dict[str, Any]:
        if self.plain.settings.get("ipv6/accept_dad") == "1":
            self.settle()
        at = time.clock_gettime(time.CLOCK_BOOTTIME)
        text = self.batch(["route show table all", "rule show", "address show"], "-j", "-d")
        at = (at + time.clock_gettime(time.CLOCK_BOOTTIME)) / 2
        routes, rules, addresses = _documents(text)
        neighbours = _documents(self.batch(["neigh show nud permanent", "neigh show proxy"], "-j", "-d"))
        rules6 = _documents(self.batch(["rule show"], "-6", "-j", "-d"))[0]
        return {
            "at": at,
            "routes": routes,
            "rules": rules + rules6,
            "neighbours": sorted((one for part in neighbours for one in part), key=str),
            "links": [link for link in addresses if link["ifname"] in ("lo", "eth0", "eth1")],
            "settings": self.inside(_settings),
        }

    def run(self, *words: str) -> Result:
        session = Session(
            root=self.root,
            node="n1",
            open_kernel=lambda: Kernel(self.ns.fd),
            permitted=lambda: True,
            on_site=lambda site: replace(site, ask=self.ask, watch=self.watch, filters=lambda _: Reading()),
        )
        result = CliRunner().invoke(cli, words, obj=session, prog_name="windrow")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ask(self, targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        quiet = self.silent and "mgmt-br" in self.ns.kernel.observe().state.links
        return {t: frozenset() if quiet else BOTH for t in targets}

    def watch(self, site: Site, checkpoint: Checkpoint) -> Process:
        return Process(pid=2**22 - 1, started=1)


def _is_six(words: str) -> bool:
    return ":" in words and "inet6" not in words


def _settings() -> dict[str, str]:
    found = {}
    for nic in ("eth0", "eth1"):
        for family in ("ipv4", "ipv6"):
            for file in sorted(Path(f"/proc/sys/net/{family}/conf/{nic}").iterdir()):
                try:
                    found[f"{nic}/{family}/{file.name}"] = file.read_text().strip()
                except OSError:
                    continue
    return found


def _documents(text: str) -> list[Any]:
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := _next(text, at)) < len(text):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


# -- the comparison --------------------------------------------------------------------------------

TIMES = {"expires", "valid_life_time", "preferred_life_time"}
FOREVER = 0xFFFF_FFFF


def settled(look: dict[str, Any]) -> dict[str, Any]:
    """Without what counts or runs: the times are compared apart. What a router announced is the router's: it is left
    alone, and there is none here that would announce it anew."""
    return {
        "routes": sorted(json.dumps(_still(r), sort_keys=True) for r in look["routes"] if r.get("protocol") != "ra"),
        "rules": [_still(rule) for rule in look["rules"]],
        "neighbours": look["neighbours"],
        "links": [_still(link) for link in look["links"]],
        "settings": look["settings"],
    }


def _still(value: Any) -> Any:
    if isinstance(value, list):
        return [_still(one) for one in value]
    if isinstance(value, dict):
        return {k: _time(v) if k in TIMES else _still(v) for k, v in value.items() if k not in MOVING}
    return value


MOVING = {"cstamp", "tstamp", "used", "age", "link_index"}


def _time(seconds: int) -> str:
    return "forever" if seconds == FOREVER else "over" if seconds == 0 else "running"


def times(look: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """When each thing that is for a time ends, by CLOCK_BOOTTIME."""
    for route in look["routes"]:
        if "expires" in route and route.get("protocol") != "ra":
            yield f"{route['dst']} {route.get('table', '')}", look["at"] + route["expires"]
    for link in look["links"]:
        for address in link["addr_info"]:
            for name in ("valid_life_time", "preferred_life_time"):
                if 0 < address[name] < FOREVER:
                    yield f"{address['local']} {name}", look["at"] + address[name]


def _listed(value: Any) -> list[Any]:
    return sorted(value.items()) if isinstance(value, dict) else value


def same(before: dict[str, Any], after: dict[str, Any]) -> None:
    old, new = settled(before), settled(after)
    gone = {key: [one for one in _listed(old[key]) if one not in _listed(new[key])] for key in old}
    come = {key: [one for one in _listed(new[key]) if one not in _listed(old[key])] for key in old}
    assert old == new, f"lost: {gone}; there now: {come}"
    then, now = dict(times(before)), dict(times(after))
    late = {name: now[name] - until for name, until in then.items() if abs(now[name] - until) > 3}
    assert not late, late


# -- the wishes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(HOSTS))
def test_a_host_comes_back_as_it_was(ns: Ns, tmp_path: Path, number: int) -> None:
    host = Host(ns, tmp_path, plain_host(number))
    before = host.look()
    both = "10.0.0.10/24" + (",2001:db8::10/64" if host.plain.six else "")
    vlan = ("--vlan", "7", "--address", both) if number % 3 == 1 else ()
    if host.plain.immovable:
        refused = host.run("init", "--nic", "eth0")
        assert refused.exit_code == 1 and "nexthop object 7" in refused.stderr, refused.output
        assert "nothing was changed" in refused.stderr
        same(before, host.look())
        return
    if number % 2:
        host.silent = True
        failed = host.run("init", "--nic", "eth0", "--timeout", "1s", "--probe", "10.0.0.1", *vlan)
        assert failed.exit_code == 1 and "ndone" in failed.output, failed.output
        same(before, host.look())
        assert not Paths(tmp_path).origin.exists()
        host.silent = False
    asked = ("--probe", "10.0.0.1")  # not every one of these hosts has a gateway that could be asked
    made = host.run("init", "--nic", "eth0", *asked, *vlan)
    assert made.exit_code == 0, made.output
    again = host.run("plan")
    assert "nothing to do" in again.output, again.output
    back = host.run("init", "--undo", *asked)
    assert back.exit_code == 0, back.output
    same(before, host.look())


# -- a router that announces itself ----------------------------------------------------------------


def advertise(away: Ns) -> None:
    """One router advertisement (RFC 4861 §4.2) with a prefix (§4.6.2), from `router` in another namespace."""

    def send() -> None:
        prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 1800, 0) + socket.inet_pton(
            socket.AF_INET6, "2001:db8::"
        )
        advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, away.index("router"))
            sock.sendto(advertisement, ("ff02::1", 0))

    away.inside(send)


def announced(ns: Ns, away: Ns, link: str) -> tuple[set[str], set[str]]:
    """The global addresses of a link that SLAAC made, and the links of default routes that a router announced."""
    end = time.monotonic() + 10
    while True:
        advertise(away)
        time.sleep(0.2)
        text = ns.inside(lambda: subprocess.run(["ip", "-6", "-j", "address"], capture_output=True, text=True).stdout)
        found = {
            a["local"]
            for one in json.loads(text)
            if one.get("ifname") == link
            for a in one["addr_info"]
            if a["scope"] == "global" and not a.get("tentative")
        }
        routes = [r for r in ns.kernel.observe().state.routes if r.dst == "default" and r.protocol == RTPROT_RA]
        if (found and routes) or time.monotonic() > end:
            return found, {str(r.dev) for r in routes}


def test_slaac_works_on_the_bridge_and_on_the_nic_again(ns: Ns, new_ns: Callable[[], Ns], tmp_path: Path) -> None:
    """The default route and the address of a dual-stack host are its router's to give: it gives them anew, the same."""
    away = new_ns()
    away.inside(lambda: Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0"))
    ns.run(links.veth(links.End(name="eth0"), links.End(name="router", netns=away.fd)))
    away.run(links.set_link("router", up=True))
    plain = Plain(Random(0), words=["link set eth0 up", "address add 10.0.0.10/24 dev eth0"])
    plain.words.append("route add default via 10.0.0.1")
    host = Host(ns, tmp_path, plain, made=True)
    host.set("eth0/accept_ra", "2")
    given, defaults = announced(ns, away, "eth0")
    assert given and defaults == {"eth0"}
    made = host.run("init", "--nic", "eth0")
    assert made.exit_code == 0, made.output
    assert ns.inside(Path("/proc/sys/net/ipv6/conf/mgmt-br/accept_ra").read_text) == "2\n"
    assert announced(ns, away, "mgmt-br") == (given, {"mgmt-br"})
    assert "nothing to do" in host.run("plan").output
    back = host.run("init", "--undo")
    assert back.exit_code == 0, back.output
    assert announced(ns, away, "eth0") == (given, {"eth0"})
