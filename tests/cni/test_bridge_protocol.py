"""How a call is read: environment, configuration, versions; what is printed where, and the exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest

ours = pytest.mark.ours

INCOMPATIBLE, ENVIRONMENT, UNDECODABLE, INVALID = 1, 4, 6, 7
ALL = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH")


def test_version_reads_no_configuration(host: Any) -> None:
    done = host.run(host.command, {"CNI_COMMAND": "VERSION"})
    assert done.exit == 0 and not done.stderr
    assert {"0.3.0", "0.3.1", "0.4.0", "1.0.0"} <= set(done.document["supportedVersions"])
    assert done.document["cniVersion"] in done.document["supportedVersions"]


@ours("1.1.1 does not know version 1.1.0, and knows two older ones")
def test_the_versions(host: Any) -> None:
    done = host.run(host.command, {"CNI_COMMAND": "VERSION"})
    assert done.document == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


def test_without_a_command_it_says_what_it_is(host: Any) -> None:
    done = host.run(host.command, {})
    assert (done.exit, done.stdout) == (0, "")
    assert "CNI" in done.stderr and "1.0.0" in done.stderr


# Environment --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "needed"),
    [("ADD", ALL), ("CHECK", ALL), ("DEL", ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"))],
)
def test_all_missing_variables_are_named_at_once(host: Any, command: str, needed: tuple[str, ...]) -> None:
    absent: dict[str, str | None] = dict.fromkeys(ALL)
    message = host.refused(command, "", host.config(), ENVIRONMENT, **absent)
    assert f"[{','.join(needed)}] missing" in message
    for name in needed:
        message = host.refused(command, "/nowhere", host.config(), ENVIRONMENT, **{name: None})
        assert f"[{name}] missing" in message


@pytest.mark.parametrize("command", ["STATUS", "GC"])
@ours("1.1.1 does not know the command")
def test_status_and_gc_need_the_path_alone(host: Any, command: str) -> None:
    absent: dict[str, str | None] = dict.fromkeys(ALL)
    assert "[CNI_PATH] missing" in host.refused(command, "", host.config(), ENVIRONMENT, **absent)


def test_an_unknown_command(host: Any, pod: Any) -> None:
    assert "unknown CNI_COMMAND: UPDATE" in host.refused("UPDATE", pod, host.config(), ENVIRONMENT)


@pytest.mark.parametrize("name", ["a/b", "../x", "-x", "x y", ".x", "ä", "x;y"])
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_an_odd_container_id(host: Any, pod: Any, command: str, name: str) -> None:
    message = host.refused(command, pod, host.config(), ENVIRONMENT, CNI_CONTAINERID=name)
    assert "invalid characters in containerID" in message
    assert host.links() == pod.links() == set()


@pytest.mark.parametrize("name", ["sixteen-letters0", "a/b", "a:b", "a b", "a\tb", ".", ".."])
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_an_odd_interface_name(host: Any, pod: Any, command: str, name: str) -> None:
    assert "interface name" in host.refused(command, pod, host.config(), ENVIRONMENT, CNI_IFNAME=name)
    assert host.links() == pod.links() == set()


@ours("the reference leaves what it has made, under another name")
def test_a_name_that_the_kernel_would_change(host: Any, pod: Any) -> None:
    host.refused("ADD", pod, host.config(), ENVIRONMENT, CNI_IFNAME="eth%d")


@ours("1.1.1 tells what is missing first; later ones do not")
def test_a_bad_value_is_told_before_what_is_missing(host: Any, pod: Any) -> None:
    message = host.refused("ADD", "", host.config(), ENVIRONMENT, CNI_IFNAME="a/b")
    assert "missing" not in message and "interface name" in message


@pytest.mark.parametrize("name", ["eth0", "x" * 15, "a.b", "a@b", 'a"b', "ä"])
def test_names_that_are_odd_and_allowed(host: Any, pod: Any, name: str) -> None:
    host.add(pod, host.config(), CNI_IFNAME=name)
    assert pod.links() == {name}
    host.delete(pod, host.config(), CNI_IFNAME=name)
    assert pod.links() == set()


@pytest.mark.parametrize("args", ["nonsense", "A=B;nonsense", "=x"])
def test_arguments_that_are_no_pairs(host: Any, pod: Any, args: str) -> None:
    host.refused("ADD", pod, host.config(), ENVIRONMENT, CNI_ARGS=args)
    assert host.links() == set()


def test_unknown_arguments(host: Any, pod: Any) -> None:
    message = host.refused("ADD", pod, host.config(), ENVIRONMENT, CNI_ARGS="K8S_POD_NAME=x;MAC=02:00:00:00:00:01")
    assert "K8S_POD_NAME=x" in message and host.links() == set()
    host.refused("ADD", pod, host.config(), ENVIRONMENT, CNI_ARGS="IgnoreUnknown=0;K8S_POD_NAME=x")
    host.refused("ADD", pod, host.config(), ENVIRONMENT, CNI_ARGS="IgnoreUnknown=perhaps;K8S_POD_NAME=x")
    for word in ("1", "true"):
        host.add(pod, host.config(), CNI_ARGS=f"IgnoreUnknown={word};K8S_POD_NAME=x")
        host.delete(pod, host.config())


# Configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [b"", b"{", b"[]", b'"text"', b"null", b"{'name': 'x'}", b"\xff\xfe", b"[" * 100_000]
)
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_a_configuration_that_is_no_json_object(host: Any, pod: Any, command: str, config: bytes) -> None:
    host.refused(command, pod, config, *((INVALID, UNDECODABLE) if config == b"null" else (UNDECODABLE,)))
    assert host.links() == set()


@ours("the reference takes the first number for the version")
@pytest.mark.parametrize("keys", [{"name": 5}, {"cniVersion": 1}, {"type": []}])
def test_a_text_that_is_none(host: Any, pod: Any, keys: dict[str, Any]) -> None:
    host.refused("ADD", pod, {**host.config(), **keys}, UNDECODABLE)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", None])
def test_an_odd_network_name(host: Any, pod: Any, name: str | None) -> None:
    assert "network name" in host.refused("ADD", pod, {**host.config(), "name": name}, INVALID)


@pytest.mark.parametrize("version", ["2.0.0", "1.2.0", "0.9.9"])
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_an_unknown_version(host: Any, pod: Any, command: str, version: str) -> None:
    message = host.refused(command, pod, {**host.config(), "cniVersion": version}, INCOMPATIBLE)
    assert "incompatible CNI versions" in message and version in message and "1.0.0" in message


@ours("the reference serves them where there are addresses")
@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0"])
def test_versions_that_have_no_word_for_an_interface(host: Any, pod: Any, version: str) -> None:
    host.refused("ADD", pod, {**host.config(), "cniVersion": version}, INCOMPATIBLE)
    assert host.links() == set()


@pytest.mark.parametrize("version", ["1.x", "one", "1.2.3.4"])
def test_what_is_no_version(host: Any, pod: Any, version: str) -> None:
    host.refused("ADD", pod, {**host.config(), "cniVersion": version}, UNDECODABLE, INCOMPATIBLE)


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1"])
def test_check_is_not_in_every_version(host: Any, pod: Any, version: str) -> None:
    message = host.refused("CHECK", pod, {**host.config(), "cniVersion": version}, INCOMPATIBLE)
    assert "does not allow CHECK" in message


@ours("1.1.1 does not know the command")
@pytest.mark.parametrize("command", ["STATUS", "GC"])
def test_nor_are_status_and_gc(host: Any, pod: Any, command: str) -> None:
    assert f"does not allow {command}" in host.refused(command, pod, host.config(), INCOMPATIBLE)


@ours("an error says in which version it is, as the specification has it")
def test_the_error_object(host: Any, pod: Any) -> None:
    done = host.call("ADD", pod, host.config(vlan=5000))
    assert done.exit == 1 and not done.stderr
    assert set(done.document) <= {"cniVersion", "code", "msg", "details"} and done.document["cniVersion"] == "1.0.0"
    assert json.loads(done.stdout)["code"] == INVALID


@ours("of another plugin nobody asks this")
def test_a_type_that_is_not_ours(host: Any, pod: Any) -> None:
    assert "'macvlan'" in host.refused("ADD", pod, {**host.config(), "type": "macvlan"}, INVALID)
