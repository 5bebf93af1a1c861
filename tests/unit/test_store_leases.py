"""Leases on disk: what a server said, checked; how long it holds, by which clock. And the program that wrote them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from windrow.model.leases import Asking, Lease, LeasedRoute
from windrow.model.values import Cidr, IfName
from windrow.services import dhcpevent
from windrow.services.udhcpc import EVENT
from windrow.store.leases import Leases, Moment
from windrow.store.paths import Paths

NAME = IfName("oob-br.100")
NOW = Moment(boot="b1", booted_s=1000.0, wall_s=5_000_000.0)
GOOD = {"ip": "10.7.0.50", "subnet": "255.255.255.0", "lease": "3600", "serverid": "10.7.0.1"}


def written(root: Path, options: dict[str, object], event: str = "bound", **more: object) -> Leases:
    document = {"event": event, "boot": "b1", "booted_s": 1000.0, "wall_s": 5_000_000.0, "options": options} | more
    leases = Leases(Paths(root))
    leases.path(NAME).parent.mkdir(parents=True, exist_ok=True)
    leases.path(NAME).write_text(json.dumps(document))
    return leases


def read(root: Path, options: dict[str, object], **more: object) -> Lease | None:
    return written(root, options, **more).in_force(NOW).get(NAME)  # type: ignore[arg-type]


def test_a_whole_lease(tmp_path: Path) -> None:
    more = {"router": "10.7.0.254 10.7.0.253", "mtu": "1400", "dns": "10.7.0.2 10.7.0.3", "domain": "example.org"}
    assert read(tmp_path, GOOD | more) == Lease(
        interface=NAME,
        address=Cidr("10.7.0.50/24"),
        routes=(LeasedRoute(to="default", gateway="10.7.0.254"),),
        mtu=1400,
        dns=("10.7.0.2", "10.7.0.3"),
        domain="example.org",
        server="10.7.0.1",
        lease_s=3600,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"subnet": "0.0.0.0"},
        {"subnet": "255.0.255.0"},
        {"subnet": "255.255.255.0; reboot"},
        {"subnet": ""},
        {"ip": "0.0.0.0"},
        {"ip": "127.0.0.1"},
        {"ip": "224.0.0.1"},
        {"ip": "255.255.255.255"},
        {"ip": "169.254.1.1"},
        {"ip": "10.7.0.0"},
        {"ip": "10.7.0.255"},
        {"ip": "10.7.0.50/8"},
        {"ip": "$(id)"},
        {"ip": "fe80::1"},
    ],
    ids=str,
)
def test_no_address_of_a_host(tmp_path: Path, options: dict[str, object]) -> None:
    assert read(tmp_path, GOOD | options) is None


@pytest.mark.parametrize("missing", ["ip", "subnet"])
def test_without_them_there_is_no_lease(tmp_path: Path, missing: str) -> None:
    assert read(tmp_path, {k: v for k, v in GOOD.items() if k != missing}) is None


@pytest.mark.parametrize(("subnet", "ip"), [("255.255.255.255", "10.7.0.0"), ("255.255.255.254", "10.7.0.0")])
def test_small_networks_have_no_address_of_their_own(tmp_path: Path, subnet: str, ip: str) -> None:
    """RFC 3021; clouds give /32."""
    assert read(tmp_path, GOOD | {"subnet": subnet, "ip": ip}) is not None


@pytest.mark.parametrize(
    ("text", "routes"),
    [
        ("10.9.0.0/16 10.7.0.9 0.0.0.0/0 10.7.0.254", [("10.9.0.0/16", "10.7.0.9"), ("default", "10.7.0.254")]),
        ("10.9.0.0/16 0.0.0.0", [("10.9.0.0/16", "")]),
        ("10.9.0.1/16 10.7.0.9", [("10.9.0.0/16", "10.7.0.9")]),
        ("10.9.0.0/16 10.7.0.9 10.9.0.0/16 10.7.0.8", [("10.9.0.0/16", "10.7.0.9")]),
        ("0.0.0.0/0 0.0.0.0", []),
        ("127.0.0.0/8 10.7.0.9", []),
        ("224.0.0.0/4 10.7.0.9", []),
        ("10.9.0.0/16 255.255.255.255", []),
        ("10.9.0.0/99 10.7.0.9 10.8.0.0/16 10.7.0.8", [("10.8.0.0/16", "10.7.0.8")]),
        ("10.9.0.0/16", []),
        ("$(id) `id`", []),
        ("", []),
    ],
)
def test_classless_routes_replace_the_router(tmp_path: Path, text: str, routes: list[tuple[str, str]]) -> None:
    found = read(tmp_path, GOOD | {"staticroutes": text, "router": "10.7.0.250"})
    assert found is not None
    assert [(r.to, r.gateway) for r in found.routes] == routes


@pytest.mark.parametrize(
    ("option", "text", "field", "value"),
    [
        ("mtu", "1", "mtu", 0),
        ("mtu", "575", "mtu", 0),
        ("mtu", "576", "mtu", 576),
        ("mtu", "70000", "mtu", 0),
        ("mtu", "-1", "mtu", 0),
        ("mtu", "１５００", "mtu", 0),
        ("dns", "10.7.0.2 nonsense 300.1.1.1 127.0.0.1", "dns", ("10.7.0.2",)),
        ("dns", " ".join(["10.7.0.2"] * 500), "dns", ("10.7.0.2",) * 64),
        ("domain", "a;b", "domain", ""),
        ("domain", "a" * 254, "domain", ""),
        ("serverid", "nobody", "server", ""),
        ("router", "nobody", "routes", ()),
        ("router", "255.255.255.255 10.7.0.254", "routes", (LeasedRoute(to="default", gateway="10.7.0.254"),)),
        ("lease", "1", "lease_s", 30),
        ("lease", "a while", "lease_s", 3600),
        ("lease", "4294967295", "lease_s", 0),
        ("lease", "99999999999999", "lease_s", 0),
    ],
)
def test_rubbish_in_one_option_spoils_that_one(
    tmp_path: Path, option: str, text: str, field: str, value: object
) -> None:
    found = read(tmp_path, GOOD | {option: text})
    assert found is not None
    assert getattr(found, field) == value


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"event": "bound"}', '{"event": "bound", "options": []}', "\udcff", '{"event": "nak"}'],
)
def test_a_file_that_is_no_lease_is_none(tmp_path: Path, text: str) -> None:
    leases = written(tmp_path, {})
    leases.path(NAME).write_bytes(text.encode(errors="surrogateescape"))
    assert leases.in_force(NOW) == {} and leases.next_expiry(NOW) is None and leases.address(NAME) == ""
    assert leases.names() == (NAME,)


def test_files_beside_them_are_none(tmp_path: Path) -> None:
    leases = written(tmp_path, dict(GOOD))
    for name in (".oob-br.100.json.new", "a b.json", "a-very-long-name-of-a-link.json", "oob-br.100"):
        (leases.path(NAME).parent / name).write_text(leases.path(NAME).read_text())
    assert list(leases.in_force(NOW)) == [NAME]


# -- time ------------------------------------------------------------------------------------------------------


def test_a_lease_runs_out_by_the_clock_that_nobody_sets(tmp_path: Path) -> None:
    leases = written(tmp_path, dict(GOOD))
    assert leases.next_expiry(replace(NOW, booted_s=1600.0)) == 3000.0
    for wall in (0.0, 5_000_000.0, 9_000_000.0):
        late = replace(NOW, booted_s=4599.0, wall_s=wall)
        assert leases.in_force(late)[NAME].expires == wall + 1
        assert leases.in_force(replace(late, booted_s=4600.0)) == {}
    assert leases.address(NAME) == "10.7.0.50", "it is asked for again"


def test_after_a_reboot_it_runs_by_the_wall_clock(tmp_path: Path) -> None:
    leases = written(tmp_path, dict(GOOD))
    rebooted = Moment(boot="b2", booted_s=5.0, wall_s=5_000_600.0)
    assert leases.next_expiry(rebooted) == 3000.0
    assert leases.in_force(replace(rebooted, wall_s=5_003_600.0)) == {}
    assert leases.in_force(replace(rebooted, wall_s=4_999_999.0)) == {}, "a clock that stands before it knows nothing"


def test_a_lease_for_ever(tmp_path: Path) -> None:
    leases = written(tmp_path, GOOD | {"lease": "4294967295"})
    assert leases.next_expiry(NOW) is None
    assert leases.in_force(replace(NOW, booted_s=1e9))[NAME].expires == 0


# -- the program that udhcpc runs --------------------------------------------------------------------------------------


@pytest.fixture
def event(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run it as udhcpc does; the Leases it wrote to."""
    paths = Paths(tmp_path)
    leases = Leases(paths)
    for directory in (paths.leases, paths.dhcp):
        directory.mkdir(parents=True)

    def run(name: str, **options: str) -> Leases:
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "WINDROW_LINK": NAME,
            "WINDROW_LEASE": str(leases.path(NAME)),
            "WINDROW_ASKED": str(leases.asked_path(NAME)),
            "WINDROW_WAKE": str(paths.dhcp / "wake"),
            "WINDROW_DISCOVERS": "3",
        }
        subprocess.run([EVENT, name], env=env | options, check=True, timeout=30)
        return leases

    return run


