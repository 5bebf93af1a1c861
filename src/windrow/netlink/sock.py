"""A rtnetlink socket: one request, a burst of them, or a dump.

The kernel handles a request inside `sendmsg`, so an answer is there when the call returns; what can
go wrong is a refusal (NLMSG_ERROR with an extended ACK), a lost answer (ENOBUFS) and a dump that was
interrupted by a change (NLM_F_DUMP_INTR).

`_socket` is what `socket` is made of. `socket` adds nothing for netlink, and takes longer to load than a CNI plugin
does its work.
"""

from __future__ import annotations

import _socket as socket
import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from struct import Struct
from types import TracebackType

from windrow.model.lazy import dataclass
from windrow.model.marks import called
from windrow.netlink import codec, errors
from windrow.netlink.enter import beside
from windrow.netlink.errors import KernelError

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP = 0x300
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWLINKPROP, RTM_DELLINKPROP = 108, 109
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWVLAN, RTM_GETVLAN = 112, 114
NETLINK_SOCK_DIAG = 4
RTEXT_FILTER_BRVLAN_COMPRESSED, RTEXT_FILTER_SKIP_STATS = 0x4, 0x8

DUMP_TRIES, DUMP_TRIES_AT_ONCE, DUMP_PAUSE_S = 25, 5, 0.003
BURST_MESSAGES, BURST_BYTES = 256, 128 * 1024
"""At most so much in one send. An answer takes about 1 KiB of the receive buffer (`skb->truesize`), so
256 answers cannot overflow ours; the kernel refuses a send above SO_SNDBUF (`netlink_sendmsg`)."""

_BUFFER = 4 * 1024 * 1024
_RECEIVE = 64 * 1024
"""The kernel fills a dump's messages up to 32 KiB (`netlink_recvmsg: max_recvmsg_len`)."""
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_HEADER = Struct("=IHHII")
_ERRNO = Struct("=i")

Span = tuple[bytes, int, int]
"""The payload of one message: it is `data[start:end]` (not copied)."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request. `doing` says what it is for ("create bond oob-bo"); `kind` the link kind it makes; `hints` what to do
    about an errno that would not say it."""

    type: int
    body: bytes
    flags: int = 0
    doing: str = ""
    kind: str = ""
    hints: tuple[tuple[int, str], ...] = ()


