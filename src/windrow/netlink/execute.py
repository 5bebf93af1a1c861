"""Steps become messages, and refusals become `model.steps.Failure`."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, assert_never

from windrow.model.errors import WindrowError
from windrow.model.host import Details, PortVlans
from windrow.model.marks import mark_of
from windrow.model.steps import (
    AddAddr,
    AddFdb,
    AddNeighbour,
    AddRoute,
    AddRule,
    Adopt,
    AskAddr,
    AwaitCarrier,
    CreateLink,
    DelAddr,
    DeleteLink,
    DelFdb,
    DelNeighbour,
    DelRoute,
    DelRule,
    Disown,
    DropFilter,
    DropPeer,
    Failure,
    PutPeer,
    RenameLink,
    SetBond,
    SetBridge,
    SetFilter,
    SetLink,
    SetMark,
    SetMaster,
    SetPolicies,
    SetPort,
    SetSlave,
    SetSnooping,
    SetSysctl,
    SetVlanFlags,
    SetVlans,
    SetVxlan,
    SetWireguard,
    Step,
)
from windrow.model.values import OWNER_GROUP, Cidr, Mac, VidSet
from windrow.netlink import codec, crowd, lacp, links, netns, options, sysctl
from windrow.netlink.errors import KernelError
from windrow.netlink.observe import IFF_LOWER_UP
from windrow.netlink.sock import RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, Message, Rtnl

if TYPE_CHECKING:
    from windrow.netlink import claims

Index = Callable[[str], int]
Options = SetBond | SetBridge | SetPort | SetSlave | SetVlanFlags | SetVxlan
OwnKey = Callable[[], bytes]
_BAD_VALUE = (ValueError, KeyError, OSError, struct.error)
"""What the codec raises for a value that has no place in a message."""
_POLL_FIRST_S, _POLL_LAST_S = 0.002, 0.05


def run(
    rtnl: Rtnl,
    steps: Sequence[Step],
    where: netns.Netns = None,
    pause: Callable[[float], None] = time.sleep,
    own_key: OwnKey | None = None,
) -> Failure | None:
    """Do the steps in as few sends as possible; the first failure, or None.

    `own_key`: this host's private key, for its encrypted tunnel device.
    `where` is the socket's namespace, for sysctls; `pause` is called again and again while a step waits. What follows a
    failing step in the same send has been tried too, because the kernel goes on; what would have been sent later has
    not. SetVlans is checked before anything is sent.
    """
    burst = _Burst(rtnl)
    try:
        for step in steps:
            _Burst.guarded(step, lambda step=step: _check(step))  # type: ignore[misc]
        asked = False
        for step in steps:
            match step.action:
                case AskAddr():
                    burst.flush()
                    if not asked:
                        asked = True
                        _ask(rtnl, [s for s in steps if isinstance(s.action, AskAddr)], where, pause)
                case SetSysctl() | AwaitCarrier():
                    burst.flush()
                    burst.guarded(step, lambda step=step: _do(rtnl, step, where, pause))  # type: ignore[misc]
                case SetWireguard() | PutPeer() | DropPeer():
                    burst.flush()
                    burst.guarded(step, lambda step=step: _encrypt(rtnl, step, where, own_key))  # type: ignore[misc]
                case _:
                    burst.add(step)
        burst.flush()
    except _StepFailed as stop:
        return stop.failure
    return None


class _StepFailed(Exception):
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class _Burst:
    """Messages gathered for one send.

    A message that needs the ifindex of a link which an earlier one creates or renames makes that one go first.
    """

    def __init__(self, rtnl: Rtnl) -> None:
        self._rtnl = rtnl
        self._pending: list[tuple[Step, Message]] = []
        self._touched: set[str] = set()

    def add(self, step: Step) -> None:
        messages = self.guarded(step, lambda: _messages(step, self._index))
        if isinstance(step.action, CreateLink) and len(messages) > 1:
            # Refused with EEXIST, a creation must not go on to change the link that was there, another's perhaps.
            self._pending.append((step, messages[0]))
            self.flush()
            messages = messages[1:]
        self._pending += ((step, message) for message in messages)
        if isinstance(step.action, CreateLink | DeleteLink | RenameLink):
            self._touched |= {step.link}
        if isinstance(step.action, RenameLink):
            self._touched |= {step.action.to}

    def flush(self) -> None:
        """Raises _StepFailed."""
        pending, self._pending = self._pending, []
        self._touched.clear()
        results: list[KernelError | None] = []
        for deleting, part in groupby(pending, key=lambda one: isinstance(one[0].action, DeleteLink)):
            results += self._sent(list(part), deleting=deleting)
        for (step, _), error in zip(pending, results, strict=True):
            if error is not None and not _is_so_already(step, error):
                raise _StepFailed(_failure(step, error))

    def _sent(self, part: list[tuple[Step, Message]], *, deleting: bool) -> list[KernelError | None]:
        """Links that go one after the other go together."""
        if not deleting or len(part) == 1:
            return self._rtnl.burst([message for _, message in part])
        return crowd.delete(self._rtnl, [step.link for step, _ in part])

    def _index(self, name: str) -> int:
        if name in self._touched:
            self.flush()
        return self._rtnl.index(name)

    @staticmethod
    def guarded(step: Step, fn: Callable[[], tuple[Message, ...]]) -> tuple[Message, ...]:
        """What `fn` returns; what it raises as _StepFailed."""
        try:
            return fn()
        except KernelError as error:
            raise _StepFailed(_failure(step, error)) from error
        except _BAD_VALUE as error:
            raise _StepFailed(Failure(step=step, errno=errno.EINVAL, reason=str(error))) from error
        except WindrowError as error:  # this host's key cannot be kept
            raise _StepFailed(Failure(step=step, errno=errno.EIO, reason=str(error))) from error


def _is_so_already(step: Step, error: KernelError) -> bool:
    """A step says "be X". The kernel takes an address again (NLM_F_REPLACE), but not a route beside its own like, nor
    an alternative name; and it cannot take one away that is not there (`netdev_name_node_alt_destroy`), nor delete a
    link or a neighbour that is gone, nor be told how to snoop in a VLAN that nobody has."""
    match step.action:
        case DeleteLink():
            return error.errno == errno.ENODEV
        case AddRoute() | AddRule():
            return error.errno == errno.EEXIST
        case SetMark() | Adopt() | Disown():
            return error.errno in (errno.EEXIST, errno.ENOENT)
        case SetSnooping() | DelNeighbour() | DelFdb():
            return error.errno == errno.ENOENT
        case _:
            return False


def _failure(step: Step, error: KernelError) -> Failure:
    return Failure(step=step, errno=error.errno, reason=error.explanation, extack=error.extack)


def _check(step: Step) -> tuple[Message, ...]:
    if isinstance(step.action, SetVlans):
        action = step.action
        links.check_vlans(action.add)
        links.check_vlans(PortVlans(tagged=action.remove))
        both: VidSet = action.add.all & action.remove
        if both:
            raise ValueError(f"VLAN ids {both} are to be added and removed")
    return ()


def _messages(step: Step, index: Index) -> tuple[Message, ...]:
    """The messages of one step; `index` finds the ifindex of a link that is not the step's own."""
    name = step.link
    match step.action:
        case CreateLink(link=link):
            return links.create_link(link, index)
        case DeleteLink():
            return (links.delete(name),)
        case RenameLink(to=to):
            return (links.rename(index(name), name, to),)
        case SetLink() as action:
            return (
                links.set_link(
                    name,
                    up=action.up,
                    promisc=action.promisc,
                    mtu=action.mtu,
                    mac=action.mac,
                    txqlen=action.txqlen,
                    flags=action.flags,
                ),
            )
        case SetMark() | Adopt() | Disown() as action:
            return _mark_messages(name, action)
        case SetBond() | SetBridge() | SetPort() | SetSlave() | SetVlanFlags() | SetVxlan() as action:
            return (_option_message(name, action, index),)
        case SetMaster(master=master):
            return (links.set_master(name, index(master) if master else None, master or ""),)
        case SetVlans() as action:
            return _vlan_messages(name, action, index)
        case SetSnooping() as action:
            return _snooping_messages(name, action, index)
        case AddAddr(addr=addr, details=details):
            return _address_messages(index(name), name, addr, details)
        case DelAddr(addr=addr, details=details):
            if details is None:
                return (links.del_addr(index(name), addr, name=name),)
            return (links.take_addr(index(name), addr, details, name=name),)
        case AddNeighbour() | DelNeighbour() | AddFdb() | DelFdb() as action:
            return (_neighbour_message(name, action, index),)
        case AddRoute() | DelRoute() | AddRule() | DelRule() as action:
            return (_way_message(name, action, index),)
        case SetSysctl() | AskAddr() | AwaitCarrier() | SetWireguard() | PutPeer() | DropPeer():
            return ()
        case SetFilter() | DropFilter() | SetPolicies():
            raise AssertionError("rules are no messages of rtnetlink")
        case _ as never:
            assert_never(never)


