"""What is refused, and that the kernel is as it was before the call."""

from __future__ import annotations

from typing import Any

import pytest

from windrow.netlink import links

ours = pytest.mark.ours

ENVIRONMENT, INVALID, SAME, REFUSED, IN_THE_WAY, MISSING, DELEGATE = 4, 7, 8, 101, 102, 103, 104


# Configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"vlan": 4095}, "invalid VLAN ID 4095"),
        ({"vlan": -1}, "invalid VLAN ID -1"),
        ({"vlan": "100"}, "vlan"),
        ({"vlan": 1.5}, "vlan"),
        ({"mtu": "1500"}, "mtu"),
        ({"bridge": 5}, "bridge"),
        ({"isGateway": "yes"}, "isGateway"),
        ({"hairpinMode": True, "promiscMode": True}, "cannot set hairpin mode and promiscuous mode at the same time"),
        ({"promiscMode": 1}, "promiscMode"),
        ({"ipam": []}, "ipam"),
        ({"ipam": {"type": 5}}, "type"),
        ({"runtimeConfig": {"mac": 5}}, "mac"),
        ({"args": {"cni": {"mac": 5}}}, "mac"),
    ],
)
def test_a_configuration_that_means_nothing(host: Any, pod: Any, keys: dict[str, Any], said: str) -> None:
    message = host.refused("ADD", pod, host.config(**keys), INVALID)
    assert said in message
    assert host.links() == pod.links() == set()


@ours("keys that came after 1.1.1")
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"vlanTrunk": [{"id": 0}]}, "incorrect trunk id parameter"),
        ({"vlanTrunk": [{"id": 4095}]}, "incorrect trunk id parameter"),
        ({"vlanTrunk": [{"minID": 0, "maxID": 5}]}, "incorrect trunk minID parameter"),
        ({"vlanTrunk": [{"minID": 5, "maxID": 4095}]}, "incorrect trunk maxID parameter"),
        ({"vlanTrunk": [{"minID": 5, "maxID": 4}]}, "minID is greater than maxID in trunk parameter"),
        ({"vlanTrunk": [{"minID": 5}]}, "configured simultaneously, maxID is missing"),
        ({"vlanTrunk": [{"maxID": 5}]}, "configured simultaneously, minID is missing"),
        ({"vlanTrunk": {"id": 5}}, "vlanTrunk must be a list"),
        ({"vlanTrunk": [5]}, "vlanTrunk[0] must be an object"),
        ({"vlanTrunk": [{"id": "5"}]}, "vlanTrunk[0].id must be a whole number"),
        ({"disableContainerInterface": True, "ipam": {"type": "static"}}, "cannot use IPAM"),
        ({"ipMasqBackend": "ipfw"}, "unknown ipmasq backend 'ipfw'"),
        ({"portIsolation": "no"}, "portIsolation"),
        ({"macspoofchk": 1}, "macspoofchk"),
    ],
)
def test_later_keys_that_mean_nothing(host: Any, pod: Any, keys: dict[str, Any], said: str) -> None:
    assert said in host.refused("ADD", pod, host.config(**keys), INVALID)
    assert host.links() == pod.links() == set()


@ours("the reference makes the bridge before it looks")
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"bridge": "a-name-of-sixteen"}, "bridge"),
        ({"bridge": ""}, "bridge"),
        ({"bridge": "a/b"}, "bridge"),
        ({"bridge": "br%d"}, "bridge"),
        ({"mtu": 67}, "mtu: 67"),
        ({"mtu": 65536}, "mtu: 65536"),
        ({"mtu": -1}, "mtu: -1"),
        ({"runtimeConfig": {"mac": "nonsense"}}, "'nonsense'"),
        ({"runtimeConfig": {"mac": "02:00:00:00:00"}}, "'02:00:00:00:00'"),
        ({"args": {"cni": {"mac": "01:00:5e:00:00:01"}}}, "group address"),
        ({"args": {"cni": {"mac": "00:00:00:00:00:00"}}}, "zero"),
    ],
)
def test_values_that_the_kernel_would_refuse_late(host: Any, pod: Any, keys: dict[str, Any], said: str) -> None:
    assert said in host.refused("ADD", pod, host.config(**keys), INVALID)
    assert host.links() == pod.links() == set()