def now() -> Moment:
    found = dhcpevent.moment()
    return Moment(boot=str(found["boot"]), booted_s=float(found["booted_s"]), wall_s=float(found["wall_s"]))


def test_what_udhcpc_runs_writes_the_lease_and_wakes_the_agent(event, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wake:
        wake.bind(str(tmp_path / "run/windrow/dhcp/wake"))
        wake.settimeout(10)
        event("deconfig")
        assert event("leasefail").asking()[NAME].times == 3
        assert event("leasefail").asking()[NAME].times == 6
        leases = event("bound", **GOOD, opt250="$(id)", PYTHONPATH="/nowhere")
        assert leases.in_force(now())[NAME].address == "10.7.0.50/24" and leases.asking() == {}
        assert [wake.recv(100) for _ in range(4)] == [
            b"deconfig oob-br.100",
            b"leasefail oob-br.100",
            b"leasefail oob-br.100",
            b"bound oob-br.100",
        ]
    assert event("deconfig").in_force(now()), "a client that gives up on renewing has a lease yet"
    assert event("leasefail").in_force(now())
    leases = event("nak")
    assert leases.in_force(now()) == {} and leases.names() == (NAME,) and NAME in leases.asking()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"subnet": ""}, "no network mask"),
        ({"subnet": "0.0.0.0"}, "the network mask 0.0.0.0"),
        ({"subnet": "255.0.255.0"}, "the network mask 255.0.255.0"),
        ({"ip": "0.0.0.0"}, "no address"),
        ({"ip": "a.b.c.d"}, "no address"),
    ],
)
def test_a_server_that_forgets_the_mask_takes_no_lease_away(event, options: dict[str, str], words: str) -> None:  # type: ignore[no-untyped-def]
    event("bound", **GOOD)
    leases = event("renew", **(GOOD | options))
    assert leases.in_force(now())[NAME].address == "10.7.0.50/24"
    assert leases.asking()[NAME].trouble == f"what 10.7.0.1 offers has {words}"


def test_who_asks_since_when_is_kept_over_broken_files(tmp_path: Path) -> None:
    leases = Leases(Paths(tmp_path))
    path = leases.asked_path(NAME)
    path.parent.mkdir(parents=True)
    for text in ("", "{", '{"times": "many"}', "[]"):
        path.write_text(text)
        assert leases.asking() == {}
    path.write_text('{"times": 4, "since": 7.5, "trouble": "no mask"}')
    assert leases.asking() == {NAME: Asking(times=4, since=7.5, trouble="no mask")}
    dhcpevent.note(os.fspath(path), times=2)
    assert leases.asking() == {NAME: Asking(times=6, since=7.5)}
    dhcpevent.note(os.fspath(path), declined="somebody else has it")
    dhcpevent.note(os.fspath(path), news=False)
    assert leases.asking()[NAME].declined == "somebody else has it", "the client that asks anew knows nothing of it"
    dhcpevent.note(os.fspath(path), times=2)
    assert leases.asking()[NAME].declined == "", "nobody answers now: that is the news"
    leases.forget(NAME)
    leases.forget(NAME)
    assert leases.asking() == {}