def _neighbour_message(name: str, action: AddNeighbour | DelNeighbour | AddFdb | DelFdb, index: Index) -> Message:
    match action:
        case AddNeighbour(neighbour=one):
            return links.add_neighbour(one, index(name), name=name)
        case DelNeighbour(neighbour=one):
            return links.del_neighbour(one, index(name), name=name)
        case AddFdb(entry=entry):
            return links.add_fdb(entry, index(name), name=name)
        case DelFdb(entry=entry):
            return links.del_fdb(entry, index(name), name=name)


def _way_message(name: str, action: AddRoute | DelRoute | AddRule | DelRule, index: Index) -> Message:
    match action:
        case AddRoute(route=route):
            return links.add_route(route, index(name), beside=True, find=index)
        case DelRoute(route=route):
            return links.del_route(route, index(name), find=index)
        case AddRule(rule=rule):
            return links.add_rule(rule)
        case DelRule(rule=rule):
            return links.del_rule(rule)


def _address_messages(index: int, name: str, addr: Cidr, details: Details | None) -> tuple[Message, ...]:
    """An IPv6 address that comes back, or moves to another link with the same MAC, is this host's: nobody need be asked
    whether he has it (DAD), which takes a second or two, and routes that name it as their source are refused meanwhile
    (`ipv6_chk_addr`). The second message takes that mark off."""
    if details is None:
        return (links.add_addr(index, addr, name=name),)
    last = links.put_back_addr(index, addr, details, name=name, moving=False)
    if ":" not in addr:
        return (last,)
    return links.put_back_addr(index, addr, details, name=name, moving=True), last


