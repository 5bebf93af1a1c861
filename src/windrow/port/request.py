"""A CNI call as a value: the environment and the configuration on standard input (specification 1.1.0, §2).

Only what concerns every plugin is read here; what a configuration of one type means is in that type's module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from windrow.model import jsontext
from windrow.model.lazy import dataclass
from windrow.port.errors import (
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    UNDECODABLE,
    CniError,
)
from windrow.port.result import VERSIONS

ADD, DEL, CHECK, STATUS, GC, VERSION = "ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"
COMMANDS = (ADD, DEL, CHECK, STATUS, GC, VERSION)

SINCE = {CHECK: "0.4.0", STATUS: "1.1.0", GC: "1.1.0"}
"""The version of the specification that brought a command."""

_IFNAME_BYTES = 15
_ATTACHMENT = frozenset({ADD, DEL, CHECK})
_NEEDED = {
    "CNI_CONTAINERID": _ATTACHMENT,
    "CNI_NETNS": frozenset({ADD, CHECK}),
    "CNI_IFNAME": _ATTACHMENT,
    "CNI_PATH": frozenset({ADD, DEL, CHECK, STATUS, GC}),
}
"""Which commands need a variable; in the order in which missing ones are named."""

_KEYS = ("cniVersion", "name", "type", "args", "capabilities", "dns", "ipam", "ipMasq", "prevResult", "runtimeConfig")
_BY_FOLDED = {key.lower(): key for key in _KEYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`stdin`: the configuration as it came, for whoever is delegated to; `config`: the same, decoded.

    Fields that a command does not have are empty: a GC has no container, a DEL may have no namespace.
    """

    command: str
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    """CNI_ARGS, decoded (`K8S_POD_NAME=x;K8S_POD_NAMESPACE=y`)."""
    path: tuple[str, ...] = ()
    """CNI_PATH: where delegates are looked for, in order."""
    config: Mapping[str, Any] = field(default_factory=dict)
    stdin: bytes = b""
    fault: CniError | None = None
    """What is wrong with the configuration of a DEL that cannot be read; `config` is empty then."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment, which a delegate inherits."""

    @property
    def version(self) -> str:
        """`cniVersion`; absent means 0.1.0 (specification, §Network configuration), which is not served."""
        return str(self.config.get("cniVersion") or "0.1.0")

    @property
    def network(self) -> str:
        return str(self.config.get("name") or "")

    @property
    def type(self) -> str:
        return str(self.config.get("type") or "")


def read_request(env: Mapping[str, str], stdin: bytes) -> Request:
    """The call that an environment and a standard input make. Raises CniError.

    The configuration of a DEL is for the plugin to check, where it has no record: what was made must be able to go.
    What is checked, and in which order, is what the specification's own library does: values of variables,
    missing variables (all of them in one error), the configuration, the command, the version.
    A VERSION has no configuration: its `stdin` is not looked at.
    """
    command = env.get("CNI_COMMAND", "")
    _check_environment(command, env)
    config, fault = ({}, None) if command == VERSION else _decoded(command, stdin)
    if command not in COMMANDS:
        raise CniError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}", f"there are {', '.join(COMMANDS)}")
    if command not in (VERSION, DEL):
        check_version(command, config)
    needed = {name: env.get(name, "") for name in (*_NEEDED, "CNI_ARGS")}
    return Request(
        command=command,
        container_id=needed["CNI_CONTAINERID"],
        netns=needed["CNI_NETNS"],
        ifname=needed["CNI_IFNAME"],
        args=read_args(needed["CNI_ARGS"]) if command != VERSION else {},
        path=tuple(part for part in needed["CNI_PATH"].split(":") if part),
        config=config,
        stdin=b"" if command == VERSION else stdin,
        fault=fault,
        env=env,
    )


def _decoded(command: str, stdin: bytes) -> tuple[dict[str, Any], CniError | None]:
    try:
        return decode(stdin), None
    except CniError as error:
        if command != DEL:
            raise
        return {}, error


