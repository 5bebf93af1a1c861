"""The CNI plugin where no C compiler is at hand: what shim.c does, in Python that starts quickly.

`windrow cni install` writes this text with a first line that names the interpreter (`-IS`: no site, no variables of
Python's own) and with the constants filled in. Only built-in modules until a server has refused: `import socket` alone
would cost more than the whole call. The reasons for what is done in which case are in shim.c.
"""

import _socket
import posix
import sys

MARK = "windrow-cni-plugin 0 launcher"
"""`0` becomes the version. By this text Windrow knows its own files again."""
ROOT = ""
"""Below which the paths of Windrow are, where the environment does not say."""
NODE = ""
"""Which node this host is, where the environment does not say; empty: its host name."""
PATH: list[str] = []
"""Where Windrow's modules are, and those that they import."""
PROGRAM = ""
"""What does it in this process."""

SOCKET = "/run/windrow/cni.sock"
TAKE_S, ANSWER_S = 2.0, 300.0
NOT_BEGUN, BROKEN_OFF, UNKNOWN = range(3)


def main() -> None:
    sys.path += PATH
    command = posix.environ.get(b"CNI_COMMAND", b"")
    for name, value in ((b"WINDROW_ROOT", ROOT.encode()), (b"WINDROW_NODE", NODE.encode())):
        if value and not posix.environ.get(name):
            posix.environ[name] = value  # what `os` will take it from, which is not imported yet
            posix.putenv(name, value)
    if not command:  # somebody at a terminal wants to know what this is
        alone(None)
        return
    config = b"" if command == b"VERSION" else b"".join(iter(lambda: posix.read(0, 65536), b""))
    outcome = served(config)
    if outcome == NOT_BEGUN or (outcome == BROKEN_OFF and command != b"ADD"):
        alone(config)
        return
    from windrow.port import frame

    write(1, frame.LOST)
    posix._exit(1)


def served(config: bytes) -> int:
    """Returns only where there is no answer."""
    from windrow.port import frame

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    connection.settimeout(TAKE_S)
    try:
        env = {name: value for name, value in posix.environ.items() if frame.wanted(name.decode("latin-1"))}
        env.pop(frame.ABOUT.encode(), None)
        netns, path = (env.get(name, b"").decode("utf-8", "surrogateescape") for name in (b"CNI_NETNS", b"CNI_PATH"))
        env[frame.PLACE.encode()] = frame.place([identity(one) for one in frame.places(netns, path)]).encode()
        asked = frame.request(env, config)
        connection.connect(env.get(b"WINDROW_ROOT", b"").rstrip(b"/") + SOCKET.encode())
        connection.sendall(asked)
    except (OSError, frame.FrameError):
        return NOT_BEGUN
    if not (head := receive(connection, frame.REPLY_HEADER)):
        try:
            connection.shutdown(_socket.SHUT_RDWR)
        except OSError:  # ENOTCONN: the server has gone
            return NOT_BEGUN
        head = receive(connection, frame.REPLY_HEADER)
        return UNKNOWN if head[:1] == bytes((frame.ACCEPTED,)) else NOT_BEGUN
    if head[0] != frame.ACCEPTED:
        return NOT_BEGUN
    connection.settimeout(ANSWER_S)
    try:
        _, size = frame.reply_header(receive(connection, frame.REPLY_HEADER))
        code, stdout = frame.exit_and_stdout(receive(connection, size))
    except frame.FrameError:
        return BROKEN_OFF if ended(connection) else UNKNOWN
    write(1, stdout)
    posix._exit(code)


def identity(path: str) -> tuple[int, int] | None:
    try:
        found = posix.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def receive(connection: _socket.socket, size: int) -> bytes:
    """All of it, or nothing: at the end of the stream, on an error, or when the time is over."""
    data = b""
    try:
        while len(data) < size and (more := connection.recv(size - len(data))):
            data += more
    except OSError:
        return b""
    return data if len(data) == size else b""


def ended(connection: _socket.socket) -> bool:
    """Whether it is the end of the stream, so of the server, and not of our patience."""
    connection.settimeout(0)
    try:
        return not connection.recv(1)
    except OSError:
        return False


def write(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]


def alone(config: bytes | None) -> None:
    """Do it in this process, with standard input as it came."""
    if config is not None:
        fd = posix.memfd_create("stdin")
        write(fd, config)
        posix.lseek(fd, 0, 0)
        posix.dup2(fd, 0)
        posix.close(fd)
    exec(PROGRAM, {"__name__": "__main__"})


if __name__ == "__main__":
    main()