def _option_message(name: str, action: Options, index: Index) -> Message:
    """The options of a kind, or those that a master has for its port or slave."""
    match action:
        case SetBond(options=bond):
            return links.set_bond(name, bond, index)
        case SetBridge(options=bridge):
            return links.set_bridge(name, bridge)
        case SetPort(options=port):
            return links.port_options(index(name), name, **options.port_values(port))
        case SetSlave(prio=prio):
            return links.slave_options(name, "bond", prio=prio)
        case SetVlanFlags(flags=flags):
            return links.set_vlan_flags(name, flags)
        case SetVxlan() as change:
            return links.set_vxlan(name, change)
        case _ as never:
            assert_never(never)


def _mark_messages(name: str, action: SetMark | Adopt | Disown) -> tuple[Message, ...]:
    """In this order: a link that bears any mark of ours already goes by the name that it is wanted under. Cut off
    anywhere it is nobody's yet, or wanted as it is; a link of ours that nobody wants would be deleted."""
    match action:
        case Adopt(name=to):
            also = [links.add_altname(name, to)] if to != name else []
            return (*also, links.add_altname(name, mark_of(to)), links.set_link(name, group=OWNER_GROUP))
        case Disown(own=own, group=group):
            also = [links.delete_altname(own, name)] if own != name else []
            return (links.set_link(own, group=group), links.delete_altname(own, mark_of(name)), *also)
        case SetMark():
            grouped = [links.set_link(name, group=action.group)] if action.group is not None else []
            named = [links.add_altname(name, mark_of(name))] if action.name else []
            return (*grouped, *named, *(links.delete_altname(name, mark_of(old)) for old in action.stale))
        case _ as never:
            assert_never(never)


def _vlan_messages(name: str, action: SetVlans, index: Index) -> tuple[Message, ...]:
    """Add before delete: a VID that stays is never away."""
    ifindex = index(name)
    messages: list[Message] = []
    if action.add.all:
        messages.append(links.add_vlans(ifindex, action.add, on_self=action.on_self, name=name))
    if action.remove:
        messages.append(links.delete_vlans(ifindex, action.remove, on_self=action.on_self, name=name))
    return tuple(messages)


def _snooping_messages(name: str, action: SetSnooping, index: Index) -> tuple[Message, ...]:
    ifindex = index(name)
    snooped, asked = action.snooping.snooped, action.snooping.asked
    return (
        *links.snoop_vlans(ifindex, snooped & asked, snoop=True, ask=True, name=name),
        *links.snoop_vlans(ifindex, snooped - asked, snoop=True, ask=False, name=name),
        *links.snoop_vlans(ifindex, asked - snooped, snoop=False, ask=True, name=name),
        *links.snoop_vlans(ifindex, action.others, snoop=False, ask=False, name=name),
    )


def _do(rtnl: Rtnl, step: Step, where: netns.Netns, pause: Callable[[float], None]) -> tuple[Message, ...]:
    """The steps that are no message."""
    match step.action:
        case SetSysctl(key=key, value=value):
            netns.opened_in(where, lambda: sysctl.write(_own_key(key, step.link), value))
        case AwaitCarrier(timeout_ms=timeout, settle_ms=settle):
            await_carrier(rtnl, step.link, timeout / 1000, settle / 1000, pause)
        case _:
            raise AssertionError(f"{step.action} is a message")
    return ()


