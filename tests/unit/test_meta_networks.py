"""The networks annotation: every key, every mistake, and never anything but a value or a CniError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.port.errors import INVALID_CONFIG, UNDECODABLE, CniError
from windrow.port.networks import (
    Bandwidth,
    PortMapping,
    Selection,
    interface_names,
    read_default,
    read_networks,
)

ABOUT = "annotation k8s.v1.cni.cncf.io/networks of pod default/vm"


def read(text: str, namespace: str = "default") -> tuple[Selection, ...]:
    return read_networks(text, namespace=namespace, about=ABOUT)


def entry(**values: Any) -> Selection:
    """The one network of a JSON annotation; `_` in a key is `-`."""
    document = {"name": "web"} | {key.replace("_", "-"): value for key, value in values.items()}
    (selection,) = read(json.dumps([document]))
    return selection


def refused(text: str) -> CniError:
    with pytest.raises(CniError) as caught:
        read(text)
    return caught.value


def told(*entries: Any) -> str:
    """Everything that is said about a JSON annotation."""
    error = refused(json.dumps(list(entries)))
    return f"{error.message} {error.details}"


def test_a_hint_says_something_else_than_what_was_written() -> None:
    said = told({"name": "default/x"})
    assert '{"name": "x", "namespace": "default"}' in said


# The short form -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("web", [("default", "web", "")]),
        ("web,db", [("default", "web", ""), ("default", "db", "")]),
        (" web , db ", [("default", "web", ""), ("default", "db", "")]),
        ("prod/web", [("prod", "web", "")]),
        ("web@eth5", [("default", "web", "eth5")]),
        ("prod/web@eth5", [("prod", "web", "eth5")]),
        ("web,web", [("default", "web", ""), ("default", "web", "")]),
        ("web@pod1dba23260aa", [("default", "web", "pod1dba23260aa")]),
        ("web.v1", [("default", "web.v1", "")]),
        ("null", [("default", "null", "")]),
        ("", []),
        ("  ", []),
    ],
)
def test_short_form(text: str, wanted: list[tuple[str, str, str]]) -> None:
    assert [(s.namespace, s.name, s.interface) for s in read(text)] == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web,,db", "[1]: there is nothing between the commas"),
        ("Web", '[0]: "Web" is not the name of a NetworkAttachmentDefinition'),
        ("-web", "is not the name"),
        ("web_1", "is not the name"),
        ("a/b/c", '"b/c" is not the name'),
        ("/web", '"" is not a namespace'),
        ("Prod/web", '"Prod" is not a namespace'),
        ("prod/", '"" is not the name'),
        ("web@", "has no interface name after the @"),
        ("web@a@b/c", "is not a name the kernel accepts"),
        ("web@averylonginterface", "18 bytes, the kernel allows 15"),
        ("web@a b", "is not a name the kernel accepts"),
        ("x" * 254, "is not the name"),
        (f"{'x' * 64}/web", "is not a namespace"),
    ],
)
def test_short_form_mistakes(text: str, said: str) -> None:
    error = refused(text)
    assert error.code == INVALID_CONFIG
    assert error.message.startswith(ABOUT)
    assert said in error.message


# JSON ---------------------------------------------------------------------------------------------


def test_json_without_anything() -> None:
    assert entry() == Selection(name="web", namespace="default")
    assert read("[]") == ()


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"namespace": "prod"}, {"namespace": "prod"}),
        ({"namespace": ""}, {}),
        ({"namespace": None}, {}),
        ({"interface": "net7"}, {"interface": "net7"}),
        ({"interfaceRequest": "net7"}, {"interface": "net7"}),
        ({"ips": ["10.1.2.3/24"]}, {"ips": ("10.1.2.3/24",)}),
        ({"ips": ["10.1.2.3", "fd00::3/64"]}, {"ips": ("10.1.2.3", "fd00::3/64")}),
        ({"ips": []}, {}),
        ({"mac": "52:54:00:12:34:56"}, {"mac": "52:54:00:12:34:56"}),
        ({"mac": "52-54-00-AB-CD-EF"}, {"mac": "52:54:00:ab:cd:ef"}),
        ({"mac": ""}, {}),
        ({"cni-args": {"a": {"b": [1, 2.5, None]}}}, {"cni_args": {"a": {"b": [1, 2.5, None]}}}),
        ({"default-route": ["10.1.2.1"]}, {"default_route": ("10.1.2.1",)}),
        ({"default-route": ["10.1.2.1", "fd00::1"]}, {"default_route": ("10.1.2.1", "fd00::1")}),
        ({"default-route": []}, {"default_route": ()}),
        ({"default-route": None}, {}),
        (
            {"portMappings": [{"hostPort": 8080, "containerPort": 80}]},
            {"port_mappings": (PortMapping(host_port=8080, container_port=80),)},
        ),
        (
            {"portMappings": [{"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "10.0.0.1"}]},
            {"port_mappings": (PortMapping(host_port=53, container_port=5353, protocol="udp", host_ip="10.0.0.1"),)},
        ),
        (
            {"bandwidth": {"ingressRate": 8, "ingressBurst": 9}},
            {"bandwidth": Bandwidth(ingress_rate=8, ingress_burst=9)},
        ),
        (
            {"bandwidth": {"egressRate": 8, "egressBurst": 9}},
            {"bandwidth": Bandwidth(egress_rate=8, egress_burst=9)},
        ),
        ({"bandwidth": {}}, {"bandwidth": Bandwidth()}),
        ({"deviceID": "0000:00:1f.6"}, {"device": "0000:00:1f.6"}),
        ({"ipam-claim-reference": "claim"}, {}),
        ({"a-key-of-another-controller": 1}, {}),
        ({"MAC": "52:54:00:12:34:56", "IPs": ["10.1.2.3"]}, {"mac": "52:54:00:12:34:56", "ips": ("10.1.2.3",)}),
    ],
)
def test_json_keys(document: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert entry(**document) == Selection(**{"name": "web", "namespace": "default"} | wanted)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"name": None}, '[0]: "" is not the name'),
        ({"name": ""}, '[0]: "" is not the name'),
        ({"name": 5}, "[0].name: this is a number"),
        ({"name": "Web"}, '[0]: "Web" is not the name'),
        ({"name": "prod/web"}, 'Definition: {"name": "web", "namespace": "prod"}'),
        ({"name": "web@db0"}, 'Definition: {"name": "web", "interface": "db0"}'),
        ({"name": "prod/web@db0"}, 'Definition: {"name": "web", "namespace": "prod", "interface": "db0"}'),
        ({"namespace": "A/B"}, '[0]: "A/B" is not a namespace'),
        ({"interface": "a/b"}, "[0].interface: 'a/b' is not a name the kernel accepts"),
        ({"interface": "x" * 16}, "[0].interface: 'xxxxxxxxxxxxxxxx' has 16 bytes"),
        ({"interface": "."}, "[0].interface"),
        ({"interface": ["net1"]}, "[0].interface: this is a list"),
        ({"ips": "10.1.2.3"}, '[0].ips: this is the text "10.1.2.3": a list is meant'),
        ({"ips": ["10.1.2.3", "10.1.2"]}, '[0].ips[1]: "10.1.2" is not an IP address'),
        ({"ips": [7]}, "[0].ips[0]: this is a number"),
        ({"ips": ["10.1.2.3/33"]}, "[0].ips[0]"),
        ({"ips": ["fe80::1%eth0"]}, "[0].ips[0]"),
        ({"mac": "52:54:00:12:34"}, '[0].mac: "52:54:00:12:34" is not a MAC address'),
        ({"mac": 5}, "[0].mac: this is a number"),
        ({"infiniband-guid": "c2:11:22:33:44:55:66:77"}, "[0].infiniband-guid: InfiniBand is not supported"),
        ({"cni-args": "a=b"}, "[0].cni-args: this is the text"),
        ({"default-route": "10.1.2.1"}, "[0].default-route: this is the text"),
        ({"default-route": ["10.1.2.1/24"]}, "[0].default-route[0]"),
        ({"default-route": ["10.1.2.1", "10.1.2.2"]}, "there are several IPv4 gateways"),
        ({"default-route": ["fd00::1", "fd00::2"]}, "there are several IPv6 gateways"),
        ({"portMappings": {"hostPort": 1}}, "[0].portMappings: this is an object"),
        ({"portMappings": [5]}, "[0].portMappings[0]: this is a number"),
        ({"portMappings": [{"containerPort": 80}]}, "[0].portMappings[0].hostPort: this is nothing"),
        ({"portMappings": [{"hostPort": 0, "containerPort": 80}]}, "[0].portMappings[0].hostPort: this number is out"),
        ({"portMappings": [{"hostPort": "80", "containerPort": 80}]}, "hostPort: this is the text"),
        ({"portMappings": [{"hostPort": True, "containerPort": 80}]}, "hostPort: this is a boolean"),
        ({"portMappings": [{"hostPort": 80, "containerPort": 70000}]}, "containerPort: this number is out of range"),
        ({"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}]}, '"icmp" is unknown'),
        ({"portMappings": [{"hostPort": 1, "containerPort": 1, "hostIP": "x"}]}, 'hostIP: "x" is not an IP address'),
        ({"bandwidth": []}, "[0].bandwidth: this is a list"),
        ({"bandwidth": {"ingressRate": 5}}, "of ingress there is only one of rate and burst"),
        ({"bandwidth": {"egressBurst": 5}}, "of egress there is only one of rate and burst"),
        ({"bandwidth": {"ingressRate": -1, "ingressBurst": 5}}, "[0].bandwidth.ingressRate: this number is out of"),
        ({"bandwidth": {"ingressRate": 1.5, "ingressBurst": 5}}, "[0].bandwidth.ingressRate: this is a number"),
        ({"deviceID": 5}, "[0].deviceID: this is a number"),
        ({"interfce": "net7"}, 'there is no key "interfce": did you mean interface?'),
        ({"nam": "x"}, 'there is no key "nam": did you mean name?'),
        ({"name": "a\u0000b"}, "characters that nobody can print"),
    ],
)
def test_json_mistakes(document: dict[str, Any], said: str) -> None:
    assert said in told({"name": "web"} | document)


def test_all_mistakes_are_told_at_once() -> None:
    error = refused(json.dumps([{"name": "Web", "mac": "x", "ips": ["y"]}, 5, {"name": "db", "interface": "a/b"}]))
    assert error.message == f"{ABOUT}: 5 things are wrong"
    for path in ("[0]: ", "[0].mac: ", "[0].ips[0]: ", "[1]: this is a number", "[2].interface: "):
        assert path in error.details
    assert error.code == INVALID_CONFIG


def test_a_flood_of_mistakes_is_cut_short() -> None:
    error = refused(",".join(["Web"] * 60))
    assert error.message.endswith("60 things are wrong")
    assert error.details.endswith("and 40 more")


@pytest.mark.parametrize("text", ["a," * 100_000, json.dumps([{"name": "web"}] * 65)])
def test_too_many_networks(text: str) -> None:
    assert "a pod can have 64" in refused(text).message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "this is not JSON (Expecting value, line 1, column 2)"),
        ('[{"name": "web",}]', "this is not JSON"),
        ("[{'name': 'web'}]", "this is not JSON"),
        ('"web"', 'this is the text "web": it must be a list'),
        ('{"name": "web"}', "this is an object: it must be a list"),
        ('[{"name": "web", "cni-args": {"x": NaN}}]', "a number that is none"),
        ('[{"name": "web", "cni-args": {"x": 1e999}}]', "a number that is none"),
        ("[" * 100_000, "too many brackets"),
        ('[{"name": "web", "cni-args": {"x": ' + "9" * 5000 + "}}]", "a number that is none"),
    ],
)
def test_what_is_not_json(text: str, said: str) -> None:
    assert said in refused(text).message


def test_json_that_does_not_parse_has_the_code_for_it() -> None:
    assert refused("[").code == UNDECODABLE
    assert refused('{"name": "web"}').code == INVALID_CONFIG


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_KEYS = st.sampled_from(
    [
        "name",
        "namespace",
        "interface",
        "ips",
        "mac",
        "cni-args",
        "default-route",
        "portMappings",
        "bandwidth",
        "deviceID",
    ]
)
_ENTRIES = st.lists(st.dictionaries(_KEYS, _JSON, max_size=6), max_size=4)


@given(st.text(max_size=200) | _JSON.map(json.dumps) | _ENTRIES.map(json.dumps))
def test_whatever_it_is_it_is_a_value_or_a_cni_error(text: str) -> None:
    try:
        selections = read(text)
    except CniError as error:
        json.dumps(error.to_json()).encode()
        said = error.message
    else:
        said = ABOUT
        for selection in selections:
            assert selection.name and selection.namespace
            json.dumps(dict(selection.cni_args), allow_nan=False).encode()
    assert said.startswith(ABOUT)


_NAME = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)


@given(st.lists(st.tuples(_NAME, _NAME), max_size=5))
def test_both_forms_say_the_same(networks: list[tuple[str, str]]) -> None:
    short = ", ".join(f"{namespace}/{name}" for namespace, name in networks)
    as_json = json.dumps([{"name": name, "namespace": namespace} for namespace, name in networks])
    assert read(short) == read(as_json)


# The default network ------------------------------------------------------------------------------


def test_default_network() -> None:
    found = read_default("web", namespace="kube-system", about=ABOUT)
    assert found.reference == "kube-system/web"


@pytest.mark.parametrize("text", ["", "a,b", "[]"])
def test_default_network_is_exactly_one(text: str) -> None:
    with pytest.raises(CniError, match="name exactly one"):
        read_default(text, namespace="kube-system", about=ABOUT)


# Interface names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "wanted"),
    [
        ([], ()),
        ([""], ("net1",)),
        (["", ""], ("net1", "net2")),
        (["", "pod1dba23260aa", ""], ("net1", "pod1dba23260aa", "net3")),
        (["net2", "net1"], ("net2", "net1")),
        (["", "net9"], ("net1", "net9")),
    ],
)
def test_interface_names(requested: list[str], wanted: tuple[str, ...]) -> None:
    assert interface_names(requested, taken="eth0", about=ABOUT) == wanted


@pytest.mark.parametrize(
    ("requested", "said"),
    [
        (["eth0"], "[0] asks for the interface eth0, and so does the default network"),
        (["net5", "net5"], "[1] asks for the interface net5, and so does [0]"),
        (["net2", ""], "[1] gets by its position the interface net2, and so does [0]"),
        (["", "net1"], "[1] asks for the interface net1, and so does [0]"),
        (["lo"], "[0] asks for the interface lo, and so does the loopback interface"),
    ],
)
def test_interface_names_that_collide(requested: list[str], said: str) -> None:
    with pytest.raises(CniError) as caught:
        interface_names(requested, taken="eth0", about=ABOUT)
    assert said in caught.value.message
    assert caught.value.code == INVALID_CONFIG


def test_without_a_default_network_its_interface_is_free() -> None:
    assert interface_names(["eth0"], about=ABOUT) == ("eth0",)
