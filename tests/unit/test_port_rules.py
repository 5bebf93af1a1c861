"""Rules of the packet filter are desired state like the port that they are for: command line and agent, in memory."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from windrow.apps.agent.filternews import FilterNews
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.engine import look
from windrow.apps.filters import FRESH_S, PortFilters
from windrow.apps.known import known
from windrow.apps.round.here import here
from windrow.apps.safe.undo import rewind
from windrow.apps.site import Site
from windrow.model.filters import IPTABLES, LEGACY, MASQUERADE, NFTABLES, SPOOF, PortFilter
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.processes import Process
from windrow.model.steps import DropFilter, SetFilter, SetMaster, Step
from windrow.model.values import IfName, Mac
from windrow.model.wire import hoststate
from windrow.netlink.errors import KernelError
from windrow.netlink.kernel import Kernel as Rtnetlink
from windrow.plan import normalise
from windrow.port.identity import host_end
from windrow.services.errors import ServiceError
from windrow.services.firewall import Firewall
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords
from windrow.testing.builders import link, step
from windrow.testing.fake import FakeKernel

MAC = Mac("02:00:00:00:00:0a")
OOB = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1], bondOptions: {mode: active-backup}}}
"""


def record(number: int = 1, **more: object) -> PortRecord:
    container = f"c{number}"
    values = {
        "container_id": container,
        "ifname": "eth0",
        "netns": f"/run/netns/{container}",
        "network": "net",
        "bridge": IfName("cni0"),
        "host": host_end(container, "eth0"),
        "mac": MAC,
        "pod": f"default/{container}",
        "spoof_check": True,
        "masquerade": ("10.1.0.2/24", "fd00::2/64"),
        "masquerade_by": NFTABLES,
    }
    return PortRecord(**{**values, **more})  # type: ignore[arg-type]