def _encrypt(rtnl: Rtnl, step: Step, where: netns.Netns, own_key: OwnKey | None) -> tuple[Message, ...]:
    """By generic netlink, in the namespace of the device."""
    from windrow.netlink.wireguard import Devices  # most hosts have no such device

    index = rtnl.index(step.link)

    def inside() -> None:
        with Devices() as devices:
            match step.action:
                case SetWireguard(port=port):
                    if own_key is None:
                        raise ValueError("nobody knows the key of this host")
                    devices.set(index, port=port, private_key=own_key())
                case PutPeer(peer=peer):
                    devices.put_peer(index, peer)
                case DropPeer(peer=peer):
                    devices.drop_peer(index, peer)
                case _:
                    raise AssertionError(f"{step.action} is about no encryption")

    netns.opened_in(where, inside)
    return ()


def _own_key(key: str, link: str) -> str:
    """The directories of sysctls know a link by its own name alone, and no alternative one (`addrconf_sysctl_register`,
    `devinet_sysctl_register`)."""
    if not link:
        return key
    return key.replace(f"/conf/{link}/", f"/conf/{links.own_name(link)}/")


ASKED_CARRIER_S = 1.0
"""A bond notices a NIC's carrier after miimon, and a bridge its bond's after that; where there is none nobody can be
asked, and the address is set."""


def _ask(rtnl: Rtnl, steps: Sequence[Step], where: netns.Netns, pause: Callable[[float], None]) -> None:
    """All at the same time; the links that have no carrier are waited for a moment. Raises _StepFailed for the first
    address that somebody else has."""
    from windrow.netlink import claims

    end = time.monotonic() + ASKED_CARRIER_S
    while time.monotonic() < end and not all(_has_carrier(rtnl, step) for step in steps):
        pause(_POLL_LAST_S)
    questions: list[claims.Question] = []
    try:
        for step in steps:
            assert isinstance(step.action, AskAddr)
            address = step.action.addr.partition("/")[0]
            question = _opened(step, where, lambda link=step.link, address=address: claims.Question(link, address))  # type: ignore[misc]
            questions.append(question)
        found = claims.who_has(questions, pause)
    finally:
        for question in questions:
            question.close()
    for place in sorted(found):
        raise _StepFailed(_taken(steps[place], found[place]))


def _opened(step: Step, where: netns.Netns, open_: Callable[[], claims.Question]) -> claims.Question:
    try:
        return netns.opened_in(where, open_)
    except OSError as error:
        number = error.errno or errno.EIO
        raise _StepFailed(Failure(step=step, errno=number, reason=error.strerror or str(error))) from error


def _taken(step: Step, mac: Mac) -> Failure:
    assert isinstance(step.action, AskAddr)
    reason = f"somebody else has {step.action.addr.partition('/')[0]} (MAC {mac})"
    return Failure(step=step, errno=errno.EADDRINUSE, reason=reason)


def _has_carrier(rtnl: Rtnl, step: Step) -> bool:
    body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0)
    body += codec.LINK.encode({"name": step.link, "ext_mask": RTEXT_FILTER_SKIP_STATS})
    request = Message(RTM_GETLINK, body, doing=f"look at {step.link}")
    try:
        data, start, _ = rtnl.get(request)
    except KernelError as error:
        raise _StepFailed(_failure(step, error)) from error
    return bool(codec.LINK_HEADER.unpack_from(data, start)[3] & IFF_LOWER_UP)


def await_carrier(
    rtnl: Rtnl, name: str, seconds: float, settle: float = 0.0, pause: Callable[[float], None] = time.sleep
) -> None:
    """Wait until the link is up and has carrier, and LACP has agreed where a partner answers; if it has not, that the
    switch settles.

    Raises KernelError: ETIMEDOUT, or ENODEV if it goes away.
    """
    body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0)
    body += codec.LINK.encode({"name": name, "ext_mask": RTEXT_FILTER_SKIP_STATS})
    request = Message(RTM_GETLINK, body, doing=f"wait for carrier on {name}")
    end, poll_s = time.monotonic() + seconds, _POLL_FIRST_S
    while True:
        data, start, _ = rtnl.get(request)
        if codec.LINK_HEADER.unpack_from(data, start)[3] & IFF_LOWER_UP:
            if not lacp.await_agreement(rtnl, name, end, pause):
                _rest(settle, pause)
            return
        left = end - time.monotonic()
        if left <= 0:
            hint = f"no carrier within {seconds:g} s: is the cable in, and the other side up?"
            raise KernelError(errno.ETIMEDOUT, request.doing, hint=hint)
        pause(min(poll_s, left))
        poll_s = min(poll_s * 2, _POLL_LAST_S)


def _rest(seconds: float, pause: Callable[[float], None]) -> None:
    """`pause` may come back early."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        pause(left)
