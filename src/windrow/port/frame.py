"""What a plugin and `windrow cni serve` say to each other: no JSON, so that a shim in C needs none either.

    plugin -> server    request   MAGIC · u32 length of the environment · u32 length of the configuration · both
    server -> plugin    reply     u8 kind · u32 length · payload; one ACCEPTED and one ANSWER, or one REFUSED

Numbers are big-endian. The environment is `NAME=VALUE` blocks, each ended by a NUL, as in /proc/PID/environ.
ACCEPTED comes before the work begins: a plugin that has not seen it may do the work itself. `apps/cni/shim.c` and
`apps/cni/launcher.py` are the other ends of it.

Imports nothing: the launcher, which is started anew for each call, uses it too.
"""

from __future__ import annotations

MAGIC = b"WCN1"
HEADER = 12
REPLY_HEADER = 5
ENVIRONMENT_MAX = 256 * 1024
CONFIG_MAX = 4 * 1024 * 1024
"""A GC names every attachment of a network; everything else is a few KiB."""

ACCEPTED, REFUSED, ANSWER = 1, 2, 3

PLACE = "WINDROW_PLACE"
"""Added to the environment: what the names in it mean where the plugin runs, so that a server elsewhere does not
answer for it. Of each of `places`, after a `/`: device and inode number in decimal, `4:4026531840`; `-` where there is
none."""
ABOUT = "WINDROW_ABOUT"
"""Instead of a CNI call: the server tells about itself, as JSON."""


class FrameError(ValueError):
    """The other end does not speak this."""


def wanted(name: str) -> bool:
    """Whether a variable is sent: what the specification and Windrow define, and where programs are."""
    return name.startswith(("CNI_", "WINDROW_")) or name == "PATH"


# Requests -----------------------------------------------------------------------------------------


def request(env: dict[bytes, bytes], config: bytes) -> bytes:
    """Raises FrameError when it is too long to be sent."""
    block = b"".join(b"%b=%b\0" % pair for pair in env.items())
    if len(block) > ENVIRONMENT_MAX or len(config) > CONFIG_MAX:
        raise FrameError("the request is too long for the server")
    return MAGIC + len(block).to_bytes(4, "big") + len(config).to_bytes(4, "big") + block + config


def request_sizes(header: bytes) -> tuple[int, int]:
    """The lengths of environment and configuration that follow a header. Raises FrameError."""
    if len(header) != HEADER or header[:4] != MAGIC:
        raise FrameError("this is no request of a Windrow plugin, or one of another version")
    env, config = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")
    if env > ENVIRONMENT_MAX or config > CONFIG_MAX:
        raise FrameError(f"the request is too long: {env} + {config} bytes")
    return env, config


def environment(block: bytes) -> dict[str, str]:
    """The variables of a request; bytes that are not UTF-8 survive as the surrogates that `os.environ` has for them.

    Raises FrameError.
    """
    if block and not block.endswith(b"\0"):
        raise FrameError("the environment does not end with a NUL")
    found: dict[str, str] = {}
    for entry in block.split(b"\0")[:-1]:
        name, equals, value = entry.decode("utf-8", "surrogateescape").partition("=")
        if not equals or not wanted(name):
            raise FrameError("the environment has what is no variable for a plugin")
        found[name] = value
    return found


# Replies ------------------------------------------------------------------------------------------


def reply(kind: int, payload: bytes = b"") -> bytes:
    return bytes((kind,)) + len(payload).to_bytes(4, "big") + payload


def answer(exit_code: int, stdout: bytes) -> bytes:
    """ANSWER: one byte, the exit code, and then what goes to standard output."""
    return reply(ANSWER, bytes((exit_code & 0xFF,)) + stdout)


def reply_header(header: bytes) -> tuple[int, int]:
    """Kind, and length of the payload that follows. Raises FrameError."""
    if len(header) != REPLY_HEADER or header[0] not in (ACCEPTED, REFUSED, ANSWER):
        raise FrameError("this is no reply of a Windrow server, or one of another version")
    return header[0], int.from_bytes(header[1:], "big")


def exit_and_stdout(payload: bytes) -> tuple[int, bytes]:
    """What an ANSWER holds. Raises FrameError."""
    if not payload:
        raise FrameError("the answer is empty")
    return payload[0], payload[1:]


# In words -----------------------------------------------------------------------------------------

LOST = (
    b'{"code": 11, "msg": "the Windrow server did not answer a call that it had begun",'
    b' "details": "delete the attachment, then try again"}'
)
"""What a plugin prints then for an ADD. shim.c says why; 11 is `errors.TRY_AGAIN`."""


HERE = ("/proc/self/ns/net", "/", "/etc", "/opt", "/run", "/tmp", "/var/lib")
"""The network namespace, and where plugins have their files. Not the mount namespace: a process may have its own and
see the same (`ip netns exec`, many a systemd service)."""


def places(netns: str, path: str) -> list[str]:
    """What PLACE tells of: HERE, CNI_NETNS and each directory of CNI_PATH."""
    return [*HERE, *(one for one in (netns, *path.split(":")) if one)]


def place(identities: list[tuple[int, int] | None]) -> str:
    """PLACE from the (device, inode) of each of `places`."""
    return "".join("/-" if one is None else f"/{one[0]}:{one[1]}" for one in identities)
