"""Reading a CNI call: what is checked, in which order, and what is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from windrow.port.errors import (
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    UNDECODABLE,
    CniError,
)
from windrow.port.request import COMMANDS, read_args, read_request, version_key
from windrow.port.result import VERSIONS

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
}


def config(**keys: Any) -> bytes:
    return json.dumps({"cniVersion": "1.1.0", "name": "net1", "type": "bridge", **keys}).encode()


def refused(env: dict[str, str], stdin: bytes) -> CniError:
    with pytest.raises(CniError) as caught:
        read_request(env, stdin)
    return caught.value


def test_a_call() -> None:
    stdin = config(bridge="br0")
    request = read_request(ENV, stdin)
    assert (request.command, request.container_id, request.netns, request.ifname) == (
        "ADD",
        "c1",
        "/run/netns/x",
        "eth0",
    )
    assert request.args == {"IgnoreUnknown": "1", "K8S_POD_NAME": "web"}
    assert request.path == ("/opt/cni/bin", "/usr/lib/cni")
    assert (request.version, request.network, request.type, request.stdin) == ("1.1.0", "net1", "bridge", stdin)
    assert request.env == ENV


def test_version_looks_at_nothing_else() -> None:
    request = read_request({"CNI_COMMAND": "VERSION", "CNI_ARGS": "nonsense", "CNI_CONTAINERID": "/"}, b"rubbish")
    assert request.command == "VERSION" and request.stdin == b"" and request.config == {}


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("", "CNI_COMMAND"),
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
        ("GC", "CNI_PATH"),
        ("STATUS", "CNI_PATH"),
    ],
)
def test_what_is_missing_is_told_at_once(command: str, missing: str) -> None:
    error = refused({"CNI_COMMAND": command}, b"rubbish")
    assert (error.code, error.message) == (INVALID_ENVIRONMENT, f"required env variables [{missing}] missing")


@pytest.mark.parametrize(
    ("changes", "stdin", "code"),
    [
        # A bad value comes before what is missing, that before the configuration, that before the command.
        ({"CNI_CONTAINERID": "a/b", "CNI_PATH": ""}, b"rubbish", INVALID_ENVIRONMENT),
        ({"CNI_PATH": ""}, b"rubbish", INVALID_ENVIRONMENT),
        ({"CNI_COMMAND": "UPDATE"}, b"rubbish", UNDECODABLE),
        ({"CNI_COMMAND": "UPDATE"}, b'{"name": ""}', INVALID_CONFIG),
        ({"CNI_COMMAND": "UPDATE"}, b'{"name": "x", "cniVersion": "9.9.9"}', INVALID_ENVIRONMENT),
        ({}, b'{"name": "x", "cniVersion": "9.9.9"}', INCOMPATIBLE_VERSION),
    ],
)
def test_the_order(changes: dict[str, str], stdin: bytes, code: int) -> None:
    assert refused(ENV | changes, stdin).code == code


def test_a_variable_that_the_command_does_not_need_is_not_judged() -> None:
    request = read_request(ENV | {"CNI_COMMAND": "GC", "CNI_IFNAME": "a/b", "CNI_CONTAINERID": ""}, config())
    assert request.command == "GC"


@pytest.mark.parametrize("name", ["a", "A9_.-", "0" * 200])
def test_good_container_ids(name: str) -> None:
    assert read_request(ENV | {"CNI_CONTAINERID": name}, config()).container_id == name


@pytest.mark.parametrize("name", ["-a", ".", "a/b", "a b", "ä", "a\n", "a\0", "²"])
def test_bad_container_ids(name: str) -> None:
    assert refused(ENV | {"CNI_CONTAINERID": name}, config()).message == "invalid characters in containerID"


@pytest.mark.parametrize("name", ["eth0", "x" * 15, "ä" * 7, "a.b", "a@b", "..."])
def test_good_interface_names(name: str) -> None:
    assert read_request(ENV | {"CNI_IFNAME": name}, config()).ifname == name


@pytest.mark.parametrize("name", ["x" * 16, "ä" * 8, ".", "..", "a/b", "a:b", "a b", "a\tb", "a\u00a0b", "a\0", "a%d"])
def test_bad_interface_names(name: str) -> None:
    assert refused(ENV | {"CNI_IFNAME": name}, config()).message.startswith("interface name ")


@pytest.mark.parametrize("stdin", [b"", b" ", b"{", b"[]", b"5", b"\xff", b'{"name": NaN}', b"[" * 100_000])
def test_what_is_no_json_object(stdin: bytes) -> None:
    assert refused(ENV, stdin).code == UNDECODABLE


@pytest.mark.parametrize("name", ["", None, "a b", "-a", "a/b"])
def test_bad_network_names(name: str | None) -> None:
    error = refused(ENV, config(name=name))
    assert error.code == INVALID_CONFIG and "network name" in error.message


def test_keys_match_without_regard_to_case() -> None:
    request = read_request(ENV, b'{"CNIVERSION": "1.0.0", "Name": "net1", "TYPE": "bridge", "Bridge": "x"}')
    assert (request.version, request.network, request.type) == ("1.0.0", "net1", "bridge")
    assert request.config["Bridge"] == "x", "what the type means by its keys is its own business"


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"VERSION"}))
@pytest.mark.parametrize("version", VERSIONS)
def test_which_command_is_in_which_version(command: str, version: str) -> None:
    since = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}.get(command, "0.3.0")
    if version_key(version) >= version_key(since):
        assert read_request(ENV | {"CNI_COMMAND": command}, config(cniVersion=version)).version == version
    else:
        error = refused(ENV | {"CNI_COMMAND": command}, config(cniVersion=version))
        assert (error.code, error.message) == (INCOMPATIBLE_VERSION, f"config version does not allow {command}")


@pytest.mark.parametrize("version", ["", None, "0.1.0", "0.2.0", "1.2.0", "99.0.0"])
def test_versions_that_are_not_served(version: str | None) -> None:
    error = refused(ENV, config(cniVersion=version))
    assert (error.code, error.message) == (INCOMPATIBLE_VERSION, "incompatible CNI versions")
    assert all(f'"{one}"' in error.details for one in VERSIONS)


@pytest.mark.parametrize("version", ["one", "1.x", "1.2.3.4", "-1.0.0", "1.٣.0", "1..0"])
def test_what_is_no_version(version: str) -> None:
    assert refused(ENV, config(cniVersion=version)).code == UNDECODABLE


def test_versions_are_compared_as_numbers() -> None:
    assert version_key("0.10.0") > version_key("0.9.9") and version_key("1") == version_key("1.0.0")


@pytest.mark.parametrize(
    ("text", "args"),
    [("", {}), ("A=B", {"A": "B"}), ("A=B;C=D", {"A": "B", "C": "D"}), ("A=;B==x", {"A": "", "B": "=x"})],
)
def test_arguments(text: str, args: dict[str, str]) -> None:
    assert read_args(text) == args


@pytest.mark.parametrize("text", ["A", "A=B;", ";A=B", "=B", "A=B;C"])
def test_bad_arguments(text: str) -> None:
    assert refused(ENV | {"CNI_ARGS": text}, config()).code == INVALID_ENVIRONMENT
