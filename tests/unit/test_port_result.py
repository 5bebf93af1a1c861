"""Results: documents of every version, and back."""

from __future__ import annotations

from typing import Any

import pytest

from windrow.port.errors import DELEGATE_FAILED, CniError
from windrow.port.result import VERSIONS, Interface, Ip, Result, Route, from_document, to_document

FULL = Result(
    interfaces=(
        Interface(name="br0", mac="02:00:00:00:00:01", mtu=1500),
        Interface(name="eth0", mac="02:00:00:00:00:02", sandbox="/run/netns/x", socket_path="/s", pci_id="01:00.0"),
    ),
    ips=(
        Ip(address="10.1.2.3/24", interface=1, gateway="10.1.2.1"),
        Ip(address="fd00::3/64", interface=1),
    ),
    routes=(
        Route(dst="0.0.0.0/0", gw="10.1.2.1", mtu=1400, advmss=1300, priority=7, table=100, scope=0),
        Route(dst="fd00:9::/64"),
    ),
    dns={"nameservers": ["10.0.0.53"]},
)


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0"])
def test_the_older_documents(version: str) -> None:
    assert to_document(FULL, version) == {
        "cniVersion": version,
        "interfaces": [
            {"name": "br0", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"},
        ],
        "ips": [
            {"version": "4", "interface": 1, "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
            {"version": "6", "interface": 1, "address": "fd00::3/64"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "fd00:9::/64"}],
        "dns": {"nameservers": ["10.0.0.53"]},
    }


def test_since_1_0_an_address_says_its_family_by_itself() -> None:
    older, newer = to_document(FULL, "0.4.0"), to_document(FULL, "1.0.0")
    for ip in older["ips"]:
        del ip["version"]
    assert newer == older | {"cniVersion": "1.0.0"}


def test_since_1_1_there_is_more() -> None:
    document = to_document(FULL, "1.1.0")
    assert document["interfaces"] == [
        {"name": "br0", "mac": "02:00:00:00:00:01", "mtu": 1500},
        {
            "name": "eth0",
            "mac": "02:00:00:00:00:02",
            "sandbox": "/run/netns/x",
            "socketPath": "/s",
            "pciID": "01:00.0",
        },
    ]
    assert document["routes"][0] == {
        "dst": "0.0.0.0/0",
        "gw": "10.1.2.1",
        "mtu": 1400,
        "advmss": 1300,
        "priority": 7,
        "table": 100,
        "scope": 0,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_empty_is_left_out(version: str) -> None:
    assert to_document(Result(), version) == {"cniVersion": version}
    assert to_document(Result(interfaces=(Interface(name="eth0"),)), version)["interfaces"] == [{"name": "eth0"}]


def test_the_first_interface_is_number_0() -> None:
    result = Result(interfaces=(Interface(name="eth0"),), ips=(Ip(address="10.0.0.1/24", interface=0),))
    assert to_document(result, "1.0.0")["ips"] == [{"interface": 0, "address": "10.0.0.1/24"}]


@pytest.mark.parametrize("version", ["", "0.2.0", "2.0.0"])
def test_no_document_of_another_version(version: str) -> None:
    with pytest.raises(ValueError, match="no documents of version"):
        to_document(FULL, version)


def test_the_newest_document_holds_all_of_it() -> None:
    assert from_document(to_document(FULL, "1.1.0")) == FULL


@pytest.mark.parametrize("version", VERSIONS)
def test_there_and_back_and_there_again(version: str) -> None:
    document = to_document(FULL, version)
    assert to_document(from_document(document), version) == document


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"cniVersion": "1.0.0"},
        {"interfaces": None, "ips": None, "routes": None, "dns": None},
        {"dns": {}, "unknown": [1]},
        {"dns": {"nameservers": [], "domain": ""}},
    ],
)
def test_an_empty_document(document: dict[str, Any]) -> None:
    assert from_document(document) == Result()


@pytest.mark.parametrize(
    "document",
    [
        5,
        [],
        "text",
        {"interfaces": {}},
        {"interfaces": ["eth0"]},
        {"interfaces": [{"name": 5}]},
        {"interfaces": [{"name": "eth0", "mtu": "1500"}]},
        {"ips": [{}]},
        {"ips": [{"address": "10.0.0.1"}]},
        {"ips": [{"address": "nonsense/24"}]},
        {"ips": [{"address": "10.0.0.1/33"}]},
        {"ips": [{"address": "10.0.0.1/24", "gateway": "10.0.0.1/24"}]},
        {"ips": [{"address": "10.0.0.1/24", "interface": "0"}]},
        {"ips": [{"address": "10.0.0.1/24", "interface": True}]},
        {"ips": [{"address": "10.0.0.1/24", "interface": 1}], "interfaces": [{"name": "eth0"}]},
        {"routes": [{}]},
        {"routes": [{"dst": "10.0.0.0/8", "gw": "x"}]},
        {"routes": [{"dst": "10.0.0.0/8", "priority": 1.5}]},
        {"dns": []},
    ],
)
def test_what_is_no_result(document: Any) -> None:
    with pytest.raises(CniError) as caught:
        from_document(document)
    assert caught.value.code == DELEGATE_FAILED and caught.value.details