@ours("the reference tells the first one")
def test_all_that_is_wrong_is_in_one_message(host: Any, pod: Any) -> None:
    config = host.config(vlan=5000, mtu=5, hairpinMode=True, promiscMode=True, vlanTrunk=[{"id": 9999}, {"minID": 3}])
    message = host.refused("ADD", pod, config, INVALID)
    for said in ("VLAN ID 5000", "mtu: 5", "hairpin", "vlanTrunk[0].id is 9999", "maxID is missing in vlanTrunk[1]"):
        assert said in message


EDITS: dict[str, dict[str, Any]] = {
    "a VLAN that is none": {"vlan": 5000},
    "a text for a VLAN": {"vlan": "100"},
    "a text for an MTU": {"mtu": "9000"},
    "another bridge": {"bridge": "br9"},
    "no name for a bridge": {"bridge": "a/b"},
    "no addresses": {"ipam": {}},
    "addresses from elsewhere": {"ipam": {"type": "not-installed"}},
    "another range": {"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.7.7.0/24"}]], "dataDir": "/nowhere"}},
    "another network": {"name": "net9"},
    "a version that nobody knows": {"cniVersion": "7.0.0"},
    "flags that are none": {"ipMasq": "yes", "macspoofchk": 1, "vlanTrunk": [{"id": 9999}], "args": 5},
    "no firewall": {"ipMasq": False, "macspoofchk": False},
}


@ours("the reference undoes what the configuration says by now")
@pytest.mark.parametrize("edit", EDITS)
def test_del_undoes_what_was_made_whatever_the_configuration_says_by_now(
    host: Any, pod: Any, nft: Any, masquerades: Any, edit: str
) -> None:
    config = host.addressed(isGateway=True, ipMasq=True, macspoofchk=True)
    host.add(pod, config)
    assert host.leased() and len(host.ports()) == 1
    host.delete(pod, config | EDITS[edit])
    assert (host.ports(), pod.links(), host.leased(), host.records.all(), host.lasting.all()) == ([], set(), [], [], [])
    assert "CNI-" not in masquerades() and "cni-br-iface" not in nft()


UNREADABLE = {
    "nothing": b"",
    "no JSON": b"{not json",
    "no object": b"[]",
    "no name": b"{}",
    "no type": b'{"name": "n"}',
}


@ours("the reference refuses it")
@pytest.mark.parametrize("stdin", UNREADABLE)
def test_del_undoes_what_was_made_where_the_configuration_cannot_be_read(
    host: Any, pod: Any, nft: Any, masquerades: Any, stdin: str
) -> None:
    host.add(pod, host.addressed(isGateway=True, ipMasq=True, macspoofchk=True))
    ended = host.call("DEL", pod.path, UNREADABLE[stdin])
    assert (ended.exit, ended.stdout) == (0, "")
    assert (host.ports(), pod.links(), host.leased(), host.records.all(), host.lasting.all()) == ([], set(), [], [], [])
    assert "CNI-" not in masquerades() and "cni-br-iface" not in nft()
    assert host.call("DEL", pod.path, UNREADABLE[stdin]).exit == 1, "nobody knows what it is about"


@ours("the reference refuses it")
@pytest.mark.parametrize("keys", [{"vlan": 5000}, {"vlan": "100"}, {"mtu": "9000"}, {"ipam": 5}])
def test_del_of_what_was_never_made_is_no_error(host: Any, pod: Any, keys: dict[str, Any]) -> None:
    host.delete(pod, host.config(**keys))
    host.delete("", host.config(**keys))


# The network namespace ----------------------------------------------------------------------------


@ours("the reference has made the bridge by then")
def test_a_namespace_that_is_gone(host: Any) -> None:
    message = host.refused("ADD", "/run/netns/gone", host.config(), MISSING)
    assert "'/run/netns/gone'" in message and host.links() == set()


@ours("the reference has made the bridge by then")
@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/ns/mnt", "/"])
def test_a_namespace_that_is_none(host: Any, path: str) -> None:
    host.refused("ADD", path, host.config(), ENVIRONMENT, REFUSED)
    assert host.links() == set()