class Host:
    """A host with ports on a bridge that is nobody's cluster network: their rules count all the same."""

    def __init__(self, root: Path) -> None:
        self.paths, self.kernel = Paths(root), FakeKernel()
        self.mono = 1000.0
        self.kernel.add_nic("eth0", up=True).add_nic("eth1", up=True)
        self.kernel.add(link("cni0", "bridge", up=True))
        self.paths.manifests.mkdir(parents=True, exist_ok=True)

    def attach(self, record: PortRecord, *, rules: bool = True) -> PortRecord:
        PortRecords(self.paths).put(record)
        self.kernel.add(link(record.host, "veth", up=True, master=record.bridge), group=PORT_GROUP)
        if rules and record.filter is not None:
            self.kernel.port_filters[record.host] = record.filter
        return record

    def run(self, *words: str) -> Result:
        session = Session(root=self.paths.root, node="n1", open_kernel=lambda: self.kernel, permitted=lambda: True)
        result = CliRunner().invoke(cli, words, obj=session, prog_name="windrow")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def keeper(self) -> Keeper:
        return Keeper(self.site, Log(io.StringIO()))

    @property
    def site(self) -> Site:
        return Site(
            paths=self.paths,
            node="n1",
            kernel=self.kernel,
            watch=lambda _site, _checkpoint: Process(pid=2**22 - 1, started=1),
            open_kernel=lambda: self.kernel,
            mono=lambda: self.mono,
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    (made.paths.manifests / "oob.yaml").write_text(OOB)
    assert made.run("apply").exit_code == 0
    return made


# The commands -------------------------------------------------------------------------------------


def test_a_record_says_what_the_rules_are(host: Host) -> None:
    """And comes back from the disk with it."""
    one = host.attach(record())
    assert PortRecords(host.paths).all() == [one]
    assert one.filter is not None
    assert one.filter.parts == {SPOOF: str(MAC), MASQUERADE: "10.1.0.2/24, fd00::2/64"}
    assert record(spoof_check=False, masquerade=()).filter is None


def test_what_is_undone_has_its_rules_again(host: Host) -> None:
    """A firewall is loaded anew while a change waits to be confirmed; and a port that a call takes away, or makes
    anew with other rules, is that call's."""
    whole, half, gone, anew = (host.attach(record(number)) for number in range(1, 5))
    assert whole.filter and half.filter and anew.filter
    only_masquerade = replace(half.filter, mac=None, faults={SPOOF: "there are none"})
    host.kernel.port_filters[half.host] = only_masquerade
    before = replace(normalise(host.kernel.observe()), filters=filters_of(host))
    assert before.filters[half.host].parts == only_masquerade.parts
    host.kernel.port_filters.clear()
    host.kernel.machine.delete(host.kernel.machine.get(gone.host))
    PortRecords(host.paths).put(replace(anew, mac=Mac("02:00:00:00:00:0b")))
    site = host.site
    steps, left = rewind(site, before)
    assert (steps, left) == (2, "")
    assert host.kernel.port_filters.keys() == {whole.host, half.host}
    assert host.kernel.port_filters[half.host].parts == only_masquerade.parts
    host.kernel.port_filters.clear()
    host.kernel.filters_unread = "nft: is not installed"
    assert "the rules of ports cannot be looked at: nft: is not installed" in rewind(site, before)[1]


def test_a_kernel_that_a_watchdog_opens_for_itself_knows_the_rules(tmp_path: Path) -> None:
    site = here(Paths(tmp_path), "n1", FakeKernel(), Rtnetlink)
    with site.open_kernel() as own:  # type: ignore[attr-defined]
        assert isinstance(own.packet_filter, PortFilters)


def filters_of(host: Host) -> dict[IfName, PortFilter]:
    """As a checkpoint keeps them."""
    observed = look(host.kernel, "n1", known(host.paths)).observed
    return dict(hoststate.read(hoststate.write(normalise(observed))).filters)


def test_all_is_well(host: Host) -> None:
    host.attach(record())
    for words in (["plan"], ["diff"], ["apply"]):
        assert host.run(*words).exit_code == 0, words
    assert not any(isinstance(s.action, SetFilter) for s in host.kernel.journal)


def test_a_flush_is_seen_and_put_right(host: Host) -> None:
    one, other = host.attach(record(1)), host.attach(record(2, masquerade=()))
    host.kernel.port_filters.clear()
    plan, diff = host.run("plan"), host.run("diff")
    assert f"macspoofchk {MAC}; masquerade 10.1.0.2/24, fd00::2/64" in plan.stdout
    assert "Port/default/c1/eth0" in plan.stdout
    assert diff.exit_code == 1
    for lines in (one.host, other.host, f"filter.macspoofchk: none → {MAC}", "filter.masquerade: none → 10.1.0.2/24"):
        assert lines in diff.stdout
    assert "drift: 3 differences between the manifests and the kernel" in host.run("status").stdout
    done = host.run("apply")
    assert done.exit_code == 0, done.output
    assert host.kernel.port_filters == {one.host: one.filter, other.host: other.filter}
    assert host.run("diff").stdout == ""


def test_only_the_part_that_is_wrong_is_made_anew(host: Host) -> None:
    one = host.attach(record())
    assert one.filter is not None
    host.kernel.port_filters[one.host] = replace(one.filter, masquerade=(), faults={MASQUERADE: "nothing leads to it"})
    assert "filter.masquerade: nothing leads to it →" in host.run("diff").stdout
    host.run("apply")
    (made,) = [s.action for s in host.kernel.journal if isinstance(s.action, SetFilter)]
    assert made.parts == (MASQUERADE,)


def test_many_go_together(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction: nft reads all its rules for each, and five hundred ports are no reason to do it as often."""
    for number in range(1, 21):
        host.attach(record(number))
    host.kernel.port_filters.clear()
    bursts: list[int] = []
    run = FakeKernel.run

    def counted(kernel: FakeKernel, steps: list[Step]) -> object:
        bursts.append(sum(isinstance(s.action, SetFilter) for s in steps))
        return run(kernel, steps)

    monkeypatch.setattr(FakeKernel, "run", counted)
    assert host.run("apply").exit_code == 0
    assert [n for n in bursts if n] == [20]


def test_a_port_that_is_not_there_is_its_calls_own(host: Host) -> None:
    """ADD makes the rules before the port, DEL takes them away after it."""
    PortRecords(host.paths).put(record())
    assert host.run("plan").exit_code == 0
    assert not host.kernel.port_filters


def test_what_is_left_over_goes(host: Host) -> None:
    host.attach(record(1))
    gone = PortFilter(container_id="c9", ifname="eth0")
    host.kernel.stale_filters[host_end("c9", "eth0")] = gone
    assert "take away the rules of eth0 of container c9" in host.run("plan").stdout
    assert host.run("apply").exit_code == 0
    assert not host.kernel.stale_filters
    assert [s.action for s in host.kernel.journal if isinstance(s.action, DropFilter)] == [DropFilter(gone)]


def test_what_cannot_be_looked_at_is_said_and_left_alone(host: Host) -> None:
    host.attach(record())
    host.kernel.filters_unread = "nft: is not installed"
    said = host.run("plan")
    assert "whether the rules of ports are as they were made cannot be said: nft: is not installed" in said.stderr


def test_a_port_in_a_cluster_network_has_both(host: Host) -> None:
    """Its link and its rules are two units: what is wrong with one does not stop the other."""
    one = host.attach(record(bridge=IfName("oob-br")))
    host.kernel.port_filters.clear()
    host.kernel.run([step(one.host, SetMaster(None))])
    assert host.run("apply").exit_code == 0
    master = host.kernel.machine.devices[one.host].master
    assert master is not None and master.name == "oob-br"
    assert host.kernel.port_filters == {one.host: one.filter}


def test_as_data(host: Host) -> None:
    host.attach(record(masquerade=()))
    host.kernel.port_filters.clear()
    (unit,) = json.loads(host.run("plan", "-o", "json").stdout)["units"]
    assert unit["steps"][0]["action"] == {"name": "set-filter", "parts": {"macspoofchk": str(MAC)}}


# The agent ----------------------------------------------------------------------------------------


def test_the_agent_puts_it_right(host: Host) -> None:
    one = host.attach(record())
    keeper = host.keeper()
    keeper.round(reread=True)
    assert keeper.filters == {one.host: one.filter}
    host.kernel.port_filters.clear()
    keeper.round()
    assert host.kernel.port_filters == {one.host: one.filter}
    events = host.run("events").stdout
    assert f"repaired {one.host}: macspoofchk was none, is {MAC}" in events


def test_somebody_who_flushes_again_and_again_is_named_in_the_end(host: Host) -> None:
    """The link of the same port is repaired all the same."""
    one = host.attach(record(bridge=IfName("oob-br")))
    keeper = host.keeper()
    keeper.round(reread=True)
    for _ in range(4):
        host.mono += 1
        host.kernel.port_filters.clear()
        keeper.round()
    assert not host.kernel.port_filters
    assert any(c.type == "Contested" and "filter.macspoofchk" in c.message for c in keeper.status.conditions)
    host.kernel.run([step(one.host, SetMaster(None))])
    keeper.round()
    master = host.kernel.machine.devices[one.host].master
    assert master is not None and master.name == "oob-br"


def test_without_manifests_too(tmp_path: Path) -> None:
    """The plugins work on hosts that have no cluster network."""
    host = Host(tmp_path)
    one = host.attach(record())
    keeper = host.keeper()
    keeper.round(reread=True)
    host.kernel.port_filters.clear()
    keeper.round()
    assert host.kernel.port_filters == {one.host: one.filter}
    host.kernel.port_filters.clear()
    host.run("apply")
    assert host.kernel.port_filters == {one.host: one.filter}


class News:
    def __init__(self) -> None:
        self.heard, self.closed = False, False

    def fileno(self) -> int:
        return 99

    def read(self) -> bool:
        return self.heard

    def close(self) -> None:
        self.closed = True


def wanted(by: str) -> dict[IfName, PortFilter]:
    one = record(masquerade_by=by).filter
    assert one is not None
    return {IfName("veth1"): one}


def test_the_agent_listens_only_where_there_is_something_to_hear() -> None:
    clock, news = [0.0], News()
    part = FilterNews(PortFilters(), lambda: clock[0], lambda: news)  # type: ignore[arg-type, return-value]
    part.after({})
    assert (part.fds(), part.deadline()) == ({}, None), "an agent without such ports sleeps"
    part.after(wanted(NFTABLES))
    assert part.deadline() == 0.0, "what changed before it listened is looked for"
    assert part.ready(-1)
    part.after(wanted(NFTABLES))
    assert (set(part.fds()), part.deadline()) == ({99}, None), "it hears of all of it"
    assert not part.ready(99)
    news.heard = True
    assert part.ready(99)
    for by in (LEGACY, IPTABLES):
        part.after(wanted(by))
        assert part.deadline() == clock[0] + FRESH_S, "of legacy iptables nobody tells"
    part.after({})
    assert news.closed and part.deadline() is None


def test_without_nftables_it_looks_now_and_then() -> None:
    def none() -> News:
        raise KernelError(93, "hear what changes in nftables")

    part = FilterNews(PortFilters(), lambda: 5.0, none)  # type: ignore[arg-type]
    part.after(wanted(NFTABLES))
    assert (part.fds(), part.deadline()) == ({}, 5.0 + FRESH_S)


class Listed(Firewall):
    """Counts the listings."""

    def __init__(self) -> None:
        super().__init__()
        self.listings = 0
        self.broken = False

    def table(self, family: str, name: str) -> str:
        self.listings += 1
        if self.broken:
            raise ServiceError("nft", "Operation not permitted")
        return ""


def test_a_listing_is_good_for_a_while_only_where_all_is_well_by_it() -> None:
    clock, firewall = [100.0], Listed()
    filters = PortFilters(firewall, fresh_s=FRESH_S, mono=lambda: clock[0])
    nothing = {IfName("veth1"): PortFilter(container_id="c", ifname="e", mac=MAC)}
    filters.read(nothing, [], [])
    assert firewall.listings == 2, "it is looked again before something is called wrong"
    filters.read({}, [], [])
    assert firewall.listings == 2, "nothing wanted, nothing listed"
    firewall.broken = True
    clock[0] += FRESH_S
    seen = filters.read(nothing, [], [])
    assert (seen.filters, seen.unread) == ({}, "nft: Operation not permitted")