def _check_environment(command: str, env: Mapping[str, str]) -> None:
    """A bad value is told before what is missing; of a variable that the command does not need nothing is said."""
    missing = [] if command else ["CNI_COMMAND"]
    for name, commands in _NEEDED.items():
        value = env.get(name, "")
        if command not in commands:
            continue
        if not value:
            missing.append(name)
        elif name == "CNI_CONTAINERID":
            check_container_id(value)
        elif name == "CNI_IFNAME":
            check_ifname(value)
    if missing:
        raise CniError(INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")


def check_container_id(text: str) -> None:
    """Raises CniError. The id becomes a part of file names and of names in nftables."""
    if not _is_name(text):
        details = f"{text!r}: a letter or digit first, then letters, digits, '_', '.' and '-'"
        raise CniError(INVALID_ENVIRONMENT, "invalid characters in containerID", details)


def _is_name(text: str) -> bool:
    """`[a-zA-Z0-9][a-zA-Z0-9_.-]*`; no regular expression, for compiling one would take longer than all its uses."""
    return text[:1].isalnum() and text.isascii() and all(char.isalnum() or char in "_.-" for char in text)


def check_ifname(text: str) -> None:
    """What the kernel takes for the name of an interface (`dev_valid_name`). Raises CniError."""
    length = len(text.encode(errors="surrogateescape"))
    message = ""
    if length > _IFNAME_BYTES:
        message = f"interface name is too long: {text!r} has {length} bytes, the kernel allows {_IFNAME_BYTES}"
    elif text in (".", ".."):
        message = "interface name is . or .."
    elif any(char in "/:\0" or char.isspace() for char in text):
        message = f"interface name contains / or : or whitespace characters: {text!r}"
    elif "%" in text:
        message = f"interface name contains %, in whose place the kernel would put a number: {text!r}"
    if message:
        raise CniError(INVALID_ENVIRONMENT, message)


def read_args(text: str) -> dict[str, str]:
    """CNI_ARGS: `K=V;K2=V2`. Raises CniError for a pair without `=`."""
    found: dict[str, str] = {}
    for pair in text.split(";") if text else ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: invalid pair {pair!r}", "it is written KEY=VALUE;KEY=VALUE")
        found[key] = value
    return found


def decode(stdin: bytes) -> dict[str, Any]:
    """A network configuration: a JSON object with a usable `name`. Raises CniError.

    Keys of the specification match without regard to case, as they do for Go's `encoding/json`.
    """
    try:
        found: Any = jsontext.loads(stdin, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is empty" if not stdin.strip() else str(error) or "it is nested too deeply"
        raise CniError(UNDECODABLE, "error unmarshalling network config", reason) from error
    if not isinstance(found, dict):
        raise CniError(UNDECODABLE, "error unmarshalling network config", "it must be a JSON object")
    config: dict[str, Any] = {_BY_FOLDED.get(str(key).lower(), str(key)): value for key, value in found.items()}
    for key in ("cniVersion", "name", "type"):
        if not isinstance(config.get(key), str | None):
            raise CniError(UNDECODABLE, "error unmarshalling network config", f"{key} must be a text")
    check_network_name(config.get("name") or "")
    return config


def check_network_name(name: str) -> None:
    """Raises CniError."""
    if not name:
        raise CniError(INVALID_CONFIG, "missing network name", "the configuration needs a name")
    if not _is_name(name):
        details = f"{name!r}: a letter or digit first, then letters, digits, '_', '.' and '-'"
        raise CniError(INVALID_CONFIG, "invalid characters found in network name", details)


def check_version(command: str, config: Mapping[str, Any]) -> None:
    """Raises CniError: it is not served, or does not have the command."""
    version = config.get("cniVersion") or "0.1.0"
    if version_key(version) < version_key(SINCE.get(command, "0.0.0")):
        message = f"config version does not allow {command}"
        raise CniError(INCOMPATIBLE_VERSION, message, f"it came with {SINCE[command]}, this is {version}")
    if version not in VERSIONS:
        known = " ".join(f'"{one}"' for one in VERSIONS)
        details = f'config is "{version}", plugin supports [{known}]'
        raise CniError(INCOMPATIBLE_VERSION, "incompatible CNI versions", details)


def version_key(version: str) -> tuple[int, int, int]:
    """For comparing: `1.1.0` -> (1, 1, 0). Raises CniError for what is no version."""
    parts = version.split(".")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise CniError(UNDECODABLE, f"cniVersion {version!r} is no version", f"there are {', '.join(VERSIONS)}")
    major, minor, micro = [int(part) for part in parts] + [0] * (3 - len(parts))
    return (major, minor, micro)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")