class Rtnl:
    """A socket of the network namespace that the calling thread is in; it stays there. `protocol`: rtnetlink, or one
    that speaks like it.

    Not for use by two threads at a time.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
            except OSError:  # beyond net.core.rmem_max only with CAP_NET_ADMIN
                self._socket.setsockopt(socket.SOL_SOCKET, plain, _BUFFER)
        for option in (_CAP_ACK, _EXT_ACK, _STRICT):
            with suppress(OSError):  # kernels before 4.3, 4.12 and 4.20: less text, more to filter
                self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def __enter__(self) -> Rtnl:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For ioctls: the kernel looks for their device in the socket's namespace (`sock_ioctl`)."""
        return self._socket.fileno()

    # Changing -------------------------------------------------------------------------------------

    def run(self, *messages: Message) -> None:
        """All messages in as few sends as fit. Raises the first KernelError; the others were tried as well."""
        for failure in self.burst(messages):
            if failure is not None:
                raise failure

    def burst(self, messages: Sequence[Message]) -> list[KernelError | None]:
        """All messages, pipelined; for each one None or why it failed.

        The kernel goes on with the next message of a send when one fails (`netlink_rcv_skb`).
        """
        results: list[KernelError | None] = []
        for chunk in _chunks(messages):
            results += self._burst(chunk)
        return results

    def run_with(self, message: Message, meanwhile: Callable[[], object]) -> None:
        """As `run`; `meanwhile` is done while the kernel has the message. A send is the work itself, and whoever
        deletes a link waits in it until no processor looks at that any more (`synchronize_net` and `rcu_barrier` in
        `unregister_netdevice_many`, `netdev_run_todo`). Raises KernelError, and what `meanwhile` does."""
        first = self._sequence + 1
        packed = self._pack(message, NLM_F_REQUEST | NLM_F_ACK)
        sending = beside(lambda: self._send(packed, message.doing))
        try:
            meanwhile()
        finally:
            sending()
        (failure,) = self._answers(first, (message,))
        if failure is not None:
            raise failure

    def _burst(self, messages: Sequence[Message]) -> list[KernelError | None]:
        first = self._sequence + 1
        packed = b"".join(self._pack(message, NLM_F_REQUEST | NLM_F_ACK) for message in messages)
        self._send(packed, messages[0].doing)
        return self._answers(first, messages)

    def transaction(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """All messages, or none (`nfnetlink_rcv_batch`). Raises the first KernelError."""
        first = self._sequence + 1
        packed = self._pack(begin, NLM_F_REQUEST)
        packed += b"".join(self._pack(message, NLM_F_REQUEST | NLM_F_ACK) for message in messages)
        self._send(packed + self._pack(end, NLM_F_REQUEST), messages[0].doing)
        answers = self._heard(first, (begin, *messages))
        answers.setdefault(first, None)  # the kernel answers it only where nothing came of the whole
        for failure in _each(answers, first, (begin, *messages)):
            if failure is not None:
                raise failure

    def _answers(self, first: int, messages: Sequence[Message]) -> list[KernelError | None]:
        """Of messages that were sent, the first one with this number."""
        return _each(self._heard(first, messages), first, messages)

    def _heard(self, first: int, messages: Sequence[Message]) -> dict[int, KernelError | None]:
        """The answers that there are, by number."""
        answers: dict[int, KernelError | None] = {}
        while len(answers) < len(messages):
            try:
                data = self._receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except KernelError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            for sequence, type_, flags, start, end in split(data):
                if type_ == NLMSG_ERROR and sequence >= first:
                    message = messages[sequence - first]
                    answers[sequence] = _read_error(data, start, end, flags, message)
        return answers

    # Asking ---------------------------------------------------------------------------------------

    def get(self, message: Message) -> Span:
        """The one answer to a request. Raises KernelError."""
        self._send(self._pack(message, NLM_F_REQUEST), message.doing)
        while True:
            data = self._receive()
            for sequence, type_, flags, start, end in split(data):
                if sequence != self._sequence:
                    continue
                if type_ != NLMSG_ERROR:
                    return data, start, end
                failure = _read_error(data, start, end, flags, message)
                if failure is not None:
                    raise failure

    def index(self, name: str) -> int:
        """The ifindex of a link now. Raises NoSuchLink."""
        body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0)
        body += codec.LINK.encode({"name": name, "ext_mask": RTEXT_FILTER_SKIP_STATS})
        data, start, _ = self.get(Message(RTM_GETLINK, body, doing=f"find link {name}"))
        index: int = codec.LINK_HEADER.unpack_from(data, start)[2]
        return index

    def indexes(self) -> dict[str, int]:
        """The ifindex of every link, by name: one dump instead of many `index`."""
        body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode({"ext_mask": RTEXT_FILTER_SKIP_STATS})
        found: dict[str, int] = {}
        for data, start, end in self.dump(Message(RTM_GETLINK, body, doing="list the links")):
            attrs = codec.LINK.decode(data, start + codec.LINK_HEADER.size, end)
            name = called(attrs["name"], codec.altnames(attrs))
            found[name] = codec.LINK_HEADER.unpack_from(data, start)[2]
        return found

    def dump(self, message: Message) -> list[Span]:
        """All answers to a dump request, from one try in which nothing changed.

        What a dump has that was interrupted may lack a link and have another twice: nobody should plan by that. So it
        is tried again, a few times at once and then after pauses, and after `DUMP_TRIES` given up (EINTR). Raises
        KernelError.
        """
        for number in range(DUMP_TRIES):
            spans: list[Span] = []
            try:
                if self._dump(message, spans):
                    return spans
            except KernelError as error:
                if error.errno not in (errno.EINTR, errno.EBUSY, errno.ENOBUFS):
                    raise
            if number >= DUMP_TRIES_AT_ONCE:
                time.sleep(DUMP_PAUSE_S)
        hint = f"links came or went during each of {DUMP_TRIES} tries: look again when it is quieter"
        raise KernelError(errno.EINTR, message.doing, hint=hint)

    def _dump(self, message: Message, spans: list[Span]) -> bool:
        """Fills `spans`; False if the dump was interrupted. Reads to the end in any case: the next dump needs that."""
        self._send(self._pack(message, NLM_F_REQUEST | NLM_F_DUMP), message.doing)
        whole = True
        while True:
            data = self._receive()
            for sequence, type_, flags, start, end in split(data):
                if sequence != self._sequence:
                    continue
                if flags & NLM_F_DUMP_INTR:
                    whole = False
                if type_ in (NLMSG_DONE, NLMSG_ERROR):
                    failure = _read_error(data, start, end, flags, message, done=type_ == NLMSG_DONE)
                    if failure is not None:
                        raise failure
                    return whole
                spans.append((data, start, end))

    # Bytes ----------------------------------------------------------------------------------------

    def _pack(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        length = _HEADER.size + len(message.body)
        header = _HEADER.pack(length, message.type, message.flags | flags, self._sequence, 0)
        return header + message.body + b"\0" * (-length & 3)

    def _send(self, data: bytes, doing: str) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise errors.of(error.errno or errno.EIO, doing) from error

    def _receive(self, flags: int = 0) -> bytes:
        try:
            data, _, got, _ = self._socket.recvmsg(_RECEIVE, 0, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            raise errors.of(error.errno or errno.EIO, "read the kernel's answer") from error
        if got & socket.MSG_TRUNC:
            raise errors.of(errno.EMSGSIZE, "read the kernel's answer")
        return data


def _each(answers: dict[int, KernelError | None], first: int, messages: Sequence[Message]) -> list[KernelError | None]:
    """Of each message what came of it; one whose answer is missing has failed."""
    return [
        answers[number] if number in answers else errors.of(errno.ENOBUFS, one.doing, "the kernel's answer was lost")
        for number, one in enumerate(messages, first)
    ]


def _chunks(messages: Sequence[Message]) -> Iterator[list[Message]]:
    chunk: list[Message] = []
    size = 0
    for message in messages:
        length = len(message.body) + 32
        if chunk and (len(chunk) >= BURST_MESSAGES or size + length > BURST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(message)
        size += length
    if chunk:
        yield chunk


def split(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """(sequence, type, flags, start, end) of every message; start..end is its payload."""
    start, size = 0, len(data)
    while start + 16 <= size:
        length, type_, flags, sequence, _ = _HEADER.unpack_from(data, start)
        if length < 16 or start + length > size:
            return
        yield sequence, type_, flags, start + 16, start + length
        start += (length + 3) & ~3


def _read_error(
    data: bytes, start: int, end: int, flags: int, message: Message, *, done: bool = False
) -> KernelError | None:
    """NLMSG_ERROR (errno, header of the request, attributes) or NLMSG_DONE (errno, attributes).

    Without NLM_F_CAPPED the whole request stands before the attributes.
    """
    code = -_ERRNO.unpack_from(data, start)[0] if end - start >= 4 else 0
    if code <= 0:
        return None
    extack = ""
    if flags & NLM_F_ACK_TLVS:
        at = start + 4
        if not done:
            (length,) = Struct("=I").unpack_from(data, at)
            at += 16 if flags & NLM_F_CAPPED else (length + 3) & ~3
        extack = codec.EXTACK.decode(data, at, end).get("message", "")
    hint = dict(message.hints).get(code, "")
    return errors.of(code, message.doing or f"request {message.type}", extack, message.kind, hint)