@ours("1.1.1 does not look")
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_the_hosts_own_namespace_is_refused_before_any_work(host: Any, command: str) -> None:
    host.send(links.create("eth0", "dummy"))
    before = host.untouched()
    message = host.refused(command, "/proc/self/ns/net", host.config(), SAME)
    assert "should not be the same" in message and host.untouched() == before


@ours("1.1.1 does not look")
def test_unless_it_is_wanted(host: Any) -> None:
    done = host.call("ADD", "/proc/self/ns/net", host.config(), CNI_NETNS_OVERRIDE="1")
    assert done.exit == 0 and {"br0", "eth0"} < host.links()
    host.delete("/proc/self/ns/net", host.config(), CNI_NETNS_OVERRIDE="TRUE")
    assert host.links() == {"br0"}


# What is in the way -------------------------------------------------------------------------------


def test_a_link_of_the_bridges_name_that_is_none(host: Any, pod: Any) -> None:
    host.send(links.create("br0", "dummy"))
    before = host.untouched()
    message = host.refused("ADD", pod, host.config(), IN_THE_WAY)
    assert "already exists but is not a bridge" in message and host.untouched() == before


def test_an_interface_that_exists(host: Any, pod: Any) -> None:
    pod.kernel.rtnl.run(links.create("eth0", "dummy"))
    message = host.refused("ADD", pod, host.config(), IN_THE_WAY)
    assert "already exists" in message and "eth0" in message
    assert pod.link().kind == "dummy" and host.ports() == []


@ours("the reference leaves what it has made by then")
@pytest.mark.parametrize("filtering", [None, False, True])
def test_and_then_nothing_is_left(host: Any, pod: Any, filtering: bool | None) -> None:
    if filtering is not None:
        host.send(links.create("br0", "bridge", data={"vlan_filtering": int(filtering)}))
    pod.kernel.rtnl.run(links.create("eth0", "dummy"))
    before = host.untouched()
    host.refused("ADD", pod, host.addressed(promiscMode=True, **({"vlan": 5} if filtering else {})), IN_THE_WAY)
    assert host.untouched() == before


def test_the_second_add_of_an_attachment(host: Any, pod: Any) -> None:
    result = host.add(pod, host.config())
    before = (host.links(), pod.links())
    host.refused("ADD", pod, host.config(), IN_THE_WAY)
    assert (host.links(), pod.links()) == before
    assert host.ports() == [result["interfaces"][1]["name"]]


@ours("the reference's second lease fails by another way")
def test_the_second_add_leaves_the_first_ones_lease_and_record(host: Any, pod: Any) -> None:
    host.add(pod, host.addressed())
    before = host.untouched()
    assert before.leases and before.records
    host.refused("ADD", pod, host.addressed(), IN_THE_WAY)
    assert host.untouched() == before
    host.delete(pod, host.addressed())
    assert host.leased() == []


@ours("the reference returns success, and there is no isolation")
@pytest.mark.parametrize("keys", [{"vlan": 100}, {"vlanTrunk": [{"id": 5}]}])
def test_a_vlan_on_a_bridge_that_does_not_filter(host: Any, pod: Any, keys: dict[str, Any]) -> None:
    host.make_bridge()
    before = host.untouched()
    assert "does not filter VLANs" in host.refused("ADD", pod, host.config(**keys), IN_THE_WAY)
    assert host.untouched() == before


# IPAM plugins that fail ---------------------------------------------------------------------------

FAILING = {
    "says why": ('echo \'{"code": 77, "msg": "out of cheese", "details": "none"}\'; exit 1', 77, "out of cheese"),
    "says nothing": ("exit 3", DELEGATE, "exit code 3"),
    "speaks to nobody": ("echo rubbish >&2; exit 1", DELEGATE, "rubbish"),
    "prints rubbish": ("echo rubbish", DELEGATE, "rubbish"),
    "prints rubbish and fails": ("echo rubbish; exit 1", DELEGATE, "rubbish"),
    "prints a list": ("echo '[]'", DELEGATE, "no result"),
    "prints an address without length": ('echo \'{"ips": [{"address": "10.0.0.1"}]}\'', DELEGATE, "10.0.0.1"),
    "prints no address": ('echo \'{"ips": [{"address": "nonsense/24"}]}\'', DELEGATE, "nonsense"),
    "prints nothing": ("true", INVALID, "missing IP config"),
    "gives none": ('echo \'{"cniVersion": "1.0.0"}\'', INVALID, "missing IP config"),
    "is killed": ("kill -9 $$", DELEGATE, "signal 9"),
}


@ours("codes are ours, and the reference leaves the port")
@pytest.mark.parametrize("case", FAILING)
@pytest.mark.parametrize("there", [True, False])
def test_an_ipam_plugin_that_fails(host: Any, pod: Any, stub: Any, case: str, there: bool) -> None:
    script, code, said = FAILING[case]
    stub("stub", f'cat > /dev/null; [ "$CNI_COMMAND" = ADD ] || exit 0\n{script}')
    if there:
        host.make_bridge()
    before = host.untouched()
    config = host.config(ipam={"type": "stub"}, isGateway=True, promiscMode=True)
    assert said in host.refused("ADD", pod, config, code)
    assert host.untouched() == before


@pytest.mark.parametrize("name", ["not-installed", "../host-local", "/bin/true"])
def test_an_ipam_plugin_that_is_not_there(host: Any, pod: Any, name: str) -> None:
    assert name in host.refused("ADD", pod, host.config(ipam={"type": name}), DELEGATE)
    host.refused("DEL", pod, host.config(ipam={"type": name}), DELEGATE)


@ours("the reference leaves the port")
def test_an_ipam_plugin_that_is_not_there_leaves_nothing(host: Any, pod: Any) -> None:
    before = host.untouched()
    host.refused("ADD", pod, host.config(ipam={"type": "not-installed"}), DELEGATE)
    assert host.untouched() == before


@ours("the reference keeps no record")
def test_a_lease_that_may_still_be_there_is_kept_in_mind(host: Any, pod: Any, stub: Any) -> None:
    """Killed in the middle, and it cannot be asked to release what it may have given: DEL and GC will ask again."""
    stub("stub", 'cat > /dev/null; [ -e ready ] || kill -9 $$; [ "$CNI_COMMAND" = DEL ]')
    before = host.untouched()
    config = host.config(ipam={"type": "stub"})
    host.refused("ADD", pod, config, DELEGATE)
    after = host.untouched()
    assert (after.links, after.pods) == (before.links, before.pods) and after.records == [("c1", "eth0")]
    stub("stub", f'cat > /dev/null; echo "$CNI_COMMAND $CNI_CONTAINERID" >> {host.root}/plugins/asked')
    host.delete(pod, config)
    assert (host.root / "plugins/asked").read_text() == "DEL c1\n" and host.records.all() == []


@ours("codes are ours, and the reference leaves the port")
@pytest.mark.parametrize(
    ("subnet", "said"), [("10.1.2.0/31", ""), ("nonsense", ""), ("10.1.2.0/30", "no IP addresses available")]
)
def test_host_local_that_refuses(host: Any, subnet: str, said: str) -> None:
    host.make_bridge()
    config = host.addressed(subnet)
    if said:
        host.add(host.pod(), config, CNI_CONTAINERID="first")
    before = host.untouched()
    pod = host.pod()
    assert said in host.refused("ADD", pod, config, 11, 100, 999, DELEGATE)
    after = host.untouched()
    assert (after.links, after.leases, after.records) == (before.links, before.leases, before.records)
    assert pod.links() == set()


@ours("what a failing call has made is undone, gateway and lease and all")
def test_an_address_that_cannot_be_configured(host: Any, pod: Any, stub: Any) -> None:
    """The route's gateway cannot be reached: the kernel refuses it, after lease, port and address."""
    host.make_bridge()
    before = host.untouched()
    routes = [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]
    message = host.refused("ADD", pod, host.addressed(routes=routes, isGateway=True), REFUSED)
    assert "10.9.0.0/16" in message and host.untouched() == before


@ours("the reference passes the refusal on at every DEL, and a runtime tries for ever")
def test_an_ipam_plugin_that_does_not_serve_the_version(host: Any, pod: Any, stub: Any) -> None:
    stub("old", """echo '{"code": 1, "msg": "incompatible CNI versions"}'; exit 1""")
    config = host.config(ipam={"type": "old"})
    host.refused("ADD", pod, config, 1)
    host.delete(pod, config)
